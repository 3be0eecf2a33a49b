"""What the runs of ``eco_small`` show: a table, the trade between power and return, multipliers and violations."""

from __future__ import annotations

import csv
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import torch
from matplotlib import pyplot as plt

from robolearn.evaluate import page
from robolearn.evaluate.statistics import Interval, student_mean
from robolearn.logging.curves import COLORS, MUTED
from robolearn.run_folder import machine

EPISODE = 1000  # steps
PUBLISHED_LIMIT = 25.0
"""Of the sum over an episode, in the published table."""
PUBLISHED = Path(__file__).parent / "data" / "omnisafe_on_policy.csv"
MORE_COLORS = (
    *COLORS, "#b8860b", "#17becf", "#e377c2", "#5d5d5d", "#9acd32", "#ff7f0e", "#4b0082", "#8c564b", "#008080",
)  # fmt: skip
Row = Mapping[str, Any]


def read_runs(table: Path) -> list[dict[str, Any]]:
    """Return the runs, numbers as numbers."""
    with table.open(newline="") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    return [{name: value if name == "label" else float(value or "nan") for name, value in row.items()} for row in rows]


def summarise(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return one line per algorithm and budget (or price): means over seeds with 95 % intervals, and deviations."""
    lines = []
    groups = sorted({(row["label"], row["share"], row["weight"]) for row in rows})
    for label, share, weight in groups:
        found = [row for row in rows if (row["label"], row["share"], row["weight"]) == (label, share, weight)]
        cost, learned, gain, gained, budget = (
            np.array([row[name] for row in found])
            for name in ("cost", "cost_train", "return", "return_train", "budget")
        )
        mean, total = student_mean(cost / budget if share > 0 else cost), student_mean(gain)
        lines.append(
            {
                "label": label, "share": share, "weight": weight, "seeds": len(found), "budget": float(budget.mean()),
                "cost": float(cost.mean()), "level": mean, "cost_std": _relative(cost), "return": total,
                "learned": student_mean(learned / budget), "learned_std": _relative(learned),
                "episode": float(np.mean([row["cost_episode"] / row["budget"] for row in found])),
                "return_std": _relative(gain), "gained": student_mean(gained), "gained_std": _relative(gained),
                "length": float(np.mean([row["length"] for row in found])),
                "violation": float(np.mean([row["violation_area"] for row in found])),
                "steps": found[0]["steps"], "seconds": float(np.mean([row["seconds"] for row in found])),
            }
        )  # fmt: skip
    return lines


def _relative(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / abs(values.mean())) if len(values) > 1 else float("nan")


def dominated(lines: Sequence[Row], label: str) -> list[str]:
    """Return in words each shaped price that is at least as good as a run of ``label`` in cost and in return."""
    return [
        f"price {other['weight']:g} dominates {label} at budget {line['share']:g}"
        for line in lines
        for other in lines
        if line["label"] == label and other["label"] == "shaped"
        if other["cost"] <= line["cost"] and other["return"].value >= line["return"].value
    ]


def write_report(table: Path, out: Path, task: str, cost: str, unit: str, command: str) -> Path:
    """Write ``report.html`` and ``summary.csv`` beside the runs; return the page's path."""
    rows = read_runs(table)
    lines = summarise(rows)
    labels = [label for label in dict.fromkeys(row["label"] for row in rows) if label != "shaped"]
    shares = sorted({row["share"] for row in rows if row["share"] > 0}, reverse=True)
    colors = dict(zip(labels, MORE_COLORS, strict=False))
    with (out / "summary.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_HEADER)
        writer.writerows(_cells(line) for line in lines)
    verdicts = [text for label in labels for text in dominated(lines, label)]
    prices = ", ".join(f"{line['weight']:g}" for line in lines if line["label"] == "shaped")
    title = f"Constrained learning on {task}"
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        f'<p class="muted">Cost: {cost}, {unit}. Every figure is of fresh whole episodes with sampled actions; '
        "intervals are 95 % of Student's t over seeds. Share of the budget: per step survived, which is bounded unless "
        "the label says episode or release: those bound an episode's sum, which a fall makes cheap. While learning: "
        "the same over the last tenth of the iterations, 200 000 steps of a policy that changes a little.</p>",
        f'<div class="card">{page.table(_HEADER, [_cells(line) for line in lines])}</div>',
        "<h2>Cost against return</h2>",
        page.card(
            _pareto(rows, lines, colors, unit),
            f"Diamonds: mean over the seeds; dots: one seed each; dotted: budgets. Shaped prices that were run: "
            f"{prices or 'none'}; of them dominate a constrained run: {'; '.join(verdicts) or 'none'}.",
        ),
    ]  # fmt: skip
    if shares:
        caption = (
            "Means over the seeds; dotted: the budget. Multipliers: of those algorithms that have one; their size "
            "compares within one algorithm and budget only."
        )
        parts += ["<h2>While learning</h2>", page.card(_curves(out, rows, shares, colors, unit), caption)]
    if cost == "speed_excess" and any(row["budget"] == PUBLISHED_LIMIT / EPISODE for row in rows):
        parts += ["<h2>Beside published figures</h2>", _published(task, lines)]
    where = {"machine": page.machine_text(machine()), "torch": torch.__version__, "mujoco": mujoco.__version__}
    parts += ["<h2>Repeat it</h2>", f'<div class="card">{page.preformatted(command)}{page.entries(where)}</div>']
    path = out / "report.html"
    path.write_text(page.document(title, parts), encoding="utf-8")
    return path


_HEADER = (
    "algorithm", "budget, share", "price", "seeds", "cost", "share of budget [95 %]", "deviation of cost",
    "while learning [95 %]", "its deviation", "of an episode's sum", "return [95 %]", "deviation of return",
    "return while learning [95 %]", "its deviation", "episode, steps", "violation area", "steps", "s",
)  # fmt: skip


def _cells(line: Row) -> list[str]:
    bounded = line["share"] > 0
    level, gain = line["level"], line["return"]
    return [
        line["label"], f"{line['share']:g}" if bounded else "", "" if bounded else f"{line['weight']:g}",
        f"{line['seeds']}", f"{line['cost']:.4g}",
        _text(level, 3) if bounded else "", _share(line["cost_std"]),
        _text(line["learned"], 3) if bounded else "", _share(line["learned_std"]),
        f"{line['episode']:.3f}" if bounded else "",
        _text(gain, 0), _share(line["return_std"]), _text(line["gained"], 0), _share(line["gained_std"]),
        f"{line['length']:.0f}", f"{line['violation']:.3f}", f"{line['steps']:.3g}", f"{line['seconds']:.0f}",
    ]  # fmt: skip


def _text(interval: Interval, digits: int) -> str:
    return interval.text(digits=digits) if interval.count > 1 else f"{interval.value:.{digits}f}"


def _share(value: float) -> str:
    return f"{value:.1%}" if np.isfinite(value) else "–"


def _pareto(rows: Sequence[Row], lines: Sequence[Row], colors: Mapping[str, str], unit: str) -> str:
    with page.drawing():
        figure, ax = plt.subplots(figsize=(8.5, 5.0), layout="constrained")
        shaped = sorted((line for line in lines if line["label"] == "shaped"), key=lambda line: line["cost"])
        ax.plot([x["cost"] for x in shaped], [x["return"].value for x in shaped], "o-", color=MUTED, label="shaped PPO")
        for row in rows:
            color = colors.get(row["label"], MUTED)
            ax.plot(row["cost"], row["return"], ".", color=color, alpha=0.4)
        for label, color in colors.items():
            found = [line for line in lines if line["label"] == label]
            ax.plot([x["cost"] for x in found], [x["return"].value for x in found], "D", color=color, label=label, ms=7)
        for budget in sorted({line["budget"] for line in lines if line["share"] > 0}):
            ax.axvline(budget, color=MUTED, ls=":", lw=1)
        ax.set_xlabel(f"cost, {unit} (dotted: budgets)")
        ax.set_ylabel("return of an episode")
        ax.legend(fontsize=8)
        return page.svg(figure)


def _curves(out: Path, rows: Sequence[Row], shares: Sequence[float], colors: Mapping[str, str], unit: str) -> str:
    with page.drawing():
        figure, axes = plt.subplots(
            3, len(shares), figsize=(max(8.0, 4.0 * len(shares)), 8.0), squeeze=False, layout="constrained"
        )
        for column, share in enumerate(shares):
            for label, color in colors.items():
                found = [row for row in rows if row["label"] == label and row["share"] == share]
                runs = [_curve(out, row) for row in found]
                runs = [run for run in runs if run is not None]
                if not runs:
                    continue
                length = min(len(run) for run in runs)
                mean = np.ma.masked_invalid([run[:length] for run in runs]).mean(0).filled(np.nan)
                x = mean[:, 0] / 1e6
                for axis, values in zip(axes[:, column], (mean[:, 2], mean[:, 1], mean[:, 3]), strict=True):
                    if np.isfinite(values).any():
                        axis.plot(x, values, color=color, lw=1.2, label=label)
            budget = next(row["budget"] for row in rows if row["share"] == share)
            axes[0, column].axhline(budget, color=MUTED, ls=":")
            axes[0, column].set_title(f"budget {share:g}")
            axes[2, column].set_xlabel("million steps")
        for axis, name in zip(axes[:, 0], (f"cost, {unit}", "return", "multiplier"), strict=True):
            axis.set_ylabel(name)
        named = {line.get_label(): line for axis in axes[0] for line in axis.lines if line.get_label() in colors}
        figure.legend(named.values(), named.keys(), loc="outside upper right", ncols=len(named) or 1, fontsize=8)
        return page.svg(figure)


def _curve(out: Path, row: Row) -> np.ndarray | None:
    name = f"{row['label']}_{row['share']}_{row['weight']}_{int(row['seed'])}"
    path = out / "curves" / f"{name}.csv"
    if not path.is_file():
        return None
    data = np.atleast_2d(np.genfromtxt(path, delimiter=",", skip_header=1))
    window = max(1, len(data) // 60)
    count = len(data) // window
    mean: np.ndarray = np.ma.masked_invalid(data[: count * window].reshape(count, window, -1)).mean(1).filled(np.nan)
    return mean


def _published(task: str, lines: Sequence[Row]) -> str:
    name = {"hopper": "SafetyHopperVelocity-v1", "walker2d": "SafetyWalker2dVelocity-v1"}[task]
    with PUBLISHED.open(newline="") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    theirs = [row for row in rows if row["task"] == name and row["cost_limit"]]
    head = ("algorithm", "steps", "sum of an episode, share of the limit", "deviation", "return")
    ours = [
        [f"{line['label']} (ours)", f"{line['steps']:.2g}", f"{line['episode']:.2f}", f"{line['cost_std']:.0%}",
         f"{line['return'].value:.0f}"]
        for line in lines
        if line["share"] > 0
    ]  # fmt: skip
    published = [
        [row["algorithm"], f"{float(row['steps']):.2g}", f"{float(row['cost_mean']) / float(row['cost_limit']):.2f}",
         f"{float(row['cost_std']) / float(row['cost_mean']):.0%}", f"{float(row['reward_mean']):.0f}"]
        for row in theirs
    ]  # fmt: skip
    source = "<p>Published: OmniSafe, see benchmarks/data/README.md.</p>"
    return f'<div class="card">{page.table(head, [*ours, *published])}{source}</div>'
