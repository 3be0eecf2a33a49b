"""A terminal that gives every key at once and shows one line; it is put back as it was on every way out."""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import shutil
import sys
import termios
import tty
from typing import Any

ARROWS = {"\x1b[A": "up", "\x1b[B": "down", "\x1b[C": "right", "\x1b[D": "left"}
_CONTROL = 6  # index of the control characters in what tcgetattr returns
_DISABLED = b"\0"
_READ = 1024


class TerminalError(RuntimeError):
    """There is no terminal to read keys from, or it is gone."""


class Terminal:
    """The keyboard and one status line of a terminal, from ``open`` to ``close``.

    Ctrl-C still ends the program. Ctrl-Z and Ctrl-\\ are ordinary keys meanwhile: a suspended program cannot stop a
    robot, and one that quits on the spot leaves the terminal without echo.

    Args:
        keys: file descriptor to read from.
        screen: file descriptor to write to.
    """

    def __init__(self, keys: int = 0, screen: int = 1) -> None:
        self._keys, self._screen = keys, screen
        self._before: list[Any] | None = None
        self._shown = ""

    def open(self) -> None:
        """Take the terminal over.

        Raises:
            TerminalError: there is none, or this program runs in its background and would be stopped on reading.
        """
        try:
            if not os.isatty(self._keys):
                raise TerminalError("standard input is no terminal")
            if os.tcgetpgrp(self._keys) != os.getpgrp():
                raise TerminalError("the program runs in the background of its terminal")
            before = termios.tcgetattr(self._keys)
        except (OSError, termios.error) as error:
            raise TerminalError(f"standard input is not usable ({error})") from error
        atexit.register(self.close)
        self._before = before
        tty.setcbreak(self._keys, termios.TCSANOW)
        mode = termios.tcgetattr(self._keys)
        for character in (termios.VSUSP, termios.VQUIT):
            mode[_CONTROL][character] = _DISABLED
        termios.tcsetattr(self._keys, termios.TCSANOW, mode)

    def close(self) -> None:
        """Put the terminal back as it was. May be called at any time, also twice."""
        before, self._before = self._before, None
        if before is None:
            return
        atexit.unregister(self.close)
        with contextlib.suppress(OSError, termios.error):  # a terminal that is gone needs nothing put back
            termios.tcsetattr(self._keys, termios.TCSADRAIN, before)
            os.write(self._screen, b"\n")

    def read(self) -> list[str]:
        """Return the keys that were pressed since the last call, oldest first; arrows by name. Never waits.

        Raises:
            TerminalError: the terminal is gone.
        """
        if not select.select([self._keys], [], [], 0.0)[0]:
            return []
        try:
            data = os.read(self._keys, _READ)
        except OSError as error:
            raise TerminalError(f"the terminal is gone ({error.strerror})") from error
        if not data:
            raise TerminalError("the terminal is gone (end of file)")
        return split_keys(data.decode("utf-8", "replace"))

    def show(self, line: str) -> None:
        """Show the status line, in place of the one before."""
        if line == self._shown or not os.isatty(self._screen):
            return
        self._shown = line
        with contextlib.suppress(OSError):  # the line is for convenience; keys are what counts
            os.write(self._screen, f"\r\x1b[K{line}".encode())

    @property
    def width(self) -> int:
        """Columns for the status line; one stays free, so that it never wraps."""
        return shutil.get_terminal_size().columns - 1


def split_keys(text: str) -> list[str]:
    """Return the keys in what a terminal sent. What is neither a character nor an arrow comes apart into characters."""
    keys = []
    while text:
        length = 3 if text[:3] in ARROWS else 1
        keys.append(ARROWS.get(text[:3], text[0]))
        text = text[length:]
    return keys


def announce(text: str) -> None:
    """Print lines above the status line."""
    print(f"\r\x1b[K{text}", file=sys.stdout, flush=True)
