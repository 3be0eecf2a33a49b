"""Measure a trained policy and write its report: figures with intervals, pictures, provenance."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import pyplot as plt

from robolearn.evaluate.pushes import DURATION_S, WATCH_S, PushResult, push_survival
from robolearn.evaluate.rollout import METRICS, Array, Trace, quiet, rollout, steady_means, summarise
from robolearn.evaluate.statistics import Interval
from robolearn.logging.csv_log import read_csv
from robolearn.logging.curves import COLORS, MUTED, STYLE, draw_curves
from robolearn.logging.progress import clock
from robolearn.rl import load_policy, read_checkpoint
from robolearn.rl.checkpoint import write_checkpoint
from robolearn.run_folder import CONFIG, CURVES, META, POLICY, machine, read_meta
from robolearn.run_folder import METRICS as TABLE

if TYPE_CHECKING:
    from robolearn.run_folder import Run

VELOCITY_CHANGES = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0)  # m/s; times the mass they give the impulses of the pushes
WALKING = 0.8  # share of the maximum tracking reward from which a policy counts as walking
WINDOW = 10  # iterations over which that is averaged
_AXES = (("forward velocity, m/s", "vx"), ("sideways velocity, m/s", "vy"), ("yaw rate, rad/s", "yaw rate"))


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes:
        metrics: figures of undisturbed walking, keys as in ``rollout.METRICS``.
        pushes: survival by impulse.
        seeds: seeds of the roll-outs.
        num_envs: environments per seed.
        steps: control steps per environment at most.
        commanded, measured: (M, 3) mean command and velocity of each environment while it walked.
        settings: what the operator had set.
    """

    metrics: dict[str, Interval]
    pushes: list[PushResult]
    seeds: tuple[int, ...]
    num_envs: int
    steps: int
    commanded: Array
    measured: Array
    settings: dict[str, float] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain values."""
        return {
            "metrics": {name: dataclasses.asdict(value) for name, value in self.metrics.items()},
            "pushes": [dataclasses.asdict(value) for value in self.pushes],
            "seeds": list(self.seeds),
            "num_envs": self.num_envs,
            "steps": self.steps,
            "settings": self.settings,
        }

    def text(self) -> str:
        """Return the figures as a table for the terminal."""
        width = max(len(metric.label) for metric in METRICS.values())
        count = len(self.seeds) * self.num_envs
        given = "".join(f", {name} {value:g}" for name, value in self.settings.items())
        lines = [f"{count} episodes ({len(self.seeds)} seeds x {self.num_envs}){given}, mean with 95 % interval"]
        for name, value in self.metrics.items():
            metric = METRICS[name]
            lines.append(f"  {metric.label:<{width}}  {value.text(metric.unit)}")
        if self.pushes:
            lines.append(f"survival {WATCH_S:.0f} s after a push of {DURATION_S} s from a random side, by impulse")
            lines += [
                f"  {push.impulse:6.1f} N s ({push.velocity_change:.1f} m/s x mass)  {push.survival.text(digits=2)}"
                for push in self.pushes
            ]
        return "\n".join(lines)


def evaluate(
    found: Run,
    seeds: Sequence[int] = (0, 1, 2),
    num_envs: int = 64,
    seconds: float | None = None,
    impulses: Sequence[float] | None = None,
    push_envs: int = 256,
    settings: Mapping[str, float] | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Evaluation:
    """Measure a policy on its own task: as it was trained, but with no pushes except those that are measured.

    Args:
        found: the policy and its experiment.
        seeds: one set of roll-outs per seed.
        num_envs: robots per seed.
        seconds: length of an episode; the task's when None.
        impulses: strengths of the pushes in N s; None chooses by the robot's mass, an empty list leaves them out.
        push_envs: robots for the pushes, dealt out among the impulses.
        settings: of the policy, by name; the others are at their defaults.
        tell: called with a line about what is done next.

    Raises:
        ConfigError, CheckpointError: the policy cannot be used.
    """
    from robolearn.experiment import make_env

    policy = load_policy(found.checkpoint, found.config.env.device)
    config = quiet(found.config)
    traces: list[Trace] = []
    env = None
    for seed in seeds:
        tell(f"{num_envs} robots walk, seed {seed}")
        env = make_env(config, num_envs=num_envs, seed=seed)
        held = env.settings.complete(settings or {})
        env.settings.fix(held)
        steps = env.max_episode_length if seconds is None else max(1, round(seconds / env.step_dt))
        traces.append(rollout(env, policy, steps))
        env.close()
    pushes: list[PushResult] = []
    if impulses is None:
        impulses = [round(change * traces[0].mass, 1) for change in VELOCITY_CHANGES]
    if impulses:
        tell(f"{push_envs} robots are pushed")
        env = make_env(config, num_envs=push_envs, seed=seeds[0])
        env.settings.fix(held)
        pushes = push_survival(env, policy, impulses, seeds[0])
        env.close()
    means = [steady_means(trace) for trace in traces]
    return Evaluation(
        metrics=summarise(traces),
        pushes=pushes,
        seeds=tuple(seeds),
        num_envs=num_envs,
        steps=max(len(trace.alive) for trace in traces),
        commanded=np.concatenate([commanded for commanded, _ in means]),
        measured=np.concatenate([measured for _, measured in means]),
        settings=held,
    )


def time_to_walk(table: dict[str, Array], share: float = WALKING) -> tuple[float, int] | None:
    """Return training seconds and environment steps until the robot walked.

    It walks when the mean of both tracking rewards, over the last ``WINDOW`` iterations, first reaches ``share``.

    Args:
        table: the metrics of a run, as ``read_csv`` gives them.
        share: of the maximum, which is 1 for both.

    Returns:
        None when it never did, or the table lacks the columns.
    """
    names = ("env/term/track_linear_velocity", "env/term/track_yaw_rate", "time/collect_s", "time/update_s")
    if any(name not in table for name in names):
        return None
    linear, yaw, collect, update = (table[name] for name in names)
    if len(linear) < WINDOW:
        return None
    means = np.convolve((linear + yaw) / 2, np.full(WINDOW, 1 / WINDOW), "valid")
    reached = np.nonzero(means >= share)[0]
    if not reached.size:
        return None
    first = int(reached[0]) + WINDOW - 1
    seconds = float(np.nansum(collect[: first + 1]) + np.nansum(update[: first + 1]))
    return seconds, int(table["train/total_steps"][first])


def draw_tracking(evaluation: Evaluation, path: Path) -> None:
    """Draw commanded against measured velocity, one point per episode."""
    with plt.rc_context(STYLE):  # type: ignore[arg-type]
        figure, axes = plt.subplots(1, 3, figsize=(10.2, 3.5), layout="constrained")
        for i, (ax, (label, _)) in enumerate(zip(axes, _AXES, strict=True)):
            x, y = evaluation.commanded[:, i], evaluation.measured[:, i]
            limit = 1.08 * max(0.1, float(np.nanmax(np.abs(x), initial=0.0)), float(np.nanmax(np.abs(y), initial=0.0)))
            ax.plot((-limit, limit), (-limit, limit), color=MUTED, linewidth=0.8, zorder=1)
            ax.scatter(x, y, s=10, color=COLORS[0], alpha=0.55, linewidths=0, zorder=2)
            ax.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", title=label, xlabel="commanded")
            ax.tick_params(length=0)
        axes[0].set_ylabel("measured")
        figure.savefig(path, dpi=110)
        plt.close(figure)


def draw_pushes(pushes: Sequence[PushResult], path: Path) -> None:
    """Draw survival by impulse with 95 % intervals."""
    x = np.array([push.impulse for push in pushes])
    value, low, high = (
        np.array([getattr(push.survival, name) for push in pushes]) for name in ("value", "low", "high")
    )
    with plt.rc_context(STYLE):  # type: ignore[arg-type]
        figure, ax = plt.subplots(figsize=(5.2, 3.4), layout="constrained")
        ax.fill_between(x, low, high, color=COLORS[0], alpha=0.18, linewidth=0)
        ax.plot(x, value, color=COLORS[0], marker="o", markersize=4)
        ax.set(ylim=(-0.03, 1.03), xlabel="impulse, N s")
        ax.set_title("Share still standing after a push (95 % interval)", pad=30)
        mass = max((p.impulse / p.velocity_change for p in pushes if p.velocity_change > 0), default=None)
        if mass is not None:
            above = ax.secondary_xaxis("top", functions=(_times(1 / mass), _times(mass)))
            above.set_xlabel("impulse / mass, m/s", fontsize=8)
            above.tick_params(length=0, labelsize=8)
        ax.tick_params(length=0)
        figure.savefig(path, dpi=110)
        plt.close(figure)


def _times(factor: float) -> Callable[[Any], Any]:
    return lambda x: x * factor


def write_report(folder: Path, found: Run, evaluation: Evaluation, command: str, video: str | None = None) -> Path:
    """Write the complete report of a run into ``folder`` and return the Markdown file.

    The folder then holds all that a release needs: ``policy.pt`` (weights only), ``config.yaml``, ``meta.json``,
    ``metrics.csv``, ``report.json``, pictures, and ``README.md`` that shows them.

    Args:
        folder: made if missing.
        found: the run.
        evaluation: its figures.
        command: the command line of this evaluation.
        video: name of a video in ``folder``, if there is one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in (CONFIG, META, TABLE):
        if (found.folder / name).is_file() and folder.resolve() != found.folder.resolve():
            shutil.copy(found.folder / name, folder / name)
    _slim(found.checkpoint, folder / POLICY)
    has_curves = draw_curves(folder / TABLE, folder / CURVES, found.config.name)
    draw_tracking(evaluation, folder / "tracking.png")
    if evaluation.pushes:
        draw_pushes(evaluation.pushes, folder / "pushes.png")
    table = read_csv(folder / TABLE)
    meta = read_meta(folder)
    data = {
        "experiment": found.config.name,
        "folder": folder.name if folder.is_absolute() else folder.as_posix(),
        "robot": found.config.robot,
        "task": found.config.task.name,
        "evaluation": {**evaluation.to_dict(), "command": command, "machine": machine()},
        "training": _training(table, meta),
    }
    (folder / "report.json").write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    text = _markdown(data, evaluation, CURVES if has_curves else None, video)
    path = folder / "README.md"
    path.write_text(text, encoding="utf-8")
    return path


def _slim(checkpoint: Path, path: Path) -> None:
    """Write a checkpoint that holds the policy alone: no simulator state, no optimiser."""
    state = read_checkpoint(checkpoint)
    write_checkpoint(path, {name: state[name] for name in ("policy", "meta", "counters") if name in state})


def _training(table: dict[str, Array], meta: dict[str, Any]) -> dict[str, Any]:
    starts = meta.get("starts", [])
    walk = time_to_walk(table)
    return {
        "commands": [start.get("command") for start in starts],
        "wall_s": round(sum(start.get("wall_s", 0.0) for start in starts), 1),
        "iterations": int(table["iteration"][-1]) if "iteration" in table else None,
        "steps": int(table["train/total_steps"][-1]) if "train/total_steps" in table else None,
        "time_to_walk_s": None if walk is None else round(walk[0], 1),
        "steps_to_walk": None if walk is None else walk[1],
        "config_hash": meta.get("config_hash"),
        "git_commit": starts[-1].get("git_commit") if starts else None,
        "git_dirty": starts[-1].get("git_dirty") if starts else None,
        "packages": starts[-1].get("packages") if starts else None,
        "machine": starts[-1].get("machine") if starts else None,
    }


def _machine_text(where: dict[str, Any] | None) -> str:
    if not where:
        return "unknown"
    gpu = f", {where['gpu']}" if where.get("gpu") else ""
    return f"{where.get('processor')}, {where.get('cores')} cores, {where.get('memory_gb')} GB{gpu}"


def _markdown(data: dict[str, Any], evaluation: Evaluation, curves: str | None, video: str | None) -> str:
    training, lines = data["training"], [f"# {data['experiment']}", ""]
    lines += [
        f"Robot `{data['robot']}`, task `{data['task']}`. Play it: `robolearn play {data['folder']}`.",
        "",
    ]
    if video:
        lines += [f"![the robot walks]({video})" if video.endswith(".gif") else f"Video: [{video}]({video})", ""]
    lines += ["## Walking", "", "| figure | mean | 95 % interval |", "|---|---|---|"]
    for name, value in evaluation.metrics.items():
        metric = METRICS[name]
        mean = f"{value.value:.3f} {metric.unit}".strip()
        lines.append(f"| {metric.label} | {mean} | {value.low:.3f} to {value.high:.3f} |")
    count = len(evaluation.seeds) * evaluation.num_envs
    lines += [
        "",
        f"{count} episodes of up to {evaluation.steps} control steps (seeds {', '.join(map(str, evaluation.seeds))}), "
        "deterministic actions, robots and sensors randomised as in training, one command per episode, no pushes; the "
        "first second of an episode does not count. Intervals: bootstrap over episodes; survival: Wilson.",
        "",
        "![commanded and measured velocity](tracking.png)",
        "",
    ]
    if evaluation.pushes:
        lines += ["## Pushes", "", "| impulse, N s | impulse / mass, m/s | survived | 95 % interval | robots |"]
        lines.append("|---|---|---|---|---|")
        lines += [
            f"| {push.impulse:.1f} | {push.velocity_change:.2f} | {push.survival.value:.2f} | "
            f"{push.survival.low:.2f} to {push.survival.high:.2f} | {push.survival.count} |"
            for push in evaluation.pushes
        ]
        lines += [
            "",
            f"One push of {DURATION_S} s at the base while walking, random horizontal direction; survived: no fall "
            f"within {WATCH_S:.0f} s.",
            "",
            "![survival by impulse](pushes.png)",
            "",
        ]
    lines += ["## Training", ""]
    if training["iterations"] is not None:
        lines.append(f"- {training['iterations']} iterations, {training['steps']:,} environment steps")
    if training["wall_s"]:
        lines.append(f"- wall time {clock(training['wall_s'])}")
    if training["time_to_walk_s"] is not None:
        lines.append(
            f"- walking (mean of both tracking rewards >= {WALKING:.0%} over {WINDOW} iterations) after "
            f"{clock(training['time_to_walk_s'])} and "
            f"{training['steps_to_walk']:,} steps"
        )
    lines += [f"- machine: {_machine_text(training['machine'])}"]
    lines += [f"- command: `{command}`" for command in training["commands"]]
    lines += [f"- configuration hash `{training['config_hash']}`, commit `{training['git_commit']}`"]
    lines += [
        f"- evaluated by: `{data['evaluation']['command']}` on {_machine_text(data['evaluation']['machine'])}",
        "",
    ]
    if curves:
        lines += [f"![learning curves]({curves})", ""]
    return "\n".join(lines)
