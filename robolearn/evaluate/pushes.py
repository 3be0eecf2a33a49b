"""Survival as a function of the impulse of a push."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from robolearn.evaluate.rollout import rollout
from robolearn.evaluate.statistics import Interval, wilson
from robolearn.rl.networks import ActorCritic
from sim.environment import TaskEnv

DURATION_S = 0.1
SETTLE_S = 2.0  # s of walking before the push
WATCH_S = 3.0  # s after the push during which the robot must not fall


@dataclass(frozen=True)
class PushResult:
    """Survival at one strength of push.

    Attributes:
        impulse: N s.
        velocity_change: m/s, impulse over mass: what the push would do to a free body.
        survival: share of the robots that walked when pushed and still stood ``WATCH_S`` later.
    """

    impulse: float
    velocity_change: float
    survival: Interval


def push_survival(
    env: TaskEnv, policy: ActorCritic, impulses: Sequence[float], seed: int = 0, duration_s: float = DURATION_S
) -> list[PushResult]:
    """Push every robot once while it walks, from a random horizontal direction, and count who still stands.

    The environments are dealt out evenly among the impulses, so that one roll-out gives the curve. The force is
    constant over ``duration_s`` and acts at the centre of mass of the base. Robots that fell before are left out.

    Args:
        env: the environment, with commands and randomisation as wanted and no other pushes.
        policy: what acts.
        impulses: strengths in N s, at most one per environment.
        seed: of the directions.
        duration_s: s; rounded to whole control steps.

    Raises:
        ValueError: fewer environments than impulses.
    """
    n, levels = env.num_envs, len(impulses)
    if levels > n:
        raise ValueError(f"{levels} impulses need at least as many environments, got {n}")
    begin, length, watch = (max(1, round(seconds / env.step_dt)) for seconds in (SETTLE_S, duration_s, WATCH_S))
    level = torch.arange(n, device=env.device) % levels
    angle = torch.rand(n, generator=torch.Generator().manual_seed(seed)).to(env.device) * 2 * math.pi
    strength = torch.tensor(list(impulses), dtype=torch.float32, device=env.device)[level] / (length * env.step_dt)
    force = torch.stack((angle.cos() * strength, angle.sin() * strength, torch.zeros_like(angle)), 1)

    def push(t: int) -> None:
        if t == begin:
            env.disturbances.external.copy_(force)
        elif t == begin + length:
            env.disturbances.external.zero_()

    trace = rollout(env, policy, begin + length + watch, push)
    env.disturbances.external.zero_()
    walking = trace.alive[begin - 1] if len(trace.alive) >= begin else np.zeros(n, bool)
    standing = trace.survived
    groups = level.cpu().numpy()
    results = []
    for i, impulse in enumerate(impulses):
        chosen = (groups == i) & walking
        if chosen.any():
            share = wilson(int((standing & chosen).sum()), int(chosen.sum()))
            results.append(PushResult(float(impulse), float(impulse) / trace.mass, share))
    return results
