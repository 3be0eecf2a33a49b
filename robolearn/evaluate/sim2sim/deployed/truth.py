"""What a simulated robot under deployment really did, which no message says, and the benchmark's measures of it."""

from __future__ import annotations

import numpy as np
import torch

from robolearn.config import ConfigError
from robolearn.deploy.types import Array, RobotState
from robolearn.evaluate.deployed import DeployedRobot
from robolearn.evaluate.sim2sim.deployed.episode import Episode
from robolearn.evaluate.sim2sim.episodes import Tape
from robolearn.evaluate.sim2sim.measures import Trace
from robolearn.evaluate.sim2sim.world import World


class Truth:
    """The states of a simulated robot, cycle by cycle; a cycle is one physics step.

    Args:
        robot: whose; its clock has not begun.

    Raises:
        ConfigError: its cycles are no single physics steps: torques between two readings would be unknown.
    """

    def __init__(self, robot: DeployedRobot) -> None:
        step = robot.link.model.opt.timestep
        if abs(step - robot.robot.control_dt) > 1e-9:
            raise ConfigError(
                f"robot {robot.robot.name!r} is controlled every {robot.robot.control_dt:g} s, the benchmark's physics "
                f"step is {step:g} s: they must be equal, set control_hz of the robot file to {1.0 / step:g}"
            )
        self._robot = robot
        self.joints = robot.robot.joints
        self._qpos, self._qvel = [robot.link.data.qpos.copy()], [robot.link.data.qvel.copy()]
        self._torque = [np.zeros(len(self.joints))]
        self._velocity = [np.zeros(len(self.joints))]
        self._sent = [robot.robot.default_pose]

    def take(self, reading: RobotState, sent: Array) -> None:
        """Note the state at the end of a cycle, with the joint positions (J,) that answered it."""
        data = self._robot.link.data
        self._qpos.append(data.qpos.copy())
        self._qvel.append(data.qvel.copy())
        self._torque.append(reading.torque)
        self._velocity.append(reading.velocity)
        self._sent.append(sent)

    def trace(self, world: World, episode: Episode, script: Array, steps: int) -> Trace:
        """Return an episode as the benchmark records its own.

        Step k of the policy ends ``every`` cycles after it was answered. The benchmark's simulator makes the last
        physics step of each once more: contact forces and foot velocities then mean the same in both.

        Args:
            world: of one robot, in the benchmark's reference.
            episode: where it begins.
            script: (S, 3) what was asked for.
            steps: how many were made; less than S where the robot was stopped.
        """
        env = world.env
        order = [self.joints.index(joint) for joint in env.robot.joints]
        qpos, qvel, ctrl = (env.engine.field(name)[0] for name in ("qpos", "qvel", "ctrl"))
        env.engine.reset(torch.zeros(1, dtype=torch.int64))  # else its solver begins where the last episode ended
        tape = Tape(env)
        valid = torch.ones(1, dtype=torch.bool)
        for step in range(steps):
            begin = episode.first + episode.every * step
            end = begin + episode.every
            torque = torch.from_numpy(self._torque[end][order])
            qpos.copy_(torch.from_numpy(self._qpos[end - 1]))
            qvel.copy_(torch.from_numpy(self._qvel[end - 1]))
            ctrl.copy_(torque)
            env.engine.step()
            env.state.update()
            env.state.torque = torque.float()[None]
            env.state.power = torch.tensor([self._power(begin, end)], dtype=torch.float32)
            tape.take(torch.from_numpy(self._sent[end - 1][order]).float()[None], valid)
            if not bool(tape.alive.any()):
                break
        return tape.trace(script[:, None])

    def _power(self, begin: int, end: int) -> float:
        """Return the mean mechanical power of the cycles after ``begin`` up to ``end``, W."""
        torque, velocity = np.array(self._torque[begin + 1 : end + 1]), np.array(self._velocity[begin:end])
        return float(np.abs(torque * velocity).sum(1).mean())
