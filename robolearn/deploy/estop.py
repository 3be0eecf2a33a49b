"""The emergency-stop input: buttons of any number of senders, heard in one thread and read in another."""

from __future__ import annotations

import threading
from collections.abc import Collection, Hashable


class Buttons:
    """Pressed while any button is, and for at least one reading after each press.

    A button whose sender has vanished stays pressed until another one says that it is released: nobody knows better.
    """

    def __init__(self) -> None:
        self._down: frozenset[Hashable] = frozenset()
        self._pressed = threading.Event()

    def press(self, sender: Hashable) -> None:
        """A sender says that its button is pressed."""
        self._down |= {sender}
        self._pressed.set()

    def release(self, sender: Hashable, senders: Collection[Hashable]) -> None:
        """A sender says that its button is released.

        Args:
            sender: whose.
            senders: all that there are now. Where ``sender`` is not among them, they are named in another way, and
                nobody else can be said to have vanished.
        """
        left = self._down - {sender}
        self._down = left & frozenset(senders) if sender in senders else left

    def read(self) -> bool:
        """Return whether a button is pressed, or was since the last call."""
        if self._pressed.is_set():
            self._pressed.clear()
            return True
        return bool(self._down)
