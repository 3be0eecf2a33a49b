"""Whether benchmark, deployed stack in one process, and ROS 2 nodes agree, and the table that says so."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from robolearn.deploy.types import Array
from robolearn.evaluate.sim2sim.measures import MEASURES, SCORE
from robolearn.evaluate.statistics import finite_only

SHARE = 0.02
"""Of a measure's scale, from its score 0 to 1: how far benchmark and nodes may be apart for reasons of their own.

docs/sim2sim_ros.md says how often this is wrong."""
SIGMAS = 3.0
"""Standard errors that come on top."""
SAME = 1e-3
"""Of a measure's scale: how far the nodes may be from the same stack in one process."""
ACTION = 1e-5
"""The same for actions and joint targets, rad."""
HEADER = ("measure", "unit", "benchmark", "in process", "nodes", "tolerance", "agrees")


@dataclass(frozen=True)
class Row:
    """A measure, as the mean over the episodes.

    Attributes:
        name, unit: of the measure.
        benchmark: over all starts.
        error: standard error of the difference between the nodes' mean and the benchmark's.
        in_process, nodes: NaN where unknown.
        tolerance: for benchmark against nodes.
        agrees: whether both differences are within their tolerances.
    """

    name: str
    unit: str
    benchmark: float
    error: float
    in_process: float
    nodes: float
    tolerance: float
    agrees: bool


@dataclass(frozen=True)
class Check:
    """Something else that must hold: what, what was found, and whether it does."""

    name: str
    found: str
    agrees: bool


@dataclass(frozen=True)
class Agreement:
    """What the comparison gave.

    Attributes:
        episodes: how many were walked by the nodes.
        starts: starts of each in the benchmark.
        rows: measures.
        checks: everything else.
    """

    episodes: int
    starts: int
    rows: tuple[Row, ...]
    checks: tuple[Check, ...]

    @property
    def agrees(self) -> bool:
        """Whether everything does."""
        return all(row.agrees for row in self.rows) and all(check.agrees for check in self.checks)

    def table(self) -> str:
        """Return all of it for a terminal."""
        cells = [HEADER, *(_cells(row) for row in self.rows)]
        widths = [max(len(line[i]) for line in cells) for i in range(len(HEADER))]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in cells]
        lines += ["", *(f"{'agrees' if each.agrees else 'DIFFERS'}  {each.name}: {each.found}" for each in self.checks)]
        return "\n".join(lines)

    def to_json(self) -> str:
        """Return all of it as JSON; unknown values are null."""
        return json.dumps(finite_only({**asdict(self), "agrees": self.agrees}), indent=1, ensure_ascii=False) + "\n"


def _cells(row: Row) -> tuple[str, ...]:
    numbers = (_number(value) for value in (row.benchmark, row.in_process, row.nodes, row.tolerance))
    unknown = math.isnan(row.nodes) or math.isnan(row.in_process)
    return (row.name, row.unit, *numbers, "yes" if row.agrees else "unknown" if unknown else "NO")


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4g}"


def compare_measures(
    benchmark: Sequence[Mapping[str, Array]],
    in_process: Sequence[Mapping[str, Array]],
    nodes: Sequence[Mapping[str, Array]],
) -> tuple[Row, ...]:
    """Compare the measures of E episodes; each row is a mean over those that have the measure in all three.

    The robot that was deployed stands up first, so it begins from one start of its own. By how much starts change a
    measure, the benchmark's tell: with a standard deviation s_e over n of them, the difference of the two means has
    the standard error ``sqrt(sum s_e^2 (1 + 1/n)) / E``.

    Args:
        benchmark: of each episode, (n,) from n starts.
        in_process, nodes: of each episode, (1,); empty where it is unknown.
    """
    rows = []
    for name in (*MEASURES, SCORE):
        scale = abs(MEASURES[name].one - MEASURES[name].zero) if name in MEASURES else 1.0
        unit = MEASURES[name].unit if name in MEASURES else ""
        ours = [np.asarray(values[name], float) for values in benchmark]
        means = np.array([_mean(values) for values in ours])
        variances = np.array([_variance(values) for values in ours])
        local, remote = (_single(values, name) for values in (in_process, nodes))
        lacking = [name not in values for values in (*in_process, *nodes)]
        has = np.isfinite(means) & (np.isfinite(local) | np.isfinite(remote) | any(lacking))
        if not has.any():
            continue  # such as the cost of transport of robots that were not asked to move
        error = float(np.sqrt(variances[has].sum())) / int(has.sum())
        tolerance = SHARE * scale + SIGMAS * error
        there, here, far = (float(each[has].mean()) for each in (means, local, remote))
        agrees = abs(there - far) <= tolerance and abs(here - far) <= SAME * scale  # never with a NaN
        rows.append(Row(name, unit, there, error, here, far, tolerance, agrees))
    return tuple(rows)


def compare_actions(answers: Sequence[tuple[Array, Array]], dt: float) -> Check:
    """Compare what the policy answered in E episodes, (T, K) each in one process and in the nodes, every ``dt`` s."""
    worst, place = 0.0, ""
    for episode, (here, there) in enumerate(answers):
        error = np.nan_to_num(np.abs(here - there), nan=np.inf).max(1, initial=0.0)
        above = np.flatnonzero(error > ACTION)
        if len(above) and not place:
            place = f", above it since {above[0] * dt:.2f} s of episode {episode}"
        worst = max(worst, float(error.max(initial=0.0)))
    count = sum(len(there) for _, there in answers)
    found = f"{count} steps, largest difference {worst:.3g} (tolerance {ACTION:g}){place}"
    return Check("actions and joint targets, in process and nodes", found, not place)


def compare_commands(asked: Array, script: Array, dt: float) -> tuple[bool, float]:
    """Return whether a policy was asked for a script's velocities in their order, and how late at most, s.

    Args:
        asked: (T, C) what the policy was asked for in each step.
        script: (S, C) what it should have been, S >= T.
        dt: s per step.
    """
    (mine, begins), (theirs, due) = _levels(asked), _levels(script)
    if len(mine) > len(theirs) or (mine != theirs[: len(mine)]).any():
        return False, math.nan
    return True, float((begins - due[: len(mine)]).max()) * dt


def _levels(rows: Array) -> tuple[Array, NDArray[np.intp]]:
    """Return the different velocities of a script one after the other, and the step at which each begins."""
    places = np.flatnonzero(np.append(True, (np.diff(rows, axis=0) != 0).any(1)))
    return rows[places], places


def _single(values: Sequence[Mapping[str, Array]], name: str) -> Array:
    return np.array([float(each[name][0]) if name in each else math.nan for each in values])


def _mean(values: Array) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else math.nan


def _variance(values: Array) -> float:
    """Return the variance of the difference between one more value and the mean of these."""
    known = values[np.isfinite(values)]
    return float(known.var(ddof=1)) * (1.0 + 1.0 / len(known)) if len(known) > 1 else 0.0
