"""What can go wrong between a robot's drives and its driver: every kind of fault that can be injected.

A kind is a function from its parameters to a ``Change``. Its docstring is its description; the registration says which
fields it touches and which checks of the robot file's ``safety`` section can see it. ``joint=None`` means all joints.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from hardware.fault_registry import KINDS, Change, Plant, add, each, hold, kind, late, put
from robolearn.config import ConfigError
from robolearn.deploy.types import Array, JointCommand, RobotState

__all__ = ["KINDS"]

WARM = 40.0  # degrees Celsius of the other motors, for robots that report no temperature


# Readings that make no sense.


@kind("state", "position", "state_invalid")
def nan_position(plant: Plant, joint: str | None = None) -> Change[RobotState]:
    """Joint positions are not a number."""
    return put("position", plant.where(joint), math.nan)


@kind("state", "velocity", "state_invalid")
def nan_velocity(plant: Plant, joint: str | None = None) -> Change[RobotState]:
    """Joint velocities are not a number."""
    return put("velocity", plant.where(joint), math.nan)


@kind("state", "torque", "state_invalid")
def nan_torque(plant: Plant, joint: str | None = None) -> Change[RobotState]:
    """Joint torques are not a number."""
    return put("torque", plant.where(joint), math.nan)


@kind("state", "orientation", "state_invalid")
def nan_orientation(plant: Plant) -> Change[RobotState]:
    """The base's orientation is not a number."""
    return put("orientation", slice(None), math.nan)


@kind("state", "angular_velocity", "state_invalid")
def nan_angular_velocity(plant: Plant) -> Change[RobotState]:
    """The base's angular velocity is not a number."""
    return put("angular_velocity", slice(None), math.nan)


@kind("state", "position", "state_invalid")
def infinite_position(plant: Plant, joint: str | None = None) -> Change[RobotState]:
    """Joint positions are infinite."""
    return put("position", plant.where(joint), math.inf)


@kind("state", "orientation", "imu_not_unit")
def non_unit_quaternion(plant: Plant, norm: float = 1.2) -> Change[RobotState]:
    """The orientation's quaternion has a norm other than 1."""
    return each(lambda reading: replace(reading, orientation=reading.orientation * norm))


# Readings that come late, not at all, or again.

_DATA = ("position", "velocity", "torque", "orientation", "angular_velocity", "acceleration", "temperature", "battery")


@kind("state", " ".join((*_DATA, "sequence")), "state_frozen state_stale")
def frozen_state(plant: Plant) -> Change[RobotState]:
    """The same reading arrives again and again, with its sequence number."""
    return hold((*_DATA, "sequence"))


@kind("state", " ".join(_DATA), "imu_frozen joint_frozen")
def frozen_data(plant: Plant) -> Change[RobotState]:
    """The same data arrive again and again, with running sequence numbers."""
    return hold(_DATA)


@kind("state", "", "state_stale")
def delayed_state(plant: Plant, seconds: float = 0.1) -> Change[RobotState]:
    """Readings arrive late; the gap at the beginning can be seen, the delay that follows cannot."""
    return late(seconds, lambda reading, now: replace(reading, stamp=now))


@kind("state", "", "state_stale")
def dropped_packets(plant: Plant, share: float = 0.5) -> Change[RobotState]:
    """A share of the readings is lost at random; seen once enough are lost in a row."""
    if not 0 <= share <= 1:
        raise ConfigError(f"share must be from 0 to 1, got {share}")
    return lambda reading, now: None if plant.rng.random() < share else reading


@kind("state", "", "state_stale")
def no_state(plant: Plant) -> Change[RobotState]:
    """No reading arrives."""
    return lambda reading, now: None


@kind("state", "sequence", "time_backwards")
def sequence_backwards(plant: Plant) -> Change[RobotState]:
    """Sequence numbers count down."""
    first: list[int] = []

    def change(reading: RobotState) -> RobotState:
        if not first:
            first.append(reading.sequence)
        return replace(reading, sequence=2 * first[0] - reading.sequence - 2)

    return each(change)


@kind("state", "stamp", "time_backwards state_stale")
def stamp_backwards(plant: Plant, seconds: float = 0.05) -> Change[RobotState]:
    """Stamps jump back, then run backwards."""
    first: list[float] = []

    def change(reading: RobotState) -> RobotState:
        if not first:
            first.append(reading.stamp)
        return replace(reading, stamp=2 * first[0] - reading.stamp - seconds)

    return each(change)


@kind("state", "orientation angular_velocity acceleration", "imu_frozen")
def imu_frozen(plant: Plant) -> Change[RobotState]:
    """The IMU repeats itself while the joints go on."""
    return hold(("orientation", "angular_velocity", "acceleration"))


@kind("state", "position velocity", "joint_frozen drive_response")
def encoder_frozen(plant: Plant, joint: str | None = None) -> Change[RobotState]:
    """Joint positions and velocities repeat while all else goes on."""
    return hold(("position", "velocity"), plant.where(joint))


# Readings that are wrong.


@kind("state", "orientation angular_velocity acceleration", "imu_disagrees tilt fall")
def imu_axis_flipped(plant: Plant, axis: str = "y") -> Change[RobotState]:
    """One axis of the IMU has the wrong sign."""
    if axis not in ("x", "y", "z"):
        raise ConfigError(f"axis must be x, y or z, got {axis!r}")
    sign = np.where(np.array(["x", "y", "z"]) == axis, -1.0, 1.0)
    quaternion_sign = np.concatenate(([1.0], sign))
    return each(
        lambda reading: replace(
            reading,
            orientation=reading.orientation * quaternion_sign,
            angular_velocity=reading.angular_velocity * sign,
            acceleration=reading.acceleration * sign,
        )
    )


@kind("state", "position", "drive_response position")
def position_bias(plant: Plant, joint: str | None = None, bias: float = 0.05, ramp: float = 1.0) -> Change[RobotState]:
    """Joint positions drift away, to a constant error after `ramp` seconds."""
    where, start = plant.where(joint), math.nan

    def change(reading: RobotState | None, now: float) -> RobotState | None:
        nonlocal start
        start = now if math.isnan(start) else start
        share = min(1.0, (now - start) / ramp) if ramp > 0 else 1.0
        return add("position", where, bias * share)(reading, now)

    return change


@kind("state", "position", "position_jump position drive_response")
def position_jump(plant: Plant, joint: str | None = None, jump: float = 0.5) -> Change[RobotState]:
    """Joint positions are off at once, as after a slipped encoder."""
    return add("position", plant.where(joint), jump)


@kind("state", "position velocity", "position_jump position drive_response")
def encoder_sign(plant: Plant, joint: str | None = None) -> Change[RobotState]:
    """Joint positions and velocities have the wrong sign."""
    where = plant.where(joint)

    def change(reading: RobotState) -> RobotState:
        position, velocity = reading.position.copy(), reading.velocity.copy()
        position[where] *= -1.0
        velocity[where] *= -1.0
        return replace(reading, position=position, velocity=velocity)

    return each(change)


@kind("state", "position velocity torque temperature", "position_jump position drive_response")
def joints_swapped(plant: Plant, first: str, second: str) -> Change[RobotState]:
    """The readings of two joints are exchanged."""
    pair = [plant.where(first).start, plant.where(second).start]

    def change(reading: RobotState) -> RobotState:
        order = np.arange(len(plant.joints))
        order[pair] = order[pair[::-1]]
        held: dict[str, Any] = {name: getattr(reading, name)[order] for name in ("position", "velocity", "torque")}
        if len(reading.temperature):
            held["temperature"] = reading.temperature[order]
        return replace(reading, **held)

    return each(change)


@kind("state", "position velocity angular_velocity")
def noise(plant: Plant, position: float = 0.01, velocity: float = 1.0, rate: float = 0.2) -> Change[RobotState]:
    """Readings are noisy, with these standard deviations in rad and rad/s; within them, nothing need be seen."""

    def noisy(values: Array, deviation: float) -> Array:
        return values + deviation * plant.rng.standard_normal(values.shape)

    return each(
        lambda reading: replace(
            reading,
            position=noisy(reading.position, position),
            velocity=noisy(reading.velocity, velocity),
            angular_velocity=noisy(reading.angular_velocity, rate),
        )
    )


# Readings of a robot in trouble.


@kind("state", "velocity", "velocity")
def velocity_spike(plant: Plant, joint: str | None = None, velocity: float = 100.0) -> Change[RobotState]:
    """Joint velocities are far too high."""
    return add("velocity", plant.where(joint), velocity)


@kind("state", "position", "position")
def joint_over_limit(plant: Plant, joint: str | None = None, position: float = 7.0) -> Change[RobotState]:
    """Joints report a position beyond their hard range."""
    return put("position", plant.where(joint), position)


@kind("state", "torque", "torque")
def over_torque(plant: Plant, joint: str | None = None, torque: float = 500.0) -> Change[RobotState]:
    """Drives report a torque beyond their limit."""
    return put("torque", plant.where(joint), torque)


@kind("state", "temperature", "temperature")
def over_temperature(plant: Plant, joint: str | None = None, celsius: float = 120.0) -> Change[RobotState]:
    """Motors report that they are too hot."""

    def change(reading: RobotState) -> RobotState:
        known = len(reading.temperature) > 0
        values = reading.temperature.copy() if known else np.full(len(plant.joints), WARM)
        values[plant.where(joint)] = celsius
        return replace(reading, temperature=values)

    return each(change)


@kind("state", "battery", "battery")
def battery_low(plant: Plant, charge: float = 0.15) -> Change[RobotState]:
    """The battery is low: a reason not to start."""
    return each(lambda reading: replace(reading, battery=charge))


@kind("state", "battery", "battery")
def battery_critical(plant: Plant, charge: float = 0.03) -> Change[RobotState]:
    """The battery is nearly empty: a reason to stop."""
    return each(lambda reading: replace(reading, battery=charge))


# Commands that do not do what they say. Their traces are in the torques that the drives report, and in the motion.


@kind("command", "kp kd torque", "drive_response tracking tilt fall")
def motor_off(plant: Plant, joint: str | None = None) -> Change[JointCommand]:
    """Motors give no torque."""
    where = plant.where(joint)

    def change(command: JointCommand) -> JointCommand:
        kp, kd, torque = command.kp.copy(), command.kd.copy(), command.torque.copy()
        kp[where] = kd[where] = torque[where] = 0.0
        return replace(command, kp=kp, kd=kd, torque=torque)

    return each(change)


@kind("command", "kp kd torque", "drive_response tracking tilt fall")
def power_loss(plant: Plant) -> Change[JointCommand]:
    """No motor gives torque, while the robot goes on reporting."""
    return motor_off(plant)


@kind("command", "", "drive_response soft_range tilt fall")
def command_lost(plant: Plant) -> Change[JointCommand]:
    """Commands do not arrive: the drives keep the last one."""
    return lambda command, now: None


@kind("command", "", "drive_response tilt fall")
def command_delayed(plant: Plant, seconds: float = 0.05) -> Change[JointCommand]:
    """Commands arrive late."""
    return late(seconds, lambda command, now: command)
