"""What a person sees while a run goes on: two live lines in a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

PLAIN_INTERVAL = 5.0  # s between two plain lines
SMOOTHING = 0.1  # weight of the newest iteration in the running mean of its duration


@dataclass(frozen=True)
class Shown:
    """One number of the live line.

    Attributes:
        label: what people read.
        key: metric it comes from; the number is left out while there is none.
        form: format specification, as in ``format(value, form)``.
        unit: appended to the number.
    """

    label: str
    key: str
    form: str = ".3g"
    unit: str = ""


def clock(seconds: float) -> str:
    """Return a duration as ``m:ss`` or ``h:mm:ss``; ``--:--`` when it is not known."""
    if not math.isfinite(seconds):
        return "--:--"
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class TimeLeft:
    """Estimates the seconds left from a running mean of the duration of an iteration.

    Args:
        total: number of the last iteration.
        start: iterations already done when the clock starts.
        now: s, present time.
        limit: s, wall-clock limit that may end the run earlier.
    """

    def __init__(self, total: int, start: int, now: float, limit: float | None = None) -> None:
        self._total, self._done, self._limit = total, start, limit
        self._begin = self._last = now
        self._period = math.nan

    def update(self, iteration: int, now: float) -> float:
        """Return the seconds left after ``iteration`` ended at time ``now``; NaN before the first one."""
        if iteration > self._done:
            period = (now - self._last) / (iteration - self._done)
            weight = 1.0 if math.isnan(self._period) else SMOOTHING
            self._period = weight * period + (1 - weight) * (0.0 if weight == 1.0 else self._period)
            self._done, self._last = iteration, now
        left = self._period * (self._total - self._done)
        return left if self._limit is None else min(left, self._begin + self._limit - now)

    def share(self, iteration: int, now: float) -> float:
        """Return the share of the run that is done, between 0 and 1, counting whichever limit comes first."""
        share = iteration / self._total if self._total else 1.0
        return min(1.0, share if self._limit is None else max(share, (now - self._begin) / self._limit))


class RunProgress:
    """Shows a run. Use as a context manager and call ``update`` after every iteration.

    Args:
        title: name of the run.
        total: number of the last iteration.
        shown: the numbers to show, in order.
        start: iterations done before (after a resume).
        limit: s, wall-clock limit of the run.
        stream: where to write; a terminal gets live lines.
        enabled: False shows nothing (all ranks but 0).
    """

    def __init__(
        self,
        title: str,
        total: int,
        shown: Sequence[Shown],
        start: int = 0,
        limit: float | None = None,
        stream: IO[str] | None = None,
        enabled: bool = True,
    ) -> None:
        self._title, self._total, self._shown, self._enabled = title, total, shown, enabled
        self._stream = stream if stream is not None else sys.stdout
        self._console = Console(file=self._stream, highlight=False)
        self._limit = limit
        self._time = TimeLeft(total, start, time.monotonic(), limit)
        self._begin = time.monotonic()
        self._next_plain = 0.0
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None, complete_style="green"),
            TextColumn("{task.fields[status]}"),
            console=self._console,
            expand=True,
        )
        self._task = self._bar.add_task(title, total=1.0, status="starting")
        self._live: Live | None = None

    def __enter__(self) -> RunProgress:
        """Begin to show."""
        if self._enabled and self._console.is_terminal:
            self._live = Live(self._bar, console=self._console, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the last state on the screen."""
        if self._live is not None:
            self._live.stop()

    def update(self, iteration: int, metrics: Mapping[str, float]) -> None:
        """Show that ``iteration`` is done and what it measured."""
        if not self._enabled:
            return
        now = time.monotonic()
        left = self._time.update(iteration, now)
        if self._live is not None:
            status = f"{self._count(iteration)}  {clock(left)} left"
            self._bar.update(self._task, completed=self._time.share(iteration, now), status=status)
            self._live.update(Group(self._bar, Text("  " + self._numbers(metrics, "   "), style="cyan")))
        elif now >= self._next_plain or iteration >= self._total:
            self._next_plain = now + PLAIN_INTERVAL
            spent = clock(now - self._begin)
            line = f"{self._count(iteration):>9}  {spent} spent, {clock(left)} left  {self._numbers(metrics, '  ')}"
            print(line, file=self._stream, flush=True)

    def message(self, text: str) -> None:
        """Print one line above the live lines."""
        if self._enabled:
            self._console.print(text, markup=False, soft_wrap=True)

    def _count(self, iteration: int) -> str:
        """Iterations done and in all; with a time limit the latter means little."""
        return f"{iteration}/{self._total}" if self._limit is None else f"iteration {iteration}"

    def _numbers(self, metrics: Mapping[str, float], gap: str) -> str:
        return gap.join(
            f"{item.label} {metrics[item.key]:{item.form}}{item.unit}" for item in self._shown if item.key in metrics
        )
