"""The page of a comparison: table, trade between cost and reward, how it was learned, gaits."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from robolearn.evaluate import page
from robolearn.evaluate.compare import TAIL, Compared, by_label, dominates, separated, task_differences
from robolearn.evaluate.statistics import Interval
from robolearn.logging.curves import MUTED, smooth
from robolearn.run_folder import git_state, machine, read_meta
from sim.tasks import cost as costs

STEPS = "train/total_steps"
JOINTS_DRAWN = 5
"""Joints of a gait picture: those that move most."""


def write_report(path: Path, found: Sequence[Compared], cost: str, command: str, method: str) -> None:
    """Write the comparison as one HTML file.

    Args:
        path: the file.
        found: what was measured.
        cost: name of the compared cost.
        command: the command line, to repeat it.
        method: in words, what was run.
    """
    groups = by_label(found)
    colors = {label: page.PALETTE[i % len(page.PALETTE)] for i, label in enumerate(groups)}
    title = f"{', '.join(groups)} on {found[0].run.config.robot}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="muted">{escape(method)} <b>{escape(cost)}</b>: {escape(costs.summary(cost))}</p>',
        f'<div class="card">{_table(found, cost)}<p class="muted">{escape(_HOW)}</p></div>',
        f"<h2>{escape(cost)} against the task</h2>",
        page.card(_trade(groups, colors, cost), _verdict(found)),
        "<h2>While learning</h2>",
        page.card(_curves(groups, colors, cost), _CURVES),
        "<h2>Gaits</h2>",
        *(page.card(_gait(runs[0]), f"{label}: {runs[0].run.folder.name}") for label, runs in groups.items()),
        "<h2>Repeat it</h2>",
        f'<div class="card">{page.preformatted(command)}{page.entries(_origin(found))}</div>',
    ]
    path.write_text(page.document(title, parts), encoding="utf-8")


_HOW = (
    "Mean actions, nobody pushes, one command per episode; the first second does not count; 95 % intervals over "
    "episodes (survival: Wilson). They say nothing about training again: for that, compare several seeds under one "
    f"label. While learning: mean over the last {TAIL} iterations with sampled actions, which is what a rate bounds "
    "(the sum of an episode: per step survived). "
    "Violation: mean over all iterations of what the cost per time survived exceeds the budget by, as a share of it."
)
_CURVES = (
    "Each seed a line, smoothed; dotted: the budget. A multiplier is the price that the constraint has found, in units "
    "that depend on budget, rewards and eco.cost_scale: its size compares within one label only."
)


def _table(found: Sequence[Compared], cost: str) -> str:
    head = (
        "run", "survived", cost, "reward per s", "speed error, m/s",
        "while learning", "budget", "violation",
    )  # fmt: skip
    rows = [
        [
            f"<th>{escape(one.label)}<small>seed {one.run.config.seed}, {_millions(one.steps)} steps</small>"
            f"<small>{escape(one.run.folder.name)}</small>"
            f"{''.join(f'<small>{escape(name)} {value:g}</small>' for name, value in one.settings.items())}</th>",
            _text(one.survival, 3), _text(one.cost, 3),
            _text(one.reward, 2), _text(one.speed_error, 4), _number(one.learned_cost, 3),
            _number(one.budget, 3), _number(one.violation, 3),
        ]
        for one in found
    ]  # fmt: skip
    return page.table(head, rows)


def _text(interval: Interval, digits: int) -> str:
    low, high = f"{interval.low:.{digits}f}", f"{interval.high:.{digits}f}"
    return f"{interval.value:.{digits}f}<small>{low} to {high}</small>"


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if np.isfinite(value) else "–"


def _millions(steps: float) -> str:
    return f"{steps / 1e6:.2f} M" if np.isfinite(steps) else "–"


def _verdict(found: Sequence[Compared]) -> str:
    pairs: list[str] = []
    unlike: dict[frozenset[str], tuple[str, str, list[str]]] = {}
    for one, other in itertools.permutations(found, 2):
        if one.label == other.label:
            continue
        if named := task_differences(one.run.config, other.run.config):
            unlike.setdefault(frozenset((one.label, other.label)), (one.label, other.label, named))
        elif dominates(one, other):
            clear = separated(one.cost, other.cost) or separated(one.reward, other.reward)
            pairs.append(
                f"{one.label} (seed {one.run.config.seed}) dominates {other.label} (seed {other.run.config.seed})"
                f"{'' if clear else ', within the intervals'}"
            )
    text = (
        "One point per run. A run dominates another if it spends no more, falls no more often and earns no less: "
        f"{'; '.join(pairs) or 'none does'}."
    )
    for one_label, other_label, named in unlike.values():
        text += f" {one_label} and {other_label} walk on tasks that differ in {', '.join(named)}: no verdict."
    return text


def _trade(groups: Mapping[str, list[Compared]], colors: Mapping[str, str], cost: str) -> str:
    panels = (("reward per second (of each task, without prices)", "reward"), ("speed error, m/s", "speed_error"))
    with page.drawing():
        figure, axes = plt.subplots(1, 2, figsize=(10.2, 4.0), layout="constrained")
        for ax, (title, name) in zip(axes, panels, strict=True):
            for label, runs in groups.items():
                x, y = [one.cost.value for one in runs], [getattr(one, name).value for one in runs]
                ax.plot(x, y, "o", color=colors[label], ms=7, alpha=0.85, label=label)
            ax.set_title(title)
            ax.set_xlabel(cost)
            ax.set_xlim(left=0.0)
        axes[0].legend(fontsize=8)
        return page.svg(figure)


def _curves(groups: Mapping[str, list[Compared]], colors: Mapping[str, str], cost: str) -> str:
    panels = {
        f"{cost} (sampled actions)": f"cost/{cost}",
        "return of an episode": "train/mean_reward",
        "length of an episode, steps": "train/mean_episode_length",
        "multiplier": "",
    }
    with page.drawing():
        figure, axes = plt.subplots(2, 2, figsize=(10.2, 6.4), layout="constrained")
        for ax, (title, column) in zip(axes.flat, panels.items(), strict=True):
            ax.set_title(title)
            for label, runs in groups.items():
                _draw(ax, runs, column or _multiplier(runs[0], cost), colors[label], label)
        budgets = {one.budget for runs in groups.values() for one in runs if np.isfinite(one.budget)}
        for budget in budgets:
            axes[0, 0].axhline(budget, color=MUTED, ls=":", lw=1.2)
        axes[0, 0].set_ylim(bottom=0.0)
        for ax in axes[1]:
            ax.set_xlabel("million environment steps")
        if axes[0, 0].lines:
            axes[0, 0].legend(fontsize=8)
        return page.svg(figure)


def _multiplier(one: Compared, cost: str) -> str:
    if one.run.config.eco is None:
        return ""
    names = [name for name, entry in one.run.config.eco.constraints.items() if entry.cost == cost]
    return f"eco/{names[0]}/multiplier" if names else ""


def _draw(ax: Axes, runs: Sequence[Compared], column: str, color: str, label: str) -> None:
    for i, one in enumerate(runs):
        if column in one.table and STEPS in one.table:
            values = one.table[column]
            ax.plot(
                one.table[STEPS] / 1e6,
                smooth(values, max(1, len(values) // 60)),
                color=color,
                lw=1.3,
                alpha=0.9,
                label=label if i == 0 else None,
            )


def _gait(one: Compared) -> str:
    gait = one.gait
    time = np.arange(len(gait.power)) * gait.dt
    moving = np.argsort(-np.ptp(gait.position, axis=0))[:JOINTS_DRAWN]
    with page.drawing():
        figure, axes = plt.subplots(1, 3, figsize=(10.2, 2.6), layout="constrained")
        for row, foot in enumerate(gait.feet):
            touching = np.flatnonzero(gait.contact[:, row])
            axes[0].broken_barh([(time[t], gait.dt) for t in touching], (row - 0.35, 0.7), color=page.PALETTE[0])
            axes[0].text(-0.02 * time[-1], row, foot, ha="right", va="center", fontsize=8)
        axes[0].set(xlim=(0.0, time[-1] + gait.dt), ylim=(len(gait.feet) - 0.4, -0.6), yticks=[])
        axes[0].set_title("on the ground")
        for j, color in zip(sorted(moving), page.PALETTE, strict=False):
            axes[1].plot(time, gait.position[:, j], color=color, lw=1.2, label=gait.joints[j])
        axes[1].set_title("joints that move most, rad")
        axes[1].legend(fontsize=6, ncols=2)
        axes[2].plot(time, gait.power, color=page.PALETTE[1], lw=1.2)
        axes[2].set_title(f"mechanical power, W (mean {gait.power.mean():.2f})")
        axes[2].set_ylim(bottom=0.0)
        for ax in axes:
            ax.set_xlabel("s")
        return page.svg(figure)


def _origin(found: Sequence[Compared]) -> dict[str, str]:
    state = git_state()
    lines = {"measured on": page.machine_text(machine()), "commit": state["git_commit"] or "not in a repository"}
    for one in found:
        starts = read_meta(one.run.folder).get("starts", [])
        lines[one.run.folder.name] = "; then ".join(str(start.get("command")) for start in starts) or "unknown"
    return lines
