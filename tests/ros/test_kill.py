"""kill -9 of any node: the robot brakes within the stated time, and a restart never moves it by itself."""

import numpy as np
import pytest
from stack import LIMIT, Stack, Watch

from robolearn.deploy.robot import load_robot_file

ROBOT = load_robot_file("a1")
SLACK = 2 * ROBOT.control_dt


@pytest.fixture
def stack(tmp_path):
    with Stack(tmp_path) as found:
        yield found


def stays_limp(watch, cycles=100):
    """No command of the next cycles has any stiffness."""
    with watch.news:
        begin = len(watch.commands)
    watch.wait(lambda: len(watch.commands) >= begin + cycles, "commands of the node that was started again")
    assert not any(command.kp.any() for _, _, command in watch.commands[begin:])


def test_the_policy(stack):
    with Watch() as watch:
        stack.walk()
        mark = stack.mark()
        stack.nodes["policy_node"].kill()
        stack.wait("damping")
        # The state is heard before its event: that of the start may still come.
        stack.operator.wait_for(lambda: any(event.get("from") == "policy" for event in stack.since(mark)), LIMIT)
        (change,) = (event for event in stack.since(mark) if event.get("from") == "policy")
        watch.wait(lambda: watch.commands and watch.commands[-1][1] >= change["time"], "the commands up to the stop")
        with watch.news:  # the last target that was given to the drives anew tells when the policy was last heard
            held = [c for c in watch.commands if c[1] < change["time"]]
        last = next(
            b[1] for a, b in zip(held[-2::-1], held[:0:-1], strict=False) if (a[2].position != b[2].position).any()
        )
        allowed = max(ROBOT.safety.heartbeat_policy.limit, 5.5 * ROBOT.policy_dt)
        assert change["time"] - last <= allowed + SLACK
        stack.start("policy_node")
        stays_limp(watch)
        assert stack.operator.state == "damping"
        stack.walk()


def test_the_safety_monitor(stack):
    """Nobody commands any more: the driver brakes by itself, until the monitor is back and the operator asks."""
    with Watch() as watch:
        stack.walk()
        watch.wait(lambda: watch.cycles and watch.commands, "the first cycle and command")
        stack.nodes["safety_monitor"].kill()
        watch.wait(lambda: watch.cycles[-1][1].fault, "the driver's own damping")
        fault = next(cycle.time for _, cycle in watch.cycles if cycle.fault)
        # One command may have reached the drives alone: the monitor died while it was sending.
        assert fault - watch.commands[-1][1] <= ROBOT.command_timeout + SLACK + ROBOT.control_dt
        stack.operator.state = ""
        stack.start("safety_monitor")
        stack.wait("idle")
        stays_limp(watch)
        assert stack.operator.state == "idle"
        watch.wait(lambda: not watch.cycles[-1][1].fault, "the fault to be cleared by commands without stiffness")
        stack.stand()


def test_the_robot(stack):
    with Watch() as watch:
        stack.walk()
        watch.wait(lambda: watch.commands and watch.commands[-1][2].kp.any(), "commands of a robot that walks")
        stack.nodes["sim_node"].kill()
        stack.wait("damping")
        watch.wait(lambda: not watch.commands[-1][2].kp.any(), "damping")  # the state may be heard before the command
        stack.start("sim_node")
        stays_limp(watch)
        stack.reset()
        stack.stand()


def test_an_emergency_stop_survives_the_crash_of_the_monitor(stack):
    stack.walk()
    stack.ask("estop")
    stack.wait("estop")
    stack.nodes["safety_monitor"].kill()
    stack.operator.state = ""
    with Watch() as watch:
        stack.start("safety_monitor")
        stack.wait("estop")
        stays_limp(watch)
        assert not stack.operator.request("arm", LIMIT).accepted
        assert np.all(watch.commands[-1][2].kd > 0)
    stack.reset()
    stack.nodes["safety_monitor"].stop()
    stack.operator.state = ""
    stack.start("safety_monitor")
    stack.wait("idle")
