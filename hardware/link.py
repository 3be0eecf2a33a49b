"""What a driver needs from outside: a clock, and the wire to a robot's drives."""

from __future__ import annotations

import time
from typing import Protocol

from hardware.joints import Motor
from robolearn.deploy.types import JointCommand, RobotState


class Clock(Protocol):
    """A monotonic clock and the way to let its time pass; simulated robots bring their own."""

    def now(self) -> float:
        """Return the time in s."""

    def wait(self, seconds: float) -> None:
        """Return when so much time has passed."""


class SystemClock:
    """The computer's monotonic clock."""

    def now(self) -> float:
        """Return the time in s."""
        return time.monotonic()

    def wait(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(seconds)


class Link(Protocol):
    """The wire to a robot's drives. None of its methods may block for longer than a small part of a control tick.

    Every array is in the order of ``motors``, with the motors' own signs and zeros. Any exception becomes a fault.
    """

    @property
    def motors(self) -> tuple[Motor, ...]:
        """The robot's motors, in its own order; read after ``open``."""

    def open(self) -> None:
        """Connect; must not move anything."""

    def close(self) -> None:
        """Disconnect; called once for every ``open`` that began, even one that failed."""

    def read(self) -> RobotState | None:
        """Return the newest reading, stamped with its arrival, or None when none came since the last call."""

    def send(self, command: JointCommand) -> None:
        """Give the drives a command; they keep it until the next one."""
