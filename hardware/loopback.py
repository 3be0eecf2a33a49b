"""A robot without physics, for tests of the wiring: joints follow their commands with a first-order lag."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hardware.joints import Motor
from hardware.link import Clock
from robolearn.deploy.types import Array, JointCommand, RobotState

AMBIENT = 25.0  # degrees Celsius
DITHER = 1e-12
"""rad/s. No real IMU repeats itself bit by bit, and the monitor takes one that does for dead (``imu_frozen``): the
imagined gyroscope changes by so little with every reading, in a cycle of ``DITHER_CYCLE``, and means nothing else."""
DITHER_CYCLE = 997  # a prime: no reader that skips readings at a regular pace sees the same value twice in a row


class Loopback:
    """A link to J imagined joints, on a base that stands still: upright, at ambient temperature, its battery full.

    A joint with ``kp > 0`` approaches its commanded position; without, it stays. Its drive reports the torque that the
    command asks for, though nothing here feels it. Every ``read`` is a new reading.

    Args:
        motors: in the robot's order; a plain name is a motor with direction 1 and offset 0.
        clock: the time in which joints move.
        lag: s, time constant.
        pose: (J,) rad, what the motors read at the start; zero where None. A robot whose hard range does not hold zero
            cannot be armed from there: give it the robot file's ``default_pose``.
    """

    def __init__(
        self, motors: Sequence[Motor | str], clock: Clock, lag: float = 0.05, pose: Array | None = None
    ) -> None:
        if not lag > 0:
            raise ValueError(f"lag must be positive, got {lag}")
        self._motors = tuple(Motor(motor) if isinstance(motor, str) else motor for motor in motors)
        count = len(self._motors)
        self._position = np.zeros(count) if pose is None else np.array(pose, np.float64)
        if self._position.shape != (count,) or not np.isfinite(self._position).all():
            raise ValueError(f"pose needs {count} finite values, one for each motor, got {pose}")
        self._clock, self._lag = clock, lag
        self._velocity = np.zeros(count)
        self._command = JointCommand.zero(count)
        self._moved = clock.now()
        self._sequence = 0

    @property
    def motors(self) -> tuple[Motor, ...]:
        """The motors."""
        return self._motors

    def open(self) -> None:
        """Nothing to connect."""

    def close(self) -> None:
        """Nothing to disconnect."""

    def read(self) -> RobotState:
        """Return where the joints are now."""
        self._move()
        self._sequence += 1
        order = self._command
        stiffness = order.kp * (order.position - self._position)
        return RobotState(
            position=self._position.copy(),
            velocity=self._velocity.copy(),
            torque=stiffness + order.kd * (order.velocity - self._velocity) + order.torque,
            orientation=np.array([1.0, 0.0, 0.0, 0.0]),
            angular_velocity=np.array([0.0, 0.0, DITHER * (self._sequence % DITHER_CYCLE)]),
            sequence=self._sequence,
            stamp=self._moved,
            acceleration=np.array([0.0, 0.0, 9.81]),
            temperature=np.full(len(self._motors), AMBIENT),
            battery=1.0,
        )

    def send(self, command: JointCommand) -> None:
        """Follow this command from now on."""
        self._move()
        self._command = command

    def _move(self) -> None:
        """Bring the joints up to the present."""
        now = self._clock.now()
        gap = np.where(self._command.kp > 0, self._command.position - self._position, 0.0)
        left = np.exp(-(now - self._moved) / self._lag)
        self._position += (1.0 - left) * gap
        self._velocity = left * gap / self._lag
        self._moved = now
