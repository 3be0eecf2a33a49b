"""The figures of a benchmark as a table for the terminal, as JSON and as CSV."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from robolearn.evaluate.sim2sim.curves import Axis
from robolearn.evaluate.sim2sim.estimates import Estimate
from robolearn.evaluate.sim2sim.measures import MEASURES
from robolearn.evaluate.sim2sim.results import JOINT, NOMINAL, CaseResult
from robolearn.evaluate.sim2sim.summary import Summary
from robolearn.evaluate.sim2sim.verdict import headline
from robolearn.evaluate.statistics import Interval, finite_only

WIDTH = 120
HEADER = ("simulator", "score (IQM)", "survived", "survived, disturbed", "retained", "cases failed")
COLUMNS = ("policy", "simulator", "perturbation", "value", "figure", "unit", "estimate", "low", "high", "count")
"""Columns of the CSV file of estimates: one figure per row."""


def text(interval: Interval | None) -> str:
    """Return ``0.87 [0.84, 0.91]``; without limits where nothing is known about the spread."""
    if interval is None:
        return "-"
    if math.isnan(interval.low):
        return f"{interval.value:.2f} [?]"
    return interval.text(digits=2)


def cells(estimate: Estimate, reference: str) -> tuple[str, ...]:
    """Return a row of the table, in the order of ``HEADER``."""
    failed = len(estimate.failed)
    lacking = f", {len(estimate.unsupported)} unsupported" if estimate.unsupported else ""
    return (
        estimate.simulator,
        text(estimate.score),
        text(estimate.survival.get(NOMINAL)),
        text(estimate.survival.get(JOINT)),
        "reference" if estimate.simulator == reference else text(estimate.retained),
        f"{failed}{lacking}",
    )


def table(summary: Summary, axes: Mapping[str, Axis]) -> str:
    """Return all that fits a terminal: verdict, figures, what breaks a policy, ranking, what did not run.

    No line is wider than ``WIDTH``, as long as names are not longer than 30 characters.
    """
    lines: list[str] = []
    for policy in summary.policies:
        criteria = [criterion for criterion in summary.criteria if criterion.policy == policy]
        lines += [f"{policy}: {headline(criteria)}"]
        lines += [_cut(f"  not met: {c.simulator}: {c.text}") for c in criteria if not c.met]
        rows = [HEADER, *(cells(e, summary.reference) for e in summary.estimates if e.policy == policy)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(HEADER))]
        lines += ["  " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        lines += [
            _cut(f"  {e.simulator}: {e.note}")
            for e in summary.estimates
            if e.policy == policy and e.note and not any(e.note in c.text for c in criteria)
        ]
        breaking = list(_breaking(summary, policy, axes))
        lines += [f"  half of the robots fall, in {summary.reference}, at"] if breaking else []
        lines += [_cut(f"    {label:<32}{value}") for label, value in breaking]
        lines += [""]
    if summary.ranking is not None:
        ranking = summary.ranking
        lines += [f"ranking over {', '.join(ranking.simulators)} ({ranking.experiments} experiments), mean score"]
        lines += [f"  {rank}  {policy:<30}  {text(ranking.scores[policy])}" for policy, rank in ranking.ranks.items()]
        lines += [_cut(f"  {comparison.text()}") for comparison in ranking.comparisons]
        lines += [_cut(f"  {ranking.note}")] if ranking.note else []
        lines += [""]
    lines += [_cut(f"not run: {simulator}: {reason}") for simulator, reason in summary.absent.items()]
    lines += [
        _cut(f"failed: {e.policy} in {e.simulator}: {reason}") for e in summary.estimates for reason in e.failed[:3]
    ]
    return "\n".join(lines).rstrip() + "\n"


def _breaking(summary: Summary, policy: str, axes: Mapping[str, Axis]) -> Iterator[tuple[str, str]]:
    """Label and value of each perturbation that brings survival below a half in the reference simulator."""
    for curve in summary.curves:
        if (curve.policy, curve.simulator) != (policy, summary.reference):
            continue
        for crossing in (*curve.down, *curve.up):
            if crossing.threshold == 0.5 and crossing.value is not None:
                axis = axes[curve.perturbation]
                yield axis.label, crossing.text(axis.unit)


def _cut(line: str) -> str:
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"


def write_json(summary: Summary, path: Path) -> None:
    """Write every estimate, interval, curve, comparison and criterion; unknown limits are null."""
    path.write_text(json.dumps(finite_only(asdict(summary)), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write_estimates(summary: Summary, axes: Mapping[str, Axis], path: Path) -> None:
    """Write every estimate as CSV, one figure with its interval per row; see ``COLUMNS``."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for estimate in summary.estimates:
            for perturbation, name, unit, interval in _figures(estimate):
                writer.writerow([estimate.policy, estimate.simulator, perturbation, 0, name, unit, *_limits(interval)])
        for curve in summary.curves:
            for point in curve.points:
                place = (curve.policy, curve.simulator, curve.perturbation, point.value)
                writer.writerow([*place, "survived", "", *_limits(point.survival)])
                writer.writerow([*place, "mean score", "", *_limits(point.score)])
            for crossing in (*curve.down, *curve.up):
                name, unit = f"value at survival {crossing.threshold:g}", axes[curve.perturbation].unit
                ends = sorted(value for value in (crossing.earliest, crossing.latest) if value is not None)
                low, high = ends if len(ends) == 2 else ("", "")
                value = "" if crossing.value is None else crossing.value
                place = (curve.policy, curve.simulator, curve.perturbation, crossing.limit)
                writer.writerow([*place, name, unit, value, low, high, ""])


def _figures(estimate: Estimate) -> Iterator[tuple[str, str, str, Interval]]:
    overall = {
        "score": estimate.score,
        "mean score": estimate.mean,
        "retained": estimate.retained,
        "difference": estimate.difference,
    }
    for name, interval in overall.items():
        if interval is not None:
            yield f"{NOMINAL}+{JOINT}", name, "", interval
    for perturbation, interval in estimate.survival.items():
        yield perturbation, "survived", "", interval
    for name, interval in estimate.raw.items():
        yield NOMINAL, name, MEASURES[name].unit, interval
    for name, interval in estimate.scored.items():
        yield NOMINAL, f"score of {name}", "", interval


def _limits(interval: Interval) -> tuple[Any, ...]:
    low, high = ("", "") if math.isnan(interval.low) else (interval.low, interval.high)
    return interval.value, low, high, interval.count


def write_episodes(results: Iterable[CaseResult], path: Path) -> None:
    """Write every episode as CSV: one row per episode, one column per measure.

    Episodes of a failed case have its reason instead. A measure that an episode does not have is empty.
    """
    found = list(results)
    names = list(dict.fromkeys(name for result in found for name in result.measures))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["policy", "simulator", "perturbation", "value", "seed", "episode", "error", *names])
        for result in found:
            case = result.case
            for row, experiment in enumerate(case.experiments):
                values = [result.measures[name][row] if name in result.measures else math.nan for name in names]
                place = (case.policy, case.simulator, case.perturbation, case.value, *experiment)
                numbers = ("" if math.isnan(value) else repr(float(value)) for value in values)
                writer.writerow([*place, result.error, *numbers])
