"""How good a policy is in each simulator, and how sure that is.

What is drawn independently is an *experiment*: one seed and one episode of it, which fix start, commands and draws
(``draws.stream``). The same experiment runs under every condition, in every simulator and with every policy; so whole
experiments are what a bootstrap draws again, and differences and ratios are taken within them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robolearn.evaluate.sim2sim.measures import MEASURES, SCORE, scores
from robolearn.evaluate.sim2sim.results import JOINT, NOMINAL, Case, CaseResult, Experiment
from robolearn.evaluate.statistics import Interval, bootstrap, interquartile_mean, wilson

Array = NDArray[np.float64]
Condition = tuple[str, float]
"""A perturbation and its value."""
HEADLINE: tuple[Condition, ...] = ((NOMINAL, 0.0), (JOINT, 0.0))
"""The conditions that every simulator runs: what the overall figures are taken over."""
SURVIVAL = "survival"
FLOOR = 0.05
"""Mean score that the reference must surely reach for a share of it to mean something."""


class Runs:
    """All results of a benchmark. Where a case was run twice, the later result counts.

    Attributes:
        results: one per case.
        policies, simulators: names, in the order of their first result.
    """

    def __init__(self, results: Iterable[CaseResult]) -> None:
        """Sort results.

        Raises:
            ValueError: an experiment in two cases of one condition: results of two suites.
        """
        found: dict[tuple[str, str], dict[Condition, dict[Case, CaseResult]]] = {}
        for result in results:
            case = result.case
            cases = found.setdefault((case.policy, case.simulator), {}).setdefault((case.perturbation, case.value), {})
            for other in cases:
                if other != case and not set(case.experiments).isdisjoint(other.experiments):
                    raise ValueError(f"{case} and {other} share experiments: results of two suites do not mix")
            cases[case] = result
        self._found = found
        self.results = [r for group in found.values() for cases in group.values() for r in cases.values()]
        self.policies = tuple(dict.fromkeys(policy for policy, _ in found))
        self.simulators = tuple(dict.fromkeys(simulator for _, simulator in found))

    def conditions(self, policy: str, simulator: str) -> tuple[Condition, ...]:
        """Return what was run of a policy in a simulator, sorted; failed cases included."""
        return tuple(sorted(self._found.get((policy, simulator), {})))

    def cases(self, policy: str, simulator: str, condition: Condition | None = None) -> list[CaseResult]:
        """Return the results of a policy in a simulator, of one condition or of all, by experiment."""
        group = self._found.get((policy, simulator), {})
        chosen = group.values() if condition is None else [group.get(condition, {})]
        return [cases[case] for cases in chosen for case in sorted(cases)]

    def values(self, policy: str, simulator: str, condition: Condition, measure: str) -> dict[Experiment, float]:
        """Return a measure of every experiment of the cases that did not fail.

        An episode without a score or a survival has the worst one, 0: its simulation gave no usable numbers. Other
        measures stay NaN.

        Raises:
            ValueError: a result lacks the measure.
        """
        found: dict[Experiment, float] = {}
        for result in self.cases(policy, simulator, condition):
            if result.error:
                continue
            if measure not in result.measures:
                raise ValueError(f"{result.case} has no measure {measure!r}, only {', '.join(result.measures)}")
            values = result.measures[measure]
            if measure in (SCORE, SURVIVAL):
                values = np.nan_to_num(values, nan=0.0)
            found |= dict(zip(result.case.experiments, values.tolist(), strict=True))
        return found

    def table(
        self, columns: Sequence[tuple[str, str, Condition]], measure: str = SCORE
    ) -> tuple[list[Experiment], Array]:
        """Return the experiments that all columns have, sorted, and a measure of them, (n, C).

        Args:
            columns: policy, simulator and condition of each.
            measure: which one.
        """
        found = [self.values(*column, measure) for column in columns]
        common = sorted(set(found[0]).intersection(*found[1:])) if found else []
        return common, np.array([[column[e] for column in found] for e in common]).reshape(len(common), len(found))

    def survived(self, policy: str, simulator: str, condition: Condition) -> Interval | None:
        """Return the share of experiments that lasted to their end (Wilson interval); None when none was run."""
        values = self.values(policy, simulator, condition, SURVIVAL).values()
        return wilson(sum(value >= 1.0 for value in values), len(values)) if values else None


@dataclass(frozen=True)
class Estimate:
    """A policy in a simulator.

    Attributes:
        policy, simulator: names.
        episodes: how many were run.
        failed: cases whose simulator crashed, with the reason; they are in none of the figures.
        unsupported: cases that the simulator cannot do, with the reason.
        survival: condition to the share of episodes without a fall; for ``none`` and ``joint``, where run.
        score: interquartile mean of the scores in all headline conditions, 0 to 1.
        mean: plain mean of the same scores: here every fall counts in full.
        difference: paired difference of the mean to the reference simulator.
        retained: mean as a share of the mean in the reference simulator, over the same experiments.
        note: why there is no retained fraction.
        raw: measure to its mean without perturbation, in its unit.
        scored: measure to the mean of its score without perturbation.
    """

    policy: str
    simulator: str
    episodes: int
    failed: tuple[str, ...]
    unsupported: tuple[str, ...]
    survival: Mapping[str, Interval]
    score: Interval | None
    mean: Interval | None
    difference: Interval | None
    retained: Interval | None
    note: str
    raw: Mapping[str, Interval]
    scored: Mapping[str, Interval]


def estimate(runs: Runs, policy: str, simulator: str, reference: str) -> Estimate:
    """Estimate everything about one policy in one simulator.

    Overall figures are taken over the headline conditions that the benchmark ran, and over the experiments that
    finished in all of them. A simulator that crashed in one of them altogether has no overall figures.
    """
    cases = runs.cases(policy, simulator)
    conditions = [c for c in HEADLINE if any(c in runs.conditions(policy, other) for other in runs.simulators)]
    _, own = runs.table([(policy, simulator, condition) for condition in conditions])
    raw = {}
    for name in MEASURES:
        found = runs.values(policy, simulator, (NOMINAL, 0.0), name)
        if found:
            raw[name] = np.array(list(found.values()))
    difference = retained = None
    note = ""
    if simulator != reference:
        pairs = paired(runs, (policy, simulator), (policy, reference), conditions)
        try:
            retained = retained_fraction(pairs)
            difference = bootstrap(pairs, lambda x: (x[..., 0] - x[..., 1]).mean(-1))
        except ValueError as error:
            note = str(error)
    return Estimate(
        policy=policy,
        simulator=simulator,
        episodes=sum(len(result.case.experiments) for result in cases if not result.error),
        failed=tuple(_describe(result) for result in cases if result.error and not is_unsupported(result)),
        unsupported=tuple(_describe(result) for result in cases if is_unsupported(result)),
        survival={c[0]: share for c in conditions if (share := runs.survived(policy, simulator, c)) is not None},
        score=bootstrap(own, lambda x: interquartile_mean(x.reshape(len(x), -1))) if own.size else None,
        mean=bootstrap(own, lambda x: x.mean((1, 2))) if own.size else None,
        difference=difference,
        retained=retained,
        note=note,
        raw=_means(raw),
        scored=_means(scores(raw) if raw else {}),
    )


def paired(
    runs: Runs, first: tuple[str, str], second: tuple[str, str], conditions: Sequence[Condition] = HEADLINE
) -> Array:
    """Return the mean score over the conditions of every experiment that both finished in all of them, (n, 2).

    Args:
        runs: the results.
        first, second: policy and simulator.
        conditions: which.
    """
    _, table = runs.table([(*group, condition) for group in (first, second) for condition in conditions])
    return table.reshape(len(table), 2, len(conditions)).mean(2) if table.size else np.empty((0, 2))


def retained_fraction(pairs: Array) -> Interval:
    """Return ``mean(score here) / mean(score in the reference)``; the bootstrap draws pairs again.

    Args:
        pairs: (n, 2) scores of the same experiments here and in the reference.

    Raises:
        ValueError: no pairs, or the reference is not surely above ``FLOOR``: a share of nothing means nothing.
    """
    if not len(pairs):
        raise ValueError("no experiment was finished both here and in the reference")
    base = bootstrap(pairs[:, 1:], lambda x: x.mean((1, 2)))
    lowest = base.value if np.isnan(base.low) else base.low
    if lowest < FLOOR:
        raise ValueError(
            f"the policy scores {base.value:.2f} (lower limit {lowest:.2f}) in the reference itself: below {FLOOR} "
            "there is nothing to retain"
        )

    def ratio(x: Array) -> Array:
        here, there = x[..., 0].mean(-1), x[..., 1].mean(-1)
        return np.divide(here, there, out=np.full_like(here, np.inf), where=there > 0)

    return bootstrap(pairs, ratio)


def is_unsupported(result: CaseResult) -> bool:
    """Whether a case failed because its simulator cannot do it at all, which says nothing about the policy."""
    return result.details.get("failure") == "unsupported"


def _describe(result: CaseResult) -> str:
    case = result.case
    seeds = sorted({seed for seed, _ in case.experiments})
    which = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}"
    return f"{case.perturbation} {case.value:g}, {which}: {result.error}"


def _means(values: Mapping[str, Array]) -> dict[str, Interval]:
    """Mean of each measure; one that no episode has is left out."""
    return {name: mean(column) for name, column in values.items() if not np.isnan(column).all()}


def mean(values: Array) -> Interval:
    """Return the mean of the known ones among (n,) values of independent experiments."""
    return bootstrap(values[~np.isnan(values)], lambda x: x.mean(1))
