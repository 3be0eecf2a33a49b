"""Runs of one robot side by side: what each does, what it spends, and how it was learned."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from robolearn.config import ConfigError, unknown
from robolearn.evaluate.rollout import SETTLE_S, Array, Player, Trace, per_environment, quiet, rollout, steady_means
from robolearn.evaluate.statistics import Interval, bootstrap_mean, wilson
from robolearn.logging.csv_log import read_csv
from robolearn.methods.eco.config import BUDGET
from robolearn.rl import load_policy
from robolearn.rl.checkpoint import read_checkpoint
from robolearn.run_folder import METRICS as TABLE
from robolearn.run_folder import Run

if TYPE_CHECKING:
    from robolearn.experiment import ExperimentConfig

TAIL = 20
"""Iterations at the end of a training over which its figures are averaged."""
UNSEEN = ("name", "observations", "costs", "settings")
"""Sections of a task that change what a policy knows of it, not what happens or what it earns."""
GAIT_S = 2.2
"""s of a gait that are drawn: four periods of BRUCE's clock."""


@dataclass(frozen=True)
class Gait:
    """Some seconds of one robot, T control steps.

    Attributes:
        dt: s per step.
        feet: names, F.
        contact: (T, F) bool, the foot touches the ground.
        joints: names, J.
        position: (T, J) rad.
        power: (T,) W.
    """

    dt: float
    feet: tuple[str, ...]
    contact: NDArray[np.bool_]
    joints: tuple[str, ...]
    position: Array
    power: Array


@dataclass(frozen=True)
class Compared:
    """What was measured of one run, with mean actions unless said otherwise.

    Attributes:
        label: runs with the same label are seeds of one experiment.
        run: where it is.
        cost: mean of the compared cost.
        reward: per second, as the task gives it.
        speed_error: size of commanded minus mean velocity in the plane, m/s.
        survival: share of the episodes without a fall.
        settings: of the policy, while it was measured.
        learned_cost: mean of the cost over the last ``TAIL`` iterations of the training, with its sampled actions. Of a
            policy for many budgets: at the one of ``settings``; NaN where no multiplier is kept at it.
        budget: bound on that mean; NaN where the run has none.
        violation: see ``violation_area``; NaN without a budget.
        steps: environment steps of the training; NaN when unknown.
        table: the training's metrics by name, up to the checkpoint.
        gait: how it moves.
    """

    label: str
    run: Run
    cost: Interval
    reward: Interval
    speed_error: Interval
    survival: Interval
    settings: dict[str, float]
    learned_cost: float
    budget: float
    violation: float
    steps: float
    table: dict[str, Array]
    gait: Gait


def compare(
    runs: Sequence[tuple[str, Run]],
    cost: str,
    seeds: Sequence[int] = (0,),
    num_envs: int = 64,
    settings: Mapping[str, float] | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> list[Compared]:
    """Measure runs, each on its own task, as ``evaluate`` does: no pushes, one command per episode, mean actions.

    Args:
        runs: label and run of each; all of one robot.
        cost: a cost that all their tasks report.
        seeds: one set of roll-outs per seed; the same for every run.
        num_envs: robots per seed.
        settings: of the policies that have them, by name; all others are at their defaults.
        tell: called with a line about what is done next.

    Raises:
        ConfigError: different robots, one label for different experiments, a task without that cost, or a setting that
            no policy has.
    """
    robots = {run.config.robot for _, run in runs}
    if len(robots) != 1:
        raise ConfigError(f"runs of one robot can be compared, these are of {', '.join(map(str, sorted(robots)))}")
    for _, run in runs:
        if cost not in run.config.task.costs:
            raise unknown("cost", cost, run.config.task.costs, f"{run.folder}: task {run.config.task.name}")
    known = {name for _, run in runs for name in run.config.task.settings}
    for name in settings or {}:
        if name not in known:
            raise unknown("setting", name, known, "these runs")
    for (label, run), (other, second) in itertools.combinations(runs, 2):
        if label == other and (named := experiment_differences(run.config, second.config)):
            raise ConfigError(
                f"{run.folder} and {second.folder} have the label {label}, as seeds of one experiment, but differ in "
                f"{', '.join(named)}: give each its own, LABEL=RUN"
            )
    found = []
    for i, (label, run) in enumerate(runs):
        tell(f"{i + 1}/{len(runs)} {label}: {run.checkpoint}")
        found.append(_measure(label, run, cost, seeds, num_envs, settings or {}))
    return found


def _measure(
    label: str, run: Run, cost: str, seeds: Sequence[int], num_envs: int, settings: Mapping[str, float]
) -> Compared:
    from robolearn.experiment import make_env

    policy, config = load_policy(run.checkpoint, run.config.env.device), quiet(run.config)
    traces: list[Trace] = []
    for seed in seeds:
        env = make_env(config, num_envs=num_envs, seed=seed)
        held = env.settings.complete({name: settings[name] for name in settings if name in config.task.settings})
        env.settings.fix(held)
        traces.append(rollout(env, policy))
        episode_s = env.max_episode_length * env.step_dt
        env.close()
    if not any(trace.counted().any() for trace in traces):
        raise ConfigError(f"{run.checkpoint}: every robot fell within {SETTLE_S:g} s; there is nothing to compare")
    rewards = np.concatenate([trace.mean_reward() for trace in traces]) / traces[0].dt
    costs = np.concatenate([trace.mean_cost(cost) for trace in traces])
    means = [steady_means(trace) for trace in traces]
    missed = np.concatenate([np.linalg.norm((asked - done)[:, :2], axis=1) for asked, done in means])
    stood = np.concatenate([per_environment(trace)["survival"] for trace in traces])
    table = history(run)
    name, budget = budget_of(run.config, cost, episode_s)
    given = run.config.eco.conditioning if run.config.eco else None
    conditioned = given is not None and given.constraint == name
    learned = tail_mean(table.get(f"cost/{cost}", np.zeros(0)))
    if conditioned:
        budget *= held[BUDGET]
        learned = budget * tail_mean(table.get(f"eco/{name}/share_{held[BUDGET]:g}", np.zeros(0)))
    return Compared(
        label=label,
        run=run,
        cost=bootstrap_mean(costs),
        reward=bootstrap_mean(rewards),
        speed_error=bootstrap_mean(missed),
        survival=wilson(int(stood.sum()), stood.size),
        settings=held,
        learned_cost=learned,
        budget=budget,
        violation=violation_area(table, cost, name if conditioned else "", budget),
        steps=float(np.append(np.nan, table.get("train/total_steps", np.zeros(0)))[-1]),
        table=table,
        gait=record_gait(run, seeds[0], held),
    )


def history(run: Run) -> dict[str, Array]:
    """Return the metrics of the training by name, up to the iteration of the checkpoint; empty where none are kept."""
    path = run.folder / TABLE
    if not path.is_file():
        return {}
    table = read_csv(path)
    last = read_checkpoint(run.checkpoint).get("counters", {}).get("iteration")
    if last is None or "iteration" not in table:
        return table
    kept = table["iteration"] <= last
    return {name: values[kept] for name, values in table.items()}


def tail_mean(values: Array) -> float:
    """Return the mean over the last ``TAIL`` iterations of what is known; NaN where nothing is."""
    known = values[-TAIL:][np.isfinite(values[-TAIL:])]
    return float(known.mean()) if known.size else float("nan")


def experiment_differences(one: ExperimentConfig, other: ExperimentConfig) -> list[str]:
    """Return the sections in which two experiments differ that should be one: where and for how long it ran is none."""
    names = ("robot", "task", "network", "ppo", "eco")
    return [name for name in names if getattr(one, name) != getattr(other, name)]


def task_differences(one: ExperimentConfig, other: ExperimentConfig) -> list[str]:
    """Return the sections in which two experiments, as they are measured, differ in what happens or what is earned."""
    tasks = quiet(one).task, quiet(other).task
    names = (entry.name for entry in fields(tasks[0]) if entry.name not in UNSEEN)
    return [name for name in names if getattr(tasks[0], name) != getattr(tasks[1], name)]


def budget_of(config: ExperimentConfig, cost: str, episode_s: float) -> tuple[str, float]:
    """Return the name of the constraint on a cost and its bound on the mean cost; ``""`` and NaN without one.

    A shaped reward has a price instead, and no bound.
    """
    if config.eco is None:
        return "", float("nan")
    for name, entry in config.eco.constraints.items():
        if entry.cost == cost:
            return name, float("nan") if config.eco.algorithm == "shaped" else entry.rate(episode_s)
    return "", float("nan")


def violation_area(table: Mapping[str, Array], cost: str, conditioned: str, budget: float) -> float:
    """Return the mean over all iterations of the share by which a cost exceeds its bound; NaN without one.

    Of the cost per time survived, whatever the constraint bounds: of an episode's sum, falls would make it look small.

    Args:
        table: the training's metrics.
        cost: name of the cost.
        conditioned: the constraint, where each episode has a budget of its own: its mean share is taken.
        budget: bound on the mean cost; NaN without one.
    """
    shares = table.get(f"eco/{conditioned}/share" if conditioned else f"cost/{cost}", np.zeros(0))
    shares = shares[np.isfinite(shares)] / (1.0 if conditioned else budget)
    return float(np.maximum(shares - 1.0, 0.0).mean()) if shares.size else float("nan")


@torch.no_grad()
def record_gait(run: Run, seed: int, settings: Mapping[str, float], seconds: float = GAIT_S) -> Gait:
    """Record how one robot moves under mean actions once it is up to speed; a fall begins anew."""
    from robolearn.experiment import make_env

    env = make_env(quiet(run.config), num_envs=1, seed=seed)
    env.settings.fix(settings)
    player = Player(load_policy(run.checkpoint, run.config.env.device), 1)
    contact, position, power = [], [], []
    obs, settle = env.reset(), round(2 * SETTLE_S / env.step_dt)
    for t in range(settle + round(seconds / env.step_dt)):
        result = env.step(player(obs))
        obs = result.obs
        player.forget(result.final_ids)
        if t >= settle:
            contact.append(env.state.foot_contact[0].cpu().numpy().copy())
            position.append(env.state.joint_position[0].double().cpu().numpy().copy())
            power.append(float(env.state.power[0]))
    robot, dt = env.robot, env.step_dt
    env.close()
    return Gait(
        dt,
        tuple(foot.name for foot in robot.feet),
        np.array(contact),
        robot.joints,
        np.array(position),
        np.array(power),
    )


COLUMNS = (
    "label", "run", "checkpoint", "steps", "seed", "budget", "learned_cost", "violation",
    *(f"{name}{end}" for name in ("cost", "reward", "speed_error", "survival") for end in ("", "_low", "_high")),
)  # fmt: skip


def write_table(found: Sequence[Compared], path: Path) -> None:
    """Write one line per run as CSV."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for one in found:
            row: dict[str, object] = {
                "label": one.label, "run": one.run.folder.name, "checkpoint": one.run.checkpoint.name,
                "steps": one.steps, "seed": one.run.config.seed,
                "budget": one.budget, "learned_cost": one.learned_cost, "violation": one.violation,
            }  # fmt: skip
            for name in ("cost", "reward", "speed_error", "survival"):
                interval: Interval = getattr(one, name)
                row |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
            writer.writerow(
                {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()}
            )


def dominates(one: Compared, other: Compared) -> bool:
    """Whether ``one`` spends no more, falls no more often and earns no less than ``other``, and is better in one."""
    pairs = [
        (-one.cost.value, -other.cost.value),
        (one.survival.value, other.survival.value),
        (one.reward.value, other.reward.value),
    ]
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


def separated(one: Interval, other: Interval) -> bool:
    """Whether two intervals have nothing in common."""
    return one.high < other.low or other.high < one.low


def by_label(found: Sequence[Compared]) -> dict[str, list[Compared]]:
    """Group runs by label, in the order given."""
    groups: dict[str, list[Compared]] = {}
    for one in found:
        groups.setdefault(one.label, []).append(one)
    return groups
