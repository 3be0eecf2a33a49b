"""A table of numbers on disk that survives kills, resumes and new columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

KEY = "iteration"


class CsvLog:
    """Appends rows of metrics to a CSV file; the column ``iteration`` orders them.

    Every row is written with one call and reaches the file at once: a killed process loses nothing that was logged. A
    half-written last line, and after a resume every row past the checkpoint, is cut when the file is opened again.

    Args:
        path: the file; it is created with the first row.
        resume_from: keep the rows up to and including this iteration, drop later ones. None starts a new table.
    """

    def __init__(self, path: str | Path, resume_from: int | None = None) -> None:
        self.path = Path(path)
        self._columns: list[str] = []
        if resume_from is None:
            self.path.unlink(missing_ok=True)
        elif self.path.exists():
            columns, rows = _read_rows(self.path)
            kept = [row for row in rows if float(row.get(KEY) or "inf") <= resume_from]
            self._rewrite(columns, kept)

    def write(self, iteration: int, metrics: Mapping[str, float]) -> None:
        """Append one row. A metric that was not there before adds a column; earlier rows are left empty there."""
        row = {KEY: str(iteration), **{name: f"{value:.8g}" for name, value in metrics.items()}}
        if new := [name for name in row if name not in self._columns]:
            _, rows = _read_rows(self.path) if self.path.exists() else ([], [])
            self._rewrite([*self._columns, *new], rows)
        with self.path.open("a", encoding="utf-8", newline="") as file:
            file.write(_line([row.get(name, "") for name in self._columns]))

    def _rewrite(self, columns: list[str], rows: list[dict[str, str]]) -> None:
        text = _line(columns) + "".join(_line([row.get(name, "") for name in columns]) for row in rows)
        partial = self.path.with_suffix(".partial")
        partial.write_text(text, encoding="utf-8", newline="")
        partial.replace(self.path)  # a kill leaves the old table or the new one
        self._columns = columns


def read_csv(path: str | Path) -> dict[str, NDArray[np.float64]]:
    """Return the columns of a log as arrays (R,), NaN where a row has no value; empty when there is no file."""
    path = Path(path)
    if not path.exists():
        return {}
    columns, rows = _read_rows(path)
    return {name: np.array([float(row[name]) if row.get(name) else np.nan for row in rows]) for name in columns}


def _line(values: list[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(values)
    return buffer.getvalue()


def _read_rows(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]  # what follows the last line end was cut by a kill
    lines = list(csv.reader(io.StringIO(whole)))
    if not lines:
        return [], []
    columns = lines[0]
    return columns, [dict(zip(columns, line, strict=True)) for line in lines[1:] if len(line) == len(columns)]
