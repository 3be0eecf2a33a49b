"""A recording in pictures."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from robolearn.deploy.modes import Mode
from robolearn.deploy.types import Array
from robolearn.logging.curves import COLORS, GRID, INK, MUTED, STYLE
from robolearn.replay.packets import Series
from robolearn.replay.recording import Recording, mode_spans
from robolearn.replay.summary import LATE

MODE_COLORS = {
    Mode.IDLE: "#ffffff",
    Mode.STAND: "#fff3d6",
    Mode.READY: "#eef3e2",
    Mode.POLICY: "#ddeaf6",
    Mode.DAMPING: "#fbdcd3",
    Mode.ESTOP: "#f3b6ab",
}
REACTIONS = {"warn": "#e09f3e", "ramp_down": "#e09f3e", "stand": "#d6604d", "damping": "#b2182b", "estop": "#67001f"}
BEFORE, AFTER, MEASURED = COLORS[1], COLORS[2], COLORS[0]


def draw(recording: Recording, folder: str | Path, span: tuple[float, float] | None = None) -> list[Path]:
    """Draw everything that the recording has into PNG files in ``folder``, which is made; return their paths.

    Args:
        recording: what to draw.
        folder: for the files.
        span: s, first and last moment; None for all.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if span is not None:
        recording = cut(recording, *span)
    drawn = []
    for name, make in PICTURES.items():
        with plt.rc_context(STYLE):  # type: ignore[arg-type]
            figure = make(recording)
            if figure is not None:
                drawn.append(folder / f"{name}.png")
                figure.savefig(drawn[-1], dpi=110)
                plt.close(figure)
    return drawn


def cut(recording: Recording, begin: float, end: float) -> Recording:
    """Return the part of a recording between two moments, s."""

    def part(series: Series) -> Series:
        inside = (series.time >= begin) & (series.time <= end)
        fields = {name: values[inside] for name, values in series.fields.items()}
        return Series(series.time[inside], series.arrival[inside], fields)

    return replace(
        recording,
        states=part(recording.states),
        commands=part(recording.commands),
        wanted=part(recording.wanted),
        answered=part(recording.answered),
        ticks=part(recording.ticks),
        power=part(recording.power),
        velocity=part(recording.velocity),
        notes=tuple(note for note in recording.notes if begin <= note.time <= end),
    )


def roll_pitch(orientation: Array) -> tuple[Array, Array]:
    """Return roll and pitch (N,) in rad of unit quaternions (N, 4), w first, base to world."""
    w, x, y, z = orientation.T
    roll = np.arctan2(2 * (w * x + y * z), 1 - 2 * (x**2 + y**2))
    return roll, np.arcsin(np.clip(2 * (w * y - z * x), -1.0, 1.0))


def _positions(recording: Recording) -> Figure | None:
    def panel(axes: Axes, joint: int) -> None:
        for series, color, width in (
            (_stiff(recording.wanted), BEFORE, 1.4),
            (_stiff(recording.commands), AFTER, 0.9),
            (recording.states, MEASURED, 0.9),
        ):
            if len(series):
                axes.plot(series.time, series["position"][:, joint], color=color, linewidth=width)

    legend = [("measured", MEASURED), ("commanded, before limits", BEFORE), ("commanded, after limits", AFTER)]
    return _by_joint(recording, "Joint positions, rad", panel, legend)


def _velocities(recording: Recording) -> Figure | None:
    def panel(axes: Axes, joint: int) -> None:
        axes.plot(recording.states.time, recording.states["velocity"][:, joint], color=MEASURED, linewidth=0.8)

    return _by_joint(recording, "Joint velocities, rad/s", panel, [("measured", MEASURED)])


def _by_joint(
    recording: Recording, title: str, panel: Callable[[Axes, int], None], legend: Sequence[tuple[str, str]]
) -> Figure | None:
    """Draw one small diagram per joint, as many in a row as legs have joints."""
    if not len(recording.states):
        return None
    joints = recording.robot.joints
    width = 3 if len(joints) % 3 == 0 else min(4, len(joints))
    height = -(-len(joints) // width)
    size = (4.2 * width, 1.9 * height + 0.9)
    figure, grid = plt.subplots(height, width, figsize=size, squeeze=False, sharex=True, layout="constrained")
    for i, axes in enumerate(grid.flat):
        if i >= len(joints):
            axes.set_visible(False)
            continue
        axes.set_title(joints[i])
        panel(axes, i)
        _background(axes, recording)
        if i + width >= len(joints):
            axes.set_xlabel("s")
    lines = [Line2D([], [], color=color, label=label) for label, color in legend]
    _title(figure, recording, title, lines)
    return figure


def _base(recording: Recording) -> Figure | None:
    states = recording.states
    if not len(states):
        return None
    figure, grid = plt.subplots(4, 1, figsize=(11, 9), sharex=True, layout="constrained")
    roll, pitch = roll_pitch(states["orientation"])
    tilt, rate, linear, yaw = grid
    for axes, title, series, columns, names in (
        (tilt, "Base: roll and pitch, rad", states, (roll, pitch), ("roll", "pitch")),
        (rate, "Base: angular velocity, rad/s", states, states["angular_velocity"].T, ("x", "y", "z")),
    ):
        axes.set_title(title)
        for values, name, shade in zip(columns, names, COLORS, strict=False):
            axes.plot(series.time, values, color=shade, linewidth=0.9, label=name)
    command, followed = recording.velocity, _followed(recording)
    linear.set_title("Velocity command, m/s")
    yaw.set_title("Yaw rate: command and measured, rad/s")
    for axes, column, name, color in ((linear, 0, "vx", 0), (linear, 1, "vy", 1), (yaw, 2, "yaw rate", 0)):
        if len(command):
            axes.plot(
                command.time, command["command"][:, column], "--", color=COLORS[color], linewidth=0.9,
                drawstyle="steps-post", label=f"{name} asked for",
            )  # fmt: skip
        if len(followed) and column < followed["followed"].shape[1]:
            axes.plot(
                followed.time, followed["followed"][:, column], color=COLORS[color], linewidth=1.3,
                label=f"{name} given to the policy",
            )  # fmt: skip
    yaw.plot(states.time, states["angular_velocity"][:, 2], color=MUTED, linewidth=0.6, zorder=1, label="measured")
    for axes in grid:
        _background(axes, recording)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)
    yaw.set_xlabel("s")
    _title(figure, recording, "Base and velocity command", [])
    return figure


def _power(recording: Recording) -> Figure | None:
    power = recording.power
    if not len(power):
        return None
    figure, (above, below) = plt.subplots(2, 1, figsize=(11, 5.5), sharex=True, layout="constrained")
    above.set_title("Power, W: mean over each control cycle")
    above.plot(power.time, power.column("power"), color=MEASURED, linewidth=0.7)
    below.set_title("Energy, J")
    below.plot(power.time, power.column("energy") - power.column("energy")[0], color=MEASURED, linewidth=1.3)
    for axes in (above, below):
        axes.set_ylim(bottom=0.0)
        _background(axes, recording)
    below.set_xlabel("s")
    _title(figure, recording, "Mechanical power of the drives", [])
    return figure


def _timing(recording: Recording) -> Figure | None:
    ticks, answered = recording.ticks, recording.answered
    period = recording.robot.control_dt
    panels: list[tuple[str, Array, list[float]]] = []
    if len(ticks) > 1:
        now, wall = (1e3 * np.diff(ticks.column(name)) for name in ("now", "wall"))
        panels.append(("Control period", now, [1e3 * period, LATE * 1e3 * period]))
        if not np.allclose(now, wall, atol=1e-3):
            panels.append(("Control period, wall time", wall, []))
    if len(answered) and answered.column("inference_time").any():  # in simulated time it takes none
        budget = getattr(recording.robot.safety.inference_time, "limit", None)
        panels.append(("Inference", 1e3 * answered.column("inference_time"), [1e3 * budget] if budget else []))
    if not panels:
        return None
    figure, grid = plt.subplots(1, len(panels), figsize=(5.2 * len(panels), 3.6), squeeze=False, layout="constrained")
    for axes, (title, values, marks) in zip(grid.flat, panels, strict=True):
        axes.set_title(f"{title}, ms: median {np.median(values):.3g}, largest {values.max():.4g}")
        top = max(1.3 * float(np.percentile(values, 99.9)), *(1.1 * mark for mark in marks), 1e-3)
        axes.hist(np.minimum(values, top), bins=np.linspace(0.0, top, 120).tolist(), color=MEASURED)
        axes.set_yscale("log")
        axes.set_ylabel("number (the last bar has all above it)")
        for mark, style in zip(marks, ("-", "--"), strict=False):
            axes.axvline(mark, color=INK, linewidth=0.9, linestyle=style)
    _title(figure, recording, "Timing", [], modes=False)
    lines = [Line2D([], [], color=INK, linewidth=0.9, label="period, or budget of the inference")]
    lines.append(Line2D([], [], color=INK, linewidth=0.9, linestyle="--", label="from here a tick is late"))
    figure.legend(handles=lines, loc="outside lower left", ncols=2, fontsize=9)
    return figure


def _stiff(series: Series) -> Series:
    """Return commands with NaN where they hold nothing: the position means nothing then."""
    if not len(series):
        return series
    limp = ~series["kp"].astype(bool).any(axis=1, keepdims=True)
    return Series(series.time, series.arrival, {"position": np.where(limp, np.nan, series["position"])})


def _followed(recording: Recording) -> Series:
    return recording.ticks if len(recording.ticks) and recording.ticks["followed"].shape[1] else Series()


def _background(axes: Axes, recording: Recording) -> None:
    """Colour the modes, and mark what the checks found."""
    for begin, end, mode in mode_spans(recording):
        axes.axvspan(begin, end, color=MODE_COLORS[mode], linewidth=0, zorder=0)
    for time, reaction in _marks(recording):
        axes.axvline(time, color=REACTIONS[reaction], linewidth=0.9, linestyle=":", zorder=1)
    begin = min((float(each.time[0]) for each in (recording.states, recording.ticks) if len(each)), default=0.0)
    axes.set_xlim(begin, max(recording.duration, begin + 1e-3))
    axes.grid(color=GRID)
    axes.tick_params(length=0)


def _marks(recording: Recording) -> Iterator[tuple[float, str]]:
    """Yield (s, reaction) of events, one per tenth of a second and reaction."""
    found = [(n.time, str(n.data.get("reaction"))) for n in recording.notes if n.data.get("reaction") in REACTIONS]
    for (_, reaction), group in itertools.groupby(found, key=lambda each: (round(10 * each[0]), each[1])):
        yield next(group)[0], reaction


def _title(figure: Figure, recording: Recording, title: str, lines: list[Line2D], modes: bool = True) -> None:
    figure.suptitle(f"{title}    {recording.path.name}", x=0.01, ha="left", fontsize=12, fontweight="bold")
    seen = dict.fromkeys(mode for _, _, mode in mode_spans(recording)) if modes else {}
    patches = [Patch(facecolor=MODE_COLORS[mode], edgecolor=MUTED, linewidth=0.5, label=mode) for mode in seen]
    reactions = dict.fromkeys(reaction for _, reaction in _marks(recording)) if modes else {}
    events = [
        Line2D([], [], color=REACTIONS[each], linestyle=":", label=f"event: {each.replace('_', ' ')}")
        for each in reactions
    ]
    if handles := [*lines, *patches, *events]:  # more in one row would be wider than the figure
        figure.legend(handles=handles, loc="outside lower left", ncols=min(len(handles), 7), fontsize=9)


PICTURES: dict[str, Callable[[Recording], Figure | None]] = {
    "joints": _positions,
    "velocities": _velocities,
    "base": _base,
    "power": _power,
    "timing": _timing,
}
"""What is drawn, by the name of its file."""
