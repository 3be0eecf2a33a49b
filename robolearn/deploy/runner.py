"""Policy, controller and driver, turned by one loop: what every way of running a robot calls once per control tick."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from robolearn.deploy.controller import Controller, ControlOutput
from robolearn.deploy.inputs import AnyFloat, Inputs, PolicyResult, PolicySetup
from robolearn.deploy.modes import Mode
from robolearn.deploy.policy import OnnxPolicy
from robolearn.deploy.readings import invalid_state
from robolearn.deploy.robot import RobotFile
from robolearn.deploy.types import JointCommand, RobotState

Indices = NDArray[np.intp]


class Driver(Protocol):
    """What the loop needs of a robot's driver."""

    def read_state(self) -> RobotState | None:
        """Return the newest reading; None when there is none."""

    def write_command(self, command: JointCommand) -> JointCommand:
        """Send a command and return what was really sent."""


class Policy(Protocol):
    """What the loop needs of a policy, in this process or in another.

    Attributes:
        setup: what the controller must know of it.
    """

    setup: PolicySetup

    def reset(self) -> None:
        """Forget the past: before the policy takes over."""

    def evaluate(self, state: RobotState, command: AnyFloat, now: float) -> PolicyResult | None:
        """Return the output for a reading and a velocity command (C,), stamped ``now``; None: not there yet."""

    def late(self, now: float) -> PolicyResult | None:
        """Return an output that ``evaluate`` did not wait for, once it is there."""


class PolicyRunner:
    """Feeds a policy from a robot's readings, by name: the file's order of joints need not be the robot's.

    Args:
        policy: the policy; its settings may be changed between and during evaluations.
        robot: the robot file.
        timer: clock that measures how long an evaluation takes, s.

    Raises:
        ConfigError: the policy does not fit the robot or its readings.
    """

    def __init__(self, policy: OnnxPolicy, robot: RobotFile, timer: Callable[[], float] = time.perf_counter) -> None:
        self._policy, self._timer = policy, timer
        self.setup = PolicySetup.from_contract(policy.contract, robot)
        theirs, ours = policy.contract.robot.joints, robot.joints
        self._to_policy: Indices = np.array([ours.index(joint) for joint in theirs])
        self._to_robot: Indices = np.array([theirs.index(joint) for joint in ours])
        self._evaluation = 0

    def reset(self) -> None:
        """Forget the past: before the policy takes over."""
        self._policy.reset()
        self._evaluation = 0

    def evaluate(self, state: RobotState, command: AnyFloat, now: float) -> PolicyResult:
        """Return the policy's output for a reading and a velocity command (C,), stamped ``now``."""
        given = {
            "joint_position": state.position[self._to_policy],
            "joint_velocity": state.velocity[self._to_policy],
            "base_angular_velocity": state.angular_velocity,
            "base_orientation": state.orientation,
            "command": command,
        }
        settings = self._policy.settings  # read once: it may be replaced meanwhile
        begin = self._timer()
        output = self._policy.step({name: given[name] for name in self._policy.contract.readings} | settings)
        self._evaluation += 1
        return PolicyResult(
            joint_target=output.joint_target[self._to_robot],
            action=output.action[self._to_robot],
            observation=output.observation,
            inference_time=self._timer() - begin,
            stamp=now,
            settings=np.array(list(settings.values()), np.float64),
            evaluation=self._evaluation,
        )

    def late(self, now: float) -> None:
        """Return nothing: ``evaluate`` always answers at once."""
        return


@dataclass(frozen=True, slots=True, eq=False)
class Tick:
    """One turn of the loop.

    Attributes:
        state: what was read; None when nothing new came.
        result: the policy's output; None in ticks without one.
        output: what the controller made of it.
        sent: what went to the drives, after the driver's own limits.
    """

    state: RobotState | None
    result: PolicyResult | None
    output: ControlOutput
    sent: JointCommand


class ControlLoop:
    """Reads, evaluates the policy when it is due, controls, writes. Call ``tick`` ``control_hz`` times a second.

    Attributes:
        controller: take requests to it.
    """

    def __init__(self, driver: Driver, robot: RobotFile, policy: Policy | None = None, latched: bool = False) -> None:
        """Connect the parts; nothing is read or written yet.

        Args:
            driver: an active driver.
            robot: the robot file.
            policy: what walks; without one the robot can only stand.
            latched: an emergency stop from before is still latched.
        """
        self._driver, self._policy = driver, policy
        self.controller = Controller(robot, None if policy is None else policy.setup, latched)
        self._joints = len(robot.joints)
        self._every = round(robot.policy_dt * robot.control_hz)
        self._since_output = 0
        self._walking = False
        self._command: AnyFloat = np.zeros(0 if policy is None else len(policy.setup.command_range))

    def tick(self, inputs: Inputs, now: float) -> Tick:
        """Run one control tick at time ``now``, s."""
        state = self._driver.read_state()
        result = self._evaluate(state, now)
        output = self.controller.step(state, result, inputs, now)
        self._command = output.velocity_command
        return Tick(state, result, output, self._driver.write_command(output.command))

    def _evaluate(self, state: RobotState | None, now: float) -> PolicyResult | None:
        """Return a new output when one is due. Without a usable reading there is none: the monitor sees it missing."""
        walking = self.controller.mode is Mode.POLICY
        begins, self._walking = walking and not self._walking, walking
        if self._policy is None or not walking:
            return None
        if begins:
            self._policy.reset()
            self._since_output = self._every
        else:
            self._since_output += 1
        due = self._since_output >= self._every
        if state is None or not due or invalid_state(state, self._joints):  # a memory would keep what it is fed
            return self._policy.late(now)
        self._since_output = 0
        return self._policy.evaluate(state, self._command, now)
