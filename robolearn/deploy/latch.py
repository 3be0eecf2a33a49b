"""An emergency stop that survives a restart: a file that exists while the stop is latched."""

from __future__ import annotations

import os
from pathlib import Path

from robolearn.config import ConfigError
from robolearn.deploy.modes import Mode


class Latch:
    """The latch file of one robot. The file's existence is the latch: a damaged or empty one still counts.

    The controller touches no files. Its caller starts it with ``Controller(..., latched=latch.is_set())`` and calls
    ``follow`` after each command was sent, outside the time-critical part.
    """

    def __init__(self, path: str | Path) -> None:
        """Use ``path``.

        Raises:
            ConfigError: its folder does not exist or cannot be written: a stop could not be remembered.
        """
        self.path = Path(path)
        folder = self.path.parent
        if not folder.is_dir():
            raise ConfigError(f"latch file {self.path}: there is no folder {folder}; create it")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise ConfigError(f"latch file {self.path}: the folder {folder} cannot be written")
        self._known: bool | None = None

    def is_set(self) -> bool:
        """Tell whether the stop is latched; True also when that cannot be found out."""
        try:
            self.path.lstat()
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return True

    def reason(self) -> str:
        """Return what the file says about the stop, for a person."""
        try:
            return self.path.read_text(encoding="utf-8").strip() or "the latch file is empty"
        except (OSError, UnicodeDecodeError) as error:
            return f"the latch file cannot be read ({error})"

    def set(self, reason: str) -> None:
        """Latch, atomically and through to the disk.

        Raises:
            OSError: the file could not be written.
        """
        temporary = self.path.with_name(self.path.name + ".new")
        with temporary.open("w", encoding="utf-8") as file:
            file.write(f"{reason}\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path)
        self._sync_folder()

    def clear(self) -> None:
        """Release the latch.

        Raises:
            OSError: the file could not be removed.
        """
        self.path.unlink(missing_ok=True)
        self._sync_folder()

    def follow(self, mode: Mode, reason: str) -> str:
        """Set or clear the latch so that it fits the controller's mode; does nothing while that has not changed.

        Only a reset that was seen here clears it: a controller that was started without asking ``is_set`` does not.

        Returns:
            Empty when all is well, else what went wrong, for the log; the next call tries again.
        """
        latched = mode is Mode.ESTOP
        if latched == self._known and (not latched or self.is_set()):  # a failed release may have removed the file
            return ""
        if self._known is None and not latched:
            if self.is_set():
                return f"latch file {self.path}: set, but the controller was not started with latched=True"
            self._known = False
            return ""
        if self._known is None and self.is_set():  # latched before the start: what the file says of it is kept
            self._known = True
            return ""
        try:
            if latched:
                self.set(reason)
            else:
                self.clear()
        except OSError as error:
            return f"latch file {self.path}: cannot be {'written' if latched else 'removed'} ({error})"
        self._known = latched
        return ""

    def _sync_folder(self) -> None:
        handle = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
