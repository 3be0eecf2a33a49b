"""Which of several policies is better, and whether the difference can be told from chance."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robolearn.evaluate.sim2sim.estimates import HEADLINE, Condition, Runs
from robolearn.evaluate.sim2sim.measures import SCORE
from robolearn.evaluate.sim2sim.results import Experiment
from robolearn.evaluate.statistics import RESAMPLES, Interval, bootstrap

Array = NDArray[np.float64]
SIGNIFICANCE = 0.05
EXACT = 12
"""Number of experiments up to which all 2^n signs are gone through."""


@dataclass(frozen=True)
class Comparison:
    """Two policies on the same experiments.

    Attributes:
        first, second: names; the first has the higher mean score.
        difference: mean score of the first minus that of the second, paired.
        superiority: share of the bootstrap samples in which the first is better; equal counts half.
        p: of no difference, two-sided sign-flip test, corrected for all comparisons (Holm).
        apart: the intervals of the two mean scores do not overlap. That asks for more than significance.
    """

    first: str
    second: str
    difference: Interval
    superiority: float
    p: float
    apart: bool

    @property
    def significant(self) -> bool:
        """Whether the two can be told apart."""
        return self.p < SIGNIFICANCE

    def text(self) -> str:
        """Return the result in one sentence."""
        overlap = "intervals do not overlap" if self.apart else "intervals overlap"
        figures = f"{self.difference.text()}, p = {self.p:.2g}, {overlap}"
        if self.significant:
            return f"{self.first} is better than {self.second} by {figures}"
        return f"{self.first} and {self.second} cannot be told apart: difference {figures}"


@dataclass(frozen=True)
class Ranking:
    """Policies from the best to the worst.

    Attributes:
        simulators: over which.
        experiments: number of experiments that all policies finished in all of these.
        ranks: policy to rank: 1 + the number of policies that are significantly better, so that policies which cannot
            be told apart share a rank.
        scores: policy to mean score.
        comparisons: of every two policies.
        note: why there is no ranking.
    """

    simulators: tuple[str, ...]
    experiments: int
    ranks: dict[str, int]
    scores: dict[str, Interval]
    comparisons: tuple[Comparison, ...]
    note: str = ""


def rank(runs: Runs, simulators: Sequence[str], conditions: Sequence[Condition] = HEADLINE) -> Ranking:
    """Rank all policies by their mean score, each simulator and condition counting equally.

    Only what every policy finished counts: experiments in simulators and conditions that all of them ran.

    Args:
        runs: the results.
        simulators: over which; those in which a policy finished nothing are left out, and the note says so.
        conditions: over which; those that were run.
    """
    ran = [c for c in conditions if any(c in runs.conditions(p, s) for p in runs.policies for s in simulators)]
    complete: list[str] = []
    lacking: list[str] = []
    for simulator in simulators:
        finished = all(runs.values(p, simulator, c, SCORE) for p in runs.policies for c in ran)
        (complete if finished else lacking).append(simulator)
    note = f"left out, because not every policy finished there: {', '.join(lacking)}" if lacking else ""
    tables: dict[str, dict[Experiment, Array]] = {}
    for policy in runs.policies:
        found, table = runs.table([(policy, simulator, c) for simulator in complete for c in ran])
        tables[policy] = dict(zip(found, table.mean(1), strict=True)) if table.size else {}
    common = sorted(set.intersection(*(set(table) for table in tables.values()))) if tables else []
    if not common:
        return Ranking(tuple(complete), 0, {}, {}, (), note or "no experiment was finished with every policy")
    means = {policy: np.array([table[e] for e in common]) for policy, table in tables.items()}
    scores = {policy: bootstrap(values, lambda x: x.mean(1)) for policy, values in means.items()}
    order = sorted(scores, key=lambda policy: -scores[policy].value)
    pairs = list(itertools.combinations(order, 2))
    corrected = holm([sign_flip(means[a] - means[b]) for a, b in pairs])
    comparisons = tuple(
        Comparison(
            a,
            b,
            bootstrap(means[a] - means[b], lambda x: x.mean(1)),
            superiority(means[a] - means[b]),
            p,
            bool(scores[a].low > scores[b].high),
        )
        for (a, b), p in zip(pairs, corrected, strict=True)
    )
    ranks = {policy: 1 + sum(c.significant and c.second == policy for c in comparisons) for policy in order}
    return Ranking(tuple(complete), len(common), ranks, scores, comparisons, note)


def superiority(differences: Array, resamples: int = RESAMPLES, seed: int = 0) -> float:
    """Return the share of bootstrap means of (n,) paired differences above 0; those at 0 count half."""
    chosen = np.random.default_rng(seed).integers(len(differences), size=(resamples, max(1, len(differences) - 1)))
    means = differences[chosen].mean(1)
    return float((means > 0).mean() + 0.5 * (means == 0).mean())


def sign_flip(differences: Array, resamples: int = 9999, seed: int = 0) -> float:
    """Return the two-sided p-value of no difference between pairs (R. A. Fisher, The Design of Experiments, 1935).

    If the two policies are alike, each difference is as likely with the other sign. The p-value is the share of all
    2^n signs with a mean at least as far from 0. With more than ``EXACT`` pairs, ``resamples`` signs are drawn, and the
    p-value is (k + 1) / (resamples + 1).

    Args:
        differences: (n,) paired.
        resamples: number of drawn signs.
        seed: of the draw.
    """
    n = len(differences)
    seen = abs(differences.sum()) * (1 - 1e-12)  # sums of the same numbers in another order may differ in the last bit
    if n <= EXACT:
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=n)))
        return float((np.abs(signs @ differences) >= seen).mean())
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), size=(resamples, n))
    return float(((np.abs(signs @ differences) >= seen).sum() + 1) / (resamples + 1))


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number (S. Holm, Scand. J. Stat. 6, 1979), in the given order."""
    result, largest = [0.0] * len(p), 0.0
    for i, index in enumerate(sorted(range(len(p)), key=lambda index: p[index])):
        largest = max(largest, min(1.0, (len(p) - i) * p[index]))
        result[index] = largest
    return result
