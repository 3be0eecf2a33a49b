"""From serialized messages to arrays: the packets of ``robolearn.deploy.wire``, a whole topic at once."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from robolearn.deploy.types import Array
from robolearn.deploy.wire import Packet

_HEAD = struct.Struct("<4s3I")  # encapsulation; number of dimensions, data_offset, number of values
_DATA = 20  # after four bytes of padding
_LITTLE_ENDIAN = b"\x00\x01\x00\x00"


@dataclass(frozen=True, eq=False)
class Series:
    """One topic over time, N messages.

    Attributes:
        time: (N,) s since the first control cycle, on the robot's clock.
        arrival: (N,) s since the recording began, on the recorder's clock.
        fields: each (N, width), as ``robolearn.deploy.wire`` names them.
    """

    time: Array = field(default_factory=lambda: np.zeros(0))
    arrival: Array = field(default_factory=lambda: np.zeros(0))
    fields: Mapping[str, Array] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.arrival)

    def __getitem__(self, name: str) -> Array:
        """Return a field, (N, width)."""
        return self.fields[name]

    def column(self, name: str) -> Array:
        """Return a field of width 1 as (N,)."""
        return self.fields[name][:, 0]


@dataclass(frozen=True, eq=False)
class Rows:
    """Packets of one layout.

    Attributes:
        where: (N,) places among all messages of the topic.
        values: (N, size).
        fingerprint: that came with them.
    """

    where: NDArray[np.intp]
    values: Array
    fingerprint: int


def rows(messages: Sequence[memoryview]) -> Iterator[Rows]:
    """Sort ``std_msgs/Float64MultiArray`` messages by fingerprint and size; what is no plain array is left out."""
    groups: dict[tuple[int, int], list[int]] = {}
    for place, message in enumerate(messages):
        if len(message) < _HEAD.size:
            continue
        head, dimensions, fingerprint, count = _HEAD.unpack_from(message)
        if head == _LITTLE_ENDIAN and dimensions == 0 and count and len(message) == _DATA + 8 * count:
            groups.setdefault((fingerprint, count), []).append(place)
    for (fingerprint, count), places in groups.items():
        data = b"".join(messages[place][_DATA:] for place in places)
        yield Rows(np.array(places), np.frombuffer(data).reshape(-1, count), fingerprint)


def take_apart(packet: Packet, found: Rows) -> dict[str, Array]:
    """Return the fields (N, width) of packets of one layout.

    Raises:
        WireError: they are not such packets.
    """
    columns = cast(Any, found.values.T)  # along the first axis one packet and a whole table look the same
    return {name: part.T for name, part in packet.unpack(columns, found.fingerprint).items()}
