"""Stable-Baselines3: a vectorised environment without worker processes or copies between them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from sim.adapters.bridge import Bridge
from sim.adapters.gymnasium_env import RobotSource, TaskSource

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from sim.adapters.bridge import Settings

Indices = int | Iterable[int] | None


class SB3VecEnv(VecEnv):
    """N robots on a task for the algorithms of Stable-Baselines3.

    Where an episode ends, the info holds its last observation as ``terminal_observation``, and ``TimeLimit.truncated``
    says whether the time limit ended it; algorithms bootstrap with the first where the second is true. Every info holds
    ``costs`` by name. For the mean episode reward in the logs, wrap it in ``VecMonitor``.

    Args:
        robot: name, path, or a loaded robot.
        task: name, path, mapping, or a loaded task.
        num_envs: N.
        render_mode: None or ``rgb_array``.
        settings: see ``sim.adapters.bridge.Bridge``.
    """

    def __init__(
        self,
        robot: RobotSource,
        task: TaskSource,
        num_envs: int,
        render_mode: str | None = None,
        **settings: Unpack[Settings],
    ) -> None:
        self.bridge = Bridge(robot, task, num_envs, render_mode=render_mode, **settings)
        self._actions: NDArray[np.float32] | None = None
        self._seeded = False
        super().__init__(num_envs, self.bridge.observation_space, self.bridge.action_space)

    def reset(self) -> NDArray[np.float32]:
        """Start a new episode everywhere and return its observations (N, D).

        A seed set by ``seed`` starts the random numbers anew. Of the options set by ``set_options``, those of the first
        environment hold for all.
        """
        if not self._seeded and self._seeds[0] is None:
            self.seed()
        if self._seeds[0] is not None:
            self.bridge.start_over(self._seeds[0])
            self._seeded = True
        observations = self.bridge.reset(self._options[0])
        self.reset_infos = [{} for _ in range(self.num_envs)]
        self._reset_seeds()
        self._reset_options()
        return observations

    def step_async(self, actions: NDArray[np.float32]) -> None:
        """Take actions (N, J) in [-1, 1] for the next ``step_wait``."""
        self._actions = actions

    def step_wait(
        self,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Apply the actions; return observations (N, D), rewards (N,), ends (N,) and one info per environment."""
        assert self._actions is not None, "call step_async before step_wait"
        result = self.bridge.step(self._actions)
        names = self.bridge.env.cost_names
        infos: list[dict[str, Any]] = [
            {"costs": dict(zip(names, row, strict=True))} for row in result.costs.cpu().numpy().tolist()
        ]
        truncated = result.truncated.cpu().numpy()
        if len(result.final_ids):
            final = self.bridge.observations(result.final_obs[self.bridge.group])
            for i, row in zip(result.final_ids.tolist(), final, strict=True):
                infos[i] |= {"terminal_observation": row, "TimeLimit.truncated": bool(truncated[i])}
        done = result.terminated.cpu().numpy() | truncated
        reward = result.reward.cpu().numpy().copy()
        return self.bridge.observations(result.obs[self.bridge.group]), reward, done, infos

    def get_attr(self, attr_name: str, indices: Indices = None) -> list[Any]:
        """Return an attribute of the environment, once per index; all environments share it."""
        source = self.bridge if attr_name == "render_mode" else self.bridge.env
        return [getattr(source, attr_name)] * self._count(indices)

    def set_attr(self, attr_name: str, value: Any, indices: Indices = None) -> None:
        """Set an attribute of the environment.

        Raises:
            ValueError: only some indices are given; the environments share their attributes.
        """
        self._require_all(indices, f"set_attr({attr_name!r})")
        setattr(self.bridge.env, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: Indices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of the environment once, for all environments; return its result once per index.

        Raises:
            ValueError: only some indices are given.
        """
        self._require_all(indices, f"env_method({method_name!r})")
        result = getattr(self.bridge.env, method_name)(*method_args, **method_kwargs)
        return [result] * self.num_envs

    def env_is_wrapped(self, wrapper_class: type[gymnasium.Wrapper], indices: Indices = None) -> list[bool]:
        """No environment is inside a Gymnasium wrapper."""
        return [False] * self._count(indices)

    def get_images(self) -> list[NDArray[np.uint8] | None]:
        """Draw every environment, (height, width, 3) each."""
        return [self.bridge.image(i) for i in range(self.num_envs)]

    def close(self) -> None:
        """Release simulator and renderer."""
        self.bridge.close()

    def _count(self, indices: Indices) -> int:
        return len(list(self._get_indices(indices)))

    def _require_all(self, indices: Indices, what: str) -> None:
        if sorted(self._get_indices(indices)) != list(range(self.num_envs)):
            raise ValueError(f"{what}: the {self.num_envs} environments are one object; leave indices out")
