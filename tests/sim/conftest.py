"""The A1 and small environments; ``quiet`` ones without noise, delay, randomisation and disturbances."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch

from robolearn.config import merge, to_dict
from sim.environment import EnvConfig, TaskEnv
from sim.robots import load_robot
from sim.robots.robot import Robot
from sim.tasks import TaskConfig, load_task

torch.set_num_threads(1)

QUIET: dict[str, Any] = {
    "actions": {"delay": [0, 0]},
    "observations": {"policy": {"measured": False}},
    "randomization": None,
    "disturbances": None,
}
SMALL_TERRAIN: dict[str, Any] = {
    "kind": "rough",
    "levels": 3,
    "columns": 5,
    "border": 2.0,
    "proportions": {"slope": 1, "rough_slope": 1, "stairs_up": 1, "stairs_down": 1, "discrete": 1},
}


def quiet_task(changes: Mapping[str, Any] | None = None, name: str = "velocity_flat") -> TaskConfig:
    """A task of the project without anything random but its commands, with ``changes`` laid over it."""
    return load_task(merge(merge(to_dict(load_task(name)), QUIET), changes or {}))


@pytest.fixture(scope="session")
def a1() -> Robot:
    return load_robot("a1")


@pytest.fixture
def make_env(a1) -> Callable[..., TaskEnv]:
    """``make_env(task, num_envs=2, ...)``; a mapping means changes to the quiet flat task. The robots stand still."""
    made = []

    def _make(task=None, num_envs=2, seed=0, robot=a1, stagger=False, engine="mujoco", command=(0.0, 0.0, 0.0)):
        task = task if isinstance(task, TaskConfig) else quiet_task(task)
        env = TaskEnv(task, robot, EnvConfig(num_envs, engine, "cpu", threads=1), seed, stagger)
        made.append(env)
        if command is not None:
            env.commands.fix(torch.tensor(command))
        env.reset()
        return env

    yield _make
    for env in made:
        env.close()


@pytest.fixture
def quiet() -> Callable[..., TaskConfig]:
    return quiet_task


@pytest.fixture
def small_terrain() -> dict[str, Any]:
    return SMALL_TERRAIN
