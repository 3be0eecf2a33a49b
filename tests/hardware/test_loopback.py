import numpy as np
import pytest
from link_fakes import JOINTS, robot_file, same, stiff

from hardware.base import RobotDriver
from hardware.loopback import Loopback


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
