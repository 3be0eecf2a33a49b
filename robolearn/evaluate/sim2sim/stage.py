"""A world about to be perturbed: its random numbers, the forces on its robots, and what becomes of its signals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from robolearn.evaluate.sim2sim.draws import stream
from robolearn.evaluate.sim2sim.results import Experiment
from sim.environment import TaskEnv

Signals = Mapping[str, Tensor]


@dataclass
class Stage:
    """A world as perturbations see it, reset and about to begin an episode.

    Attributes:
        env: the robots.
        experiments: (N,) of which everything is drawn.
        steps: T, control steps in an episode.
        forces: from the number of the step about to begin to a force on every base, (N, 3) N, world frame.
        filters: from raw signals to what the policies read instead, in this order.
    """

    env: TaskEnv
    experiments: Sequence[Experiment]
    steps: int
    forces: list[Callable[[int], Tensor]] = field(default_factory=list)
    filters: list[Callable[[Signals], Signals]] = field(default_factory=list)

    def streams(self, purpose: str) -> list[np.random.Generator]:
        """Return the random numbers of each experiment for a purpose."""
        return [stream(*experiment, purpose) for experiment in self.experiments]

    def draw(self, purpose: str, low: float, high: float) -> Tensor:
        """Return one number for each experiment from U(low, high), (N,) float64; each purpose has its own."""
        return torch.tensor([rng.uniform(low, high) for rng in self.streams(purpose)], dtype=torch.float64)

    def before_step(self, step: int) -> None:
        """Apply the forces of a control step that is about to begin."""
        if self.forces:
            self.env.disturbances.external.copy_(torch.stack([force(step) for force in self.forces]).sum(0))

    def measured(self, signals: Signals) -> Signals:
        """Return what the sensors say where the truth is ``signals``, (N, width) each."""
        for change in self.filters:
            signals = change(signals)
        return signals


def normal(streams: list[np.random.Generator], width: int) -> Tensor:
    """(N, width) standard normal numbers, a row from each stream."""
    return torch.from_numpy(np.stack([rng.standard_normal(width) for rng in streams]))


def shift(name: str, signal: Tensor, offset: Tensor) -> Tensor:
    """Return a signal (N, width) with offsets (N, width) added; an orientation is turned by offsets (N, 3) in rad."""
    if name == "base_orientation":
        return product(signal, quaternion(offset))
    return (signal + offset.to(signal.device)).to(signal)


def quaternion(vector: Tensor) -> Tensor:
    """Return the quaternions (N, 4) of rotations about vectors (N, 3) by their length in rad."""
    angle = vector.norm(dim=1, keepdim=True)
    axis = vector / angle.clamp(min=1e-12)
    return torch.cat(((0.5 * angle).cos(), (0.5 * angle).sin() * axis), 1)


def product(a: Tensor, b: Tensor) -> Tensor:
    """Return the products (N, 4) float32 of quaternions: first b, then a."""
    b = b.to(a)
    w = a[:, :1] * b[:, :1] - (a[:, 1:] * b[:, 1:]).sum(1, keepdim=True)
    v = a[:, :1] * b[:, 1:] + b[:, :1] * a[:, 1:] + torch.linalg.cross(a[:, 1:], b[:, 1:])
    return torch.cat((w, v), 1).float()
