"""Simulation engines behind one interface."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco

from robolearn.config import ConfigError, unknown
from sim.engines.base import Engine

ENGINES = ("mujoco", "warp", "pybullet", "drake")


def make_engine(
    kind: str,
    model: mujoco.MjModel,
    num_envs: int,
    device: str = "cpu",
    threads: int = 0,
    expand: Sequence[str] = (),
) -> Engine:
    """Build an engine by name.

    ``mujoco`` (CPU, threaded) and ``warp`` (GPU; its CPU device is for tests) are for training and everything else;
    ``pybullet`` and ``drake`` (CPU, one thread) are other simulators, to try what was trained.

    Raises:
        ConfigError: unknown engine, a device that it cannot use, a missing package, or a model that it cannot hold.
    """
    if kind in ENGINES and kind != "warp" and device != "cpu":
        raise ConfigError(f"engine {kind!r} runs on the CPU, not on {device!r}: use engine 'warp' for a GPU")
    if kind == "mujoco":
        from sim.engines.mujoco_cpu import MujocoEngine

        return MujocoEngine(model, num_envs, threads, expand)
    if kind == "pybullet":
        from sim.engines.foreign import ForeignEngine
        from sim.engines.pybullet_world import PybulletWorld

        return ForeignEngine(model, num_envs, PybulletWorld, expand)
    if kind == "drake":
        from sim.engines.drake_world import DrakeWorld
        from sim.engines.foreign import ForeignEngine

        return ForeignEngine(model, num_envs, DrakeWorld, expand)
    if kind == "warp":
        from sim.engines.mujoco_warp import MujocoWarpEngine

        return MujocoWarpEngine(model, num_envs, device, expand)
    raise unknown("engine", kind, ENGINES)


__all__ = ["ENGINES", "Engine", "make_engine"]
