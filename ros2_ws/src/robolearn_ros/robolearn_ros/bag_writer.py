"""Writes serialized messages into an mcap bag, in a thread of its own: whoever hands messages over never waits.

Once a second all that came is on the disk as complete records. A process that is killed, or a computer that loses its
power, loses no more than that.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

QUEUE = 20_000
"""Messages that may wait for the disk: more than ten seconds of a robot at 200 Hz."""
FLUSH_EVERY = 1.0
"""s"""


class Limits(NamedTuple):
    """When to stop for the sake of the disk.

    Attributes:
        size: bytes that a recording may have.
        free: bytes that must stay free on the disk.
    """

    size: float
    free: float


@dataclass(frozen=True)
class Progress:
    """How a recording is getting on.

    Attributes:
        messages: number written, or waiting to be.
        size: bytes on the disk.
        lost: messages that found the queue full, or were lost before they came here.
        problem: why recording has stopped; empty while it goes on.
    """

    messages: int
    size: int
    lost: int
    problem: str


class BagWriter:
    """One recording. Create it, ``put`` messages from any thread, ``close`` it.

    Args:
        folder: of the bag; must not exist.
        topics: pairs of topic and ROS 2 type ("std_msgs/msg/String").
        limits: when to stop.
        clock: s, to flush by.

    Raises:
        OSError: the folder or the file cannot be created.
    """

    def __init__(
        self,
        folder: Path,
        topics: Sequence[tuple[str, str]],
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
        waiting: int = QUEUE,
    ) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._limits, self._clock = limits, clock
        self._queue: queue.Queue[tuple[int, int, bytes] | None] = queue.Queue(waiting)
        self._messages = self._lost = self._size = 0
        self._problem = ""
        self._closing = threading.Event()
        self._writer = Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP)
        self._writer.open()
        store = get_typestore(Stores.ROS2_KILTED)
        self._connections = [self._writer.add_connection(topic, kind, typestore=store) for topic, kind in topics]
        self._thread = threading.Thread(target=self._run, name="bag writer", daemon=True)
        self._thread.start()

    @property
    def progress(self) -> Progress:
        """How it is getting on."""
        return Progress(self._messages, self._size, self._lost, self._problem)

    def put(self, topic: int, stamp: int, data: bytes) -> None:
        """Take a message; returns at once. When the queue is full it is counted as lost.

        Args:
            topic: place in the list of topics.
            stamp: ns, when it arrived.
            data: the serialized message.
        """
        if self._problem or self._closing.is_set():
            return
        try:
            self._queue.put_nowait((topic, stamp, data))
            self._messages += 1
        except queue.Full:
            self._lost += 1

    def lose(self, count: int) -> None:
        """Count messages that were lost before they came here."""
        self._lost += count

    def close(self, limit: float = 10.0) -> None:
        """Write what waits, finish the file, and wait for that at most ``limit`` s."""
        self._closing.set()
        with contextlib.suppress(queue.Full):  # then the thread is awake anyway
            self._queue.put_nowait(None)
        self._thread.join(limit)
        if self._thread.is_alive():
            self._problem = self._problem or f"the disk did not take the rest within {limit:g} s"

    def _run(self) -> None:
        try:
            self._write()
            self._writer.set_custom_data("lost", str(self._lost))
            self._writer.close()  # also after a limit was met: a complete bag
        except Exception as error:  # a full or broken disk: keep what is there; the reader repairs the end
            self._problem = f"the disk refuses to be written ({error})"
            with contextlib.suppress(Exception):
                self._writer.abort()

    def _write(self) -> None:
        """Write until the end, or until a limit is met."""
        due = self._clock() + FLUSH_EVERY
        fresh = False
        while True:
            with contextlib.suppress(queue.Empty):
                item = self._queue.get(timeout=max(0.0, due - self._clock()))
                if item is not None:
                    topic, stamp, data = item
                    self._writer.write(self._connections[topic], stamp, data)
                    fresh = True
            if self._closing.is_set() and self._queue.empty():
                return
            if self._clock() >= due:
                due = self._clock() + FLUSH_EVERY
                if fresh:
                    self._flush()
                    fresh = False
                if self._over_limit():
                    return

    def _flush(self) -> None:
        """Bring all that was written onto the disk. The library itself would keep a mebibyte in memory."""
        storage: Any = self._writer.storage
        storage.close_chunk()
        storage.bio.flush()
        os.fsync(storage.bio.fileno())
        self._size = storage.bio.tell()

    def _over_limit(self) -> bool:
        free = shutil.disk_usage(self.folder).free
        if self._size >= self._limits.size:
            self._problem = f"the recording has reached its largest size ({self._limits.size / 1e6:g} MB)"
        elif free < self._limits.free:
            self._problem = f"only {free / 1e6:.0f} MB are free on the disk (limit {self._limits.free / 1e6:g} MB)"
        return bool(self._problem)
