"""Fault injection: a link that misbehaves on request, around any other link."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hardware.fault_kinds import KINDS
from hardware.fault_registry import Change, Kind, Plant
from hardware.joints import Motor
from hardware.link import Clock, Link
from robolearn.config import ConfigError, unknown
from robolearn.deploy.types import JointCommand, RobotState

__all__ = ["KINDS", "Fault", "FaultInjector", "fault_table", "parse_fault"]


@dataclass(frozen=True)
class Fault:
    """A fault that was injected.

    Attributes:
        kind: what it is.
        start: s on the injector's clock.
        end: s, exclusive; infinite until cleared.
        parameters: of the kind, complete.
        change: from a packet to what arrives instead.
    """

    kind: Kind
    start: float
    end: float
    parameters: dict[str, Any]
    change: Change[Any]

    def active(self, now: float) -> bool:
        """Say whether it acts at time ``now``."""
        return self.start <= now < self.end


class FaultInjector:
    """Wraps a link: ``RobotDriver(FaultInjector(link, clock), robot, clock)``. Without faults it changes nothing.

    It sits below the driver, where a real fault would be, so limits, dead-man and damping are put to the test as well.
    Several faults act one after the other, in the order of their injection.

    Args:
        link: the link to wrap.
        clock: the time in which faults begin and end.
        seed: of the random kinds.
    """

    def __init__(self, link: Link, clock: Clock, seed: int = 0) -> None:
        self._link, self._clock = link, clock
        self._rng = np.random.default_rng(seed)
        self._faults: list[Fault] = []

    def inject(self, kind: str, start: float | None = None, duration: float = math.inf, **parameters: Any) -> Fault:
        """Let a fault act.

        Args:
            kind: a name from ``KINDS``.
            start: s on the clock; now where None.
            duration: s.
            parameters: of the kind; joints by name.

        Raises:
            ConfigError: unknown kind, parameter or joint, or a value out of range.
        """
        plant = Plant([motor.joint for motor in self._link.motors], self._rng)
        begin = self._clock.now() if start is None else start
        fault = _make(plant, kind, begin, duration, parameters)
        self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """End every fault."""
        self._faults.clear()

    def active(self) -> tuple[Fault, ...]:
        """Return the faults that act now."""
        now = self._clock.now()
        return tuple(fault for fault in self._faults if fault.active(now))

    @property
    def motors(self) -> tuple[Motor, ...]:
        """The motors of the wrapped link."""
        return self._link.motors

    def open(self) -> None:
        """Open the wrapped link."""
        self._link.open()

    def close(self) -> None:
        """Close the wrapped link."""
        self._link.close()

    def read(self) -> RobotState | None:
        """Return what arrives instead of the wrapped link's reading."""
        reading, now = self._link.read(), self._clock.now()
        for change in self._changes("state", now):
            reading = change(reading, now)
        return reading

    def send(self, command: JointCommand) -> None:
        """Hand on what arrives instead of ``command``."""
        arriving: JointCommand | None = command
        now = self._clock.now()
        for change in self._changes("command", now):
            arriving = change(arriving, now)
        if arriving is not None:
            self._link.send(arriving)

    def _changes(self, channel: str, now: float) -> Iterator[Change[Any]]:
        self._faults = [fault for fault in self._faults if now < fault.end]
        return (fault.change for fault in self._faults if fault.kind.channel == channel and fault.active(now))


def _make(plant: Plant, kind: str, begin: float, duration: float, parameters: Mapping[str, Any]) -> Fault:
    if kind not in KINDS:
        raise unknown("fault", kind, KINDS)
    found = KINDS[kind]
    for name in parameters:
        if name not in found.parameters:
            raise unknown("parameter", name, found.parameters, f"fault {kind!r}")
    values = {**found.parameters, **parameters}
    for name, value in values.items():
        if value is inspect.Parameter.empty:
            raise ConfigError(f"fault {kind!r}: parameter {name!r} is missing")
    if not duration > 0:
        raise ConfigError(f"fault {kind!r}: duration must be positive, got {duration}")
    return Fault(found, begin, begin + duration, values, found.make(plant, **values))


def parse_fault(text: str, joints: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of ``FaultInjector.inject`` that a JSON object holds, after a trial on a robot's joints.

    Raises:
        ConfigError: it is no such object, or the injector would refuse it.
    """
    try:
        data = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"fault {text}: not a JSON object ({error})") from error
    if not isinstance(data, dict) or "kind" not in data:
        raise ConfigError(f"fault {text}: needs a JSON object with the entry 'kind'")
    parameters = {name: value for name, value in data.items() if name not in ("kind", "start", "duration")}
    try:
        plant = Plant(joints, np.random.default_rng(0))
        _make(plant, data["kind"], float(data.get("start", 0.0)), float(data.get("duration", math.inf)), parameters)
    except ConfigError:
        raise
    except (TypeError, ValueError) as error:
        raise ConfigError(f"fault {text}: {error}") from error
    return data


def fault_table() -> str:
    """Return every kind as a Markdown table."""
    lines = ["| fault | parameters | what happens | seen by |", "|---|---|---|---|"]
    for kind in KINDS.values():
        parameters = ", ".join(
            name if value is inspect.Parameter.empty else f"{name}={value}" for name, value in kind.parameters.items()
        )
        checks = ", ".join(f"`{check}`" for check in kind.seen_by)
        lines.append(f"| `{kind.name}` | {parameters} | {kind.description} | {checks} |")
    return "\n".join(lines)
