import itertools
from pathlib import Path

import numpy as np
import pytest
from link_fakes import JOINTS, robot_file, same, stiff

from hardware.base import RobotDriver
from hardware.faults import FaultInjector
from hardware.loopback import DITHER, DITHER_CYCLE, Loopback
from robolearn.deploy.checks import Reaction
from robolearn.deploy.inputs import Inputs
from robolearn.deploy.modes import Mode, Request
from robolearn.deploy.policy import OnnxPolicy
from robolearn.deploy.robot import list_robot_files, load_robot_file
from robolearn.deploy.runner import ControlLoop, PolicyRunner

RELEASED = Path(__file__).parents[2] / "policies" / "a1_velocity_flat" / "policy.onnx"


@pytest.mark.parametrize("steps", [1, 7, 50])
def test_joints_follow_as_a_first_order_lag_does(clock, steps):
    """q(t) = target (1 - exp(-t / lag)), however often it is read."""
    robot = Loopback(JOINTS, clock, lag=0.05)
    robot.send(stiff())
    for _ in range(steps):
        clock.wait(0.1 / steps)
        state = robot.read()
    left = np.exp(-0.1 / 0.05)
    np.testing.assert_allclose(state.position, stiff().position * (1 - left))
    np.testing.assert_allclose(state.velocity, stiff().position * left / 0.05)
    assert state.stamp == clock.now()
    assert state.sequence == steps


def test_without_stiffness_joints_stay(clock):
    robot = Loopback(JOINTS, clock)
    robot.send(stiff())
    clock.wait(0.1)
    before = robot.read()
    robot.send(stiff(kp=0.0))
    clock.wait(1.0)
    after = robot.read()
    np.testing.assert_array_equal(after.position, before.position)
    np.testing.assert_array_equal(after.velocity, np.zeros(3))


def test_a_reading_is_not_changed_by_later_ones(clock):
    robot = Loopback(JOINTS, clock)
    robot.send(stiff())
    first = robot.read()
    copy = first.position.copy()
    clock.wait(1.0)
    robot.read()
    np.testing.assert_array_equal(first.position, copy)


def test_behind_the_driver(clock):
    with RobotDriver(Loopback(JOINTS, clock), robot_file(), clock) as driver:
        driver.activate()
        assert same(driver.write_command(stiff()), stiff())
        for _ in range(100):
            clock.wait(0.01)
            driver.write_command(stiff())
        np.testing.assert_allclose(driver.read_state().position, stiff().position, atol=1e-6)


def test_a_lag_must_be_positive(clock):
    with pytest.raises(ValueError, match="lag must be positive"):
        Loopback(JOINTS, clock, lag=0.0)


def test_it_starts_in_the_given_pose(clock):
    pose = np.array([0.1, -0.2, 0.3])
    robot = Loopback(JOINTS, clock, pose=pose)
    pose[:] = 9.0
    np.testing.assert_array_equal(robot.read().position, [0.1, -0.2, 0.3])


@pytest.mark.parametrize("pose", [np.zeros(2), np.zeros((3, 1)), np.array([0.0, np.nan, 0.0])])
def test_a_pose_needs_one_finite_value_for_each_motor(clock, pose):
    with pytest.raises(ValueError, match="pose needs 3 finite values"):
        Loopback(JOINTS, clock, pose=pose)


def test_the_reported_torque_is_what_the_command_asks_for(clock):
    robot = Loopback(JOINTS, clock)
    command = stiff()
    robot.send(command)
    clock.wait(0.02)
    state = robot.read()
    law = command.kp * (command.position - state.position) + command.kd * (command.velocity - state.velocity)
    np.testing.assert_allclose(state.torque, law + command.torque)


@pytest.mark.parametrize("every", [1, 2, 7, 50])
def test_the_imu_never_repeats_itself_and_means_standing_still(clock, every):
    robot = Loopback(JOINTS, clock)
    rates = [robot.read().angular_velocity for _ in range(3 * DITHER_CYCLE)][::every]
    assert all((a != b).any() for a, b in itertools.pairwise(rates))
    assert np.abs(rates).max() <= DITHER * DITHER_CYCLE < 1e-8


class Stand:
    """An imagined robot under the whole controller, with the checks of its robot file as they ship."""

    def __init__(self, clock, name, policy=None, away=0.0):
        self.clock, self.robot = clock, load_robot_file(name)
        self.faults = FaultInjector(Loopback(self.robot.joints, clock, pose=self.robot.default_pose + away), clock)
        self.driver = RobotDriver(self.faults, self.robot, clock)
        self.driver.__enter__()
        self.driver.activate()
        runner = None if policy is None else PolicyRunner(OnnxPolicy(policy), self.robot, timer=lambda: 0.0)
        self.loop = ControlLoop(self.driver, self.robot, runner)
        self.events = []

    def run(self, seconds):
        calm = {"estop": False, "command_age": 0.0, "policy_age": 0.0, "monitor_age": 0.0, "hardware_age": 0.0}
        for _ in range(round(seconds * self.robot.control_hz)):
            self.clock.wait(self.robot.control_dt)
            command = np.array([0.5, 0.0, 0.0][: 3 * bool(self.loop._policy)])
            self.events += self.loop.tick(Inputs(command=command, **calm), self.clock.now()).output.events
        return self.loop.controller.mode

    def ask(self, *requests):
        for request in requests:
            answer = self.loop.controller.request(request, self.clock.now())
            assert answer.accepted, answer.reason


@pytest.mark.parametrize("away", [0.0, 0.2])
@pytest.mark.parametrize("name", list_robot_files())
def test_with_the_robot_files_that_ship_it_stands_up_without_an_event(clock, name, away):
    stand = Stand(clock, name, away=away)
    stand.run(0.5)
    stand.ask(Request.ARM, Request.STAND)
    assert stand.run(3.0) is Mode.READY
    assert stand.events == []
    assert stand.driver.fault is None


def test_a_policy_runs_on_it(clock):
    """Enough for the wiring of the whole stack; that it does not move for its commands is not what is tested."""
    stand = Stand(clock, "a1", RELEASED)
    stand.run(0.2)
    stand.ask(Request.ARM, Request.STAND)
    stand.run(3.0)
    stand.ask(Request.START_POLICY)
    assert stand.run(5.0) is Mode.POLICY, stand.events
    assert [event for event in stand.events if event.reaction > Reaction.WARN] == []


def test_a_frozen_imu_is_still_seen(clock):
    stand = Stand(clock, "a1", RELEASED)
    stand.run(0.2)
    stand.ask(Request.ARM, Request.STAND)
    stand.run(3.0)
    stand.ask(Request.START_POLICY)
    stand.run(1.0)
    stand.faults.inject("imu_frozen")
    assert stand.run(0.5) is Mode.DAMPING
    assert "imu_frozen" in [event.reason for event in stand.events]
