"""A robot without physics, for tests of the wiring: joints follow their commands with a first-order lag."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hardware.joints import Motor
from hardware.link import Clock
from robolearn.deploy.types import JointCommand, RobotState


class Loopback:
    """A link to J imagined joints that start at zero, on a base that stands still.

    A joint with ``kp > 0`` approaches its commanded position; without, it stays. Every ``read`` is a new reading.

    Args:
        motors: in the robot's order; a plain name is a motor with direction 1 and offset 0.
        clock: the time in which joints move.
        lag: s, time constant.
    """

    def __init__(self, motors: Sequence[Motor | str], clock: Clock, lag: float = 0.05) -> None:
        if not lag > 0:
            raise ValueError(f"lag must be positive, got {lag}")
        self._motors = tuple(Motor(motor) if isinstance(motor, str) else motor for motor in motors)
        self._clock, self._lag = clock, lag
        self._position = np.zeros(len(self._motors))
        self._velocity = np.zeros(len(self._motors))
        self._command = JointCommand.zero(len(self._motors))
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
        return RobotState(
            position=self._position.copy(),
            velocity=self._velocity.copy(),
            torque=np.zeros(len(self._motors)),
            orientation=np.array([1.0, 0.0, 0.0, 0.0]),
            angular_velocity=np.zeros(3),
            sequence=self._sequence,
            stamp=self._moved,
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
