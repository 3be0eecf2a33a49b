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

    def hear(self, sender: Hashable, pressed: bool, senders: Collection[Hashable]) -> None:
        """Take a message.

        Args:
            sender: whose.
            pressed: what it says.
            senders: all that there are now.
        """
        if pressed:
            self._down |= {sender}
            self._pressed.set()
        else:
            self._down = frozenset(other for other in self._down if other != sender and other in senders)

    def read(self) -> bool:
        """Return whether a button is pressed, or was since the last call."""
        if self._pressed.is_set():
            self._pressed.clear()
            return True
        return bool(self._down)
