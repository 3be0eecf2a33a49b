"""The safety check passes for a sound stack, and fails for one that is blind, slow or hasty, or that does not brake."""

from dataclasses import fields, replace
from pathlib import Path

import pytest

from hardware.faults import KINDS
from robolearn.config import ConfigError
from robolearn.deploy.checks import Reason
from robolearn.deploy.modes import Mode
from robolearn.deploy.policy import OnnxPolicy
from robolearn.deploy.robot import load_robot_file
from robolearn.evaluate import safety_check_walk
from robolearn.evaluate.deployed import DeployedRobot
from robolearn.evaluate.safety_check import Operator, Run, run_case, run_timeline
from robolearn.evaluate.safety_check_cases import CASES, choose
from robolearn.evaluate.safety_check_suite import Result, Suite, parts
from robolearn.evaluate.safety_check_walk import walk

RELEASED = Path(__file__).parents[3] / "policies" / "a1_velocity_flat" / "policy.onnx"
ROBOT = load_robot_file("a1")
QUICK = [
    "nan_position", "no_state", "motor_off", "battery_low", "silent_policy", "velocity_command_lost", "estop_pressed",
    "loop_stalled", "loop_stopped",
]  # fmt: skip


@pytest.fixture(scope="module")
def policy():
    return OnnxPolicy(RELEASED)


def started(policy, robot=ROBOT):
    run = Run(DeployedRobot(policy, robot), Operator([0]))
    while run.world.now < 2.5:
        run.step()
    assert run.world.mode is Mode.READY
    return run


@pytest.fixture(scope="module")
def ready(policy):
    """A run of a robot that stands; only branches of it may be used."""
    return started(policy)


@pytest.fixture
def rng():
    import numpy as np

    return np.random.default_rng(0)


def case(name, **changes):
    return replace(CASES[name], **{"horizon": 1.0, **changes})


def unwatched(robot=ROBOT):
    """The robot with every check off."""
    entries = {field.name: replace(getattr(robot.safety, field.name), mode="off") for field in fields(robot.safety)}
    return replace(robot, safety=replace(robot.safety, **entries))


def test_every_kind_of_fault_is_a_case_and_there_are_more():
    assert set(KINDS) < set(CASES)
    assert len(CASES) >= 45
    assert all(case.expected or case.reaction in ("none", "dead-man") for case in CASES.values())


def test_an_unknown_case_is_named():
    assert [case.name for case in choose(["no_state"])] == ["no_state"]
    with pytest.raises(ConfigError, match="Did you mean 'motor_off'"):
        choose(["motor_of"])


@pytest.mark.parametrize("timeline", [0, 2])
def test_a_sound_stack_meets_the_requirement(policy, timeline):
    outcomes = run_timeline(policy, ROBOT, choose(QUICK), timeline, seed=5)
    assert {outcome.case: outcome.problem for outcome in outcomes if outcome.problem} == {}
    assert sorted(outcome.case for outcome in outcomes) == sorted(QUICK)
    assert all(outcome.observable > 0 and 0 <= outcome.periods <= 2 and outcome.reason for outcome in outcomes)


def test_the_same_seed_gives_the_same_outcomes(policy):
    again = [run_timeline(policy, ROBOT, choose(["tilt_push", "dropped_packets"]), 0, seed=1) for _ in range(2)]
    assert again[0] == again[1]


@pytest.mark.parametrize("name", ["no_state", "over_torque", "hardware_lost", "velocity_spike", "nan_position"])
def test_without_the_monitor_it_fails(policy, rng, name):
    outcome = run_case(started(policy, unwatched()), case(name), rng)
    assert "not detected, though" in outcome.problem or "none that is expected" in outcome.problem


def test_battery_and_dead_man_fail_where_nobody_watches(policy, rng):
    assert "was accepted" in run_case(started(policy, unwatched()), case("battery_low"), rng).problem
    run = started(policy)
    run.world.driver.cycle = lambda: None
    assert run_case(run, case("loop_stopped"), rng).problem == "not detected"


def checks(run):
    return run.world.loop.controller.monitor._checks


def test_a_slow_monitor_fails(ready, rng):
    run = ready.branch()
    checks(run)[Reason.TORQUE]._debounce += 0.02
    assert run_case(run, case("over_torque"), rng).problem == "late: 4 control periods"


def test_a_hasty_monitor_fails(ready, rng):
    run = ready.branch()
    checks(run)[Reason.TORQUE]._debounce = 0.0
    assert run_case(run, case("over_torque"), rng).problem == "torque before any expected condition held"


def test_a_wrong_reason_fails(ready, rng):
    outcome = run_case(ready.branch(), case("over_torque", expected=(Reason.TILT,)), rng)
    assert outcome.problem == "the reason 'torque' is none that is expected"


def test_a_stop_that_does_not_reach_the_drives_fails(ready, rng):
    run = ready.branch()
    stiff = run.samples[-1].tick.sent
    run.world.driver.write_command = lambda command: stiff
    assert run_case(run, case("over_torque"), rng).problem == "the drives were not told to damp"


def test_what_cannot_be_seen_and_what_should_not_stop_the_robot_fails(ready, rng):
    quiet = case("over_torque", begin=lambda world, rng: None, horizon=0.1)
    assert run_case(ready.branch(), quiet, rng).problem == "no expected condition within 0.1 s"
    assert run_case(ready.branch(), case("over_torque", reaction="none"), rng).problem == "stopped by torque"


def test_a_nominal_walk_goes_on(policy, monkeypatch):
    monkeypatch.setattr(safety_check_walk, "PAUSE", (1.0, 1.2))
    found = walk(policy, ROBOT, seed=0, seconds=3.0)
    assert found.seconds == pytest.approx(3.0)
    assert found.pushes >= 1
    assert found.trips == []
    assert 0 < found.peaks["tilt"] < 1


def test_a_fall_is_told_from_a_false_stop(policy, monkeypatch):
    monkeypatch.setattr(safety_check_walk, "PAUSE", (0.5, 0.6))
    monkeypatch.setattr(safety_check_walk, "IMPULSE", (60.0, 60.0))
    fallen = walk(policy, ROBOT, seed=0, seconds=1.5)
    assert fallen.trips
    assert all(trip.fell and trip.since_push < 2.0 for trip in fallen.trips)
    monkeypatch.setattr(safety_check_walk, "IMPULSE", (2.0, 2.0))
    tracking = replace(ROBOT.safety.tracking, policy=0.3, debounce=0.0)
    nervous = replace(ROBOT, safety=replace(ROBOT.safety, tracking=tracking))
    false = walk(policy, nervous, seed=0, seconds=0.5)
    assert {(trip.reason, trip.fell) for trip in false.trips} == {("tracking", False)}
    result = Result(Suite(str(RELEASED)), walks=[fallen, false])
    assert len(result.failures) == len(false.trips)


def test_a_robot_that_is_stopped_before_it_walks_ends_the_walk(policy):
    nervous = replace(ROBOT, safety=replace(ROBOT.safety, tilt=replace(ROBOT.safety.tilt, limit=1e-4, debounce=0.0)))
    found = walk(policy, nervous, seed=0, seconds=3.0)
    assert found.seconds == 0.0
    assert [trip.reason for trip in found.trips] == ["tilt"]


def test_a_suite_is_divided_evenly():
    assert parts(Suite("p", moments=2, minutes=3.0)) == [
        ("faults", 0, 0.0), ("faults", 1, 0.0), ("walk", 0, 120.0), ("walk", 1, 60.0)
    ]  # fmt: skip
    assert parts(Suite("p", cases=(), minutes=0.0)) == []
