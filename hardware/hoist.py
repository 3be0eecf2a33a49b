"""What carries a simulated robot that does not stand: a soft rope and, for one on two legs, a frame against tilt."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from robolearn.deploy.types import Array

ROPE = 0.15
"""m above the standing height: the feet are off the ground."""
LOWERING = 0.1
"""m/s, slow enough for a robot to be put on its feet."""
_LEAD = 0.05
"""s by which the frame looks ahead of a tilt: its damping."""


def needs_hoist(feet: int) -> bool:
    """Tell whether a robot with so many feet falls when it is limp and cannot get up: on two feet."""
    return feet <= 2


@dataclass(frozen=True)
class Hoist:
    """A soft rope that holds the base's centre of mass: it pulls up, never down.

    Attributes:
        height: m, where the rope begins to pull.
        stiffness: N/m.
        damping: N s/m.
        max_force: N; the robot's weight carries it all.
        arm: m; a frame, or hands, keep the base upright with a torque of the pull times ``arm`` times the tilt.
        lowering: m/s at which the rope is let out; it is gone when it is slack.
    """

    height: float
    stiffness: float
    damping: float
    max_force: float
    arm: float = 0.0
    lowering: float = 0.0

    def __post_init__(self) -> None:
        if not (self.stiffness > 0 and self.max_force > 0 and self.damping >= 0):
            raise ValueError("a hoist needs stiffness > 0, max_force > 0 and damping >= 0")
        if not (self.arm >= 0 and self.lowering >= 0):
            raise ValueError("a hoist needs arm >= 0 and lowering >= 0")

    @classmethod
    def lifting(cls, standing_height: float, weight: float, feet: int) -> Hoist:
        """Return a hoist that takes a robot's feet off the ground.

        Args:
            standing_height: m, of the base when the robot stands.
            weight: N.
            feet: how many it has. With two it cannot be put down as it hangs from one rope, tilted: it is kept upright.
        """
        arm = 1.0 if needs_hoist(feet) else 0.0
        return cls(standing_height + ROPE, 20.0 * weight, 4.0 * weight, 3.0 * weight, arm)

    def pull(self, height: float, rate: float) -> float:
        """Return the upward force (N) on a base at ``height`` (m) that rises at ``rate`` (m/s)."""
        if height >= self.height:
            return 0.0
        return min(max(self.stiffness * (self.height - height) - self.damping * rate, 0.0), self.max_force)

    def torque(self, pull: float, up: Array, rate: Array) -> Array:
        """Return the torque (3,) N m that keeps the base upright, in the world frame.

        Args:
            pull: N, the present force of the rope.
            up: (3,) the base's own z axis in the world frame.
            rate: (3,) rad/s, angular velocity of the base in the world frame.
        """
        tilt = np.array([up[1], -up[0], 0.0])  # up x z: turns ``up`` to the vertical, by the sine of the tilt
        return pull * self.arm * (tilt - _LEAD * np.array([rate[0], rate[1], 0.0]))

    def after(self, seconds: float, pull: float) -> Hoist | None:
        """Return the hoist after so much time in which the rope pulled with ``pull`` N; None when it was let go."""
        if not self.lowering:
            return self
        return replace(self, height=self.height - self.lowering * seconds) if pull > 0.0 else None
