"""Learning curves: small multiples as PNG, and one line of blocks for the terminal."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from robolearn.logging.csv_log import read_csv

INK, MUTED, GRID = "#1f2933", "#7b8794", "#e4e7eb"
COLORS = ("#2166ac", "#d6604d", "#1b7837", "#8c6bb1")
BLOCKS = "▁▂▃▄▅▆▇█"
STEPS = "train/total_steps"


@dataclass(frozen=True)
class Panel:
    """One small diagram.

    Attributes:
        title: what it shows, with its unit.
        lines: metric and label of each line; metrics that were not logged are left out.
        limits: lower and upper end of the vertical axis; None adapts.
        log: logarithmic vertical axis.
    """

    title: str
    lines: tuple[tuple[str, str], ...]
    limits: tuple[float | None, float | None] = (None, None)
    log: bool = False


PANELS = (
    Panel("Return of an episode", (("train/mean_reward", ""),)),
    Panel(
        "Tracking (1 = perfect)",
        (("env/term/track_linear_velocity", "velocity"), ("env/term/track_yaw_rate", "yaw rate")),
        (0.0, 1.0),
    ),
    Panel("Length of an episode, steps", (("train/mean_episode_length", ""),), (0.0, None)),
    Panel("Mechanical power, W", (("cost/mechanical_power", ""),), (0.0, None)),
    Panel("Value loss", (("loss/value", ""),), log=True),
    Panel("Action noise (std)", (("ppo/std", ""),), (0.0, None)),
    Panel("KL divergence and step size", (("ppo/kl", "KL"), ("ppo/learning_rate", "step size")), log=True),
    Panel("Environment steps per second", (("time/fps", ""),), (0.0, None)),
    Panel("Terrain level", (("env/curriculum/level", ""),), (0.0, None)),
)
STYLE = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "text.color": INK,
    "legend.frameon": False,
    "figure.facecolor": "white",
}


def smooth(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Return the centred moving mean of (R,) values over ``window`` rows, NaN left out; shorter windows at the ends."""
    known = np.where(np.isnan(values), 0.0, values)
    weight = (~np.isnan(values)).astype(float)
    kernel = np.ones(max(1, window))
    total = np.convolve(known, kernel, "full")
    count = np.convolve(weight, kernel, "full")
    start = (len(kernel) - 1) // 2
    total, count = total[start : start + len(values)], count[start : start + len(values)]
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)


def draw_curves(table: str | Path, path: str | Path, title: str) -> bool:
    """Draw the learning curves of a metrics table; False when there are not yet two rows to draw."""
    columns = read_csv(table)
    if len(columns.get("iteration", ())) < 2:
        return False
    x, unit = _horizontal(columns)
    wanted = (*PANELS, *_constraint_panels(columns))
    panels = [panel for panel in wanted if any(_has(columns, name) for name, _ in panel.lines)]
    width = 4 if len(panels) > 6 else 3
    height = -(-len(panels) // width)
    with plt.rc_context(STYLE):  # type: ignore[arg-type]
        size = (3.4 * width, 2.45 * height + 0.55)
        figure, grid = plt.subplots(height, width, figsize=size, squeeze=False, layout="constrained")
        for axes, panel in zip(grid.flat, panels, strict=False):
            _draw_panel(axes, panel, columns, x)
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        for i, axes in enumerate(grid.flat[: len(panels)]):
            if i + width >= len(panels):
                axes.set_xlabel(unit)
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
        partial = Path(path).with_suffix(".partial.png")
        figure.savefig(partial, dpi=110)
        plt.close(figure)
    partial.replace(path)
    return True


def _constraint_panels(columns: dict[str, NDArray[np.float64]]) -> tuple[Panel, ...]:
    """Panels of constrained learning: what each constraint has spent of its budget, and its multiplier."""
    names = [name.split("/")[1] for name in columns if name.startswith("eco/") and name.endswith("/share")]

    def lines(what: str) -> tuple[tuple[str, str], ...]:
        return tuple((f"eco/{name}/{what}", name) for name in names)

    return (
        Panel("Share of the budget", lines("share"), (0.0, None), log=True),  # from ten times as much down to 1
        Panel("Multiplier", lines("multiplier"), (0.0, None)),
    )


def _has(columns: dict[str, NDArray[np.float64]], name: str) -> bool:
    return name in columns and bool(np.isfinite(columns[name]).any())


def _horizontal(columns: dict[str, NDArray[np.float64]]) -> tuple[NDArray[np.float64], str]:
    if not _has(columns, STEPS):
        return columns["iteration"], "iteration"
    steps = columns[STEPS]
    scale, word = (1e6, "million") if np.nanmax(steps) >= 2e5 else (1e3, "thousand")
    return steps / scale, f"{word} environment steps"


def _draw_panel(axes: Axes, panel: Panel, columns: dict[str, NDArray[np.float64]], x: NDArray[np.float64]) -> None:
    axes.set_title(panel.title)
    shown = [(name, label) for name, label in panel.lines if _has(columns, name)]
    for (name, label), color in zip(shown, itertools.cycle(COLORS), strict=False):
        y = columns[name]
        window = max(1, len(y) // 40)
        axes.plot(x, y, color=color, alpha=0.22, linewidth=0.8)
        axes.plot(x, smooth(y, window), color=color, linewidth=1.6, label=label or None)
    if panel.log and all(np.nanmin(columns[name]) > 0 for name, _ in shown):
        axes.set_yscale("log")
    else:
        axes.set_ylim(*panel.limits)
    if len(shown) > 1:
        axes.legend(loc="best", fontsize=8)
    axes.margins(x=0.01)
    axes.tick_params(length=0)


def sparkline(values: Sequence[float] | NDArray[np.float64], width: int = 40) -> str:
    """Return values as one line of blocks, lowest to highest; thinned to ``width`` by the mean of equal parts."""
    data = np.asarray(values, dtype=float)
    data = data[np.isfinite(data)]
    if not data.size:
        return ""
    parts = np.array([part.mean() for part in np.array_split(data, min(width, data.size))])
    low, high = parts.min(), parts.max()
    share = (parts - low) / (high - low) if high > low else np.full(parts.shape, 0.5)
    return "".join(BLOCKS[min(len(BLOCKS) - 1, int(s * len(BLOCKS)))] for s in share)
