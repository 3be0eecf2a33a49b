"""What all adapters share: a ``TaskEnv`` with NumPy observations, bounded actions, seeds and pictures."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypedDict

import mujoco
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from robolearn.config import ConfigError, unknown
from sim.environment import EnvConfig, TaskEnv
from sim.interface import StepResult
from sim.robots import load_robot
from sim.robots.robot import Robot
from sim.tasks import TaskConfig, load_task
from sim.terrain import TerrainCurriculum

RENDER_MODES = ("rgb_array",)
OPTIONS = ("command",)


class Settings(TypedDict, total=False):
    """Keyword arguments that every adapter takes; the defaults are those of ``Bridge``."""

    overrides: Mapping[str, Any] | None
    group: str
    action_range: float
    engine: Literal["mujoco", "warp", "pybullet", "drake"]
    device: str
    threads: int
    stagger: bool
    image_size: tuple[int, int]


class Bridge:
    """N environments of one task, as other libraries want them.

    Actions lie in [-1, 1] and are multiplied by ``action_range`` before the task sees them: with the usual action scale
    of 0.25 rad the default of 4 lets each joint target move 1 rad about its default pose. What is outside is clipped.

    Args:
        robot: name, path of a YAML file, or a loaded robot.
        task: name, path of a YAML file, a mapping, or a loaded task.
        num_envs: N.
        overrides: entries laid over the task's.
        group: the observation group that becomes the observation.
        action_range: the task's raw action at the bounds of the action space.
        engine: ``mujoco`` (CPU) or ``warp`` (GPU).
        device: ``cpu`` or ``cuda:0``, ....
        threads: simulator threads on the CPU; 0 for one per core.
        stagger: start the first episodes at random ages, so that they do not all end in the same step.
        render_mode: None or ``rgb_array``.
        image_size: width and height of the pictures.

    Attributes:
        env: the environment.
        observation_space: of one environment: unbounded, (D,) float32.
        action_space: of one environment: [-1, 1], (J,) float32.
        last: the result of the last step.

    Raises:
        ConfigError: unknown robot, task, observation group, render mode, or refused values.
    """

    last: StepResult | None = None

    def __init__(
        self,
        robot: str | Path | Robot,
        task: str | Path | Mapping[str, Any] | TaskConfig,
        num_envs: int,
        *,
        overrides: Mapping[str, Any] | None = None,
        group: str = "policy",
        action_range: float = 4.0,
        engine: Literal["mujoco", "warp", "pybullet", "drake"] = "mujoco",
        device: str = "cpu",
        threads: int = 0,
        stagger: bool = False,
        render_mode: str | None = None,
        image_size: tuple[int, int] = (640, 480),
    ) -> None:
        if isinstance(task, TaskConfig) and overrides:
            raise ConfigError("overrides: a loaded task cannot be overridden; give its name or lay them over it before")
        task = task if isinstance(task, TaskConfig) else load_task(task, overrides)
        robot = robot if isinstance(robot, Robot) else load_robot(robot)
        if not 0 < action_range <= task.actions.clip:
            raise ConfigError(
                f"action_range: must be in (0, {task.actions.clip:g}], the task's clip, got {action_range}"
            )
        if render_mode is not None and render_mode not in RENDER_MODES:
            raise unknown("render mode", render_mode, RENDER_MODES)
        self.env = TaskEnv(task, robot, EnvConfig(num_envs, engine, device, threads), stagger=stagger)
        if group not in self.env.obs_dims:
            raise unknown("observation group", group, self.env.obs_dims)
        self.group, self.action_range = group, action_range
        self.render_mode, self.image_size = render_mode, image_size
        self.observation_space = spaces.Box(-np.inf, np.inf, (self.env.obs_dims[group],), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (self.env.num_actions,), np.float32)
        self._pristine = copy.deepcopy(self.env.state_dict())
        self._renderer: mujoco.Renderer | None = None
        self._data: mujoco.MjData | None = None

    def start_over(self, seed: int) -> None:
        """Forget everything: what comes after the next ``reset`` is what a new ``TaskEnv`` with this seed would do."""
        self.env.load_state_dict(self._pristine)
        self.env.generator.manual_seed(seed)
        self.env.curriculum = TerrainCurriculum(self.env.terrain, self.env.num_envs, self.env.generator)

    def reset(self, options: Mapping[str, Any] | None = None) -> NDArray[np.float32]:
        """Start a new episode everywhere and return its observations (N, D).

        Args:
            options: ``command``: hold this command, (C,) or (N, C), in this and all later episodes instead of drawing
                commands; None draws them again.

        Raises:
            ConfigError: unknown option, or a command of another shape.
        """
        for name in options or ():
            if name not in OPTIONS:
                raise unknown("reset option", name, OPTIONS)
        if options and "command" in options:
            self._hold(options["command"])
        return self.observations(self.env.reset()[self.group])

    def _hold(self, command: ArrayLike | None) -> None:
        if command is None:
            self.env.commands.fix(None)
            return
        value = torch.as_tensor(np.asarray(command, np.float32), device=self.env.device)
        width = self.env.state.command.shape[1]
        if value.shape not in ((width,), (self.env.num_envs, width)):
            raise ConfigError(f"reset option 'command': expected {width} numbers, got shape {tuple(value.shape)}")
        self.env.commands.fix(value)

    def step(self, actions: ArrayLike) -> StepResult:
        """Apply actions (N, J) in [-1, 1] for one control period; see ``TaskEnv.step``."""
        raw = np.clip(np.asarray(actions, np.float32), -1.0, 1.0) * np.float32(self.action_range)
        self.last = self.env.step(torch.from_numpy(raw).to(self.env.device))
        return self.last

    @staticmethod
    def observations(value: torch.Tensor) -> NDArray[np.float32]:
        """Return a copy that the caller may keep and change: a history shares memory with the pipeline."""
        return np.array(value.cpu().numpy(), np.float32)

    def costs(self) -> dict[str, NDArray[np.float32]]:
        """Return the costs of the last step by name, (N,) each."""
        assert self.last is not None
        return dict(zip(self.env.cost_names, self.last.costs.cpu().numpy().T, strict=True))

    def image(self, index: int) -> NDArray[np.uint8] | None:
        """Draw environment ``index`` as (height, width, 3); None when no render mode was chosen."""
        if self.render_mode is None:
            return None
        if self._renderer is None or self._data is None:
            model = self.env.scene.display_model()
            width, height = self.image_size
            model.vis.global_.offwidth = max(width, model.vis.global_.offwidth)
            model.vis.global_.offheight = max(height, model.vis.global_.offheight)
            self._renderer, self._data = mujoco.Renderer(model, height, width), mujoco.MjData(model)
        self._data.qpos[:] = self.env.engine.field("qpos")[index].cpu().numpy()
        mujoco.mj_forward(self._data.model, self._data)
        camera = mujoco.MjvCamera()
        camera.type, camera.trackbodyid = mujoco.mjtCamera.mjCAMERA_TRACKING, self.env.scene.base_body
        camera.distance, camera.azimuth, camera.elevation = 6.0 * self.env.robot.target_height, 120.0, -15.0
        self._renderer.update_scene(self._data, camera)
        return self._renderer.render()

    def close(self) -> None:
        """Release simulator and renderer; safe to call again."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
        self.env.close()
