"""What the safety check lets happen: every fault below the driver, and what can go wrong in the processes above it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from hardware.faults import KINDS
from robolearn.config import unknown
from robolearn.deploy.checks import Reason
from robolearn.deploy.inputs import Inputs
from robolearn.deploy.modes import Mode
from robolearn.evaluate.deployed import DeployedRobot, Spoil

Change = Callable[[Inputs, float], Inputs]
"""From the inputs of a tick and the s since the fault began to what the controller is told instead."""
Begin = Callable[[DeployedRobot, np.random.Generator], Change | None]
Reaction = Literal["damping", "stop", "estop", "ramp down", "start refused", "dead-man", "none"]

MOVING = (Mode.STAND, Mode.READY, Mode.POLICY)
WALKING = (Mode.POLICY,)


@dataclass(frozen=True)
class Case:
    """Something that goes wrong.

    Attributes:
        name: of the kind; those of ``hardware.faults`` keep their names.
        begin: lets it begin in a world.
        expected: the checks that may see it; the one that stopped the robot must be among them.
        reaction: what must follow. ``stop``: damping, or a walk that is ended standing.
        modes: in which it begins.
        horizon: s that it may take until it can be observed.
        note: parameters, for the table.
    """

    name: str
    begin: Begin
    expected: tuple[Reason, ...]
    reaction: Reaction = "damping"
    modes: tuple[Mode, ...] = MOVING
    horizon: float = 30.0
    note: str = ""


def _hardware(name: str, *expected: Reason, **parameters: Any) -> Case:
    """A fault below the driver, seen by the checks that it is registered with. A joint that it concerns is random."""
    kind = KINDS[name]

    def begin(world: DeployedRobot, rng: np.random.Generator) -> None:
        values, joints = dict(parameters), world.robot.joints
        if "joint" in kind.parameters:
            values["joint"] = joints[rng.integers(len(joints))]
        if "first" in kind.parameters:
            values["first"], values["second"] = (joints[i] for i in rng.choice(len(joints), 2, replace=False))
        if "axis" in kind.parameters:
            values["axis"] = "xyz"[rng.integers(3)]
        world.injector.inject(name, **values)

    note = ", ".join(f"{key} {value:g}" for key, value in parameters.items())
    return Case(name, begin, expected or tuple(Reason(check) for check in kind.seen_by), note=note)


def _told(name: str, change: Change, *expected: Reason, **options: Any) -> Case:
    """The controller is told something else about the processes around it."""
    return Case(name, lambda world, rng: change, expected, **options)


def _spoiled(name: str, spoil: Spoil, *expected: Reason, **options: Any) -> Case:
    """What the policy answers is spoiled."""

    def begin(world: DeployedRobot, rng: np.random.Generator) -> None:
        world.policy.spoil = spoil

    return Case(name, begin, expected, modes=WALKING, **options)


def _nan(values: np.ndarray) -> np.ndarray:
    return np.full_like(values, np.nan)


def _stall(seconds: float) -> Begin:
    def begin(world: DeployedRobot, rng: np.random.Generator) -> None:
        world.link.advance(seconds)

    return begin


def _push(impulse: float) -> Begin:
    def begin(world: DeployedRobot, rng: np.random.Generator) -> None:
        angle = rng.uniform(0.0, 2.0 * np.pi)
        world.link.push(impulse * np.array([np.cos(angle), np.sin(angle), 0.0]), duration=0.1)

    return begin


def stopped_loop(world: DeployedRobot, rng: np.random.Generator) -> None:
    """Nothing: who runs the case stops calling the control loop, and only the driver's own cycle goes on."""


CASES: dict[str, Case] = {
    case.name: case
    for case in (
        # Readings that make no sense.
        _hardware("nan_position"),
        _hardware("nan_velocity"),
        _hardware("nan_torque"),
        _hardware("nan_orientation"),
        _hardware("nan_angular_velocity"),
        _hardware("infinite_position"),
        _hardware("non_unit_quaternion"),
        # Readings that come late, not at all, or again.
        _hardware("frozen_state"),
        _hardware("frozen_data"),
        _hardware("delayed_state"),
        _hardware("dropped_packets", share=0.97),
        _hardware("no_state"),
        _hardware("sequence_backwards"),
        _hardware("stamp_backwards"),
        _hardware("imu_frozen"),
        _hardware("encoder_frozen"),
        # Readings that are wrong.
        _hardware("imu_axis_flipped"),
        _hardware("position_bias", bias=0.8, ramp=1.0),
        _hardware("position_jump"),
        _hardware("encoder_sign"),
        _hardware("joints_swapped"),
        _hardware("noise", Reason.POSITION_JUMP, Reason.POSITION, position=0.5, velocity=60.0, rate=5.0),
        replace(_hardware("noise"), name="noise_default", reaction="none", horizon=5.0),
        # Readings of a robot in trouble.
        _hardware("velocity_spike"),
        _hardware("joint_over_limit"),
        _hardware("over_torque"),
        _hardware("over_temperature"),
        replace(_hardware("battery_low"), reaction="start refused", modes=(Mode.IDLE, Mode.READY)),
        _hardware("battery_critical"),
        # Commands that do not do what they say.
        _hardware("motor_off"),
        _hardware("power_loss"),
        _hardware("command_lost"),
        _hardware("command_delayed"),
        # What the policy answers.
        _spoiled(
            "nan_action",
            lambda r: replace(r, action=_nan(r.action), joint_target=_nan(r.joint_target)),
            Reason.ACTION_INVALID,
        ),
        _spoiled("nan_observation", lambda r: replace(r, observation=_nan(r.observation)), Reason.OBSERVATION_INVALID),
        _spoiled("slow_policy", lambda r: replace(r, inference_time=0.015), Reason.INFERENCE_TIME, note="15 ms"),
        _spoiled("silent_policy", lambda r: None, Reason.POLICY_DEADLINE),
        # What the controller is told.
        _told(
            "velocity_command_nan",
            lambda inputs, age: replace(inputs, command=_nan(inputs.command)),
            Reason.COMMAND_INVALID,
            modes=WALKING,
        ),
        _told(
            "velocity_command_lost",
            lambda inputs, age: replace(inputs, command=np.array([0.6, 0.2, 0.5]), command_age=age),
            Reason.COMMAND_LOST,
            reaction="ramp down",
            modes=WALKING,
        ),
        _told("estop_pressed", lambda inputs, age: replace(inputs, estop=True), Reason.ESTOP, reaction="estop"),
        _told(
            "policy_process_lost",
            lambda inputs, age: replace(inputs, policy_age=age),
            Reason.HEARTBEAT_POLICY,
            modes=WALKING,
        ),
        _told("monitor_lost", lambda inputs, age: replace(inputs, monitor_age=age), Reason.HEARTBEAT_MONITOR),
        _told("hardware_lost", lambda inputs, age: replace(inputs, hardware_age=age), Reason.HEARTBEAT_HARDWARE),
        _told("process_fault", lambda inputs, age: replace(inputs, fault="exception"), Reason.PROCESS_FAULT),
        # The control loop, and the world.
        Case("loop_stalled", _stall(0.08), (Reason.LOOP_STALLED,), note="80 ms"),
        Case("loop_stopped", stopped_loop, (), "dead-man"),
        Case(
            "tilt_push",
            _push(60.0),
            (Reason.TILT, Reason.FALL, Reason.ANGULAR_RATE),
            modes=(Mode.READY, Mode.POLICY),
            note="60 N s",
        ),
    )
}
"""Every case by name."""


def choose(names: list[str] | None) -> list[Case]:
    """Return the cases of these names, or all.

    Raises:
        ConfigError: a name is unknown.
    """
    for name in names or ():
        if name not in CASES:
            raise unknown("case", name, CASES)
    return [CASES[name] for name in names] if names else list(CASES.values())
