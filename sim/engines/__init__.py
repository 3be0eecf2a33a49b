"""Simulation engines behind one interface."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco

from robolearn.config import unknown
from sim.engines.base import Engine

ENGINES = ("mujoco", "warp")


def make_engine(
    kind: str,
    model: mujoco.MjModel,
    num_envs: int,
    device: str = "cpu",
    threads: int = 0,
    expand: Sequence[str] = (),
) -> Engine:
    """Build an engine by name: ``mujoco`` (CPU, threaded) or ``warp`` (GPU; its CPU device is for tests).

    Raises:
        ConfigError: unknown engine, or a device that the engine cannot use.
    """
    if kind == "mujoco":
        from robolearn.config import ConfigError
        from sim.engines.mujoco_cpu import MujocoEngine

        if device != "cpu":
            raise ConfigError(f"engine 'mujoco' runs on the CPU, not on {device!r}: use engine 'warp' for a GPU")
        return MujocoEngine(model, num_envs, threads, expand)
    if kind == "warp":
        from sim.engines.mujoco_warp import MujocoWarpEngine

        return MujocoWarpEngine(model, num_envs, device, expand)
    raise unknown("engine", kind, ENGINES)


__all__ = ["ENGINES", "Engine", "make_engine"]
