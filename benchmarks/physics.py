"""The yardstick of the CPU benchmarks: nothing but ``mujoco.batch`` on the model and the states of an environment."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from mujoco.batch import Batch

from sim.engines.mujoco_cpu import MujocoEngine
from sim.environment import EnvConfig, TaskEnv
from sim.interface import StepResult
from sim.robots import load_robot
from sim.tasks import load_task


def make_env(robot: str, task: str, num_envs: int, threads: int, seed: int) -> TaskEnv:
    """Build an environment on the CPU and start it at staggered ages.

    Torch runs on one thread from here on, as the training loop has it while it collects.
    """
    torch.set_num_threads(1)
    env = TaskEnv(load_task(task), load_robot(robot), EnvConfig(num_envs, threads=threads), seed, stagger=True)
    env.reset()
    return env


class Recorder:
    """Wraps ``env.step``: keeps the simulator's state at every control step, so that raw physics can do the same work.

    Attributes:
        rows: full simulator states since ``start``, (N, S) each.
        seconds: time spent on keeping them, to be taken off what was measured.
    """

    def __init__(self, env: TaskEnv) -> None:
        assert isinstance(env.engine, MujocoEngine)
        self._engine, self._step = env.engine, env.step
        self.start()
        vars(env)["step"] = self._record

    def start(self) -> None:
        """Forget what was kept."""
        self.rows: list[np.ndarray] = []
        self.seconds = 0.0

    def _record(self, actions: torch.Tensor) -> StepResult:
        begin = time.perf_counter()
        self.rows.append(self._engine.state_dict()["state"].numpy())
        self.seconds += time.perf_counter() - begin
        return self._step(actions)

    def timed(self, work: Callable[[], object], units: float) -> float:
        """Do the work and return ``units`` per second, the keeping of states not counted."""
        self.start()
        begin = time.perf_counter()
        work()
        return units / (time.perf_counter() - begin - self.seconds)


class RawPhysics:
    """Steps the compiled model of an environment through the same states, with the same number of threads.

    Each control step starts from the state that the environment was in and is one call with the controls held; nothing
    is read back.
    """

    def __init__(self, env: TaskEnv) -> None:
        assert isinstance(env.engine, MujocoEngine)
        self._decimation = env.task.physics.decimation
        self._batch = Batch(env.engine.model, env.num_envs, env.engine.threads)

    def speed(self, rows: Sequence[np.ndarray]) -> float:
        """Simulate one control step from each of the recorded states; return physics steps per second."""
        seconds = 0.0
        for row in rows:
            self._batch.state[:] = row
            begin = time.perf_counter()
            self._batch.step(nstep=self._decimation)
            seconds += time.perf_counter() - begin
        return len(rows) * self._decimation * self._batch.nsim / seconds


class RandomActions:
    """A stock of Gaussian actions drawn beforehand, so that drawing them is not measured."""

    def __init__(self, env: TaskEnv, std: float, seed: int, count: int = 16) -> None:
        generator = torch.Generator().manual_seed(seed)
        shape = (count, env.num_envs, env.num_actions)
        self._stock = (std * torch.randn(shape, generator=generator)).to(env.device)
        self._next = 0

    def __call__(self) -> torch.Tensor:
        """Return the next actions (N, J)."""
        self._next = (self._next + 1) % len(self._stock)
        return self._stock[self._next]
