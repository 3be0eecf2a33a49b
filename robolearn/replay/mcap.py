"""Reads mcap files from front to back, without their index: one that was never finished is as good up to its end."""

from __future__ import annotations

import contextlib
import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

MAGIC = b"\x89MCAP0\r\n"
_FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK = 0x02, 0x03, 0x04, 0x05, 0x06
_PREFIX = struct.Struct("<BQ")
_MESSAGE_HEAD = struct.Struct("<HIQQ")


class BagError(ValueError):
    """A recording that cannot be read. The message says which, why, and what to do."""


@dataclass(frozen=True)
class Stream:
    """The messages of one topic.

    Attributes:
        kind: ROS 2 type, ``std_msgs/msg/String``.
        stamps: ns, when each was recorded.
        messages: each as it was on the wire.
    """

    kind: str
    stamps: list[int] = field(default_factory=list)
    messages: list[memoryview] = field(default_factory=list)


@dataclass(frozen=True)
class Mcap:
    """What is in a file.

    Attributes:
        streams: by topic.
        complete: whether it was finished in an orderly way; if not, its end may be missing.
    """

    streams: dict[str, Stream]
    complete: bool


def read_mcap(path: Path) -> Mcap:
    """Read all messages of a file; they stay in the file and are only pointed at.

    Raises:
        BagError: it is no mcap file, or one that is compressed.
    """
    try:
        with path.open("rb") as file:
            if path.stat().st_size < len(MAGIC):
                raise BagError(f"{path}: empty; the recorder ended before its first message was on the disk")
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise BagError(f"{path}: cannot be read ({error.strerror})") from error
    if data[: len(MAGIC)] != MAGIC:
        raise BagError(f"{path}: no mcap file")
    reader = _Reader(path, data)
    with contextlib.suppress(struct.error):  # a damaged place: what is before it counts
        reader.read(len(MAGIC), len(data))
    return Mcap(reader.streams, reader.complete)


class _Reader:
    def __init__(self, path: Path, data: memoryview) -> None:
        self._path, self._data = path, data
        self._kinds: dict[int, str] = {}
        self._channels: dict[int, Stream] = {}
        self.streams: dict[str, Stream] = {}
        self.complete = False

    def read(self, start: int, end: int) -> None:
        for kind, body, stop in self._records(start, end):
            if kind == _MESSAGE:
                channel, _, stamp, _ = _MESSAGE_HEAD.unpack_from(self._data, body)
                if channel in self._channels:
                    stream = self._channels[channel]
                    stream.stamps.append(stamp)
                    stream.messages.append(self._data[body + _MESSAGE_HEAD.size : stop])
            elif kind == _CHUNK:
                self._chunk(body, stop)
            elif kind == _SCHEMA:
                (number,) = struct.unpack_from("<H", self._data, body)
                self._kinds[number] = self._text(body + 2)[0]
            elif kind == _CHANNEL:
                number, schema = struct.unpack_from("<HH", self._data, body)
                topic = self._text(body + 4)[0]
                stream = self.streams.setdefault(topic, Stream(self._kinds.get(schema, "")))
                self._channels[number] = stream
            elif kind == _FOOTER:
                self.complete = True

    def _records(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Yield (kind, start of the body, end) of each complete record, and of a chunk that breaks off."""
        while start + _PREFIX.size <= end:
            kind, length = _PREFIX.unpack_from(self._data, start)
            body = start + _PREFIX.size
            start = body + length
            if kind == _CHUNK:
                yield kind, body, min(start, end)
            elif kind == 0 or start > end:
                return
            elif kind != _MESSAGE or length >= _MESSAGE_HEAD.size:
                yield kind, body, start
            if kind == _FOOTER:
                return

    def _chunk(self, body: int, stop: int) -> None:
        place = body + 28  # times, size and checksum
        if place + 12 > stop:
            return
        compression, place = self._text(place)
        if compression:
            raise BagError(f"{self._path}: compressed with {compression}; record without compression, or convert it")
        self.read(place + 8, stop)

    def _text(self, place: int) -> tuple[str, int]:
        """Return the text at ``place``, and the place behind it."""
        (length,) = struct.unpack_from("<I", self._data, place)
        end = place + 4 + length
        return bytes(self._data[place + 4 : end]).decode(errors="replace"), end
