"""The cost of transport: what a robot spends per weight and distance."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
GRAVITY = 9.81  # m/s^2
MOVING = 0.05  # m/s, mean commanded speed from which a cost of transport is meaningful


def speed_along(velocity: ArrayLike, command: ArrayLike) -> Array:
    """Return the speed along the command, m/s; 0 where none is given.

    A base that sways from foot to foot is faster than the robot gets on.

    Args:
        velocity: (..., 2 or more) measured vx, vy in m/s.
        command: (..., 2 or more) the same, as commanded.
    """
    measured, asked = (np.asarray(values, np.float64)[..., :2] for values in (velocity, command))
    size = np.linalg.norm(asked, axis=-1)
    along = (measured * asked).sum(-1)
    return np.divide(along, size, out=np.zeros_like(along), where=size > 0)


def cost_of_transport(power: Array, mass: Array | float, speed: Array, asked: Array) -> Array:
    """Return mean power over mass, gravity and mean speed (Tucker, Am. Sci. 63, 1975), without unit.

    NaN for a robot that was not asked to move, or did not get on.

    Args:
        power: (N,) W.
        mass: (N,) kg, or one for all.
        speed: (N,) m/s, mean of ``speed_along``.
        asked: (N,) m/s, mean commanded speed.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where((asked >= MOVING) & (speed > 0), power / (mass * GRAVITY * speed), np.nan)
