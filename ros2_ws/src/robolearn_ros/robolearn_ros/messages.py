"""From the types of ``robolearn.deploy`` to ROS messages. The way back is ``hardware.ros2_format``."""

from __future__ import annotations

from array import array

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Quaternion, Vector3
from sensor_msgs.msg import BatteryState, Imu, JointState
from std_msgs.msg import Float64MultiArray, MultiArrayDimension

from robolearn.deploy.robot import RobotFile
from robolearn.deploy.types import Array, RobotState
from robolearn.deploy.wire import Packet

_LONGEST_NOTE = 200


def multi_array(packet: Packet, data: array[float], note: str = "") -> Float64MultiArray:
    """Return a packet as a message; a ``note`` is for people, and cut off where it is too long."""
    message = Float64MultiArray(data=data)
    message.layout.data_offset = packet.fingerprint
    if note:
        message.layout.dim = [MultiArrayDimension(label=note[:_LONGEST_NOTE])]
    return message


def note_of(message: Float64MultiArray) -> str:
    """Return the note that came with a packet; empty where there is none."""
    return message.layout.dim[0].label[:_LONGEST_NOTE] if message.layout.dim else ""


def to_time(seconds: float) -> Time:
    """Return a time in s as a message, to the nanosecond."""
    nanoseconds = round(seconds * 1e9)
    return Time(sec=nanoseconds // 1_000_000_000, nanosec=nanoseconds % 1_000_000_000)


def to_quaternion(orientation: Array) -> Quaternion:
    """Return (w, x, y, z) as a message."""
    w, x, y, z = orientation.tolist()
    return Quaternion(w=w, x=x, y=y, z=z)


def joint_state(robot: RobotFile, state: RobotState, stamp: Time) -> JointState:
    """Return the joints of a reading."""
    message = JointState(name=list(robot.joints))
    message.header.stamp = stamp
    message.position, message.velocity, message.effort = (
        array("d", values.tobytes()) for values in (state.position, state.velocity, state.torque)
    )
    return message


def imu(state: RobotState, stamp: Time) -> Imu:
    """Return the IMU of a reading; an unknown acceleration is marked as such (covariance -1)."""
    message = Imu(orientation=to_quaternion(state.orientation))
    message.header.stamp, message.header.frame_id = stamp, "imu_link"
    message.angular_velocity = Vector3(**dict(zip("xyz", state.angular_velocity.tolist(), strict=True)))
    if np.isnan(state.acceleration).any():
        message.linear_acceleration_covariance[0] = -1.0
    else:
        message.linear_acceleration = Vector3(**dict(zip("xyz", state.acceleration.tolist(), strict=True)))
    return message


def battery(state: RobotState, stamp: Time) -> BatteryState:
    """Return the battery of a reading."""
    message = BatteryState(percentage=state.battery, present=not np.isnan(state.battery))
    message.header.stamp = stamp
    return message
