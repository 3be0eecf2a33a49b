"""The gait clock: a phase that runs with time, and which foot should stand when.

Training and the exported graph move the phase on with the same function, so that both hold the same number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from robolearn.config import ConfigError
from sim.robots.robot import Robot


@dataclass(frozen=True)
class GaitConfig:
    """Periodic stepping, with the wave sin(2 pi (phase + offset)) of each foot; the phase is 0 when an episode begins.

    Attributes:
        period: s, time of one whole cycle (every foot steps once).
        offsets: of each foot, in cycles; mirror images must be half a cycle apart. When empty: 0 left, 0.5 right.
        double_support: a foot should stand while its wave is above ``-double_support``, and swing below: where the wave
            is smaller in size, feet of both sides stand.
    """

    period: float = 0.55
    offsets: tuple[float, ...] = ()
    double_support: float = 0.1

    def __post_init__(self) -> None:
        if not (math.isfinite(self.period) and self.period > 0):
            raise ValueError(f"period must be above 0 s, got {self.period}")
        if not 0 <= self.double_support < 1:
            raise ValueError(f"double_support must be at least 0 and below 1, got {self.double_support}")

    def foot_offsets(self, robot: Robot) -> tuple[float, ...]:
        """Return the offset of each foot of a robot, in cycles.

        Raises:
            ConfigError: one is missing, or the gait is not symmetric.
        """
        feet, images = [foot.name for foot in robot.feet], robot.foot_mirror
        if not self.offsets and images is None:
            raise ConfigError(f"task.gait.offsets: {robot.name!r} has no left and right; give one per foot: {feet}")
        offsets = self.offsets or tuple(0.5 if images and image < i else 0.0 for i, image in enumerate(images or ()))
        if len(offsets) != len(feet):
            raise ConfigError(f"task.gait.offsets: {len(offsets)} values for the {len(feet)} feet {feet}")
        for i, image in enumerate(images or ()):
            if image != i and not math.isclose((offsets[i] - offsets[image]) % 1.0, 0.5, abs_tol=1e-6):
                raise ConfigError(
                    f"task.gait.offsets: {feet[i]} ({offsets[i]:g}) and {feet[image]} ({offsets[image]:g}) are mirror "
                    "images and must be half a cycle apart: the mirrored clock is that of half a cycle later"
                )
        return offsets


def advance(phase: Tensor, step: float) -> Tensor:
    """Return the phase ``step`` cycles later, in [0, 1); any shape."""
    moved = phase + step
    return moved - moved.floor()


def stance(phase: Tensor, offsets: Tensor, double_support: float) -> Tensor:
    """Return which feet should stand, (N, F) bool, at phases (N,) with offsets (F,), both in cycles."""
    wave = torch.sin(2 * math.pi * (phase.unsqueeze(1) + offsets))
    return (wave >= 0) | (wave.abs() < double_support)
