"""The deployment file of a robot: joints, limits, gains, rates and checks. A limit that is missing is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from robolearn.config import ConfigError, convert, load_yaml, nearest, parse, unknown
from robolearn.deploy.safety import Safety
from robolearn.deploy.types import Array

V = TypeVar("V")
Range = tuple[float, float]
PerJoint = Any  # a number or a mapping from name or pattern to number; told apart in ``_per_joint``
FOLDER = Path(__file__).resolve().parents[2] / "hardware" / "robots"
MIN_STAND_TIME = 2.0
"""s; a robot that gets up faster cannot be stopped by a person in time."""


@dataclass(frozen=True)
class Stand:
    """How the robot gets up.

    Attributes:
        duration: s, at least 2; longer where ``max_velocity`` asks for it.
        max_velocity: rad/s of the commanded joint positions.
        gain_time: s in which the gains ramp in.
    """

    duration: float
    max_velocity: float
    gain_time: float

    def __post_init__(self) -> None:
        if self.duration < MIN_STAND_TIME:
            raise ValueError(f"duration must be at least {MIN_STAND_TIME:g} s, got {self.duration:g}")
        if self.max_velocity <= 0:
            raise ValueError(f"max_velocity must be positive, got {self.max_velocity:g}")
        if not 0 < self.gain_time <= self.duration:
            raise ValueError(f"gain_time must be positive and at most duration, got {self.gain_time:g}")


@dataclass(frozen=True)
class _Entries:
    """The file as it is written. Values per joint are one number, or a mapping from joint name or pattern."""

    name: str
    joints: list[str]
    soft_range: dict[str, Range]
    hard_range: dict[str, Range]
    velocity_limit: PerJoint
    effort_limit: PerJoint
    rate_limit: PerJoint
    default_pose: PerJoint
    stand_kp: PerJoint
    stand_kd: PerJoint
    damping_kd: PerJoint
    kp_limit: PerJoint
    kd_limit: PerJoint
    control_hz: float
    policy_dt: float
    stand: Stand
    blend_time: float
    command_ramp_time: float
    command_timeout: float
    reset_velocity: float
    safety: Safety


@dataclass(frozen=True, slots=True, eq=False)
class RobotFile:
    """What deployment knows of a robot with J joints. Arrays are (J,), read-only, in the order of ``joints``.

    Attributes:
        name: of the robot; a policy names the same.
        joints: names of the joints.
        soft_low, soft_high: rad, range of commanded positions; inside the hard range.
        hard_low, hard_high: rad, range of the mechanism.
        velocity_limit: rad/s.
        effort_limit: N m.
        rate_limit: rad/s, how fast a commanded position may change.
        default_pose: rad, the pose to stand in.
        stand_kp, stand_kd: N m/rad and N m s/rad, to get up and to stand.
        damping_kd: N m s/rad, to brake.
        kp_limit, kd_limit: largest gains that are ever sent.
        control_hz: control ticks per second.
        policy_dt: s between two outputs of a policy; a whole number of control ticks.
        stand: how the robot gets up.
        blend_time: s from the stand pose to the policy's full command.
        command_ramp_time: s in which the largest velocity command goes to zero when its source is lost.
        command_timeout: s after which the drives brake by themselves when no command arrives.
        reset_velocity: rad/s; joints must be slower before the controller lets go of them.
        safety: the checks.
    """

    name: str
    joints: tuple[str, ...]
    soft_low: Array
    soft_high: Array
    hard_low: Array
    hard_high: Array
    velocity_limit: Array
    effort_limit: Array
    rate_limit: Array
    default_pose: Array
    stand_kp: Array
    stand_kd: Array
    damping_kd: Array
    kp_limit: Array
    kd_limit: Array
    control_hz: float
    policy_dt: float
    stand: Stand
    blend_time: float
    command_ramp_time: float
    command_timeout: float
    reset_velocity: float
    safety: Safety

    @property
    def control_dt(self) -> float:
        """s, the length of a control tick."""
        return 1.0 / self.control_hz


def list_robot_files() -> list[str]:
    """Return the names of the robots that ship with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_robot_file(name: str | Path) -> RobotFile:
    """Load a deployment file by robot name (``"a1"``) or from the path of a YAML file.

    Raises:
        ConfigError: no such robot or file, an entry is missing, unknown or out of range, or a joint lacks a limit; the
            message names file, entry and joint.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        if str(name) not in list_robot_files():
            hint = "" if len(path.parts) == 1 else " A path must end in .yaml."
            raise ConfigError(f"{unknown('robot', str(name), list_robot_files())}{hint}")
        path = FOLDER / f"{name}.yaml"
    data = load_yaml(path)
    try:
        return robot_from_mapping(data)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def robot_from_mapping(data: Mapping[str, object]) -> RobotFile:
    """Check the entries of a deployment file and resolve them joint by joint.

    Raises:
        ConfigError: as ``load_robot_file``.
    """
    file = parse(_Entries, _read_off(data))
    joints = file.joints
    if not joints:
        raise ConfigError("joints: at least one is needed")
    for joint in joints:
        if joints.count(joint) > 1:
            raise ConfigError(f"joints: {joint!r} is given twice")
    soft, hard = (_ranges(getattr(file, entry), joints, entry) for entry in ("soft_range", "hard_range"))
    _inside("soft_range", "hard_range", joints, (soft[0], soft[1]), hard)
    pose = _per_joint(file.default_pose, joints, "default_pose")
    _inside("default_pose", "soft_range", joints, (pose, pose), soft)
    velocity = _positive(file.velocity_limit, joints, "velocity_limit")
    rate = _positive(file.rate_limit, joints, "rate_limit")
    kp_limit = _positive(file.kp_limit, joints, "kp_limit")
    kd_limit = _positive(file.kd_limit, joints, "kd_limit")
    stand_kp = _positive(file.stand_kp, joints, "stand_kp")
    stand_kd = _positive(file.stand_kd, joints, "stand_kd")
    damping_kd = _positive(file.damping_kd, joints, "damping_kd")
    _at_most("stand_kp", stand_kp, "kp_limit", kp_limit, joints)
    _at_most("stand_kd", stand_kd, "kd_limit", kd_limit, joints)
    _at_most("damping_kd", damping_kd, "kd_limit", kd_limit, joints)
    max_velocity = np.full(len(joints), file.stand.max_velocity)
    _at_most("stand.max_velocity", max_velocity, "velocity_limit", velocity, joints)
    _at_most("stand.max_velocity", max_velocity, "rate_limit", rate, joints)
    _check_times(file)
    return RobotFile(
        name=file.name,
        joints=tuple(joints),
        soft_low=soft[0],
        soft_high=soft[1],
        hard_low=hard[0],
        hard_high=hard[1],
        velocity_limit=velocity,
        effort_limit=_positive(file.effort_limit, joints, "effort_limit"),
        rate_limit=rate,
        default_pose=pose,
        stand_kp=stand_kp,
        stand_kd=stand_kd,
        damping_kd=damping_kd,
        kp_limit=kp_limit,
        kd_limit=kd_limit,
        control_hz=file.control_hz,
        policy_dt=file.policy_dt,
        stand=file.stand,
        blend_time=file.blend_time,
        command_ramp_time=file.command_ramp_time,
        command_timeout=file.command_timeout,
        reset_velocity=file.reset_velocity,
        safety=file.safety,
    )


def _read_off(data: Mapping[str, object]) -> dict[str, object]:
    """Undo what YAML 1.1 makes of ``mode: off``: the boolean false."""
    checks = data.get("safety")
    if not isinstance(checks, Mapping):
        return dict(data)
    read = {
        name: {**entry, "mode": "off"} if isinstance(entry, Mapping) and entry.get("mode") is False else entry
        for name, entry in checks.items()
    }
    return {**data, "safety": read}


def _lookup(values: Mapping[str, V], joints: Sequence[str], where: str) -> list[V]:
    """Return one value per joint. An exact name beats a pattern; two patterns for one joint are refused."""
    patterns = {}
    for key in values:
        try:
            patterns[key] = re.compile(key)
        except re.error as error:
            raise ConfigError(f"{where}: {key!r} is neither a joint nor a valid pattern ({error})") from error
        if key not in joints and not any(patterns[key].fullmatch(joint) for joint in joints):
            raise unknown("joint", key, joints, where)
    result = []
    for joint in joints:
        keys = [joint] if joint in values else [key for key in values if patterns[key].fullmatch(joint)]
        if not keys:
            raise ConfigError(f"{where}: no value for joint {joint!r}; every joint needs one.{nearest(joint, values)}")
        if len(keys) > 1:
            raise ConfigError(f"{where}: joint {joint!r} has a value from {keys[0]!r} and one from {keys[1]!r}")
        result.append(values[keys[0]])
    return result


def _frozen(values: Sequence[float]) -> Array:
    array = np.array(values, dtype=np.float64)
    array.setflags(write=False)
    return array


def _per_joint(value: PerJoint, joints: Sequence[str], where: str) -> Array:
    if isinstance(value, Mapping):
        return _frozen(_lookup(convert(dict[str, float], value, where), joints, where))
    return _frozen([convert(float, value, where)] * len(joints))


def _positive(value: PerJoint, joints: Sequence[str], where: str) -> Array:
    result = _per_joint(value, joints, where)
    for joint, number in zip(joints, result, strict=True):
        if number <= 0:
            raise ConfigError(f"{where}: must be positive, got {number:g} for joint {joint!r}")
    return result


def _ranges(values: Mapping[str, Range], joints: Sequence[str], where: str) -> tuple[Array, Array]:
    found = _lookup(values, joints, where)
    for joint, (low, high) in zip(joints, found, strict=True):
        if low >= high:
            raise ConfigError(
                f"{where}: the lower limit of joint {joint!r} ({low:g}) is not below the upper ({high:g})"
            )
    return _frozen([low for low, _ in found]), _frozen([high for _, high in found])


def _inside(
    inner: str, outer: str, joints: Sequence[str], values: tuple[Array, Array], limits: tuple[Array, Array]
) -> None:
    for i, joint in enumerate(joints):
        if values[0][i] < limits[0][i] or values[1][i] > limits[1][i]:
            raise ConfigError(
                f"{inner}: joint {joint!r} is outside its {outer} [{limits[0][i]:g}, {limits[1][i]:g}] rad"
            )


def _at_most(name: str, values: Array, limit_name: str, limits: Array, joints: Sequence[str]) -> None:
    for joint, value, limit in zip(joints, values, limits, strict=True):
        if value > limit:
            raise ConfigError(f"{name}: {value:g} is above {limit_name} ({limit:g}) of joint {joint!r}")


def _check_times(file: _Entries) -> None:
    for name in ("control_hz", "policy_dt", "blend_time", "command_ramp_time", "command_timeout", "reset_velocity"):
        if getattr(file, name) <= 0:
            raise ConfigError(f"{name}: must be positive, got {getattr(file, name):g}")
    ticks = file.control_hz * file.policy_dt
    if round(ticks) < 1 or abs(ticks - round(ticks)) > 1e-6:
        raise ConfigError(f"policy_dt: must be a whole number of control ticks (control_hz), got {ticks:g} ticks")
    stalled = file.safety.loop_stalled.limit
    for name, limit in (("command_timeout", file.command_timeout), ("safety.loop_stalled", stalled)):
        if limit * file.control_hz <= 1:
            raise ConfigError(f"{name}: {limit:g} s is not longer than one control tick ({1 / file.control_hz:g} s)")
    if stalled > file.command_timeout:
        raise ConfigError(
            f"safety.loop_stalled: limit {stalled:g} s is above command_timeout ({file.command_timeout:g} s): "
            "the drives would brake before the controller knows"
        )
