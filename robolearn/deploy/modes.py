"""The state machine of the controller: modes, what can be asked for, and the one table of transitions."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple


class Mode(StrEnum):
    """What the robot is doing."""

    IDLE = "idle"  # no torque
    STAND = "stand"  # gets up: ramps from the measured to the default pose
    READY = "ready"  # holds the default pose
    POLICY = "policy"  # follows the policy
    DAMPING = "damping"  # brakes every joint, no stiffness
    ESTOP = "estop"  # as damping, latched


class Request(StrEnum):
    """What an operator asks for."""

    ARM = "arm"
    STAND = "stand"
    START_POLICY = "start_policy"
    STOP = "stop"
    ESTOP = "estop"
    RESET = "reset"


class Internal(StrEnum):
    """What the controller itself brings about."""

    RAMP_DONE = "ramp_done"
    TRIP_STAND = "trip_stand"
    TRIP_DAMPING = "trip_damping"
    TRIP_ESTOP = "trip_estop"


Trigger = Request | Internal

# From any mode: what stops the robot. A stop never weakens one that is there already.
_STOPS: Mapping[Trigger, Mode] = {
    Request.STOP: Mode.DAMPING,
    Request.ESTOP: Mode.ESTOP,
    Internal.TRIP_DAMPING: Mode.DAMPING,
    Internal.TRIP_ESTOP: Mode.ESTOP,
}

TRANSITIONS: Mapping[Mode, Mapping[Trigger, Mode]] = {
    Mode.IDLE: {**_STOPS, Request.ARM: Mode.IDLE, Request.STAND: Mode.STAND},
    Mode.STAND: {**_STOPS, Internal.RAMP_DONE: Mode.READY},
    Mode.READY: {**_STOPS, Request.START_POLICY: Mode.POLICY},
    Mode.POLICY: {**_STOPS, Request.STAND: Mode.STAND, Internal.TRIP_STAND: Mode.STAND},
    Mode.DAMPING: {**_STOPS, Request.RESET: Mode.IDLE},
    Mode.ESTOP: {
        Request.STOP: Mode.ESTOP,
        Request.ESTOP: Mode.ESTOP,
        Internal.TRIP_DAMPING: Mode.ESTOP,
        Internal.TRIP_ESTOP: Mode.ESTOP,
        Request.RESET: Mode.IDLE,
    },
}
"""Mode and trigger to the next mode. What is not here is refused (a request) or changes nothing (internal)."""

DRIVEN = frozenset({Mode.STAND, Mode.READY, Mode.POLICY})
"""The modes in which joints are held with stiffness."""


class Answer(NamedTuple):
    """What became of a request; ``reason`` says why it was refused, or what happens now."""

    accepted: bool
    reason: str


def allowed(mode: Mode) -> str:
    """Return the requests that ``mode`` knows, for a refusal."""
    return ", ".join(request for request in Request if request in TRANSITIONS[mode])
