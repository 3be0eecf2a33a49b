"""Faults through the real nodes: what the operator is told, when, and what reaches the drives."""

import itertools

import numpy as np
import pytest
from stack import LIMIT, Stack, Watch

CONTROL_DT = 0.005
NODES_LATE = 2
"""Control periods between the cycle in which a fault can be seen and the command that brakes."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with Stack(tmp_path_factory.mktemp("stack")) as found:
        yield found


@pytest.fixture(scope="module")
def watch(stack):
    with Watch() as found:
        found.wait(lambda: found.cycles and found.commands, "the first cycle and command")
        yield found


def brake(stack, watch, mark):
    """Wait until the robot brakes; return the event of the change and the checks that asked for it."""

    def braked():
        return (event for event in stack.since(mark) if event.get("mode") == "damping" and "from" in event)

    stack.operator.wait_for(lambda: any(braked()), LIMIT, "damping")
    events, change = stack.since(mark), next(braked())
    causes = {
        event["reason"] for event in events if event.get("reaction") == "damping" and event["time"] <= change["time"]
    }
    watch.wait(lambda: watch.commands[-1][1] > change["time"] + 0.1, "commands after the stop")
    watch.wait(lambda: watch.cycles[-1][1].time > change["time"], "the cycles up to the stop")
    with watch.news:
        after = [command for _, cycle, command in watch.commands if cycle >= change["time"] - 1e-9]
        before = [command for _, cycle, command in watch.commands if cycle < change["time"] - 1e-9]
    assert before[-1].kp.any()
    assert not any(command.kp.any() for command in after)
    assert all((command.kd > 0).all() and not command.velocity.any() for command in after)
    return change, causes


@pytest.mark.parametrize(
    ("fault", "reason", "seconds"),
    [
        ({"kind": "nan_position", "joint": "FL_calf_joint"}, "state_invalid", 2 * CONTROL_DT),
        ({"kind": "frozen_state"}, "state_stale", 0.08 + CONTROL_DT),
        ({"kind": "no_state"}, "state_stale", 0.08 + CONTROL_DT),
        ({"kind": "delayed_state", "seconds": 0.2}, "state_stale", 0.08 + CONTROL_DT),
        ({"kind": "joint_over_limit", "joint": "RR_calf_joint"}, "position", CONTROL_DT),
        ({"kind": "velocity_spike"}, "velocity", 0.005 + CONTROL_DT),
        ({"kind": "battery_critical"}, "battery", 1.0 + CONTROL_DT),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
def test_a_fault_of_the_readings_brakes_the_robot_in_time(stack, watch, fault, reason, seconds):
    stack.walk()
    mark = stack.mark()
    stack.operator.inject_fault(fault)
    change, causes = brake(stack, watch, mark)
    stack.operator.inject_fault(None)
    assert reason in causes
    begin = watch_start(watch, fault, change["time"])
    assert change["time"] - begin <= seconds + NODES_LATE * CONTROL_DT + 1e-6


def watch_start(watch, fault, until):
    """The first cycle that shows the fault, from what the drives published."""
    with watch.news:
        cycles = [cycle for _, cycle in watch.cycles if cycle.time <= until]
    shows = {
        "nan_position": lambda now, old: now.state is not None and np.isnan(now.state.position).any(),
        "frozen_state": lambda now, old: now.state.sequence == old.state.sequence,
        "no_state": lambda now, old: same(now, old),
        "delayed_state": lambda now, old: same(now, old),
        "joint_over_limit": lambda now, old: now.state.position.max() > 6.0,
        "velocity_spike": lambda now, old: now.state.velocity.max() > 60.0,
        "battery_critical": lambda now, old: now.state.battery < 0.1,
    }[fault["kind"]]
    for old, now in reversed(list(itertools.pairwise(cycles))):
        if not shows(now, old):
            return now.time + CONTROL_DT
    raise AssertionError("the fault shows from the beginning")


def same(now, old):
    """The driver repeats its last reading when no new one came."""
    return now.state is None or (old.state is not None and now.state.stamp == pytest.approx(old.state.stamp, abs=1e-9))


def test_a_push_that_topples_the_robot_brakes_it(stack, watch):
    stack.walk()
    mark = stack.mark()
    stack.operator.push(0.0, 90.0)
    _, causes = brake(stack, watch, mark)
    assert causes & {"tilt", "fall", "angular_rate"}


def test_an_emergency_stop_during_the_ramp_latches_until_reset(stack, watch):
    stack.rest()
    stack.ask_until("arm")
    mark = stack.mark()
    stack.ask("stand")
    # The event, not the state: only the newest state is heard, and the ramp may be over before anybody looks.
    stack.operator.wait_for(lambda: any(e.get("mode") == "stand" and "from" in e for e in stack.since(mark)), LIMIT)
    stack.ask("estop")
    stack.wait("estop")
    for request in ("arm", "stand", "start_policy"):
        assert not stack.operator.request(request, LIMIT).accepted
    watch.wait(lambda: not watch.commands[-1][2].kp.any() and (watch.commands[-1][2].kd > 0).all(), "damping")
    stack.reset()


def test_a_lost_velocity_command_lets_the_robot_stand_still(stack):
    stack.walk(0.6)
    mark = stack.mark()
    stack.operator.let_go()

    def lost():  # not in an earlier test, where the busy machine may have held up the operator
        return (event for event in stack.since(mark) if event.get("reason") == "command_lost")

    stack.operator.wait_for(lambda: any(lost()), LIMIT, "a lost command")
    assert next(lost())["reaction"] == "ramp_down"
    assert stack.operator.state == "policy"
    assert not any(event.get("reaction") == "damping" for event in stack.since(mark))
    stack.ask("stop")
