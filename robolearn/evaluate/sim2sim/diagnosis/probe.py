"""How a simulator is questioned: states set, physics steps watched, runs recorded.

Only what every engine offers is used, so that MuJoCo, PyBullet and Drake are asked the same questions. No parameter of
the candidate is read: what it has is what it does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import mujoco
import numpy as np
import torch
from numpy.typing import NDArray

from robolearn.evaluate.sim2sim.world import World

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
AIR = 2.0
"""m by which a robot is lifted so that it touches nothing: a fall of 0.2 s takes 0.2 m of it."""
MARGIN = 0.1
"""Share of a joint's range that test poses keep from either end: a stop would push back."""
WIDE = 1.5
"""rad; test poses stay this near to the default pose where a joint has no stops."""


@dataclass(frozen=True)
class States:
    """M states: ``qpos`` (M, nq) and ``qvel`` (M, nv) in the layout of the engines."""

    qpos: Array
    qvel: Array

    def __len__(self) -> int:
        return len(self.qpos)

    def __getitem__(self, ids: Indices | slice) -> States:
        return States(self.qpos[ids], self.qvel[ids])

    def lifted(self) -> States:
        """Return the same states in the air."""
        qpos = self.qpos.copy()
        qpos[:, 2] += AIR
        return States(qpos, self.qvel)


def read(world: World) -> States:
    """Return the present states (N, ...) of the simulator itself, not what sensors say."""
    return States(*(world.env.engine.field(name).double().cpu().numpy().copy() for name in ("qpos", "qvel")))


def place(world: World, states: States) -> None:
    """Begin anew everywhere, from N given states; nothing of the past is left in sensors, drives or policies."""
    env = world.env
    world.reset()
    for name, values in (("qpos", states.qpos), ("qvel", states.qvel)):
        field = env.engine.field(name)
        field.copy_(torch.as_tensor(values).to(field))
    env.engine.forward()
    everyone = torch.arange(world.num_envs, device=env.device)
    env.state.refresh(everyone)
    env.sensing.reset(everyone)


def joints(world: World, states: States) -> tuple[Array, Array]:
    """Return positions and velocities (M, J) of the joints, in the order of the robot."""
    scene = world.env.scene
    return states.qpos[:, scene.joint_qpos], states.qvel[:, scene.joint_qvel]


def signals(world: World) -> dict[str, Array]:
    """Return what the sensors say, (N, width) each, as copies."""
    return {name: value.double().numpy().copy() for name, value in world.signals().items()}


def step(world: World, targets: Array) -> None:
    """One control period with joint targets (N, J) in rad, in the order of the robot."""
    world.step(torch.as_tensor(targets, dtype=torch.float32))


def sensor(world: World, columns: slice) -> Array:
    """Return columns of the engine's sensor data as triples, (N, K, 3)."""
    values = world.env.engine.field("sensordata")[:, columns].double().cpu().numpy().copy()
    return values.reshape(world.num_envs, -1, 3)


def evaluate(world: World, count: int, run: Callable[[Indices], Array]) -> Array:
    """Run ``count`` experiments, N at a time; return their results, (count, ...).

    Args:
        world: where.
        count: how many.
        run: called with the numbers (N,) of the experiments of a batch; returns (N, ...). The last batch is filled up
            with repetitions of the last experiment.
    """
    size, parts = world.num_envs, []
    for first in range(0, count, size):
        ids = np.minimum(np.arange(first, first + size), count - 1)
        parts.append(run(ids)[: count - first])
    return np.concatenate(parts)


@dataclass(frozen=True)
class Watched:
    """What happened in S physics steps, before each of them.

    Attributes:
        qpos, qvel: (S, N, ...) the state.
        ctrl: (S, N, J) N m, torques that the drives asked for.
        force, velocity: (S, N, F, 3) N and m/s in the world: contact force on the feet and their velocity, as the
            engine gave them after the step.
    """

    qpos: Array
    qvel: Array
    ctrl: Array
    force: Array
    velocity: Array


@contextmanager
def watching(world: World) -> Iterator[Callable[[], Watched]]:
    """Watch every physics step of what is done inside the block; call the given function for what was seen.

    Torques are computed at every physics step inside the environment, and all of it passes the engine's ``step``.
    """
    engine, scene = world.env.engine, world.env.scene
    seen: dict[str, list[Array]] = {name: [] for name in ("qpos", "qvel", "ctrl", "force", "velocity")}
    inner = engine.step

    def watched_step(substeps: int = 1, derived: bool = True) -> None:
        for name in ("qpos", "qvel", "ctrl"):
            seen[name].append(engine.field(name).double().cpu().numpy().copy())
        inner(substeps)
        seen["force"].append(sensor(world, scene.foot_force))
        seen["velocity"].append(sensor(world, scene.foot_velocity))

    vars(engine)["step"] = watched_step
    try:
        yield lambda: Watched(**{name: np.stack(values) for name, values in seen.items()})
    finally:
        del vars(engine)["step"]


def nominal(world: World, count: int) -> States:
    """Return the default pose at rest, level, at the origin, ``count`` times."""
    env, model = world.env, world.env.engine.model
    qpos = np.array(model.qpos0, dtype=float)
    qpos[:7] = 0, 0, env.robot.base_height, 1, 0, 0, 0
    qpos[env.scene.joint_qpos] = env.robot.default_pose
    return States(np.tile(qpos, (count, 1)), np.zeros((count, model.nv)))


def in_the_air(world: World, count: int, rng: np.random.Generator, speed: float) -> States:
    """Draw states far from the ground: any orientation, any pose away from the joints' stops.

    Args:
        world: whose robot.
        count: how many.
        rng: source of randomness.
        speed: standard deviation of all velocities, in m/s and rad/s.
    """
    states = nominal(world, count).lifted()
    low, high = np.array(world.env.robot.position_limit).T
    default = np.array(world.env.robot.default_pose)
    low, high = np.maximum(low, default - WIDE), np.minimum(high, default + WIDE)
    share = rng.uniform(MARGIN, 1 - MARGIN, (count, len(low)))
    states.qpos[:, world.env.scene.joint_qpos] = low + share * (high - low)
    quaternion = rng.normal(size=(count, 4))
    states.qpos[:, 3:7] = quaternion / np.linalg.norm(quaternion, axis=1, keepdims=True)
    states.qvel[:] = speed * rng.normal(size=states.qvel.shape)
    return states


def rotations(quaternions: Array) -> Array:
    """Return the matrices (M, 3, 3) that take base vectors to the world."""
    result = np.zeros((len(quaternions), 9))
    for matrix, quaternion in zip(result, quaternions, strict=True):
        mujoco.mju_quat2Mat(matrix, quaternion)
    return result.reshape(-1, 3, 3)
