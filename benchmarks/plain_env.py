"""One robot in the plainest way: a Gymnasium environment of MuJoCo and NumPy, without anything of this project's task.

It is what somebody would write for Stable-Baselines3 in an afternoon: the same compiled model, time steps, PD control
and widths of observation and action, a velocity reward, a reset to the default pose, and no randomisation at all. So it
costs less per step than any environment that does what our task does.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium import spaces

from sim.robots import load_robot
from sim.scene import build_scene
from sim.tasks import load_task
from sim.terrain import Terrain


class PlainEnv(gymnasium.Env):
    """Walk along a fixed command."""

    def __init__(self, robot: str, task: str) -> None:
        self.robot, self.task = load_robot(robot), load_task(task)
        scene = build_scene(self.robot, Terrain(self.task.terrain), self.task.physics)
        self.model, self.data = scene.model, mujoco.MjData(scene.model)
        self.q, self.v, self.base = scene.joint_qpos, scene.joint_qvel, scene.base_body
        self.pose, self.scale = np.array(self.robot.default_pose), 4.0 * np.array(self.robot.action_scale)
        self.kp, self.kd = np.array(self.robot.kp), np.array(self.robot.kd)
        self.limit = np.array(self.robot.effort_limit)
        self.command = np.array([0.5, 0.0, 0.0])
        self.action = np.zeros(len(self.pose))
        self.length = round(self.task.episode_s / self.task.step_dt)
        self.steps = 0
        self.observation_space = spaces.Box(-np.inf, np.inf, (9 + 3 * len(self.pose),), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (len(self.pose),), np.float32)

    def _observe(self) -> np.ndarray:
        gravity = -self.data.xmat[self.base, 6:9]
        joints = self.data.qpos[self.q] - self.pose
        parts = (self.command, 0.25 * self.data.qvel[3:6], gravity, joints, 0.05 * self.data.qvel[self.v], self.action)
        return np.concatenate(parts).astype(np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Stand up."""
        super().reset(seed=seed)
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[2] = self.robot.base_height
        self.data.qpos[self.q] = self.pose * self.np_random.uniform(0.5, 1.5, len(self.pose))
        mujoco.mj_forward(self.model, self.data)
        self.action[:], self.steps = 0.0, 0
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        """PD control at every physics step."""
        self.action = np.clip(action, -1.0, 1.0)
        target = self.pose + self.scale * self.action
        for _ in range(self.task.physics.decimation):
            torque = self.kp * (target - self.data.qpos[self.q]) - self.kd * self.data.qvel[self.v]
            self.data.ctrl[:] = np.clip(torque, -self.limit, self.limit)
            mujoco.mj_step(self.model, self.data)
        self.steps += 1
        velocity = self.data.xmat[self.base].reshape(3, 3).T @ self.data.qvel[:3]
        reward = float(np.exp(-np.sum((self.command[:2] - velocity[:2]) ** 2) / 0.25))
        fallen = bool(self.data.xmat[self.base, 8] < 0.3 or self.data.qpos[2] < 0.5 * self.robot.target_height)
        return self._observe(), reward, fallen, self.steps >= self.length, {}
