"""What passes between driver, controller and safety monitor. SI units; joints in the order of the robot file."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def _vector(count: int, value: float = 0.0) -> Array:
    return np.full(count, value, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class RobotState:
    """One reading of a robot with J joints.

    Attributes:
        position: (J,) rad.
        velocity: (J,) rad/s.
        torque: (J,) N m, measured or estimated by the drives.
        orientation: (4,) unit quaternion (w, x, y, z), base to world.
        angular_velocity: (3,) rad/s, base frame.
        sequence: counts the robot's readings; one that does not change is a frozen reading.
        stamp: s on the receiver's monotonic clock when the reading arrived.
        acceleration: (3,) m/s^2, base frame, gravity included; NaN where unknown.
        temperature: (J,) degrees Celsius of the motors; empty where the robot does not report it.
        battery: state of charge from 0 to 1; NaN where unknown.
        energy: J, what a robot has counted itself of the mechanical energy ``integral of sum |torque * velocity|``; NaN
            where it does not count. Only differences mean anything.
    """

    position: Array
    velocity: Array
    torque: Array
    orientation: Array
    angular_velocity: Array
    sequence: int
    stamp: float
    acceleration: Array = field(default_factory=lambda: _vector(3, np.nan))
    temperature: Array = field(default_factory=lambda: _vector(0))
    battery: float = float("nan")
    energy: float = float("nan")


@dataclass(frozen=True, slots=True)
class JointCommand:
    """What the drives of J joints shall do: ``tau = kp (position - q) + kd (velocity - dq) + torque``, on each drive.

    Attributes:
        position: (J,) rad.
        velocity: (J,) rad/s.
        kp: (J,) N m/rad.
        kd: (J,) N m s/rad.
        torque: (J,) N m, added to the drives' own.
    """

    position: Array
    velocity: Array
    kp: Array
    kd: Array
    torque: Array

    @staticmethod
    def zero(count: int) -> JointCommand:
        """No torque at all: the robot is limp."""
        return JointCommand(*(_vector(count) for _ in range(5)))

    @staticmethod
    def damping(kd: Array) -> JointCommand:
        """Brake every joint with gains (J,): the robot sinks slowly. The position is not used."""
        count = len(kd)
        return JointCommand(_vector(count), _vector(count), _vector(count), np.array(kd, np.float64), _vector(count))
