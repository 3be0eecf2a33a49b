"""Deterministic roll-outs of a policy, and what they measure in physical units."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robolearn.evaluate.statistics import Interval, bootstrap_mean, wilson
from robolearn.evaluate.transport import cost_of_transport, speed_along
from robolearn.rl.networks import ActorCritic
from sim.commands import VelocityCommandConfig
from sim.environment import TaskEnv
from sim.interface import Observations

if TYPE_CHECKING:
    from robolearn.experiment import ExperimentConfig

Array = NDArray[np.float64]
SETTLE_S = 1.0  # s at the start of an episode that do not count: the robot has to get up to speed
FALLEN = math.cos(math.radians(60.0))  # a base that leans further counts as fallen, whatever touches the ground


class Player:
    """Runs the deterministic part of a policy on N environments, with its memory.

    Args:
        policy: the networks.
        num_envs: N.
    """

    def __init__(self, policy: ActorCritic, num_envs: int) -> None:
        self.policy = policy
        self._group = policy.config.actor_group
        self._memory = policy.initial_actor_memory(num_envs)

    @torch.no_grad()
    def __call__(self, obs: Observations) -> Tensor:
        """Return the mean actions (N, A) for observations (N, D per group)."""
        actions, self._memory = self.policy(obs[self._group], self._memory)
        return actions

    def forget(self, ids: Tensor) -> None:
        """Clear the memory of environments (M,) whose episode ended."""
        if self._memory.shape[1]:
            self._memory[ids] = 0


@dataclass(frozen=True)
class Trace:
    """What N robots did in their first episode, T control steps.

    Attributes:
        dt: s per step.
        alive: (T, N) bool, the first episode still goes on at the end of the step; later values do not count.
        command: (T, N, 3) commanded vx, vy (m/s) and yaw rate (rad/s).
        velocity: (T, N, 3) vx, vy of the base in its own frame (m/s) and its yaw rate (rad/s).
        power: (T, N) W, mechanical power sum |tau dq|.
        action_rate: (T, N) mean over joints of |a_t - a_(t-1)|.
        fell: (N,) bool, a termination (not the time limit) ended the episode, or the base leant over 60 degrees.
        invalid: (N,) bool, the simulation itself failed.
        mass: kg, nominal mass of the robot.
        reward: (T, N) of each step, as the task gives it.
        costs: (T, N) each cost of the task by name, in its unit.
    """

    dt: float
    alive: NDArray[np.bool_]
    command: Array
    velocity: Array
    power: Array
    action_rate: Array
    fell: NDArray[np.bool_]
    invalid: NDArray[np.bool_]
    mass: float
    reward: Array
    costs: dict[str, Array] = field(default_factory=dict)

    def counted(self, settle_s: float = SETTLE_S) -> NDArray[np.bool_]:
        """Return (T, N) bool: steps after ``settle_s`` in which the first episode goes on."""
        counted = self.alive.copy()
        counted[: round(settle_s / self.dt)] = False
        return counted

    def mean_cost(self, name: str, settle_s: float = SETTLE_S) -> Array:
        """Return (N,) the mean of a cost over the counted steps; NaN where there are none."""
        return _mean(self.costs[name], self.counted(settle_s))

    def mean_reward(self, settle_s: float = SETTLE_S) -> Array:
        """Return (N,) the mean reward of a counted step; NaN where there are none."""
        return _mean(self.reward, self.counted(settle_s))

    @property
    def survived(self) -> NDArray[np.bool_]:
        """(N,) bool: neither fell nor failed."""
        return ~(self.fell | self.invalid)


def planar_velocity(env: TaskEnv) -> Tensor:
    """Return (N, 3): vx, vy of the base in its own frame (m/s) and its yaw rate (rad/s)."""
    s = env.state
    return torch.cat((s.base_linear_velocity[:, :2], s.base_angular_velocity[:, 2:3]), 1)


@torch.no_grad()
def rollout(
    env: TaskEnv,
    policy: ActorCritic,
    steps: int | None = None,
    before_step: Callable[[int], None] | None = None,
    stop_when_all_fell: bool = True,
) -> Trace:
    """Run the first episode of every environment with the policy's mean actions.

    Args:
        env: the environment; it is reset first.
        policy: what acts.
        steps: control steps at most; the length of an episode when None.
        before_step: called with the number of each step before it: to push, to change commands.
        stop_when_all_fell: end early when no episode goes on.
    """
    steps = env.max_episode_length if steps is None else steps
    player = Player(policy, env.num_envs)
    obs = env.reset()
    alive = torch.ones(env.num_envs, dtype=torch.bool, device=env.device)
    fell, invalid = torch.zeros_like(alive), torch.zeros_like(alive)
    rows: dict[str, list[Tensor]] = {name: [] for name in ("command", "velocity", "power", "action_rate", "reward")}
    alive_rows: list[Tensor] = []
    costs: list[Tensor] = []
    for t in range(steps):
        if before_step is not None:
            before_step(t)
        command = env.state.command.clone()
        previous = env.state.action
        actions = player(obs)
        result = env.step(actions)
        obs = result.obs
        player.forget(result.final_ids)
        s = env.state
        ended = result.terminated | result.truncated | ~result.valid
        toppled = (s.projected_gravity[:, 2] > -FALLEN) & ~ended  # where it ended, the state is the next episode's
        fell |= alive & (result.terminated | toppled)
        invalid |= alive & ~result.valid
        alive = alive & ~(ended | toppled)
        alive_rows.append(alive)
        costs.append(result.costs)
        rows["command"].append(command)
        rows["velocity"].append(planar_velocity(env))
        rows["power"].append(s.power.clone())
        rows["reward"].append(result.reward)
        rows["action_rate"].append((s.action - previous).abs().mean(1))
        if stop_when_all_fell and not bool(alive.any()):
            break
    return Trace(
        dt=env.step_dt,
        alive=torch.stack(alive_rows).cpu().numpy(),
        fell=fell.cpu().numpy(),
        invalid=invalid.cpu().numpy(),
        mass=float(env.scene.model.body_mass.sum()),
        costs=dict(zip(env.cost_names, torch.stack(costs).double().cpu().numpy().transpose(2, 0, 1), strict=True)),
        **{name: torch.stack(values).double().cpu().numpy() for name, values in rows.items()},
    )


@dataclass(frozen=True)
class Film:
    """What one robot did, T rows ``dt`` seconds apart.

    Attributes:
        qpos: (T, nq) generalised positions.
        command: (T, 3) commanded vx, vy (m/s, base frame) and yaw rate (rad/s).
        velocity: (T, 3) what the robot did, in the same layout.
        dt: s between two rows.
        title: what is shown.
        falls: number of episodes that ended in a fall.
    """

    qpos: Array
    command: Array
    velocity: Array
    dt: float
    title: str = ""
    falls: int = 0


Schedule = Sequence[tuple[float, tuple[float, float, float]]]
"""Commands in turn: how many seconds each holds, and vx, vy (m/s) and yaw rate (rad/s)."""
TOUR: Schedule = (
    (3.0, (0.8, 0.0, 0.0)),
    (2.0, (0.6, 0.0, 1.0)),
    (2.0, (0.0, 0.5, 0.0)),
    (1.0, (0.0, 0.0, 0.0)),
    (2.0, (-0.5, 0.0, -0.8)),
)
"""Forward, curve, sideways, stand, backward curve."""


def cut(schedule: Schedule, seconds: float | None) -> Schedule:
    """Return the first ``seconds`` of a schedule (all of it when None); the last command holds if it is too short."""
    if seconds is None:
        return schedule
    result, left = [], seconds
    for i, (length, command) in enumerate(schedule):
        length = left if i == len(schedule) - 1 else min(length, left)
        if length > 0:
            result.append((length, command))
        left -= length
    return result


def within(schedule: Schedule, commands: VelocityCommandConfig) -> Schedule:
    """Return a schedule with every command brought into the ranges of a task: a policy knows nothing beyond them."""
    ranges = (commands.vx, commands.vy, commands.yaw_rate)

    def nearest(command: tuple[float, float, float]) -> tuple[float, float, float]:
        vx, vy, turn = (min(max(value, low), high) for value, (low, high) in zip(command, ranges, strict=True))
        return vx, vy, turn

    return [(length, nearest(command)) for length, command in schedule]


def record(env: TaskEnv, policy: ActorCritic, schedule: Schedule = TOUR, title: str = "") -> Film:
    """Let environment 0 follow a schedule of commands and record it; after a fall it goes on from a new start.

    Args:
        env: the environment; it is reset first.
        policy: what acts.
        schedule: the commands.
        title: of the film.
    """
    player = Player(policy, env.num_envs)
    positions = env.engine.field("qpos")
    qpos, commands, velocities, falls = [], [], [], 0
    obs = env.reset()
    for seconds, command in schedule:
        env.commands.fix(torch.tensor(command, device=env.device))
        for _ in range(round(seconds / env.step_dt)):
            result = env.step(player(obs))
            obs = result.obs
            player.forget(result.final_ids)
            falls += int(result.terminated[0])
            qpos.append(positions[0].double().cpu().numpy().copy())
            commands.append(command)
            velocities.append(planar_velocity(env)[0].double().cpu().numpy())
    env.commands.fix(None)
    return Film(np.array(qpos), np.array(commands), np.array(velocities), env.step_dt, title, falls)


@dataclass(frozen=True)
class Metric:
    """One figure of a report.

    Attributes:
        label: what people read.
        unit: its unit.
        better: whether ``higher`` or ``lower`` is better.
    """

    label: str
    unit: str
    better: str


METRICS = {
    "velocity_error": Metric("planar velocity error (RMS)", "m/s", "lower"),
    "yaw_rate_error": Metric("yaw rate error (RMS)", "rad/s", "lower"),
    "velocity_tracking": Metric("velocity tracking, mean of exp(-error^2/0.25)", "", "higher"),
    "yaw_rate_tracking": Metric("yaw rate tracking, mean of exp(-error^2/0.25)", "", "higher"),
    "survival": Metric("episodes survived", "", "higher"),
    "power": Metric("mechanical power", "W", "lower"),
    "cost_of_transport": Metric("cost of transport, power/(m g speed along the command)", "", "lower"),
    "action_rate": Metric("change of the action per step", "", "lower"),
}


def per_environment(trace: Trace, settle_s: float = SETTLE_S) -> dict[str, Array]:
    """Return each metric of ``METRICS`` for every environment, (N,); NaN where an environment has none.

    Only steps after ``settle_s`` in which the first episode goes on count.
    """
    counted = trace.counted(settle_s)
    planar = ((trace.command - trace.velocity)[..., :2] ** 2).sum(-1)
    turning = (trace.command - trace.velocity)[..., 2] ** 2
    size = np.linalg.norm(trace.command[..., :2], axis=-1)
    speed = _mean(speed_along(trace.velocity, trace.command), counted)
    asked = _mean(size, counted)
    power = _mean(trace.power, counted)
    return {
        "velocity_error": np.sqrt(_mean(planar, counted)),
        "yaw_rate_error": np.sqrt(_mean(turning, counted)),
        "velocity_tracking": _mean(np.exp(-planar / 0.25), counted),
        "yaw_rate_tracking": _mean(np.exp(-turning / 0.25), counted),
        "survival": trace.survived.astype(float),
        "power": power,
        "cost_of_transport": cost_of_transport(power, trace.mass, speed, asked),
        "action_rate": _mean(trace.action_rate, counted),
    }


def _mean(values: Array, counted: NDArray[np.bool_]) -> Array:
    """Mean over time (T, N) -> (N,) where ``counted``; NaN where nothing is."""
    number = counted.sum(0)
    total = np.where(counted, values, 0.0).sum(0)
    return np.divide(total, number, out=np.full(number.shape, np.nan), where=number > 0)


def summarise(traces: list[Trace]) -> dict[str, Interval]:
    """Return every metric with a 95 % interval over all environments of all traces.

    Environments are independent draws of robot, ground and command, so they are what is resampled; survival gets a
    Wilson interval. A metric that no environment has is left out.
    """
    columns = [per_environment(trace) for trace in traces]
    merged = {name: np.concatenate([column[name] for column in columns]) for name in METRICS}
    result = {}
    for name, values in merged.items():
        if name == "survival":
            result[name] = wilson(int(values.sum()), values.size)
        elif np.isfinite(values).any():
            result[name] = bootstrap_mean(values)
    return result


def quiet(config: ExperimentConfig) -> ExperimentConfig:
    """Return the experiment as it is evaluated: as in training, but nothing pushes and each episode has one command."""
    task = config.task
    never = 2 * task.episode_s
    commands = dataclasses.replace(task.commands, resample_s=(never, never))
    disturbances = dataclasses.replace(task.disturbances, push=None, force=None)
    return dataclasses.replace(config, task=dataclasses.replace(task, commands=commands, disturbances=disturbances))


def steady_means(trace: Trace, settle_s: float = SETTLE_S) -> tuple[Array, Array]:
    """Return mean command and mean velocity of each environment while it walked, each (N, 3)."""
    counted = trace.counted(settle_s)
    commanded = np.stack([_mean(trace.command[..., i], counted) for i in range(3)], 1)
    measured = np.stack([_mean(trace.velocity[..., i], counted) for i in range(3)], 1)
    return commanded, measured


def tracking_share(trace: Trace, settle_s: float = SETTLE_S) -> float:
    """Return the share of the commanded velocity that robots follow on average: 1 - |error| / |command|.

    In the plane and for turning each over all robots together, so that one that was told to stand counts as well; the
    smaller of the two where both are commanded. A robot that fell before it was up to speed has no velocity: survival
    tells of it. NaN where nothing was commanded.
    """
    commanded, measured = steady_means(trace, settle_s)
    walked = np.isfinite(commanded).all(1)
    shares = []
    for axes in (slice(0, 2), slice(2, 3)):
        asked = float(np.square(commanded[walked, axes]).sum())
        missed = float(np.square((commanded - measured)[walked, axes]).sum())
        if asked > 0:
            shares.append(1.0 - math.sqrt(missed / asked))
    return min(shares, default=math.nan)
