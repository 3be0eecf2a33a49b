"""Whether a policy is ready: estimates against thresholds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from robolearn.evaluate.sim2sim.estimates import Estimate
from robolearn.evaluate.sim2sim.results import JOINT, NOMINAL
from robolearn.evaluate.statistics import Interval


@dataclass(frozen=True)
class Thresholds:
    """What a policy must reach in every simulator that is judged.

    Attributes:
        survival: share of undisturbed episodes without a fall.
        joint_survival: the same with everything disturbed at once.
        retained: mean score as a share of that in the reference simulator.
        failed_cases: cases whose simulator may crash.
        simulators: those that are judged; empty for all that were run. A named one that was not run is not met.
    """

    survival: float = 0.95
    joint_survival: float = 0.8
    retained: float = 0.8
    failed_cases: int = 0
    simulators: tuple[str, ...] = ()


@dataclass(frozen=True)
class Criterion:
    """One threshold in one simulator.

    Attributes:
        policy, simulator: names.
        name: of the threshold.
        text: what was found and what was asked for.
        met: the estimate reaches it.
        sure: its lower confidence limit does too.
    """

    policy: str
    simulator: str
    name: str
    text: str
    met: bool
    sure: bool


def judge(estimates: Iterable[Estimate], thresholds: Thresholds, reference: str) -> list[Criterion]:
    """Hold estimates against thresholds; a figure that is missing does not meet its threshold."""
    found: list[Criterion] = []
    by_policy: dict[str, dict[str, Estimate]] = {}
    for estimate in estimates:
        by_policy.setdefault(estimate.policy, {})[estimate.simulator] = estimate
    for policy, group in by_policy.items():
        for simulator in thresholds.simulators or tuple(group):
            if simulator not in group:
                found.append(Criterion(policy, simulator, "simulators", "was not run", False, False))
                continue
            found += _judge(group[simulator], thresholds, reference)
    return found


def verdict(estimates: Iterable[Estimate], thresholds: Thresholds, reference: str) -> list[Criterion]:
    """Return the criteria that are not met; a benchmark passes when there are none."""
    return [criterion for criterion in judge(estimates, thresholds, reference) if not criterion.met]


def headline(criteria: Sequence[Criterion]) -> str:
    """Return the verdict in a few words."""
    missed = sum(not criterion.met for criterion in criteria)
    if missed or not criteria:
        return f"Not ready: {missed} of {len(criteria)} criteria are not met"
    unsure = sum(not criterion.sure for criterion in criteria)
    if unsure:
        return f"Ready, but not surely: {unsure} of {len(criteria)} criteria are met by the estimate only"
    return f"Ready: all {len(criteria)} criteria are met, with their lower confidence limits"


def _judge(estimate: Estimate, thresholds: Thresholds, reference: str) -> list[Criterion]:
    def criterion(name: str, label: str, value: Interval | None, limit: float, reason: str) -> Criterion:
        if value is None:
            return Criterion(estimate.policy, estimate.simulator, name, f"{label}: {reason}", False, False)
        unknown = math.isnan(value.low)
        limits = "one episode, no interval" if unknown else f"{value.low:.2f} to {value.high:.2f}"
        text = f"{label} {value.value:.2f} ({limits}), asked for {limit:.2f}"
        met = value.value >= limit
        return Criterion(estimate.policy, estimate.simulator, name, text, met, met and value.low >= limit)

    nothing = "no episode was finished"
    survival = estimate.survival
    found = [criterion("survival", "survival undisturbed", survival.get(NOMINAL), thresholds.survival, nothing)]
    found.append(
        criterion("joint_survival", "survival disturbed", survival.get(JOINT), thresholds.joint_survival, nothing)
    )
    if estimate.simulator != reference:
        reason = estimate.note or nothing
        found.append(criterion("retained", "retained fraction", estimate.retained, thresholds.retained, reason))
    failed = len(estimate.failed)
    text = f"{failed} failed case{'' if failed == 1 else 's'}, allowed {thresholds.failed_cases}"
    met = failed <= thresholds.failed_cases
    return [*found, Criterion(estimate.policy, estimate.simulator, "failed_cases", text, met, met)]
