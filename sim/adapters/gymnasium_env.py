"""Gymnasium: one environment, and many at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from sim.adapters.bridge import RENDER_MODES, Bridge
from sim.robots.robot import Robot
from sim.tasks import TaskConfig

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from sim.adapters.bridge import Settings

RobotSource = str | Path | Robot
TaskSource = str | Path | Mapping[str, Any] | TaskConfig
Info = dict[str, Any]


class RoboLearnEnv(gymnasium.Env[NDArray[np.float32], NDArray[np.float32]]):
    """One robot on a task.

    The observation is the task's ``policy`` group. The info of a step holds ``costs`` and ``terms`` (reward terms
    before weighting) by name, and ``valid``: False when the simulation became non-finite and the episode was cut off.
    The time limit is the task's own: ``truncated``.

    Args:
        robot: name, path, or a loaded robot.
        task: name, path, mapping, or a loaded task.
        render_mode: None or ``rgb_array``.
        settings: see ``sim.adapters.bridge.Bridge``; one thread unless said otherwise.
    """

    metadata: dict[str, Any] = {"render_modes": list(RENDER_MODES)}  # noqa: RUF012 - as the base class has it

    def __init__(
        self, robot: RobotSource, task: TaskSource, render_mode: str | None = None, **settings: Unpack[Settings]
    ) -> None:
        settings.setdefault("threads", 1)
        self.bridge = Bridge(robot, task, 1, render_mode=render_mode, **settings)
        self.observation_space, self.action_space = self.bridge.observation_space, self.bridge.action_space
        self.render_mode = render_mode
        self.metadata = {**type(self).metadata, "render_fps": round(1 / self.bridge.env.step_dt)}
        self._seeded = self._running = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], Info]:
        """Start a new episode.

        Args:
            seed: start all random numbers (and curricula) anew from it; None goes on with those that run.
            options: ``{"command": [vx, vy, yaw_rate]}`` holds a command, see ``Bridge.reset``.

        Returns:
            The observation (D,) and an empty info.
        """
        super().reset(seed=seed)
        if seed is not None or not self._seeded:
            self.bridge.start_over(int(self.np_random.integers(2**63)))
        self._seeded = self._running = True
        return self.bridge.reset(options)[0], {}

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, bool, bool, Info]:
        """Apply an action (J,) in [-1, 1] for one control period.

        Raises:
            ResetNeeded: the episode has ended, or none was started.
        """
        if not self._running:
            raise gymnasium.error.ResetNeeded("no episode is running: call reset() before step()")
        result = self.bridge.step(np.asarray(action)[None])
        terminated, truncated = bool(result.terminated[0]), bool(result.truncated[0])
        self._running = not (terminated or truncated)
        observations = result.obs if self._running else result.final_obs
        terms = {name.removeprefix("term/"): value for name, value in result.log.items() if name.startswith("term/")}
        info: Info = {
            "costs": {name: float(value[0]) for name, value in self.bridge.costs().items()},
            "terms": {name: float(value) for name, value in terms.items()},
            "valid": bool(result.valid[0]),
        }
        observation = self.bridge.observations(observations[self.bridge.group])[0]
        return observation, float(result.reward[0]), terminated, truncated, info

    def render(self) -> NDArray[np.uint8] | None:
        """Draw the robot, (height, width, 3), from a camera that follows it."""
        return self.bridge.image(0)

    def close(self) -> None:
        """Release simulator and renderer."""
        self.bridge.close()


class RoboLearnVectorEnv(VectorEnv[NDArray[np.float32], NDArray[np.float32], NDArray[Any]]):
    """N robots on a task, stepped together. Episodes that end begin anew in the same step.

    Then ``obs`` is the new episode's, and the info holds ``final_obs`` and ``final_info`` with the masks ``_final_obs``
    and ``_final_info``, as Gymnasium's ``AutoresetMode.SAME_STEP`` has it. The info holds ``costs`` and ``valid`` per
    environment; the mean of each reward term over the environments is in ``bridge.last.log``.

    Args:
        robot: name, path, or a loaded robot.
        task: name, path, mapping, or a loaded task.
        num_envs: N.
        render_mode: None or ``rgb_array``.
        settings: see ``sim.adapters.bridge.Bridge``.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 - as the base class has it
        "render_modes": list(RENDER_MODES),
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(
        self,
        robot: RobotSource,
        task: TaskSource,
        num_envs: int = 1,
        render_mode: str | None = None,
        **settings: Unpack[Settings],
    ) -> None:
        self.bridge = Bridge(robot, task, num_envs, render_mode=render_mode, **settings)
        self.num_envs, self.render_mode = num_envs, render_mode
        self.metadata = {**type(self).metadata, "render_fps": round(1 / self.bridge.env.step_dt)}
        self.single_observation_space = self.bridge.observation_space
        self.single_action_space = self.bridge.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._seeded = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], Info]:
        """Start a new episode everywhere; one seed serves all environments.

        Args:
            seed: start all random numbers (and curricula) anew from it; None goes on with those that run.
            options: ``command`` holds a command, (C,) or (N, C), see ``Bridge.reset``.

        Returns:
            The observations (N, D) and an empty info.
        """
        super().reset(seed=seed)
        if seed is not None or not self._seeded:
            self.bridge.start_over(int(self.np_random.integers(2**63)))
            self._seeded = True
        return self.bridge.reset(options), {}

    def step(
        self, actions: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], Info]:
        """Apply actions (N, J) in [-1, 1] for one control period."""
        result = self.bridge.step(actions)
        observations = self.bridge.observations(result.obs[self.bridge.group])
        reward = result.reward.cpu().numpy().astype(np.float64)
        terminated, truncated = result.terminated.cpu().numpy().copy(), result.truncated.cpu().numpy().copy()
        ended = terminated | truncated
        costs = {name: value.astype(np.float64) for name, value in self.bridge.costs().items()}
        valid = result.valid.cpu().numpy()
        info = _step_info(costs, valid, ~ended) if not ended.all() else {}
        if ended.any():
            final = np.full(self.num_envs, None, dtype=object)
            for i, row in zip(
                result.final_ids.tolist(), self.bridge.observations(result.final_obs[self.bridge.group]), strict=True
            ):
                final[i] = row
            info["final_obs"], info["_final_obs"] = final, ended.copy()
            info["final_info"], info["_final_info"] = _step_info(costs, valid, ended), ended.copy()
        return observations, reward, terminated, truncated, info

    def render(self) -> tuple[NDArray[np.uint8] | None, ...]:  # type: ignore[override]
        """Draw every environment, (height, width, 3) each."""
        return tuple(self.bridge.image(i) for i in range(self.num_envs))

    def close_extras(self, **_: Any) -> None:
        """Release simulator and renderer."""
        self.bridge.close()


def _step_info(costs: Mapping[str, NDArray[np.float64]], valid: NDArray[np.bool_], mask: NDArray[np.bool_]) -> Info:
    """Gymnasium's form: beside every array the mask of the environments it holds for; 0 elsewhere."""
    inner: Info = {}
    for name, value in costs.items():
        inner[name], inner[f"_{name}"] = np.where(mask, value, 0.0), mask.copy()
    return {"costs": inner, "_costs": mask.copy(), "valid": valid & mask, "_valid": mask.copy()}
