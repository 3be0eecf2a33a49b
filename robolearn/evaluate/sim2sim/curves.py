"""Curves to failure: survival against the strength of one perturbation, and where it falls below a threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from robolearn.evaluate.sim2sim.estimates import Runs, is_unsupported, mean
from robolearn.evaluate.sim2sim.measures import SCORE
from robolearn.evaluate.sim2sim.results import JOINT, NOMINAL
from robolearn.evaluate.statistics import Interval

FAILURE = (0.9, 0.5)
"""Shares of survivors whose crossing is reported."""


class Axis(Protocol):
    """What is needed of a perturbation: ``label`` and ``unit`` for people, and the value that changes nothing."""

    @property
    def label(self) -> str: ...  # noqa: D102
    @property
    def unit(self) -> str: ...  # noqa: D102
    @property
    def nominal(self) -> float: ...  # noqa: D102


@dataclass(frozen=True)
class Point:
    """One value of a perturbation.

    Attributes:
        value: in the unit of the perturbation.
        survival: share of episodes without a fall, with its Wilson interval.
        score: mean score.
    """

    value: float
    survival: Interval
    score: Interval


@dataclass(frozen=True)
class Crossing:
    """Where survival falls below a threshold, going from the nominal value in one direction.

    Attributes:
        threshold: share of survivors.
        value: where the estimate crosses it; None when it does not within the tested values.
        earliest: where the lower confidence limit does: before it, the policy surely holds.
        latest: where the upper confidence limit does: beyond it, the policy surely fails.
        limit: the farthest tested value.
    """

    threshold: float
    value: float | None
    earliest: float | None
    latest: float | None
    limit: float

    def text(self, unit: str = "") -> str:
        """Return ``17.5 N·s [15, 22]``, or that it was not reached."""
        suffix = f" {unit}" if unit else ""
        end = f"{self.limit:.3g}{suffix}"
        if self.value is None:
            possible = "" if self.earliest is None else f", perhaps from {self.earliest:.3g}{suffix}"
            return f"not reached within {end}{possible}"
        assert self.earliest is not None  # the lower limit is below the estimate, so it crosses first
        if self.latest is None:
            return f"{self.value:.3g}{suffix}, perhaps from {self.earliest:.3g}, perhaps not within {end}"
        low, high = sorted((self.earliest, self.latest))
        return f"{self.value:.3g}{suffix} [{low:.3g}, {high:.3g}]"


@dataclass(frozen=True)
class Curve:
    """A policy in a simulator under one perturbation.

    Attributes:
        policy, simulator, perturbation: names.
        nominal: the value that changes nothing; its point is the undisturbed one.
        points: by value.
        lost: value to the reason of cases that gave nothing.
        unsupported: why the simulator cannot do this at all; empty when it can.
        down, up: crossings below and above the nominal value, by threshold; empty where nothing was tested.
    """

    policy: str
    simulator: str
    perturbation: str
    nominal: float
    points: tuple[Point, ...]
    lost: Mapping[float, str]
    unsupported: str
    down: tuple[Crossing, ...]
    up: tuple[Crossing, ...]


def curves(runs: Runs, axes: Mapping[str, Axis], thresholds: Sequence[float] = FAILURE) -> list[Curve]:
    """Return every curve that was run, by policy, perturbation and simulator."""
    return [
        curve(runs, policy, simulator, name, axis.nominal, thresholds)
        for policy in runs.policies
        for name, axis in axes.items()
        for simulator in runs.simulators
        if any(perturbation == name for perturbation, _ in runs.conditions(policy, simulator))
    ]


def curve(
    runs: Runs,
    policy: str,
    simulator: str,
    perturbation: str,
    nominal: float,
    thresholds: Sequence[float] = FAILURE,
) -> Curve:
    """Return the curve of one perturbation, with the undisturbed runs at its nominal value.

    Raises:
        ValueError: asked for a condition that is no curve.
    """
    if perturbation in (NOMINAL, JOINT):
        raise ValueError(f"{perturbation!r} has no values to make a curve of")
    tested = {value: (name, value) for name, value in runs.conditions(policy, simulator) if name == perturbation}
    tested.setdefault(nominal, (NOMINAL, 0.0))
    points, lost, unsupported = [], {}, ""
    for value, condition in sorted(tested.items()):
        survival = runs.survived(policy, simulator, condition)
        if survival is not None:
            scores = runs.values(policy, simulator, condition, SCORE)
            points.append(Point(value, survival, mean(np.array(list(scores.values())))))
        for result in runs.cases(policy, simulator, condition):
            if is_unsupported(result):
                unsupported = result.error
            elif result.error:
                lost[value] = result.error
    sides = (
        [point for point in reversed(points) if point.value <= nominal],
        [point for point in points if point.value >= nominal],
    )
    down, up = (
        tuple(crossing(side, threshold) for threshold in thresholds)
        if any(point.value != nominal for point in side)
        else ()
        for side in sides
    )
    return Curve(policy, simulator, perturbation, nominal, tuple(points), lost, unsupported, down, up)


def crossing(points: Sequence[Point], threshold: float) -> Crossing:
    """Find where survival falls below a threshold for the first time.

    Between two tested values, the estimate and each confidence limit go along a straight line.

    Args:
        points: from the nominal value outwards.
        threshold: share of survivors.
    """
    values = [point.value for point in points]
    value, low, high = (
        _first_below(values, [getattr(point.survival, name) for point in points], threshold)
        for name in ("value", "low", "high")
    )
    return Crossing(threshold, value, low, high, values[-1])


def _first_below(values: Sequence[float], heights: Sequence[float], threshold: float) -> float | None:
    for i, height in enumerate(heights):
        if height < threshold:
            if i == 0:
                return values[0]
            before = heights[i - 1]
            return values[i - 1] + (before - threshold) / (before - height) * (values[i] - values[i - 1])
    return None
