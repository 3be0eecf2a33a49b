"""All estimates of a benchmark in one place: what the terminal, the files and the report show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from robolearn.evaluate.sim2sim.curves import Axis, Curve, curves
from robolearn.evaluate.sim2sim.estimates import Estimate, Runs, estimate
from robolearn.evaluate.sim2sim.ranking import Ranking, rank
from robolearn.evaluate.sim2sim.results import CaseResult
from robolearn.evaluate.sim2sim.verdict import Criterion, Thresholds, judge


@dataclass(frozen=True)
class Summary:
    """What a benchmark found.

    Attributes:
        policies, simulators: those that were run.
        reference: the simulator that others are compared with.
        absent: simulators that could not be run here, with the reason.
        seeds: that were run.
        estimates: one per policy and simulator.
        curves: one per policy, perturbation and simulator.
        ranking: of several policies, over the engines of other make; None for one policy.
        criteria: the thresholds, met or not.
    """

    policies: tuple[str, ...]
    simulators: tuple[str, ...]
    reference: str
    absent: Mapping[str, str]
    seeds: tuple[int, ...]
    estimates: tuple[Estimate, ...]
    curves: tuple[Curve, ...]
    ranking: Ranking | None
    criteria: tuple[Criterion, ...]

    def estimate(self, policy: str, simulator: str) -> Estimate | None:
        """Return the estimate of a policy in a simulator; None where it was not run."""
        return next((e for e in self.estimates if (e.policy, e.simulator) == (policy, simulator)), None)


def summarise(
    results: Iterable[CaseResult],
    reference: str,
    axes: Mapping[str, Axis],
    thresholds: Thresholds | None = None,
    absent: Mapping[str, str] | None = None,
    foreign: Sequence[str] = (),
) -> Summary:
    """Estimate all that results tell.

    Args:
        results: of one benchmark.
        reference: name of the simulator to compare with.
        axes: perturbation to label, unit and nominal value, in the order of reports.
        thresholds: what a policy must reach; the defaults when None.
        absent: simulators that could not be run, with the reason.
        foreign: engines of other make, in which policies are ranked: variants of the reference share its contacts.
            Where none of them was run, it is all but the reference.

    Raises:
        ValueError: no results, or results of different suites.
    """
    runs = Runs(results)
    if not runs.results:
        raise ValueError("there are no results to summarise")
    estimates = tuple(
        estimate(runs, policy, simulator, reference)
        for policy in runs.policies
        for simulator in runs.simulators
        if runs.conditions(policy, simulator)
    )
    others = [simulator for simulator in runs.simulators if simulator != reference] or [reference]
    judges = [simulator for simulator in others if simulator in foreign] or others
    return Summary(
        policies=runs.policies,
        simulators=runs.simulators,
        reference=reference,
        absent=dict(absent or {}),
        seeds=tuple(sorted({seed for result in runs.results for seed, _ in result.case.experiments})),
        estimates=estimates,
        curves=tuple(curves(runs, axes)),
        ranking=rank(runs, judges) if len(runs.policies) > 1 else None,
        criteria=tuple(judge(estimates, thresholds or Thresholds(), reference)),
    )
