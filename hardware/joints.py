"""Which motor moves which joint: readings and commands between a robot's motors and the joints of its file, by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from robolearn.config import ConfigError, nearest
from robolearn.deploy.types import JointCommand, RobotState


@dataclass(frozen=True, slots=True)
class Motor:
    """One motor of a robot: ``motor angle = direction * joint angle + offset``.

    Attributes:
        joint: name of the joint that it moves, as in the robot file.
        direction: 1, or -1 where the motor counts the other way round.
        offset: rad, what the motor reads when the joint is at zero.
    """

    joint: str
    direction: int = 1
    offset: float = 0.0

    def __post_init__(self) -> None:
        if self.direction not in (1, -1):
            raise ConfigError(f"motor of joint {self.joint!r}: direction must be 1 or -1, got {self.direction}")
        if not np.isfinite(self.offset):
            raise ConfigError(f"motor of joint {self.joint!r}: offset must be finite, got {self.offset}")


class JointMap:
    """Translates between J motors, in the robot's order, and the same J joints in the order of the robot file.

    Raises:
        ConfigError: a joint has no motor or two, or a motor moves an unknown joint.
    """

    def __init__(self, motors: Sequence[Motor], joints: Sequence[str]) -> None:
        names = [motor.joint for motor in motors]
        for name in names:
            if name not in joints:
                raise ConfigError(f"a motor moves joint {name!r}: not in the robot file.{nearest(name, joints)}")
            if names.count(name) > 1:
                raise ConfigError(f"joint {name!r} has {names.count(name)} motors; exactly one is needed")
        for joint in joints:
            if joint not in names:
                raise ConfigError(f"joint {joint!r} has no motor.{nearest(joint, names)}")
        self._count = len(names)
        self._motor_of_joint = np.array([names.index(joint) for joint in joints])
        self._joint_of_motor = np.argsort(self._motor_of_joint)
        self._direction = np.array([float(motor.direction) for motor in motors])
        self._offset = np.array([motor.offset for motor in motors])

    def to_joints(self, reading: RobotState) -> RobotState:
        """Return a reading of the motors as one of the joints.

        Raises:
            ValueError: an array has the wrong size.
        """
        self._check_sizes(reading)
        order = self._motor_of_joint
        return replace(
            reading,
            position=(self._direction * (reading.position - self._offset))[order],
            velocity=(self._direction * reading.velocity)[order],
            torque=(self._direction * reading.torque)[order],
            temperature=reading.temperature[order] if len(reading.temperature) else reading.temperature,
        )

    def to_motors(self, command: JointCommand) -> JointCommand:
        """Return a command for the joints as one for the motors; gains keep their values."""
        order = self._joint_of_motor
        return JointCommand(
            position=self._direction * command.position[order] + self._offset,
            velocity=self._direction * command.velocity[order],
            kp=command.kp[order],
            kd=command.kd[order],
            torque=self._direction * command.torque[order],
        )

    def _check_sizes(self, reading: RobotState) -> None:
        wanted = {"position": self._count, "velocity": self._count, "torque": self._count}
        wanted |= {"orientation": 4, "angular_velocity": 3, "acceleration": 3}
        if np.size(reading.temperature):
            wanted["temperature"] = self._count
        for name, count in wanted.items():
            shape = np.shape(getattr(reading, name))
            if shape != (count,):
                raise ValueError(f"the robot's reading has {name} of shape {shape}, expected ({count},)")
