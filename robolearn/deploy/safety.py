"""The ``safety`` section of a robot file: one entry per check, with a mode and every threshold. No defaults.

``off`` does not judge, ``warn`` only reports, ``trip`` reacts. Debounce is how long, in seconds, a condition must hold.
The names of the entries are the reason codes of ``robolearn.deploy.checks``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CheckMode = Literal["off", "warn", "trip"]


def _positive(entry: object, *names: str) -> None:
    for name in names:
        value = getattr(entry, name)
        if value <= 0:
            raise ValueError(f"{name} must be positive, got {value:g}")


def _trip_above_warn(warn: float, trip: float) -> None:
    if trip <= warn:
        raise ValueError(f"trip must be above warn, got warn {warn:g}, trip {trip:g}")


def _not_negative(entry: object, *names: str) -> None:
    for name in names:
        value = getattr(entry, name)
        if value < 0:
            raise ValueError(f"{name} must be zero or positive, got {value:g}")


def _share(count: int, window: int) -> None:
    if not 1 <= count < window:
        raise ValueError(f"count must be at least 1 and below window, got count {count}, window {window}")


@dataclass(frozen=True)
class Level:
    """Trips when a value is above ``limit`` for ``debounce`` seconds."""

    mode: CheckMode
    limit: float
    debounce: float

    def __post_init__(self) -> None:
        _positive(self, "limit")
        _not_negative(self, "debounce")


@dataclass(frozen=True)
class PerMode:
    """As ``Level``, with one limit under the policy and one (``stand``) for everything else."""

    mode: CheckMode
    stand: float
    policy: float
    debounce: float

    def __post_init__(self) -> None:
        _positive(self, "stand", "policy")
        _not_negative(self, "debounce")


@dataclass(frozen=True)
class Age:
    """Warns and trips by the time since the last good reading, counted in policy periods."""

    mode: CheckMode
    warn: float
    trip: float

    def __post_init__(self) -> None:
        _positive(self, "warn")
        _trip_above_warn(self.warn, self.trip)


@dataclass(frozen=True)
class Tolerance:
    """As ``Age``: the time since a value was last within ``limit``."""

    mode: CheckMode
    limit: float
    warn: float
    trip: float

    def __post_init__(self) -> None:
        _positive(self, "limit", "warn")
        _trip_above_warn(self.warn, self.trip)


@dataclass(frozen=True)
class InARow:
    """Warns at each occurrence and trips at the ``consecutive``-th in a row."""

    mode: CheckMode
    consecutive: int

    def __post_init__(self) -> None:
        _positive(self, "consecutive")


@dataclass(frozen=True)
class Share:
    """Counts each occurrence; trips when more than ``count`` of the last ``window`` ticks or outputs are affected."""

    mode: CheckMode
    count: int
    window: int

    def __post_init__(self) -> None:
        _share(self.count, self.window)


@dataclass(frozen=True)
class Excess(Share):
    """As ``Share``, of the ticks or readings with a value above ``limit``."""

    limit: float

    def __post_init__(self) -> None:
        super().__post_init__()
        _positive(self, "limit")


@dataclass(frozen=True)
class Late:
    """Warns each time a value is above ``limit``; trips at ``consecutive`` in a row or at a share of the last ones."""

    mode: CheckMode
    limit: float
    consecutive: int
    count: int
    window: int

    def __post_init__(self) -> None:
        _positive(self, "limit", "consecutive")
        _share(self.count, self.window)


@dataclass(frozen=True)
class Distribution:
    """Warns when an observation is further than ``limit`` from the training data; trips at a share of the last ones."""

    mode: CheckMode
    limit: float
    count: int
    window: int
    reaction: Literal["stand", "damping"]

    def __post_init__(self) -> None:
        _positive(self, "limit")
        _share(self.count, self.window)


@dataclass(frozen=True)
class FirstAction:
    """Trips when the first target of a policy is further than ``limit`` (rad) from the pose that the robot holds."""

    mode: CheckMode
    limit: float
    reaction: Literal["stand", "damping"]

    def __post_init__(self) -> None:
        _positive(self, "limit")


@dataclass(frozen=True)
class Temperature:
    """Degrees Celsius of the hottest motor. Above ``warn`` no start; above ``trip`` the reaction."""

    mode: CheckMode
    warn: float
    trip: float
    debounce: float
    reaction: Literal["stand", "damping"]

    def __post_init__(self) -> None:
        _positive(self, "warn")
        _not_negative(self, "debounce")
        _trip_above_warn(self.warn, self.trip)


@dataclass(frozen=True)
class Battery:
    """State of charge, 0 to 1. Below ``warn`` no start; below ``trip`` the reaction."""

    mode: CheckMode
    warn: float
    trip: float
    debounce: float
    reaction: Literal["stand", "damping"]

    def __post_init__(self) -> None:
        _not_negative(self, "debounce")
        if not 0 < self.trip < self.warn < 1:
            raise ValueError(f"must be 0 < trip < warn < 1, got trip {self.trip:g}, warn {self.warn:g}")


@dataclass(frozen=True)
class Fault:
    """An exception or a signal in the process that controls the robot."""

    mode: CheckMode
    reaction: Literal["damping", "estop"]


@dataclass(frozen=True)
class Safety:
    """Every check but the emergency stop, which cannot be switched off.

    Attributes:
        state_invalid, action_invalid, observation_invalid, command_invalid: not finite, or of the wrong size.
        action_clip: outputs of the policy with an action at its own clip.
        soft_range, rate_limit, predicted_torque: ticks in which the outgoing command had to be limited.
        first_action: rad.
        position: rad beyond the hard range.
        velocity, torque: share of the joint's limit.
        position_jump: change of position over time between two readings, as a share of the velocity limit.
        tracking: rad between command and measurement.
        drive_response: reported torque away from what the command asks for, as a share of the effort limit.
        tilt, fall: rad between the base's z axis and the vertical.
        angular_rate: rad/s of the base.
        state_stale, state_frozen, time_backwards, imu_frozen, joint_frozen: policy periods.
        imu_not_unit: ``limit`` is the deviation of the quaternion's norm from 1.
        imu_disagrees: rad/s between the change of the orientation and the angular rate.
        loop_stalled: s between two control ticks.
        policy_deadline: ``limit`` is how late an output may be, in policy periods.
        inference_time: s.
        observation_range: distance outside the training range, in widths of that range.
        observation_z_score: standard deviations from the training mean.
        command_lost, heartbeat_policy, heartbeat_monitor, heartbeat_hardware: s since the last message.
    """

    state_invalid: InARow
    action_invalid: InARow
    observation_invalid: InARow
    command_invalid: InARow
    action_clip: Share
    soft_range: Share
    rate_limit: Share
    predicted_torque: Share
    first_action: FirstAction
    position: Level
    position_jump: Level
    velocity: PerMode
    torque: PerMode
    tracking: PerMode
    drive_response: Excess
    tilt: Level
    fall: Level
    angular_rate: Level
    state_stale: Age
    state_frozen: Age
    time_backwards: Age
    imu_frozen: Age
    joint_frozen: Age
    imu_not_unit: Tolerance
    imu_disagrees: Excess
    loop_stalled: Level
    policy_deadline: Late
    inference_time: Late
    observation_range: Distribution
    observation_z_score: Distribution
    command_lost: Level
    heartbeat_policy: Level
    heartbeat_monitor: Level
    heartbeat_hardware: Level
    temperature: Temperature
    battery: Battery
    process_fault: Fault

    def __post_init__(self) -> None:
        if self.fall.limit <= self.tilt.limit:
            raise ValueError(f"fall.limit must be above tilt.limit, got {self.fall.limit:g} and {self.tilt.limit:g}")
