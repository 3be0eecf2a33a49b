"""The wish to end, as a signal brings it."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any


class StopSignal:
    """While entered, SIGINT, SIGTERM and SIGHUP (the terminal was closed) only set ``received``.

    A plain flag that is looked at now and then, and no ``threading.Event``: a handler runs in the main thread, between
    any two instructions, and if that thread is just about to wait for the event, or is setting it for a signal before,
    it holds the event's lock, and setting it waits for ever. The robot would go on.
    """

    def __init__(self) -> None:
        self.received = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self.received = True
