"""The nodes' episode twice more in this process: their commands on the same robot, and the whole stack anew."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robolearn.deploy.inputs import AnyFloat
from robolearn.deploy.modes import Request
from robolearn.deploy.types import Array, RobotState
from robolearn.evaluate.deployed import DeployedRobot, calm
from robolearn.evaluate.sim2sim.deployed.episode import Episode
from robolearn.evaluate.sim2sim.deployed.truth import Truth

EXACT = 1e-9
"""Largest difference of a reading that counts as none, in its unit: messages carry float64."""
_COMPARED = ("sequence", "position", "velocity", "torque", "orientation", "angular_velocity", "acceleration")


@dataclass(frozen=True)
class Difference:
    """Where a recorded reading is first not what the commands make of the robot.

    Attributes:
        time: s on the robot's clock.
        field: of the reading, with the joint where it has one.
        size: in the field's unit.
    """

    time: float
    field: str
    size: float


@dataclass(frozen=True, eq=False)
class Replay:
    """The recorded commands on the same simulated robot.

    Attributes:
        truth: what it did, if nothing differs.
        compared: number of recorded readings.
        cycles: number of cycles, each of which has one.
        difference: the first; None where there is none.
    """

    truth: Truth
    compared: int
    cycles: int
    difference: Difference | None


@dataclass(frozen=True, eq=False)
class InProcess:
    """The stack in one process, given the nodes' velocity commands in the nodes' cycles.

    Attributes:
        truth: what it did.
        action, target: (T, J) of the policy, until the end or until the robot was stopped.
        stopped: why it was stopped or refused something; empty where it was not.
    """

    truth: Truth
    action: Array
    target: Array
    stopped: str

    @property
    def steps(self) -> int:
        """T."""
        return len(self.action)


def replay(episode: Episode, robot: DeployedRobot) -> Replay:
    """Give recorded commands to a robot that was just put on its feet, and compare its readings with the recorded ones.

    The simulated robot is deterministic. So what the messages do not say, such as the base's velocity, is known where
    all readings are the same; where one differs, something between drives and driver is not as it should be.
    """
    truth = Truth(robot)
    found: Difference | None = None
    compared = 0
    for cycle, command in enumerate(episode.commands, 1):
        robot.link.advance(robot.robot.control_dt)
        reading = robot.driver.read_state()
        assert reading is not None  # a cycle is a physics step
        recorded = episode.readings.get(cycle)
        if recorded is not None and found is None:
            compared += 1
            found = _compare(reading, recorded, robot)
        sent = robot.driver.write_command(command)
        truth.take(reading, sent.position)
    return Replay(truth, compared, len(episode.commands), found)


def _compare(reading: RobotState, recorded: dict[str, Array], robot: DeployedRobot) -> Difference | None:
    for name in _COMPARED:
        error = np.abs(np.atleast_1d(getattr(reading, name)) - recorded[name])
        if not (error <= EXACT).all():
            worst = int(np.nanargmax(np.nan_to_num(error, nan=np.inf)))
            joint = f" of {robot.robot.joints[worst]}" if len(error) == len(robot.robot.joints) else ""
            return Difference(robot.now, f"{name.replace('_', ' ')}{joint}", float(error[worst]))
    return None


def run_again(episode: Episode, asked: Array, robot: DeployedRobot) -> InProcess:
    """Let controller, monitor, policy and driver decide the nodes' episode for themselves, without ROS.

    Args:
        episode: when the robot stood up and when the policy took over.
        asked: (S, C) velocity in each step of the policy, also in those that the nodes did not get to.
        robot: was just put on its feet.
    """
    truth = Truth(robot)
    action: list[AnyFloat] = []
    target: list[AnyFloat] = []
    stopped = ""
    for cycle in range(1, episode.first + episode.every * len(asked) + 1):
        try:
            if cycle == episode.stood:
                robot.ask(Request.ARM)
                robot.ask(Request.STAND)
            if cycle == episode.first:
                robot.ask(Request.START_POLICY)
        except RuntimeError as error:
            stopped = str(error)
        # The policy follows what was asked for up to the tick before.
        step = (cycle - episode.first) // episode.every + 1
        tick = robot.tick(calm(asked[min(max(step, 0), len(asked) - 1)]))
        assert tick.state is not None  # a cycle is a physics step
        truth.take(tick.state, tick.sent.position)
        if tick.result is not None and len(action) < len(asked):
            action.append(tick.result.action)
            target.append(tick.result.joint_target)
    joints = len(episode.robot.joints)
    stopped = stopped or robot.loop.controller.stop_reason
    return InProcess(truth, np.reshape(action, (-1, joints)), np.reshape(target, (-1, joints)), stopped)
