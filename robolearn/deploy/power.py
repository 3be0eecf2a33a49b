"""Mechanical power and energy of the drives, from one reading after the other.

The power is ``P = sum_j |tau_j dq_j|``: what a joint gives and what it takes both count, as drives hardly recover
energy. A loaded joint that does not move counts nothing: losses in the windings are not in it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from robolearn.deploy.types import RobotState


class Power(NamedTuple):
    """What the drives do.

    Attributes:
        power: W, mean since the reading before; NaN where there is no new reading, or one is not finite.
        energy: J since the meter began.
    """

    power: float
    energy: float


class PowerMeter:
    """Reads the energy that a robot counts; of a robot that does not count, it integrates torque times velocity.

    The count of a simulated robot is a sum over its physics steps, so the mean over a control cycle is exact. Readings
    of a real one are joined by straight lines (trapezoids): what happens between two cycles, such as the peak of an
    impact, is missing.
    """

    def __init__(self) -> None:
        """Begin at 0 J."""
        self._last: RobotState | None = None
        self._found = Power(0.0, 0.0)

    def take(self, state: RobotState) -> Power:
        """Return power and energy up to a reading; one that is not newer than the last tells no power."""
        last = self._last
        if last is None:
            self._last, self._found = state, Power(instantaneous(state), 0.0)
        elif (elapsed := state.stamp - last.stamp) > 0.0:
            self._last, self._found = state, self._add(_energy(last, state, elapsed), elapsed)
        else:
            return Power(math.nan, self._found.energy)
        return self._found

    def _add(self, gained: float, elapsed: float) -> Power:
        if not math.isfinite(gained):  # one bad reading must not spoil the energy for ever
            return Power(math.nan, self._found.energy)
        return Power(gained / elapsed, self._found.energy + gained)


def instantaneous(state: RobotState) -> float:
    """Return the power at a reading, W."""
    return float(np.abs(state.torque * state.velocity).sum())


def _energy(last: RobotState, state: RobotState, elapsed: float) -> float:
    """Return the energy between two readings, J; NaN where they are not finite."""
    counted = state.energy - last.energy
    if counted >= 0.0:  # a count that went back began anew; NaN: there is none
        return counted
    return 0.5 * (instantaneous(last) + instantaneous(state)) * elapsed
