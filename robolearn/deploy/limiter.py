"""The last thing before the drives: whatever was wanted, the command that leaves is finite and inside every limit."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from robolearn.deploy.robot import RobotFile
from robolearn.deploy.types import Array, JointCommand, RobotState


class Limited(NamedTuple):
    """Which limits changed a command."""

    soft_range: bool
    rate: bool
    torque: bool


class Limiter:
    """Limits the commands of one robot.

    In this order: the position into the soft range, its change to the rate limit, the gains to their limits, and both
    gains of a joint down so that ``kp (position - q) - kd dq`` respects the effort limit. Lower gains can always do
    that; another position could break the limits before it. Brakes (``kp`` 0) are not weakened: the drives saturate.
    """

    def __init__(self, robot: RobotFile) -> None:
        self._robot = robot
        self.position: Array = robot.default_pose
        """(J,) rad, as last sent."""

    def restart(self, measured: Array) -> None:
        """Start from measured positions (J,) in rad: the next command may differ from these only by the rate limit."""
        self.position = np.clip(measured, self._robot.soft_low, self._robot.soft_high)

    def limit(self, wanted: JointCommand, state: RobotState | None, dt: float) -> tuple[JointCommand, Limited]:
        """Return the command to send and which limits it met.

        Args:
            wanted: only its position and gains are used; velocity and torque of what is sent are 0.
            state: the last valid reading; None when there never was one.
            dt: s since the command before.

        Raises:
            FloatingPointError: ``wanted`` is not finite; nothing was sent.
        """
        robot = self._robot
        if not all(np.isfinite(value).all() for value in (wanted.position, wanted.kp, wanted.kd)):
            raise FloatingPointError("the command is not finite")
        clipped = np.clip(wanted.position, robot.soft_low, robot.soft_high)
        kp = np.clip(wanted.kp, 0.0, robot.kp_limit)
        kd = np.clip(wanted.kd, 0.0, robot.kd_limit)
        stiff = bool(kp.any())
        position = clipped
        torque = False
        if stiff:
            step = robot.rate_limit * dt
            position = np.clip(clipped, self.position - step, self.position + step)
            if state is not None:
                with np.errstate(all="ignore"):  # a reading may be finite and still absurd
                    predicted = np.abs(kp * (position - state.position) - kd * state.velocity)
                    scale = robot.effort_limit / predicted
                if not (scale >= 1.0).all():
                    torque = True
                    scale = np.where(scale > 0.0, np.minimum(scale, 1.0), 0.0)  # 0 also for NaN
                    kp *= scale
                    kd *= scale
        limited = Limited(
            soft_range=stiff and bool((clipped != wanted.position).any()),
            rate=stiff and bool((position != clipped).any()),
            torque=torque,
        )
        self.position = position
        zero = np.zeros(len(position))
        return JointCommand(position, zero, kp, kd, zero.copy()), limited
