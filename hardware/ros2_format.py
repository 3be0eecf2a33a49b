"""What the messages of a ros2_control robot mean: checked, matched by name, put together into readings and commands.

Nothing here needs ROS 2: messages are whatever has their fields.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from robolearn.config import ConfigError, nearest
from robolearn.deploy.types import Array, JointCommand, RobotState

EFFORT = "effort"
PD = "pd"
BLOCKS = ("position", "velocity", "effort", "kp", "kd")
"""What a ``pd`` controller takes for each joint, in this order unless its ``interface_names`` say another."""
_SAME = {"proportional": "kp", "stiffness": "kp", "derivative": "kd", "damping": "kd"}
_FIELDS = {"position": "position", "velocity": "velocity", "effort": "torque", "kp": "kp", "kd": "kd"}
BATTERY_TIMEOUT = 10.0
"""s; a battery that was not heard for so long is unknown again."""


class FormatError(ValueError):
    """A message that cannot be used; it says why."""


def to_wxyz(quaternion: Any) -> Array:
    """Return a ROS quaternion (fields x, y, z, w) as (w, x, y, z). The only place here that changes the order."""
    return np.array([quaternion.w, quaternion.x, quaternion.y, quaternion.z])


def pd_torque(command: JointCommand, position: Array, velocity: Array, limit: Array) -> Array:
    """Return what a drive makes of a command at a reading, N m: all (J,), clipped to ``limit``."""
    torque = command.kp * (command.position - position) + command.kd * (command.velocity - velocity) + command.torque
    return np.clip(torque, -limit, limit)


class JointParts(NamedTuple):
    """The joints of one message, in the robot's order: rad, rad/s, N m (NaN where not reported), all (J,)."""

    position: Array
    velocity: Array
    effort: Array


class JointReader:
    """Finds J joints by name in ``sensor_msgs/JointState`` messages, in any order, among any others."""

    def __init__(self, joints: Sequence[str]) -> None:
        self._joints = tuple(joints)
        self._names: list[str] | None = None
        self._order: list[int] = []

    def read(self, message: Any) -> JointParts | None:
        """Return the joints of a message; None when it is about other joints only, such as a gripper's.

        Raises:
            FormatError: a joint is missing or doubled, or an array has another length than the names.
        """
        names = list(message.name)
        if names != self._names:
            if not set(names) & set(self._joints):
                return None
            self._order = self._find(names)
            self._names = names
        parts = []
        for field in JointParts._fields:
            values = np.array(getattr(message, field), np.float64)
            if field == EFFORT and not len(values):
                values = np.full(len(names), np.nan)
            if values.shape != (len(names),):
                raise FormatError(f"{len(names)} names but {len(values)} values of {field}")
            parts.append(values[self._order])
        return JointParts(*parts)

    def _find(self, names: list[str]) -> list[int]:
        for joint in self._joints:
            if joint not in names:
                raise FormatError(f"joint {joint!r} is missing.{nearest(joint, names)}")
            if names.count(joint) > 1:
                raise FormatError(f"joint {joint!r} is given {names.count(joint)} times")
        return [names.index(joint) for joint in self._joints]


class ImuParts(NamedTuple):
    """One message of the IMU: (4,) w, x, y, z; (3,) rad/s; (3,) m/s^2, NaN where unknown."""

    orientation: Array
    angular_velocity: Array
    acceleration: Array


def read_imu(message: Any) -> ImuParts:
    """Return what a ``sensor_msgs/Imu`` says. A covariance that begins with -1 means that a value does not exist.

    Raises:
        FormatError: there is no orientation or no angular velocity.
    """
    for name in ("orientation", "angular_velocity"):
        if getattr(message, f"{name}_covariance")[0] == -1.0:
            raise FormatError(f"the IMU gives no {name} (covariance -1)")
    rate, force = message.angular_velocity, message.linear_acceleration
    known = message.linear_acceleration_covariance[0] != -1.0
    return ImuParts(
        to_wxyz(message.orientation),
        np.array([rate.x, rate.y, rate.z]),
        np.array([force.x, force.y, force.z]) if known else np.full(3, np.nan),
    )


def read_battery(message: Any) -> float:
    """Return the state of charge, 0 to 1, of a ``sensor_msgs/BatteryState``; NaN where it is not measured.

    Raises:
        FormatError: the percentage is none, as the message defines it: a share from 0 to 1.
    """
    charge = float(message.percentage)
    if not message.present or np.isnan(charge):
        return float("nan")
    if not 0.0 <= charge <= 1.0:
        raise FormatError(f"percentage {charge:g} is no share from 0 to 1")
    return charge


@dataclass(slots=True)
class _Part:
    """The newest of one topic: when the robot made it (ns, its clock), when it arrived (s, ours), and the values."""

    made: int
    arrived: float
    values: Any


class Merger:
    """Puts joints and IMU together into one reading. Not thread-safe.

    A reading is complete when both parts came anew since the last one, and its stamp is the arrival of the older. A
    robot whose IMU is silent gives no readings at all, and so becomes stale.

    These messages carry no counter, only the time on the robot's clock. ``sequence`` follows it: it goes on by one
    when both parts are newer than when it last changed, stays while one of them repeats its time, and goes back
    when one of them goes back. A robot that publishes the same thing again and again thus shows, though messages
    arrive; a counter of arrivals would hide it.

    A joint whose first message carries no effort cannot measure it (`joint_state_broadcaster` then says NaN). Its
    torque is estimated by what its drive makes of the last command, which is 0 before the first: the monitor must know
    a torque, and a 0 while the joint pushes would be wrong. A joint that stops reporting later gives NaN.

    Attributes:
        effort_limit: (J,) N m.
        estimated: (J,) joints whose torque is estimated; known from the first message on.
    """

    def __init__(self, effort_limit: Array) -> None:
        self.effort_limit = effort_limit
        self.estimated = np.zeros(len(effort_limit), dtype=bool)
        self._joints: _Part | None = None
        self._imu: _Part | None = None
        self._usable: _Part | None = None  # the newest joints that are finite
        self._battery = (float("nan"), -float("inf"))
        self._new_joints = self._new_imu = False
        self._made: tuple[int, int] | None = None  # when the sequence last changed
        self._sequence = 0

    @property
    def complete(self) -> bool:
        """Whether both parts were ever heard."""
        return self._joints is not None and self._imu is not None

    def take_joints(self, parts: JointParts, made: int, arrived: float) -> None:
        """Take the joints of a message with the robot's time ``made`` (ns), which arrived at ``arrived`` (s)."""
        if self._joints is None:
            self.estimated = ~np.isfinite(parts.effort)
        self._joints, self._new_joints = _Part(made, arrived, parts), True
        if np.isfinite(parts.position).all() and np.isfinite(parts.velocity).all():
            self._usable = self._joints

    def take_imu(self, parts: ImuParts, made: int, arrived: float) -> None:
        """Take a message of the IMU, as ``take_joints``."""
        self._imu, self._new_imu = _Part(made, arrived, parts), True

    def take_battery(self, charge: float, arrived: float) -> None:
        """Take a state of charge."""
        self._battery = (charge, arrived)

    def usable_joints(self) -> tuple[Array, Array, float] | None:
        """Return the newest finite position and velocity, both (J,), and their arrival in s; None before the first."""
        if self._usable is None:
            return None
        return self._usable.values.position, self._usable.values.velocity, self._usable.arrived

    def reading(self, command: JointCommand, now: float) -> RobotState | None:
        """Return a new reading, or None.

        Args:
            command: what the drives were told last.
            now: s.
        """
        if not (self._new_joints and self._new_imu):
            return None
        assert self._joints is not None  # they came
        assert self._imu is not None
        self._new_joints = self._new_imu = False
        made = (self._joints.made, self._imu.made)
        self._made = self._made or made
        step = min(int(np.sign(new - old)) for new, old in zip(made, self._made, strict=True))
        if step:
            self._sequence, self._made = self._sequence + step, made
        joints, imu = self._joints.values, self._imu.values
        torque = joints.effort.copy()
        if self.estimated.any():
            law = pd_torque(command, joints.position, joints.velocity, self.effort_limit)
            torque[self.estimated] = law[self.estimated]
        charge, heard = self._battery
        return RobotState(
            position=joints.position,
            velocity=joints.velocity,
            torque=torque,
            orientation=imu.orientation,
            angular_velocity=imu.angular_velocity,
            sequence=self._sequence,
            stamp=min(self._joints.arrived, self._imu.arrived),
            acceleration=imu.acceleration,
            battery=charge if now - heard <= BATTERY_TIMEOUT else float("nan"),
        )


def check_interface(interface: str) -> None:
    """Refuse an interface that there is not.

    Raises:
        ConfigError: it is neither ``effort`` nor ``pd``.
    """
    if interface not in (EFFORT, PD):
        raise ConfigError(f"interface {interface!r}: must be {EFFORT} or {PD}")


class CommandLayout:
    """The order of values in a controller's ``Float64MultiArray``: one block of J values per interface."""

    def __init__(self, controller: str, interface: str, declared: Sequence[str] | None) -> None:
        """Agree on the interfaces.

        Args:
            controller: its name, for messages.
            interface: what was asked for: ``effort`` or ``pd``.
            declared: the interfaces of the controller's own parameters; None where it does not say.

        Raises:
            ConfigError: it takes something else.
        """
        check_interface(interface)
        wanted = (EFFORT,) if interface == EFFORT else BLOCKS
        blocks = wanted if declared is None else tuple(_SAME.get(name.lower(), name.lower()) for name in declared)
        if sorted(blocks) != sorted(wanted):
            raise ConfigError(
                f"controller {controller!r} takes {', '.join(declared or ())}; interface {interface!r} needs "
                f"{', '.join(wanted)}{_why_not(blocks)}"
            )
        self.blocks = blocks

    def pack(self, values: Mapping[str, Array]) -> Array:
        """Return the message's data from blocks of J values, by interface."""
        return np.concatenate([values[block] for block in self.blocks])


def blocks_of(command: JointCommand) -> dict[str, Array]:
    """Return a command as blocks by interface: position, velocity, effort (feed-forward), kp, kd."""
    return {block: getattr(command, field) for block, field in _FIELDS.items()}


def _why_not(blocks: Sequence[str]) -> str:
    if EFFORT in blocks:
        for interface, wanted in ((EFFORT, (EFFORT,)), (PD, BLOCKS)):
            if sorted(blocks) == sorted(wanted):
                return f"; choose interface {interface!r}"
        return "; load a controller with exactly these"
    return (
        ". Drives that take positions or velocities only hold them stiffly whatever happens: they cannot be damped, "
        "and the robot could not be stopped. Load a controller with an effort interface"
    )
