"""What the controller is told besides the robot's state: about the policy once, and at every control tick."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robolearn.config import ConfigError
from robolearn.deploy.contract import SIGNALS, PolicyContract
from robolearn.deploy.robot import RobotFile
from robolearn.deploy.types import Array

AnyFloat = NDArray[np.floating[Any]]
_ROUNDING = 2e-3
"""Share, or rad, by which a contract's pose and limits may differ from the robot file: both are rounded."""


@dataclass(frozen=True, slots=True, eq=False)
class PolicySetup:
    """What the controller must know of a policy: J joints, C velocity commands, D observations.

    Attributes:
        robot: name of the robot that it was made for.
        joints: names, in the robot file's order.
        dt: s between two outputs.
        kp, kd: (J,) gains in N m/rad and N m s/rad.
        action_clip: bound of the raw action.
        command_range: (C, 2) lowest and highest command in training.
        observation_low, observation_high, observation_mean, observation_std: (D,) of the training data.
        may_fall: the policy gets up from the ground: tilt, fall and angular rate are not judged.
    """

    robot: str
    joints: tuple[str, ...]
    dt: float
    kp: Array
    kd: Array
    action_clip: float
    command_range: Array
    observation_low: Array
    observation_high: Array
    observation_mean: Array
    observation_std: Array
    may_fall: bool = False

    @classmethod
    def from_contract(cls, contract: PolicyContract, robot: RobotFile, may_fall: bool = False) -> PolicySetup:
        """Read a policy's contract; the gains are put into the robot's order of joints, by name.

        Raises:
            ConfigError: the policy does not fit the robot, or was trained with another default pose or other limits.
        """
        part, statistics = contract.robot, contract.observation.statistics
        same = sorted(part.joints) == sorted(robot.joints)
        order = [part.joints.index(joint) for joint in robot.joints] if same else list(range(len(part.joints)))
        setup = cls(
            robot=part.name,
            joints=tuple(part.joints[i] for i in order),
            dt=contract.control_dt,
            kp=np.array(part.kp)[order],
            kd=np.array(part.kd)[order],
            action_clip=contract.action.clip,
            command_range=np.array([(entry.low, entry.high) for entry in contract.command]).reshape(-1, 2),
            observation_low=np.array(statistics.low),
            observation_high=np.array(statistics.high),
            observation_mean=np.array(statistics.mean),
            observation_std=np.array(statistics.std),
            may_fall=may_fall,
        )
        setup.check(robot)
        _check_body(contract, robot, order)
        _check_signals(contract)
        return setup

    def check(self, robot: RobotFile) -> None:
        """Refuse a policy that does not fit the robot.

        Raises:
            ConfigError: names the field that does not fit, and what the robot file says.
        """
        where = f"robot {robot.name!r}"
        if self.robot != robot.name:
            raise ConfigError(f"policy robot: made for {self.robot!r}, not for {where}")
        if self.joints != robot.joints:
            missing, extra = set(robot.joints) - set(self.joints), set(self.joints) - set(robot.joints)
            difference = f"missing {sorted(missing)}, unknown {sorted(extra)}" if missing or extra else "wrong order"
            raise ConfigError(f"policy joints: not those of {where}: {difference}")
        if abs(self.dt - robot.policy_dt) > 1e-9:
            raise ConfigError(f"policy dt: {self.dt:g} s, but {where} runs policies at {robot.policy_dt:g} s")
        self._check_arrays()
        for name, value, most in (("kp", self.kp, robot.kp_limit), ("kd", self.kd, robot.kd_limit)):
            for joint, number, limit in zip(robot.joints, value, most, strict=True):
                if not 0 <= number <= limit or (name == "kp" and number == 0):
                    least = "above 0" if name == "kp" else "at least 0"
                    raise ConfigError(
                        f"policy {name}: {number:g} for joint {joint!r}; must be {least} and at most {limit:g}, "
                        f"the {name}_limit of {where}"
                    )

    def _check_arrays(self) -> None:
        joints, columns = (len(self.joints),), (len(self.observation_low),)
        for name, shape in (
            ("kp", joints), ("kd", joints), ("command_range", (len(self.command_range), 2)),
            ("observation_low", columns), ("observation_high", columns),
            ("observation_mean", columns), ("observation_std", columns),
        ):  # fmt: skip
            value = getattr(self, name)
            if value.shape != shape:
                raise ConfigError(f"policy {name}: expected shape {shape}, got {value.shape}")
            if not np.isfinite(value).all():
                raise ConfigError(f"policy {name}: must be finite, got {value}")
        if not len(self.observation_low):
            raise ConfigError("policy observation_low: empty; without training statistics nothing can be judged")
        if not 0 < self.action_clip < np.inf:
            raise ConfigError(f"policy action_clip: must be positive and finite, got {self.action_clip}")
        if (self.command_range[:, 0] > self.command_range[:, 1]).any():
            raise ConfigError("policy command_range: a lower limit is above its upper limit")
        if (self.observation_low > self.observation_high).any() or (self.observation_std < 0).any():
            raise ConfigError("policy observation statistics: low above high, or a negative standard deviation")


def _check_body(contract: PolicyContract, robot: RobotFile, order: list[int]) -> None:
    """Refuse a policy that was trained for another pose or other limits; ``order`` sorts its joints as the robot's."""
    part = contract.robot
    ranges = np.array(part.position_limit)
    for name, trained, here in (
        ("default_pose", part.default_pose, robot.default_pose),
        ("effort_limit", part.effort_limit, robot.effort_limit),
        ("velocity_limit", part.velocity_limit, robot.velocity_limit),
        ("position_limit lower", ranges[:, 0], robot.hard_low),
        ("position_limit upper", ranges[:, 1], robot.hard_high),
    ):
        for joint, theirs, ours in zip(robot.joints, np.array(trained)[order], here, strict=True):
            if not abs(theirs - ours) <= _ROUNDING * max(1.0, abs(ours)):
                raise ConfigError(
                    f"policy {name}: {theirs:g} for joint {joint!r}, but robot {robot.name!r} has {ours:g}: "
                    "correct the robot file, or train for this robot"
                )


def _check_signals(contract: PolicyContract) -> None:
    """Refuse a policy that reads what a robot's readings do not give, or gives in another width, unit or frame."""
    joints = len(contract.robot.joints)
    widths = {
        "joint_position": joints,
        "joint_velocity": joints,
        "base_angular_velocity": 3,
        "base_orientation": 4,
        "command": len(contract.command),
    }
    for name in contract.readings:
        signal = contract.signals[name]
        if name not in SIGNALS:
            raise ConfigError(f"policy signals: a robot's readings do not give {name}")
        unit, frame = SIGNALS[name]
        for entry, given in (("width", widths[name]), ("unit", unit), ("frame", frame)):
            if (wanted := getattr(signal, entry)) != given:
                raise ConfigError(f"policy signals.{name}.{entry}: is {wanted!r}, but readings give {given!r}")


@dataclass(frozen=True, slots=True, eq=False)
class PolicyResult:
    """One output of the policy, as it came.

    Attributes:
        joint_target: (J,) rad, in the robot file's order of joints.
        action: (J,) raw action, after the policy's own clipping.
        observation: (D,) what the network saw.
        inference_time: s.
        stamp: s on the controller's clock when it was finished; one that is not newer is the same output.
        settings: (S,) what the operator had set, in the order of the contract.
        evaluation: how many outputs the policy has given since it forgot its past, this one included: a request that it
            never saw did not move its memory.
    """

    joint_target: AnyFloat
    action: AnyFloat
    observation: AnyFloat
    inference_time: float
    stamp: float
    settings: AnyFloat = field(default_factory=lambda: np.zeros(0))
    evaluation: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """Everything else that a control tick looks at. Ages are s; infinite where nothing was ever heard.

    Attributes:
        estop: an emergency stop input is pressed, physical or software.
        command: (C,) velocity command as the operator or planner sent it.
        command_age: since its source was last heard.
        policy_age, monitor_age, hardware_age: since the last heartbeat; 0 for what runs in the caller's own loop.
        fault: an exception or signal in the process, in words; empty when all is well.
    """

    estop: bool
    command: AnyFloat
    command_age: float
    policy_age: float
    monitor_age: float
    hardware_age: float
    fault: str = ""
