"""Latencies as they are on a robot: of the readings and of the joint targets, in physics steps, any length."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from sim.actuators import Actuators
from sim.environment import TaskEnv
from sim.sensing import Sensing


class LateSensing(Sensing):
    """Sensors whose every reading is old. Put it in the place of ``env.sensing``.

    Args:
        env: the environment, just reset: until readings are old enough, the present ones are given.
        age: (N,) int64, physics steps.
    """

    def __init__(self, env: TaskEnv, age: Tensor) -> None:
        config = replace(env.sensing.config, delay=(0, max(1, int(age.max()))))
        super().__init__(config, env.pipeline, env.state, env.engine, env.generator)
        self._given = age
        self.reset(torch.arange(env.num_envs, device=env.device))

    def reset(self, ids: Tensor) -> None:
        """See ``Sensing.reset``; the age is the given one."""
        super().reset(ids)
        self._age[ids] = self._given[ids]

    def signals(self, rows: slice | Tensor = slice(None)) -> dict[str, Tensor]:
        """Return raw signals, those of joints and IMU as they were."""
        return self._delay(super().signals(rows), rows)


class LateActuators(Actuators):
    """Drives that follow old targets. Put it in the place of ``env.actuators``, whose values it shares.

    Args:
        env: the environment, just reset: until targets are old enough, the drives hold the pose they are in.
        age: (N,) int64, physics steps.
    """

    def __init__(self, env: TaskEnv, age: Tensor) -> None:
        vars(self).update(vars(env.actuators))
        self._age = age
        self._length = int(age.max()) + 1
        start = env.engine.field("qpos")[:, env.state.joint_q]
        self._targets = start.repeat(self._length, 1, 1)
        self._rows = torch.arange(env.num_envs, device=env.device)
        self._head = 0

    def torque(self, target: Tensor, position: Tensor, velocity: Tensor) -> Tensor:
        """See ``Actuators.torque``; called once at every physics step."""
        self._head = (self._head + 1) % self._length
        self._targets[self._head] = target
        late = self._targets[(self._head - self._age) % self._length, self._rows]
        return super().torque(late, position, velocity)
