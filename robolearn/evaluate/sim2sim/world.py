"""A policy file and a simulator: N robots under the runtime that goes on the robot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from robolearn.config import ConfigError
from robolearn.deploy.contract import PolicyContract
from robolearn.deploy.policy import OnnxPolicy
from robolearn.evaluate.sim2sim.simulators import Simulator, find, missing
from sim.environment import EnvConfig, TaskEnv
from sim.interface import StepResult
from sim.observation import GroupConfig, ObservationConfig, TermConfig
from sim.robots import load_robot
from sim.robots.robot import Robot
from sim.tasks import TaskConfig, load_task

NO_CLIP = 1e3
"""The policy file clips its own output."""
FOREVER = 1e6
"""s; an episode ends when the benchmark says so."""
Adapt = Callable[[TaskConfig], TaskConfig]


class World:
    """N robots in one simulator, each under a policy of its own: nothing is drawn, everything is nominal.

    No episode ends by itself: a robot that fell lies there. One whose simulation diverged begins anew, and its step is
    not ``valid``.

    Attributes:
        simulator: where they are.
        contract: what the policy file says about itself.
        policies: (N,) each with its own memory.
        env: the task; its robot has the gains and limits of the contract.
    """

    def __init__(
        self,
        policy: Path | bytes,
        simulator: Simulator,
        num_envs: int,
        robot: Robot | None = None,
        adapt: Adapt | None = None,
    ) -> None:
        """Build them; see ``make_world``."""
        self.simulator = simulator
        first = OnnxPolicy(policy)
        self.policies = [first, *(first.another() for _ in range(num_envs - 1))]
        self.contract = first.contract
        fitted = _fit(robot or load_robot(self.contract.robot.name), self.contract)
        task = _task(self.contract, simulator)
        self.env = TaskEnv(
            task if adapt is None else adapt(task),
            fitted,
            EnvConfig(num_envs=num_envs, engine=simulator.engine, threads=1),
        )
        theirs, ours = self.contract.robot.joints, fitted.joints
        self._to_policy = [ours.index(joint) for joint in theirs]
        self._to_robot = [theirs.index(joint) for joint in ours]
        self._default = torch.tensor(fitted.default_pose)
        self._scale = torch.tensor(fitted.action_scale)
        known = {"joint_position", "joint_velocity", "base_angular_velocity", "base_orientation", "command"}
        if strange := sorted(set(self.contract.readings) - known):
            raise ConfigError(f"the policy reads {', '.join(strange)}, which a robot's readings do not give")

    @property
    def num_envs(self) -> int:
        """N."""
        return len(self.policies)

    def reset(self) -> None:
        """Put every robot at its start, at rest, with no command, and let every policy forget."""
        self.env.reset()
        self.hold(torch.zeros(self.num_envs, len(self.contract.command)))
        for policy in self.policies:
            policy.reset()

    def hold(self, command: Tensor) -> None:
        """Command velocities (N, C) from now on, m/s and rad/s."""
        self.env.commands.fix(command)

    def signals(self) -> dict[str, Tensor]:
        """Return the raw signals of a robot's sensors, (N, width) float32, joints in the order of ``env.robot``."""
        found = self.env.sensing.signals()
        return {name: found[name] for name in self.contract.readings}

    def act(self, signals: Mapping[str, Tensor]) -> Tensor:
        """Evaluate every policy on signals as ``signals`` gives them; return joint targets (N, J) in rad."""
        given = {name: value.numpy() for name, value in signals.items()}
        for name in ("joint_position", "joint_velocity"):
            if name in given:
                given[name] = given[name][:, self._to_policy]
        targets = [
            policy.step({name: value[i] for name, value in given.items()}).joint_target
            for i, policy in enumerate(self.policies)
        ]
        return torch.from_numpy(np.stack(targets)[:, self._to_robot])

    def step(self, targets: Tensor) -> StepResult:
        """Let one control period pass with joint targets (N, J) in rad."""
        return self.env.step((targets - self._default) / self._scale)

    def close(self) -> None:
        """Release the simulator."""
        self.env.close()


def make_world(
    policy: Path | bytes,
    simulator: str,
    num_envs: int,
    robot: Robot | None = None,
    adapt: Adapt | None = None,
) -> World:
    """Build N robots for a policy file in a simulator.

    Args:
        policy: the ``.onnx`` file, or its content.
        simulator: name of a simulator.
        num_envs: N.
        robot: the robot where it is not one that ships under the name in the file.
        adapt: changes the task beforehand: another ground, model fields with a value for each robot.

    Raises:
        ConfigError: unknown or missing simulator, or a robot that the policy was not made for.
        PolicyFileError: the file cannot be used.
    """
    chosen = find(simulator)
    if reason := missing(chosen):
        raise ConfigError(f"simulator {simulator!r}: {reason}")
    return World(policy, chosen, num_envs, robot, adapt)


def _task(contract: PolicyContract, simulator: Simulator) -> TaskConfig:
    """The task that policies are compared on: nothing random, no end, the policy's own control period."""
    task = load_task("velocity_flat")
    decimation = round(contract.control_dt / simulator.physics.timestep)
    if abs(decimation * simulator.physics.timestep - contract.control_dt) > 1e-9:
        raise ConfigError(
            f"policy control_dt: {contract.control_dt:g} s is no multiple of the time step of simulator "
            f"{simulator.name!r}, {simulator.physics.timestep:g} s"
        )
    group = GroupConfig({"command": TermConfig()})
    return replace(
        task,
        # Nobody reads rewards, costs or observations here, and they take as long as the physics of a few robots.
        observations=ObservationConfig(policy=group, critic=group),
        rewards={"alive": {"weight": 1.0}},
        costs={},
        physics=replace(simulator.physics, decimation=decimation),
        actuators=simulator.actuators,
        actions=replace(task.actions, clip=NO_CLIP, delay=(0, 0)),
        sensors=replace(task.sensors, delay=(0, 0)),
        commands=replace(task.commands, heading_gain=0.0),
        disturbances=replace(task.disturbances, push=None, force=None),
        randomization={},
        terminations={},
        episode_s=FOREVER,
    )


def _fit(robot: Robot, contract: PolicyContract) -> Robot:
    """Return the robot with the gains and limits of the contract, by the names of the joints."""
    part = contract.robot
    if set(part.joints) != set(robot.joints):
        lacking = sorted(set(part.joints) ^ set(robot.joints))
        raise ConfigError(
            f"robot {robot.name!r} and the policy (made for {part.name!r}) differ in {', '.join(lacking)}"
        )
    order = [part.joints.index(joint) for joint in robot.joints]

    def ours(values: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(values[i] for i in order)

    return replace(
        robot,
        default_pose=ours(part.default_pose),
        kp=ours(part.kp),
        kd=ours(part.kd),
        effort_limit=ours(part.effort_limit),
        velocity_limit=ours(part.velocity_limit),
    )
