"""Tasks for other libraries: Gymnasium, single and vectorised, and Stable-Baselines3 (``sim.adapters.sb3``).

Importing this package registers ``robolearn/<robot>_<task>-v0`` for every robot and task that come with the project.
Gymnasium looks for no plugins since its version 1.0, so either import it before ``gymnasium.make``, or let Gymnasium do
so: ``gymnasium.make("sim.adapters:robolearn/a1_velocity_flat-v0")``.
"""

from __future__ import annotations

import ctypes
import os
import sys

import gymnasium

NAMESPACE = "robolearn"


def env_id(robot: str, task: str) -> str:
    """Return the name under which Gymnasium knows a robot on a task."""
    return f"{NAMESPACE}/{robot}_{task}-v0"


def register() -> list[str]:
    """Register every robot on every task with Gymnasium and return the names; safe to call again."""
    _draw_without_display()
    from sim.robots import list_robots
    from sim.tasks import list_tasks

    names = []
    for robot in list_robots():
        for task in list_tasks():
            names.append(env_id(robot, task))
            if names[-1] not in gymnasium.registry:
                gymnasium.register(
                    names[-1],
                    entry_point="sim.adapters.gymnasium_env:RoboLearnEnv",
                    vector_entry_point="sim.adapters.gymnasium_env:RoboLearnVectorEnv",
                    kwargs={"robot": robot, "task": task},
                )
    return names


def _draw_without_display() -> None:
    """Let MuJoCo draw through EGL where there is no display; it reads this variable once, when it is imported."""
    if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL"} & os.environ.keys():
        try:
            ctypes.CDLL("libEGL.so.1")
        except OSError:
            return
        os.environ["MUJOCO_GL"] = "egl"


ENV_IDS = register()

__all__ = ["ENV_IDS", "NAMESPACE", "env_id", "register"]
