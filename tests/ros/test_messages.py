"""Readings as ROS messages, and back again by the reader of the ros2_control link."""

import numpy as np
import pytest

from hardware.ros2_format import to_wxyz
from robolearn.deploy.robot import load_robot_file
from robolearn.deploy.types import RobotState
from robolearn_ros import messages


def reading(**changes):
    joints = np.arange(12.0)
    values = {
        "position": joints, "velocity": joints + 20, "torque": joints + 40, "sequence": 7, "stamp": 1.0,
        "orientation": np.array([0.5, -0.5, 0.1, 0.7]), "angular_velocity": np.array([1.0, 2.0, 3.0]),
    }  # fmt: skip
    return RobotState(**{**values, **changes})


def test_the_order_of_quaternions_is_changed_and_changed_back():
    message = messages.to_quaternion(np.array([0.5, -0.5, 0.1, 0.7]))
    assert (message.x, message.y, message.z, message.w) == (-0.5, 0.1, 0.7, 0.5)
    np.testing.assert_array_equal(to_wxyz(message), [0.5, -0.5, 0.1, 0.7])


@pytest.mark.parametrize(
    ("seconds", "sec", "nanosec"), [(0.0, 0, 0), (1.5, 1, 500_000_000), (2.9999999999, 3, 0), (12.005, 12, 5_000_000)]
)
def test_time(seconds, sec, nanosec):
    message = messages.to_time(seconds)
    assert (message.sec, message.nanosec) == (sec, nanosec)


def test_joints_are_named():
    robot = load_robot_file("a1")
    message = messages.joint_state(robot, reading(), messages.to_time(1.0))
    assert dict(zip(message.name, message.effort, strict=True))[robot.joints[3]] == 43.0
    assert list(message.velocity) == list(np.arange(12.0) + 20)


def test_what_is_unknown_is_marked():
    unknown = messages.imu(reading(), messages.to_time(1.0))
    assert unknown.linear_acceleration_covariance[0] == -1.0
    known = messages.imu(reading(acceleration=np.array([0.0, 0.1, 9.8])), messages.to_time(1.0))
    assert (known.linear_acceleration_covariance[0], known.linear_acceleration.z) == (0.0, 9.8)
    assert known.header.frame_id == "imu_link" and known.angular_velocity.y == 2.0
    assert not messages.battery(reading(), messages.to_time(1.0)).present
    assert messages.battery(reading(battery=0.25), messages.to_time(1.0)).percentage == 0.25
