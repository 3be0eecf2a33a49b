"""Runs under the policy, the same targets again from the same states, and how far apart two runs are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from robolearn.config import ConfigError
from robolearn.deploy.contract import PolicyContract
from robolearn.evaluate.sim2sim.diagnosis.probe import Array, Indices, States, evaluate, place, read, rotations, step
from robolearn.evaluate.sim2sim.world import World
from sim.robots.robot import Robot


@dataclass(frozen=True)
class Run:
    """T control steps of N robots under the policy.

    Attributes:
        states: T + 1 times (N, ...), before each step and after the last.
        targets: (T, N, J) rad.
        valid: (T, N) whether the simulator got through each step.
    """

    states: tuple[States, ...]
    targets: Array
    valid: Array

    def __len__(self) -> int:
        return len(self.targets)


@torch.no_grad()
def drive(world: World, start: States, command: Array, steps: int) -> Run:
    """Let the policy walk from N given states under commands (N, C)."""
    place(world, start)
    world.hold(torch.as_tensor(command, dtype=torch.float32))
    states, targets, valid = [read(world)], [], []
    for _ in range(steps):
        chosen = world.act(world.signals())
        result = world.step(chosen)
        targets.append(chosen.double().numpy().copy())
        valid.append(result.valid.cpu().numpy().copy())
        states.append(read(world))
    return Run(tuple(states), np.array(targets), np.array(valid))


def again(world: World, start: States, targets: Array) -> list[States]:
    """Give targets (M, H, J) from M given states; return the states after each of the H control steps."""
    size = start.qpos.shape[1]

    def run(ids: Indices) -> Array:
        place(world, start[ids])
        seen = []
        for target in np.moveaxis(targets[ids], 1, 0):
            step(world, target)
            now = read(world)
            seen.append(np.concatenate((now.qpos, now.qvel), 1))
        return np.stack(seen, 1)

    found = evaluate(world, len(start), run)
    return [States(row[:, :size], row[:, size:]) for row in np.moveaxis(found, 1, 0)]


class Ruler:
    """Measures the distance of states in what the policy saw of each signal in training: standard deviations.

    Attributes:
        names: (D,) what each column is.
        deviations: (D,) standard deviations in training, in SI units.
    """

    def __init__(self, contract: PolicyContract, robot: Robot) -> None:
        """Read the statistics of the newest frame.

        Raises:
            ConfigError: the policy reads none of the signals that a state has.
        """
        joints = [contract.robot.joints.index(joint) for joint in robot.joints]
        axes, all_axes = ("x", "y", "z"), list(range(3))
        labels: dict[str, tuple[Sequence[str], list[int]]] = {
            "joint_position": (robot.joints, joints),
            "joint_velocity": (robot.joints, joints),
            "base_angular_velocity": (axes, all_axes),
            "projected_gravity": (axes, all_axes),
        }
        names: list[str] = []
        deviations: list[float] = []
        self._used, start = [], 0
        for term in contract.observation.terms:
            std = np.array(contract.observation.statistics.std[start : start + term.width]) / np.array(term.scale)
            start += term.width
            if term.name in labels:
                entries, order = labels[term.name]
                names += [f"{term.name} {entry}" for entry in entries]
                deviations += std[order].tolist()
                self._used.append(term.name)
        if not names:
            raise ConfigError(
                "the policy's observation holds no joint position, joint velocity, angular velocity or gravity: "
                "there are no training statistics to measure a divergence with"
            )
        self.names, self.deviations = tuple(names), np.maximum(np.abs(deviations), np.finfo(np.float32).eps)

    def distance(self, world: World, a: States, b: States) -> Array:
        """Return ``|a - b|`` (M, D) in standard deviations."""
        return np.asarray(np.abs(self._columns(world, a) - self._columns(world, b)) / self.deviations)

    def _columns(self, world: World, states: States) -> Array:
        scene = world.env.scene
        values = {
            "joint_position": states.qpos[:, scene.joint_qpos],
            "joint_velocity": states.qvel[:, scene.joint_qvel],
            "base_angular_velocity": states.qvel[:, 3:6],
            "projected_gravity": -rotations(states.qpos[:, 3:7])[:, 2],
        }
        return np.concatenate([values[name] for name in self._used], 1)


def rms(values: Array, axis: int | None = None) -> Array:
    """Root of the mean square."""
    return np.asarray(np.sqrt((values**2).mean(axis)))
