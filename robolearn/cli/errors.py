"""Exit codes, and the fault that one line explains.

They live here, not in ``main``: under ``python -m`` that module exists twice, and so would its classes.
"""

from __future__ import annotations

EXIT_FAILURE, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


class CommandError(Exception):
    """A fault that one line explains; ``code`` becomes the exit code."""

    def __init__(self, message: str, code: int = EXIT_FAILURE) -> None:
        super().__init__(message)
        self.code = code
