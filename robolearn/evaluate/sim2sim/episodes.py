"""Runs one case: a robot for each experiment, through an episode each, recorded and measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robolearn.deploy.onnx_file import PolicyFileError
from robolearn.evaluate.rollout import FALLEN
from robolearn.evaluate.sim2sim import scripts
from robolearn.evaluate.sim2sim.draws import stream
from robolearn.evaluate.sim2sim.measures import Trace, measure
from robolearn.evaluate.sim2sim.perturbations import Unsupported, apply, prepare, refusal, size_of, strengths
from robolearn.evaluate.sim2sim.results import Case, CaseResult, Experiment
from robolearn.evaluate.sim2sim.simulators import Simulator, find
from robolearn.evaluate.sim2sim.world import World, make_world
from sim.environment import TaskEnv
from sim.robots.robot import Robot

START_JOINTS, START_SPEED = 0.05, 0.1
"""rad and m/s: half-widths of the drawn offsets of each joint and of the base's velocity at the start."""
CHANNELS: dict[str, Callable[[TaskEnv], Tensor]] = {
    "position": lambda env: env.state.base_position,
    "orientation": lambda env: env.state.base_quat,
    "velocity": lambda env: env.state.base_linear_velocity,
    "angular_velocity": lambda env: env.state.base_angular_velocity,
    "joint_position": lambda env: env.state.joint_position,
    "joint_velocity": lambda env: env.state.joint_velocity,
    "torque": lambda env: env.state.torque,
    "power": lambda env: env.state.power,
    "foot_velocity": lambda env: env.state.foot_velocity,
    "foot_force": lambda env: env.state.foot_force,
}
"""What is recorded of the state after every control step."""


@dataclass(frozen=True)
class Recording:
    """An episode to look at.

    Attributes:
        trace: what the measures are computed from.
        qpos: (T, N, nq) float32, generalised positions after each step; the model is that of ``World.env.scene``.
    """

    trace: Trace
    qpos: NDArray[np.float32]


def run_case(
    case: Case, policy: Path | bytes, robot: Robot | None = None, seconds: float = scripts.SECONDS
) -> CaseResult:
    """Run a case and measure it. Whatever fails in its simulator becomes the result's ``error``.

    Args:
        case: the case.
        policy: the file of the policy, or its content.
        robot: the robot where it is not one that ships under the name in the file.
        seconds: length of an episode.

    Raises:
        ConfigError: unknown simulator or perturbation, or a value outside of its limits.
        PolicyFileError: the policy cannot be used.
    """
    began = time.perf_counter()
    find(case.simulator)
    strengths(case.perturbation, case.value, case.experiments)
    try:
        measures, error, kind = measure(record(case, policy, robot, seconds).trace), "", ""
    except PolicyFileError:
        raise
    except Exception as failure:  # a simulator may raise anything, and takes down only its own case
        measures, kind = {}, "unsupported" if isinstance(failure, Unsupported) else "failed"
        error = f"{type(failure).__name__}: {failure}".splitlines()[0]
    details = {"failure": kind} if kind else {}
    return CaseResult(case, measures, error, time.perf_counter() - began, details)


def record(
    case: Case,
    policy: Path | bytes,
    robot: Robot | None = None,
    seconds: float = scripts.SECONDS,
    fixed: bool = False,
) -> Recording:
    """Run a case and return what happened.

    Args:
        case, policy, robot, seconds: as for ``run_case``.
        fixed: follow the fixed script, the same in every experiment, instead of drawn ones.

    Raises:
        ConfigError: the case cannot be run in its simulator.
        PolicyFileError: the policy cannot be used.
    """
    simulator, what = find(case.simulator), (case.perturbation, case.value, case.experiments)
    world = _build(case, policy, robot, simulator, strengths(*what))
    try:
        dt = world.env.step_dt
        if fixed:
            script = scripts.fixed(world.contract.command, world.num_envs, seconds, dt)
        else:
            script = scripts.draw(world.contract.command, case.experiments, seconds, dt)
        world.reset()
        place(world.env, case.experiments)
        values = strengths(*what, size_of(world.env.robot))
        stage = apply(values, world.env, simulator, case.experiments, len(script))
        return run(world, script, stage.before_step, stage.measured)
    finally:
        world.close()


def _build(
    case: Case,
    policy: Path | bytes,
    robot: Robot | None,
    simulator: Simulator,
    values: Mapping[str, NDArray[np.float64]],
) -> World:
    try:
        return make_world(
            policy, case.simulator, len(case.experiments), robot, lambda task: prepare(task, values, simulator)
        )
    except KeyError as error:
        if not values:
            raise
        raise refusal(values, simulator, error) from error


def place(env: TaskEnv, experiments: Sequence[Experiment]) -> None:
    """Move every robot, just reset, by a small offset drawn for its experiment (N,); none begins in the ground."""
    ids = torch.arange(env.num_envs, device=env.device)
    joints = len(env.robot.joints)
    drawn = np.stack([stream(*experiment, "start").uniform(-1, 1, joints + 3) for experiment in experiments])
    offset = torch.from_numpy(drawn).to(env.device, env.engine.dtype)
    qpos, qvel = env.engine.field("qpos"), env.engine.field("qvel")
    qpos[:, env.state.joint_q] += START_JOINTS * offset[:, :joints]
    qvel[:, :3] += START_SPEED * offset[:, joints:]
    env.engine.forward()
    env.state.refresh(ids)
    feet = env.state.foot_position
    depth = env.scene.foot_clearance + env.terrain.heights_at(feet[..., :2]) - feet[..., 2]
    qpos[:, 2] += depth.amax(1).clamp(min=0).to(qpos)
    env.engine.forward()
    env.state.refresh(ids)
    env.sensing.forget(ids)


class Tape:
    """Records what N robots do in an episode, control step by control step.

    A robot has fallen when a body that must not touch the ground does, or the base leans over 60 degrees.

    Attributes:
        alive: (N,) bool, neither fallen nor diverged so far.
    """

    def __init__(self, env: TaskEnv) -> None:
        """Begin an episode of the robots in ``env``."""
        self._env = env
        self.alive = torch.ones(env.num_envs, dtype=torch.bool, device=env.device)
        self._fell, self._diverged = torch.zeros_like(self.alive), torch.zeros_like(self.alive)
        self._rows: dict[str, list[Tensor]] = {name: [] for name in (*CHANNELS, "alive", "target")}

    def take(self, targets: Tensor, valid: Tensor) -> None:
        """Record the state that a control step with joint targets (N, J) ended in; ``valid`` (N,): it is one."""
        s = self._env.state
        down = s.termination_contact | (s.projected_gravity[:, 2] > -FALLEN)
        self._diverged |= self.alive & ~valid
        self._fell |= self.alive & valid & down
        self.alive = self.alive & valid & ~down
        self._rows["alive"].append(self.alive)
        self._rows["target"].append(targets)
        for name, read in CHANNELS.items():
            self._rows[name].append(read(self._env).clone())

    def trace(self, script: scripts.Array) -> Trace:
        """Return what was recorded on a script (T, N, 3)."""
        env = self._env
        recorded = {name: torch.stack(values).cpu().numpy() for name, values in self._rows.items()}
        return Trace(
            dt=env.step_dt,
            steps=len(script),
            fell=self._fell.cpu().numpy(),
            diverged=self._diverged.cpu().numpy(),
            command=script[: len(recorded["alive"])].astype(np.float32),
            mass=_mass(env),
            effort_limit=env.actuators.effort_limit.expand_as(env.actuators.kp).double().cpu().numpy(),
            position_limit=np.array(env.robot.position_limit),
            **recorded,
        )


@torch.no_grad()
def run(
    world: World,
    script: scripts.Array,
    before_step: Callable[[int], None],
    measured: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]],
) -> Recording:
    """Let a world, which stands at the start, follow a script (T, N, 3), and record it.

    A world begins a diverged robot anew: from then on its rows are another episode's and count as little as those after
    a fall. The run ends early when no episode goes on.

    Args:
        world: the robots.
        script: the commands.
        before_step: called with the number of each control step before it.
        measured: from true signals to what the policies read.

    Raises:
        RuntimeError: a robot walked off the end of the ground.
    """
    env, tape = world.env, Tape(world.env)
    positions = env.engine.field("qpos")
    rows: list[Tensor] = []
    commands = torch.as_tensor(script, dtype=torch.float32, device=env.device)
    for step in range(len(script)):
        world.hold(commands[step])
        before_step(step)
        targets = world.act(measured(world.signals()))
        result = world.step(targets)
        if bool((tape.alive & result.valid & result.truncated).any()):  # the world has put it back to the start
            raise RuntimeError("a robot walked off the end of the ground: make the episode shorter")
        tape.take(targets, result.valid)
        rows.append(positions.clone())
        if not bool(tape.alive.any()):
            break
    return Recording(tape.trace(script), torch.stack(rows).cpu().numpy().astype(np.float32))


def _mass(env: TaskEnv) -> NDArray[np.float64]:
    """(N,) kg, payloads included."""
    if "body_mass" in env.engine.expanded:
        return env.engine.expand("body_mass").sum(1).double().cpu().numpy()
    return np.full(env.num_envs, float(env.scene.model.body_mass.sum()))
