"""Motions that the controller makes itself: getting up, and the velocity command's way to zero."""

from __future__ import annotations

import numpy as np

from robolearn.deploy.inputs import AnyFloat
from robolearn.deploy.robot import RobotFile
from robolearn.deploy.types import Array, JointCommand

_PEAK = 1.5
"""Largest speed of the smooth step ``3 s^2 - 2 s^3`` over its mean speed."""


class StandRamp:
    """From a start to the default pose: smooth, with bounded velocity, at least as long as the robot file says."""

    def __init__(self, robot: RobotFile, start: Array, kp: Array, kd: Array) -> None:
        """Begin at positions ``start`` (rad) and gains ``kp``, ``kd``, all (J,): zero gains for a limp robot."""
        self._robot = robot
        self._start = start
        self._kp = kp
        self._kd = kd
        self._time = 0.0
        distance = float(np.abs(robot.default_pose - start).max())
        self.duration = max(robot.stand.duration, _PEAK * distance / robot.stand.max_velocity)
        """s."""

    def step(self, dt: float) -> JointCommand:
        """Move on by ``dt`` s and return what to do."""
        self._time += dt
        robot = self._robot
        share = min(self._time / self.duration, 1.0)
        smooth = share * share * (3.0 - 2.0 * share)
        gain = min(self._time / robot.stand.gain_time, 1.0)
        return stiff(
            self._start + smooth * (robot.default_pose - self._start),
            self._kp + gain * (robot.stand_kp - self._kp),
            self._kd + gain * (robot.stand_kd - self._kd),
        )

    @property
    def done(self) -> bool:
        """Whether the default pose is commanded with full gains."""
        return self._time >= self.duration


class CommandRamp:
    """The velocity command as the policy may see it: in the trained range, and fading when its source is lost."""

    def __init__(self, command_range: Array, ramp_time: float) -> None:
        """Use a range (C, 2); the largest command takes ``ramp_time`` s to zero."""
        self._low, self._high = command_range[:, 0], command_range[:, 1]
        self._rate = np.abs(command_range).max(axis=1, initial=0.0) / ramp_time
        self.value: Array = np.zeros(len(command_range))
        """(C,) the command now."""

    def reset(self) -> None:
        """Command nothing."""
        self.value = np.zeros(len(self.value))

    def follow(self, command: AnyFloat) -> None:
        """Take a command (C,), cut to the range."""
        self.value = np.clip(command, self._low, self._high)

    def fade(self, dt: float) -> None:
        """Move towards zero for ``dt`` s."""
        step = self._rate * dt
        self.value = np.sign(self.value) * np.maximum(np.abs(self.value) - step, 0.0)


def stiff(position: Array, kp: Array, kd: Array) -> JointCommand:
    """Return a command that holds positions (J,) in rad with gains (J,)."""
    zero = np.zeros(len(position))
    return JointCommand(position, zero, kp, kd, zero.copy())
