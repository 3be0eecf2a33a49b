"""What the drives used in a recording: mechanical energy and power, mode by mode."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robolearn.deploy.modes import Mode
from robolearn.deploy.types import Array
from robolearn.replay.recording import Recording, mode_spans

MOVING = 0.05
"""m/s, commanded speed from which energy per distance means something."""


@dataclass(frozen=True)
class Consumption:
    """Mechanical energy of the drives in a mode, as often as it was entered.

    Attributes:
        mode: which; None: the whole recording.
        seconds: s, how long.
        energy: J.
        mean: W.
        peak: W, the largest mean over a control cycle.
        per_metre: J/m, over the distance that the policy was asked to walk, while it was asked for ``MOVING`` or more;
            NaN where it never was. A recording holds no measured speed of the base. The cost of transport (Tucker, Am.
            Sci. 63, 1975) at that speed is this over mass times gravity.
    """

    mode: Mode | None
    seconds: float
    energy: float
    mean: float
    peak: float
    per_metre: float


def consumption(recording: Recording) -> tuple[Consumption, ...]:
    """Return what was used in each mode, in the order in which they were entered, and last of all in total.

    The energy is a counter: what the recorder missed in between is in it all the same. Empty without topic ``power``.
    """
    power = recording.power
    if len(power) < 2:
        return ()
    elapsed, used = np.diff(power.time), np.diff(power.column("energy"))
    speed = _asked_speed(recording, power.time[1:])
    spans = mode_spans(recording)
    index = np.searchsorted([begin for begin, _, _ in spans], power.time[1:], side="right") - 1
    counted = (elapsed > 0.0) & (used >= 0.0)  # a counter that went back belongs to drives that were started anew

    def over(mode: Mode | None, chosen: NDArray[np.bool_]) -> Consumption:
        seconds, energy = float(elapsed[chosen].sum()), float(used[chosen].sum())
        moving = chosen & (speed >= MOVING)
        distance = float((speed * elapsed)[moving].sum())
        return Consumption(
            mode=mode,
            seconds=seconds,
            energy=energy,
            mean=energy / seconds,
            peak=float(np.fmax.reduce(power.column("power")[1:][chosen])),
            per_metre=float(used[moving].sum()) / distance if distance > 0.0 else math.nan,
        )

    modes = np.array([spans[i][2] if i >= 0 else "" for i in index])
    parts = [(mode, counted & (modes == mode)) for mode in dict.fromkeys(mode for _, _, mode in spans)]
    return tuple(over(mode, chosen) for mode, chosen in [*parts, (None, counted)] if chosen.any())


def _asked_speed(recording: Recording, times: Array) -> Array:
    """Return the planar speed (N,) that the policy was asked for at times (N,), m/s; NaN while it did not walk."""
    ticks, contract = recording.ticks, recording.contract
    names = [] if contract is None else [entry.name for entry in contract.command]
    planar = [names.index(name) for name in ("vx", "vy") if name in names]
    if not len(ticks) or not planar:
        return np.full(len(times), np.nan)
    speed = np.linalg.norm(ticks["followed"][:, planar], axis=1)
    walking = ticks.column("mode") == list(Mode).index(Mode.POLICY)
    place = np.searchsorted(ticks.time, times, side="right") - 1
    return np.where(place >= 0, np.where(walking, speed, np.nan)[place], np.nan)
