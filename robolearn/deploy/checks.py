"""Reason codes, reactions, and the one mechanism behind every check: mode, debounce, repetition, counter."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple

import numpy as np

from robolearn.deploy.safety import Safety, Share


class Reaction(IntEnum):
    """What a check asks for. The largest of a tick wins."""

    NONE = 0
    WARN = 1
    RAMP_DOWN = 2  # the velocity command goes to zero, the robot keeps its balance
    STAND = 3
    DAMPING = 4
    ESTOP = 5


class Reason(StrEnum):
    """Why the monitor acted. The values are stable: they are in logs, diagnostics and robot files."""

    STATE_INVALID = "state_invalid"
    ACTION_INVALID = "action_invalid"
    OBSERVATION_INVALID = "observation_invalid"
    COMMAND_INVALID = "command_invalid"
    ACTION_CLIP = "action_clip"
    SOFT_RANGE = "soft_range"
    RATE_LIMIT = "rate_limit"
    PREDICTED_TORQUE = "predicted_torque"
    FIRST_ACTION = "first_action"
    POSITION = "position"
    POSITION_JUMP = "position_jump"
    VELOCITY = "velocity"
    TORQUE = "torque"
    TRACKING = "tracking"
    DRIVE_RESPONSE = "drive_response"
    TILT = "tilt"
    FALL = "fall"
    ANGULAR_RATE = "angular_rate"
    STATE_STALE = "state_stale"
    STATE_FROZEN = "state_frozen"
    TIME_BACKWARDS = "time_backwards"
    IMU_FROZEN = "imu_frozen"
    JOINT_FROZEN = "joint_frozen"
    IMU_NOT_UNIT = "imu_not_unit"
    IMU_DISAGREES = "imu_disagrees"
    LOOP_STALLED = "loop_stalled"
    POLICY_DEADLINE = "policy_deadline"
    INFERENCE_TIME = "inference_time"
    OBSERVATION_RANGE = "observation_range"
    OBSERVATION_Z_SCORE = "observation_z_score"
    COMMAND_LOST = "command_lost"
    HEARTBEAT_POLICY = "heartbeat_policy"
    HEARTBEAT_MONITOR = "heartbeat_monitor"
    HEARTBEAT_HARDWARE = "heartbeat_hardware"
    TEMPERATURE = "temperature"
    BATTERY = "battery"
    PROCESS_FAULT = "process_fault"
    ESTOP = "estop"


class Judged(NamedTuple):
    """What a check looks at, its unit, and its reaction: the robot file chooses where two are named."""

    what: str
    unit: str
    reaction: str


CHECKS: dict[Reason, Judged] = {
    Reason.STATE_INVALID: Judged("robot state not finite or of the wrong size", "in a row", "damping"),
    Reason.ACTION_INVALID: Judged("policy target or action not finite or of the wrong size", "in a row", "damping"),
    Reason.OBSERVATION_INVALID: Judged("observation not finite or of the wrong size", "in a row", "damping"),
    Reason.COMMAND_INVALID: Judged("velocity command not finite or of the wrong size", "in a row", "damping"),
    Reason.ACTION_CLIP: Judged("policy outputs with an action at its clip", "outputs", "damping"),
    Reason.SOFT_RANGE: Judged("ticks with the command clipped to the soft range", "ticks", "damping"),
    Reason.RATE_LIMIT: Judged("ticks with the command's change limited", "ticks", "damping"),
    Reason.PREDICTED_TORQUE: Judged("ticks with the gains lowered to respect the effort limit", "ticks", "damping"),
    Reason.FIRST_ACTION: Judged("distance of a policy's first target from the held pose", "rad", "stand or damping"),
    Reason.POSITION: Judged("joint position beyond the hard range", "rad", "damping"),
    Reason.POSITION_JUMP: Judged("joint moved faster between two readings than it can, as a share", "", "damping"),
    Reason.VELOCITY: Judged("joint velocity as a share of its limit", "", "damping"),
    Reason.TORQUE: Judged("measured joint torque as a share of its limit", "", "damping"),
    Reason.TRACKING: Judged("distance between commanded and measured joint position", "rad", "damping"),
    Reason.DRIVE_RESPONSE: Judged(
        "ticks with a drive's torque away from its command, by a share of the limit", "ticks", "damping"
    ),
    Reason.TILT: Judged("angle of the base from upright", "rad", "damping"),
    Reason.FALL: Judged("angle of the base from upright: it lies on its side", "rad", "damping"),
    Reason.ANGULAR_RATE: Judged("angular rate of the base", "rad/s", "damping"),
    Reason.STATE_STALE: Judged("time since the last new robot state", "s", "damping"),
    Reason.STATE_FROZEN: Judged("time with readings that repeat their sequence number", "s", "damping"),
    Reason.TIME_BACKWARDS: Judged("time with a clock, stamp or sequence that does not go forward", "s", "damping"),
    Reason.IMU_FROZEN: Judged("time with an unchanged IMU reading while the robot moves", "s", "damping"),
    Reason.JOINT_FROZEN: Judged("time with an unchanged joint reading that reports motion", "s", "damping"),
    Reason.IMU_NOT_UNIT: Judged("time with an orientation that is no unit quaternion", "s", "damping"),
    Reason.IMU_DISAGREES: Judged(
        "readings whose orientation turns otherwise than their angular rate says", "readings", "damping"
    ),
    Reason.LOOP_STALLED: Judged("time between two control ticks", "s", "damping"),
    Reason.POLICY_DEADLINE: Judged("time since the last policy output", "s", "damping"),
    Reason.INFERENCE_TIME: Judged("inference time of the policy", "s", "damping"),
    Reason.OBSERVATION_RANGE: Judged(
        "distance of an observation from its training range", "widths", "stand or damping"
    ),
    Reason.OBSERVATION_Z_SCORE: Judged("distance of an observation from its training mean", "std", "stand or damping"),
    Reason.COMMAND_LOST: Judged("time since the source of the velocity command was heard", "s", "ramp down"),
    Reason.HEARTBEAT_POLICY: Judged("time since the policy's heartbeat", "s", "damping"),
    Reason.HEARTBEAT_MONITOR: Judged("time since the safety monitor's heartbeat", "s", "damping"),
    Reason.HEARTBEAT_HARDWARE: Judged("time since the hardware's heartbeat", "s", "damping"),
    Reason.TEMPERATURE: Judged("temperature of the hottest motor", "°C", "stand or damping"),
    Reason.BATTERY: Judged("state of charge", "", "stand or damping"),
    Reason.PROCESS_FAULT: Judged("a process that controls the robot reports a fault", "", "damping or estop"),
    Reason.ESTOP: Judged("the operator's emergency stop; cannot be switched off", "", "estop"),
}

POLICY_ONLY = (
    Reason.ACTION_INVALID,
    Reason.OBSERVATION_INVALID,
    Reason.COMMAND_INVALID,
    Reason.ACTION_CLIP,
    Reason.FIRST_ACTION,
    Reason.POLICY_DEADLINE,
    Reason.INFERENCE_TIME,
    Reason.OBSERVATION_RANGE,
    Reason.OBSERVATION_Z_SCORE,
    Reason.COMMAND_LOST,
    Reason.HEARTBEAT_POLICY,
)
"""Checks that are judged under the policy only."""

DRIVEN_ONLY = (Reason.SOFT_RANGE, Reason.RATE_LIMIT, Reason.PREDICTED_TORQUE, Reason.TRACKING, Reason.DRIVE_RESPONSE)
"""Checks that are judged only while joints are held with stiffness."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something the monitor noticed.

    Attributes:
        reason: which check.
        reaction: what it asks for.
        value, limit: in the unit of the check; NaN where there is none.
        message: for a person.
        time: s on the caller's clock.
    """

    reason: Reason
    reaction: Reaction
    value: float
    limit: float
    message: str
    time: float


class Check:
    """One check: turns what is seen in a tick into a reaction.

    Attributes:
        reason: of this check.
        entry: its thresholds.
        level: what it asks for in this tick.
        count: single occurrences where those are counted, else how often it began.
    """

    __slots__ = ("_debounce", "_held", "_reaction", "_recent", "_run", "_slot", "count", "entry", "level", "reason")

    def __init__(self, reason: Reason, entry: Any) -> None:
        self.reason = reason
        self.entry = entry
        chosen = getattr(entry, "reaction", CHECKS[reason].reaction)
        self._reaction = Reaction[chosen.upper().replace(" ", "_")]
        self._debounce = float(getattr(entry, "debounce", 0.0))
        self._recent = np.zeros(getattr(entry, "window", 0), dtype=bool)
        self.count = 0
        self.clear()

    def clear(self) -> None:
        """Forget what was seen; the counter stays."""
        self.level = Reaction.NONE
        self._held = -1.0
        self._run = 0
        self._slot = 0
        self._recent[:] = False

    def judge(self, over: bool, dt: float, warn: bool = False) -> bool:
        """Take this tick's finding: ``over`` the limit, or only worth a warning, ``dt`` s after the one before.

        Returns:
            True when the level has risen, which is worth an event.
        """
        if self.entry.mode == "off":
            return False
        self._held = (self._held + dt if self._held >= 0.0 else 0.0) if over else -1.0
        level = Reaction.WARN if warn else Reaction.NONE
        if over and self._held >= self._debounce - 1e-9:
            level = self._reaction if self.entry.mode == "trip" else Reaction.WARN
        return self._rise(level)

    def occur(self, bad: bool) -> bool:
        """Take one more tick, reading or output that was bad or good; counts in a row and among the last ones.

        Returns:
            True when the level has risen, which is worth an event.
        """
        if self.entry.mode == "off":
            return False
        self.count += bad
        self._run = self._run + 1 if bad else 0
        over = bad and self._run >= getattr(self.entry, "consecutive", np.inf)
        if len(self._recent):
            self._recent[self._slot] = bad
            self._slot = (self._slot + 1) % len(self._recent)
            over |= int(np.count_nonzero(self._recent)) > self.entry.count
        level = Reaction.WARN if bad and not isinstance(self.entry, Share) else Reaction.NONE
        if over:
            level = self._reaction if self.entry.mode == "trip" else Reaction.WARN
        before, self.level = self.level, level
        return level > before

    @property
    def tally(self) -> tuple[float, float]:
        """How many bad ones there are, in a row or among the last ones, and how many are allowed."""
        if len(self._recent):
            return float(np.count_nonzero(self._recent)), float(self.entry.count)
        return float(self._run), float(self.entry.consecutive - 1)

    def _rise(self, level: Reaction) -> bool:
        before, self.level = self.level, level
        if before is Reaction.NONE and level is not Reaction.NONE:
            self.count += 1
        return level > before


def build(safety: Safety) -> dict[Reason, Check]:
    """Return every check but the emergency stop, with the entries of a robot file."""
    return {reason: Check(reason, getattr(safety, reason.value)) for reason in Reason if reason is not Reason.ESTOP}
