"""The whole chain in one process: exported policy, controller, monitor, driver, simulated robot."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from robolearn.config import ConfigError
from robolearn.deploy.modes import Mode, Request
from robolearn.deploy.policy import OnnxPolicy
from robolearn.deploy.robot import load_robot_file
from robolearn.deploy.runner import ControlLoop, PolicyRunner
from robolearn.evaluate.deployed import DeployedRobot, calm

RELEASED = Path(__file__).parents[3] / "policies" / "a1_velocity_flat" / "policy.onnx"


@pytest.fixture(scope="module")
def walking():
    """A robot that the released policy walks with 0.6 m/s, and everything that happened since it was asked to."""
    world = DeployedRobot(OnnxPolicy(RELEASED))
    world.walk()
    start = world.link.data.qpos[:2].copy()
    ticks = world.run(4.0, calm((0.6, 0.0, 0.0)))
    return world, ticks, world.link.data.qpos[:2] - start


def test_the_released_policy_walks_under_the_monitor(walking):
    world, ticks, moved = walking
    assert world.mode is Mode.POLICY
    assert np.linalg.norm(moved) == pytest.approx(0.6 * 4.0, rel=0.2)
    assert [event for tick in ticks for event in tick.output.events] == []


def test_an_emergency_stop_brakes_within_one_tick_and_latches(walking):
    world = walking[0].copy()
    tick = world.tick(replace(calm(), estop=True))
    assert tick.output.mode is Mode.ESTOP
    assert not tick.sent.kp.any()
    assert (tick.sent.kd > 0).all()
    assert not world.loop.controller.request(Request.STAND, world.now).accepted


def test_the_policy_runs_at_its_own_rate_and_starts_afresh(policy_file):
    world = DeployedRobot(OnnxPolicy(policy_file))
    world.stand()
    world.ask(Request.START_POLICY)
    results = [tick.result for tick in world.run(9 * world.robot.control_dt)]
    assert [result is not None for result in results] == [True, False, False, False] * 2 + [True]


class Recording:
    """A policy that notes what it is fed, in place of one that remembers it."""

    def __init__(self, setup):
        self.setup = setup
        self.seen = []

    def reset(self):
        self.seen.clear()

    def evaluate(self, state, command, now):
        self.seen.append(state)

    def late(self, now):
        return None


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_reading_that_cannot_be_used_never_reaches_the_policy(policy_file, bad):
    """A clip in the policy's pipeline would turn infinity into an ordinary number, and a memory would keep it."""
    world = DeployedRobot(OnnxPolicy(policy_file))
    world.stand()
    state = world.run(world.robot.control_dt)[-1].state
    policy = Recording(world.loop.controller._policy)
    loop = ControlLoop(SimpleNamespace(), world.robot, policy)
    loop.controller.mode = Mode.POLICY
    broken = replace(state, velocity=np.full(12, bad))
    given = [state, broken, broken, broken, broken, state, state]
    for reading in given:
        loop._evaluate(reading, 0.0)
    assert [id(seen) for seen in policy.seen] == [id(given[0]), id(given[5])]  # as soon as there is a good one again


def test_joints_are_matched_by_name(policy_file):
    """A file in another order of joints gives the same targets to the same joints."""
    policy, robot = OnnxPolicy(policy_file), load_robot_file("a1")
    state = DeployedRobot(OnnxPolicy(policy_file)).run(0.1)[-1].state
    straight = PolicyRunner(policy, robot).evaluate(state, np.zeros(3), 0.0)
    runner = PolicyRunner(OnnxPolicy(policy_file), robot)
    order = np.random.default_rng(0).permutation(len(robot.joints))
    runner._to_policy = np.argsort(order)[runner._to_policy]
    runner._to_robot = runner._to_robot[order]
    shuffled = replace(
        state, position=state.position[order], velocity=state.velocity[order], torque=state.torque[order]
    )
    assert np.allclose(runner.evaluate(shuffled, np.zeros(3), 0.0).joint_target, straight.joint_target[order])


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("base_orientation", {"frame": "unit quaternion (x, y, z, w), base to world"}, "base_orientation.frame"),
        ("base_angular_velocity", {"unit": "deg/s"}, "base_angular_velocity.unit: is 'deg/s'"),
        ("joint_position", {"width": 11}, "joint_position.width: is 11, but readings give 12"),
    ],
)
def test_a_policy_that_reads_in_another_unit_frame_or_width_is_refused(policy_file, name, change, says):
    policy = OnnxPolicy(policy_file)
    signals = policy.contract.signals
    signals[name] = replace(signals[name], **change)
    with pytest.raises(ConfigError, match=re.escape(says)):
        PolicyRunner(policy, load_robot_file("a1"))


def test_a_policy_of_another_robot_is_refused(policy_file):
    with pytest.raises(ConfigError, match="made for 'a1'"):
        PolicyRunner(OnnxPolicy(policy_file), load_robot_file("go1"))


@pytest.mark.parametrize(
    ("field", "says"),
    [
        ("default_pose", "policy default_pose: "),
        ("effort_limit", "policy effort_limit: "),
        ("velocity_limit", "policy velocity_limit: "),
        ("hard_low", "policy position_limit lower: "),
        ("hard_high", "policy position_limit upper: "),
    ],
)
def test_a_robot_file_with_another_pose_or_limit_is_refused_by_its_name(policy_file, field, says):
    robot = load_robot_file("a1")
    values = getattr(robot, field).copy()
    values[4] += 0.1
    with pytest.raises(ConfigError, match=says) as caught:
        PolicyRunner(OnnxPolicy(policy_file), replace(robot, **{field: values}))
    assert robot.joints[4] in str(caught.value)
