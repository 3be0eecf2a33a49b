"""The pictures of the transfer report, each one SVG text that stands in a page and takes on its colours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from robolearn.evaluate.page import PALETTE, drawing, svg
from robolearn.evaluate.sim2sim.curves import Axis, Crossing, Curve
from robolearn.evaluate.sim2sim.results import JOINT
from robolearn.evaluate.sim2sim.summary import Summary
from robolearn.logging.curves import INK, MUTED

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
MAP = "viridis"
"""Colours of heat maps: evenly bright for every kind of colour vision."""
PER_ROW = 3
HALF = 0.5

Look = dict[str, Any]


def looks(names: Sequence[str], first: str) -> dict[str, Look]:
    """Return colour, marker and line style for each name; the ``first`` one is drawn in ink."""
    others = [name for name in names if name != first]
    found: dict[str, Look] = {first: {"color": INK, "marker": "o", "linestyle": "-"}} if first in names else {}
    for i, name in enumerate(others):
        style = "-" if i < len(PALETTE) else "--"
        found[name] = {
            "color": PALETTE[i % len(PALETTE)],
            "marker": MARKERS[(i + 1) % len(MARKERS)],
            "linestyle": style,
        }
    return {name: found[name] for name in names}


def draw_overview(summary: Summary) -> str:
    """Draw score, survival under disturbance and retained fraction of every policy and simulator, with intervals."""
    panels = (
        ("Score (interquartile mean)", lambda e: e.score),
        ("Survived, everything disturbed", lambda e: e.survival.get(JOINT)),
        ("Retained fraction", lambda e: e.retained),
    )
    style = looks(summary.policies, summary.policies[0])
    rows = summary.simulators
    step = 0.7 / max(1, len(summary.policies))
    with drawing():
        height = 1.15 + max(0.3, 0.16 * len(summary.policies) + 0.1) * len(rows)
        figure, axes = plt.subplots(1, 3, figsize=(10.4, height), sharey=True, layout="constrained")
        for ax, (title, pick) in zip(axes, panels, strict=True):
            ax.set_title(title)
            for k, policy in enumerate(summary.policies):
                offset = (k - (len(summary.policies) - 1) / 2) * step
                for row, simulator in enumerate(rows):
                    estimate = summary.estimate(policy, simulator)
                    interval = None if estimate is None else pick(estimate)
                    if interval is None:
                        continue
                    ax.plot((interval.low, interval.high), (row + offset,) * 2, color=style[policy]["color"], lw=2.2)
                    ax.plot(interval.value, row + offset, style[policy]["marker"], color=style[policy]["color"], ms=5)
            ax.set_xlim(left=min(0.0, ax.get_xlim()[0]), right=max(1.02, ax.get_xlim()[1]))
            ax.grid(axis="y", visible=False)
            ax.tick_params(length=0)
        axes[2].axvline(1.0, color=MUTED, lw=0.8, zorder=0)
        axes[0].set_yticks(range(len(rows)), rows, color=INK)
        axes[0].set_ylim(len(rows) - 0.5, -0.5)
        if len(summary.policies) > 1:
            _legend(figure, style, line=False)
        return svg(figure)


def draw_scores(summary: Summary) -> str:
    """Draw the heat map policy x simulator of the score."""
    values = np.full((len(summary.policies), len(summary.simulators)), np.nan)
    for i, policy in enumerate(summary.policies):
        for j, simulator in enumerate(summary.simulators):
            estimate = summary.estimate(policy, simulator)
            if estimate is not None and estimate.score is not None:
                values[i, j] = estimate.score.value
    return _heat_map(values, summary.policies, summary.simulators, "score")


def draw_conditions(summary: Summary, policy: str, axes: Mapping[str, Axis]) -> str:
    """Draw the heat map simulator x perturbation of one policy: mean survival over the tested values."""
    mine = [curve for curve in summary.curves if curve.policy == policy]
    columns = list(dict.fromkeys(curve.perturbation for curve in mine))
    rows = list(dict.fromkeys(curve.simulator for curve in mine))
    values = np.full((len(rows), len(columns)), np.nan)
    for curve in mine:
        tested = [point.survival.value for point in curve.points if point.value != curve.nominal]
        if tested:
            values[rows.index(curve.simulator), columns.index(curve.perturbation)] = float(np.mean(tested))
    labels = [axes[name].label for name in columns]
    return _heat_map(values, rows, labels, "survived")


def draw_curves(summary: Summary, policy: str, axes: Mapping[str, Axis]) -> str:
    """Draw survival against the strength of each perturbation, one line per simulator, with 95 % intervals."""
    mine = [curve for curve in summary.curves if curve.policy == policy]
    names = list(dict.fromkeys(curve.perturbation for curve in mine))
    style = looks(list(dict.fromkeys(curve.simulator for curve in mine)), summary.reference)
    with drawing():
        figure, grid = _grid(len(names), 2.5)
        for ax, name in zip(grid, names, strict=True):
            shown = [curve for curve in mine if curve.perturbation == name]
            _draw_survival(ax, shown, style)
            ax.set_title(axes[name].label)
            ax.set_xlabel(_unit(axes[name]))
        for ax in grid[::PER_ROW]:
            ax.set_ylabel("survived")
        _legend(figure, style)
        return svg(figure)


def draw_failures(summary: Summary, policy: str, axes: Mapping[str, Axis]) -> str:
    """Draw where half of the robots fall: the value with its interval, or an arrow where it was not reached."""
    mine = [curve for curve in summary.curves if curve.policy == policy]
    names = list(dict.fromkeys(curve.perturbation for curve in mine))
    rows = list(dict.fromkeys(curve.simulator for curve in mine))
    style = looks(rows, summary.reference)
    with drawing():
        figure, grid = _grid(len(names), 0.85 + 0.26 * len(rows))
        for ax, name in zip(grid, names, strict=True):
            shown = [curve for curve in mine if curve.perturbation == name]
            for curve in shown:
                row = rows.index(curve.simulator)
                for side, sign in ((curve.down, -1), (curve.up, 1)):
                    _draw_crossing(ax, side, sign, row, style[curve.simulator])
                if curve.unsupported:
                    ax.annotate("cannot do it", (0.5, row), xycoords=("axes fraction", "data"), color=MUTED,
                                ha="center", va="center", fontsize=8)  # fmt: skip
            tested = [point.value for curve in shown for point in curve.points]
            if tested:  # every case may have failed
                margin = 0.04 * (max(tested) - min(tested))
                ax.set_xlim(min(tested) - margin, max(tested) + margin)
            ax.axvline(axes[name].nominal, color=MUTED, lw=0.8, linestyle=":")
            ax.set_title(axes[name].label)
            ax.set_xlabel(_unit(axes[name]))
            ax.set_yticks(range(len(rows)), rows, color=INK)
            ax.set_ylim(len(rows) - 0.5, -0.5)
            ax.grid(axis="y", visible=False)
            ax.tick_params(length=0)
        for i, ax in enumerate(grid):
            if i % PER_ROW:
                ax.set_yticklabels([])
        return svg(figure)


def _draw_survival(ax: Axes, shown: Sequence[Curve], style: Mapping[str, Look]) -> None:
    for threshold in (0.5, 0.9):
        ax.axhline(threshold, color=MUTED, lw=0.7, linestyle=":", zorder=1)
    for curve in shown:
        look = style[curve.simulator]
        x = [point.value for point in curve.points]
        low, high = ([getattr(point.survival, end) for point in curve.points] for end in ("low", "high"))
        ax.fill_between(x, low, high, color=look["color"], alpha=0.10, linewidth=0)
        ax.plot(x, [point.survival.value for point in curve.points], ms=3.5, lw=1.5, **look)
        for value in curve.lost:
            ax.plot(value, 0.0, "x", color=look["color"], ms=7, mew=2, clip_on=False)
        for crossing in (*curve.down, *curve.up):
            if crossing.threshold == HALF and crossing.value is not None:
                ax.plot(crossing.value, HALF, "|", color=look["color"], ms=12, mew=2)
    ax.set_ylim(-0.03, 1.03)
    ax.set_yticks((0, 0.5, 0.9, 1.0), ("0", "0.5", "0.9", "1"))
    ax.grid(axis="y", visible=False)
    ax.tick_params(length=0)


def _draw_crossing(ax: Axes, side: Sequence[Crossing], sign: int, row: int, look: Look) -> None:
    """Draw the crossing of one half in one direction (``sign``), if something was tested there."""
    found = next((crossing for crossing in side if crossing.threshold == HALF), None)
    if found is None:
        return
    color, beyond = look["color"], ">" if sign > 0 else "<"
    if found.value is None:
        ax.plot(found.limit, row, beyond, color=color, ms=7, markerfacecolor="none", mew=1.4, clip_on=False)
        return
    assert found.earliest is not None
    end = found.limit if found.latest is None else found.latest
    if found.latest is None:
        ax.plot(end, row, beyond, color=color, ms=5, clip_on=False)
    ax.plot((found.earliest, end), (row, row), color=color, lw=2.2)
    ax.plot(found.value, row, look["marker"], color=color, ms=5.5)


def _heat_map(values: np.ndarray, rows: Sequence[str], columns: Sequence[str], label: str) -> str:
    with drawing():
        size = (min(10.4, 2.9 + 0.78 * len(columns)), 1.35 + 0.34 * len(rows))
        figure, ax = plt.subplots(figsize=size, layout="constrained")
        shown = ax.pcolormesh(np.ma.masked_invalid(values), cmap=MAP, vmin=0, vmax=1, edgecolors="none")
        for i, j in np.ndindex(values.shape):
            known = not math.isnan(values[i, j])
            color = MUTED if not known else "#ffffff" if values[i, j] < 0.65 else "#000000"
            ax.text(j + 0.5, i + 0.5, f"{values[i, j]:.2f}" if known else "–", ha="center", va="center", color=color)
        ax.set_yticks(np.arange(len(rows)) + 0.5, rows, color=INK)
        ax.set_xticks(
            np.arange(len(columns)) + 0.5, columns, rotation=30, ha="right", rotation_mode="anchor", color=INK
        )
        ax.set_ylim(len(rows), 0)
        ax.grid(visible=False)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        bar = figure.colorbar(shown, ax=ax, label=label, fraction=0.03, pad=0.02)
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=0)
        return svg(figure)


def _unit(axis: Axis) -> str:
    return "times nominal" if axis.unit == "×" else axis.unit


def _grid(count: int, height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure with so many panels, each of a height in inches."""
    rows = -(-count // PER_ROW)
    size = (10.4, height * rows + 0.5)
    figure, grid = plt.subplots(rows, PER_ROW, figsize=size, squeeze=False, layout="constrained")
    for ax in grid.flat[count:]:
        ax.set_visible(False)
    return figure, list(grid.flat[:count])


def _legend(figure: Figure, style: Mapping[str, Look], line: bool = True) -> None:
    handles = [
        Line2D([], [], label=name, color=look["color"], marker=look["marker"], ms=5,
                   linestyle=look["linestyle"] if line else "")
        for name, look in style.items()
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=min(6, len(handles)))
