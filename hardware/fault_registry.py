"""How a kind of fault is described, and the pieces that kinds are made of."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import numpy as np

from robolearn.config import ConfigError, nearest
from robolearn.deploy.types import JointCommand, RobotState

P = TypeVar("P", RobotState, JointCommand)
Make = TypeVar("Make", bound=Callable[..., Any])
Change = Callable[[P | None, float], P | None]
"""From a packet and the time in s to what arrives instead; None: no packet. Called for every read or send."""


@dataclass(frozen=True)
class Plant:
    """What kinds may know: names of the J joints, in the order of the motors, and the injector's random numbers."""

    joints: Sequence[str]
    rng: np.random.Generator

    def where(self, joint: str | None) -> slice:
        """Return the columns of a joint; all of them for None."""
        if joint is None:
            return slice(None)
        if joint not in self.joints:
            raise ConfigError(f"there is no joint {joint!r}.{nearest(joint, self.joints)}")
        index = list(self.joints).index(joint)
        return slice(index, index + 1)


@dataclass(frozen=True)
class Kind:
    """One kind of fault.

    Attributes:
        name: of the kind.
        description: one line.
        channel: whether readings or commands are changed.
        parameters: name to default value.
        changes: the fields of the packet that it may change; empty where whole packets are lost or late.
        seen_by: names of the checks that can see it; empty where none need.
        make: from plant and parameters to the ``Change``.
    """

    name: str
    description: str
    channel: Literal["state", "command"]
    parameters: dict[str, Any]
    changes: tuple[str, ...]
    seen_by: tuple[str, ...]
    make: Callable[..., Any]


KINDS: dict[str, Kind] = {}
"""Every kind by name."""


def kind(channel: Literal["state", "command"], changes: str = "", seen_by: str = "") -> Callable[[Make], Make]:
    """Register a function from plant and parameters to a ``Change``; its name and docstring are the kind's."""

    def register(make: Make) -> Make:
        arguments = list(inspect.signature(make).parameters.values())[1:]
        KINDS[make.__name__] = Kind(
            name=make.__name__,
            description=str(make.__doc__).splitlines()[0].rstrip("."),
            channel=channel,
            parameters={argument.name: argument.default for argument in arguments},
            changes=tuple(changes.split()),
            seen_by=tuple(seen_by.split()),
            make=make,
        )
        return make

    return register


def each(change: Callable[[P], P]) -> Change[P]:
    """Change every packet by itself."""
    return lambda packet, now: None if packet is None else change(packet)


def put(field: str, where: slice, value: float) -> Change[RobotState]:
    """Overwrite a part of one array of every reading."""

    def change(reading: RobotState) -> RobotState:
        values = getattr(reading, field).copy()
        values[where] = value
        return replace(reading, **{field: values})

    return each(change)


def add(field: str, where: slice, amount: float) -> Change[RobotState]:
    """Add to a part of one array of every reading."""

    def change(reading: RobotState) -> RobotState:
        values = getattr(reading, field).copy()
        values[where] += amount
        return replace(reading, **{field: values})

    return each(change)


def hold(fields: Sequence[str], where: slice = slice(None)) -> Change[RobotState]:
    """Repeat a part of the first reading in all later ones."""
    first: list[RobotState] = []

    def change(reading: RobotState) -> RobotState:
        if not first:
            first.append(reading)
        held: dict[str, Any] = {}
        for field in fields:
            value, now = getattr(first[0], field), getattr(reading, field)
            if isinstance(value, np.ndarray):
                now = now.copy()
                now[where] = value[where]
            else:
                now = value
            held[field] = now
        return replace(reading, **held)

    return each(change)


def late(seconds: float, arrive: Callable[[P, float], P]) -> Change[P]:
    """Hand packets on ``seconds`` later."""
    if not seconds > 0:
        raise ConfigError(f"seconds must be positive, got {seconds}")
    queue: deque[tuple[float, P]] = deque()

    def change(packet: P | None, now: float) -> P | None:
        if packet is not None:
            queue.append((now, packet))
        newest = None
        while queue and now - queue[0][0] >= seconds - 1e-9:
            newest = arrive(queue.popleft()[1], now)
        return newest

    return change
