"""What the safety check found, as a table, as JSON and as a picture."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt

from robolearn.deploy.robot import load_robot_file
from robolearn.evaluate.safety_check import ALLOWED, Outcome
from robolearn.evaluate.safety_check_cases import CASES
from robolearn.evaluate.safety_check_suite import Result
from robolearn.evaluate.statistics import finite_only
from robolearn.logging.curves import COLORS, MUTED, STYLE

HEADER = ("case", "parameters", "reaction", "cases", "met", "observable after, s", "reaction, periods", "reasons")


@dataclass(frozen=True)
class Row:
    """All outcomes of one case.

    Attributes:
        case, note, reaction: as in ``Case``.
        cases: how many there were.
        met: how many met the requirement.
        observable: s from the beginning to the moment at which it could be seen: median and largest.
        periods: control periods from there to the reaction: median and largest.
        reasons: what was recorded, and how often.
    """

    case: str
    note: str
    reaction: str
    cases: int
    met: int
    observable: tuple[float, float]
    periods: tuple[float, float]
    reasons: dict[str, int]

    def cells(self) -> tuple[str, ...]:
        """Return the row as text, in the order of ``HEADER``."""
        after, periods = ((f"{a:{form}}", f"{b:{form}}") for (a, b), form in (
            (self.observable, ".3f"), (self.periods, ".0f")
        ))  # fmt: skip
        known = not math.isnan(self.periods[1])
        return (
            self.case, self.note, self.reaction, str(self.cases), str(self.met),
            " / ".join(after) if known else "-", " / ".join(periods) if known else "-",
            ", ".join(f"{reason} {count}" for reason, count in self.reasons.items()) or "-",
        )  # fmt: skip


def rows(outcomes: Sequence[Outcome]) -> list[Row]:
    """Return one row for each case, in the order of their first outcome."""
    found = []
    for name in dict.fromkeys(outcome.case for outcome in outcomes):
        mine = [outcome for outcome in outcomes if outcome.case == name]
        reasons = Counter(outcome.reason for outcome in mine if outcome.reason)
        found.append(
            Row(
                case=name,
                note=CASES[name].note,
                reaction=CASES[name].reaction,
                cases=len(mine),
                met=sum(not outcome.problem for outcome in mine),
                observable=_spread([outcome.observable for outcome in mine]),
                periods=_spread([outcome.periods for outcome in mine]),
                reasons=dict(reasons.most_common()),
            )
        )
    return found


def _spread(values: Sequence[float]) -> tuple[float, float]:
    """Return median and largest of what is known."""
    known = [value for value in values if not math.isnan(value)]
    return (float(np.median(known)), max(known)) if known else (math.nan, math.nan)


def table(found: Sequence[Row]) -> str:
    """Return the rows as a Markdown table with columns of even width, which a terminal shows well too."""
    lines = [HEADER, *(row.cells() for row in found)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADER))]
    text = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
            for line in lines]  # fmt: skip
    return "\n".join([text[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *text[1:]])


def summary(result: Result) -> str:
    """Return the verdict in a few lines of Markdown."""
    lines = []
    if result.outcomes:
        counted = [outcome for outcome in result.outcomes if not math.isnan(outcome.periods)]
        worst = max((outcome.periods for outcome in counted), default=math.nan)
        met = sum(not outcome.problem for outcome in result.outcomes)
        lines.append(
            f"- Faults: {met} of {len(result.outcomes)} cases met the requirement; "
            f"slowest reaction {worst:.0f} control periods (allowed: {ALLOWED})."
        )
    if result.walks:
        trips = [trip for walk in result.walks for trip in walk.trips]
        false = sum(not trip.fell for trip in trips)
        minutes = sum(walk.seconds for walk in result.walks) / 60.0
        lines.append(
            f"- Nominal walking: {minutes:.1f} min, {sum(walk.pushes for walk in result.walks)} pushes: "
            f"{false} false stops, {len(trips) - false} true falls."
        )
        warnings = sum((Counter(walk.warnings) for walk in result.walks), Counter())
        peaks = {name: max(walk.peaks.get(name, 0.0) for walk in result.walks) for name in result.walks[0].peaks}
        lines.append(f"- Warnings: {', '.join(f'{name} {count}' for name, count in warnings.items()) or 'none'}.")
        lines.append(
            "- Peaks as a share of the limit: " + ", ".join(f"{name} {peak:.2f}" for name, peak in peaks.items()) + "."
        )
    lines += [f"- **Not met**: {failure}" for failure in result.failures]
    return "\n".join(lines)


def write_json(result: Result, folder: Path) -> None:
    """Write what is known so far as ``safety_check.json`` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    data = {"met": not result.failures, **asdict(result), "rows": [asdict(row) for row in rows(result.outcomes)]}
    (folder / "safety_check.json").write_text(json.dumps(finite_only(data), indent=1) + "\n", encoding="utf-8")


def write(result: Result, folder: Path) -> None:
    """Write ``safety_check.json``, ``safety_check.md`` and ``safety_check.png`` into a folder."""
    write_json(result, folder)
    text = f"{summary(result)}\n\n{table(rows(result.outcomes))}\n"
    (folder / "safety_check.md").write_text(text, encoding="utf-8")
    if result.outcomes:
        _draw(result, folder / "safety_check.png")


def _draw(result: Result, path: Path) -> None:
    """Draw how long each fault went on before the robot reacted."""
    period = load_robot_file(result.suite.robot).control_dt
    names = [row.case for row in rows(result.outcomes) if not math.isnan(row.periods[1])]
    with plt.rc_context(STYLE):  # type: ignore[arg-type]
        figure, axes = plt.subplots(figsize=(7.0, max(2.5, 0.6 + 0.19 * len(names))), layout="constrained")
        for color, mode in zip((MUTED, *COLORS), ("idle", "stand", "ready", "policy"), strict=False):
            mine = [o for o in result.outcomes if o.mode == mode and not math.isnan(o.periods)]
            times = [o.observable + o.periods * period for o in mine]
            places = [names.index(o.case) for o in mine]
            axes.plot(times, places, "o", color=color, markersize=3.5, alpha=0.7, label=f"began in {mode}")
        axes.set_yticks(range(len(names)), names, fontsize=7)
        axes.set_ylim(len(names) - 0.5, -0.5)
        if names:  # a logarithmic axis of nothing cannot be drawn
            axes.set_xscale("log")
        axes.set_xlabel("s from the beginning of the fault to the reaction")
        axes.legend(loc="lower right", fontsize=7)
        figure.savefig(path, dpi=130)
        plt.close(figure)
