"""Writes a run's metrics to CSV, TensorBoard and pictures, and its events to ``log.txt``."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Mapping
from pathlib import Path

from robolearn.logging.csv_log import CsvLog
from robolearn.logging.curves import draw_curves
from robolearn.run_folder import CURVES, LOG, METRICS

DRAW_INTERVAL = 180.0  # s between two drawings of the curves


class RunLog:
    """The files of one run. Use as a context manager.

    Args:
        folder: the run folder.
        title: written over the curves.
        resume_from: iteration of the checkpoint that training continues from; later rows are cut. None for a new run.
        tensorboard: whether to write TensorBoard events too.
    """

    def __init__(self, folder: Path, title: str, resume_from: int | None = None, tensorboard: bool = True) -> None:
        self.folder, self.title = folder, title
        self._csv = CsvLog(folder / METRICS, resume_from)
        self._next_drawing = time.monotonic() + DRAW_INTERVAL
        self._writer = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            purge = None if resume_from is None else resume_from + 1
            self._writer = SummaryWriter(str(folder), purge_step=purge, flush_secs=30)

    def __enter__(self) -> RunLog:
        """Open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the event file."""
        if self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.close()

    def write(self, iteration: int, metrics: Mapping[str, float]) -> None:
        """Log the metrics of one iteration; redraw the curves now and then.

        A full disk costs the log, not the training: it is a warning, and writing is tried again at the next iteration.
        """
        try:
            self._csv.write(iteration, metrics)
            if self._writer is not None:
                for name, value in metrics.items():
                    self._writer.add_scalar(name, value, iteration)
            if time.monotonic() >= self._next_drawing:
                self.draw()
        except OSError as error:
            reason = f"{error.strerror or error} ({error.filename or self.folder})"
            warnings.warn(
                f"the metrics of iteration {iteration} are not logged: {reason}", RuntimeWarning, stacklevel=2
            )

    def draw(self) -> Path | None:
        """Draw ``curves.png``; return its path, or None while there is nothing to draw."""
        self._next_drawing = time.monotonic() + DRAW_INTERVAL
        path = self.folder / CURVES
        return path if draw_curves(self.folder / METRICS, path, self.title) else None

    def event(self, text: str) -> None:
        """Add a line with the time to ``log.txt``."""
        with contextlib.suppress(OSError), (self.folder / LOG).open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}\n")
