"""What one case of the benchmark gave, and the file of all cases: one JSON object per line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
NOMINAL = "none"
"""Name of the perturbation that changes nothing."""
JOINT = "joint"
"""Name of the perturbation that draws all others together."""
Experiment = tuple[int, int]
"""A seed and an episode of it: what fixes start, commands and draws."""


@dataclass(frozen=True, order=True)
class Case:
    """One unit of work: E experiments at once, an episode each, with the same perturbation.

    Starts, commands and draws follow from the experiment alone: it is the same in every case that holds it, whatever
    else the case holds.

    Attributes:
        policy: name of the policy.
        simulator: name of the simulator.
        perturbation: name, ``none`` or ``joint``.
        value: its strength, in its unit; 0 for ``none`` and ``joint``.
        experiments: (E,) each with its own start, commands and draws.
    """

    policy: str
    simulator: str
    perturbation: str
    value: float
    experiments: tuple[Experiment, ...]


@dataclass(frozen=True)
class CaseResult:
    """What a case gave.

    Attributes:
        case: the case.
        measures: name to (E,) values; NaN where an episode has none. Empty when the case failed.
        error: why the simulator failed, in one line; empty when it did not.
        wall_s: computing time in s.
        details: whatever else is worth keeping, such as versions; JSON.
    """

    case: Case
    measures: dict[str, Array] = field(default_factory=dict)
    error: str = ""
    wall_s: float = 0.0
    details: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return one line; NaN is null."""
        measures = {
            name: [None if np.isnan(value) else float(value) for value in values]
            for name, values in self.measures.items()
        }
        content = {
            "case": asdict(self.case),
            "measures": measures,
            "error": self.error,
            "wall_s": self.wall_s,
            "details": self.details,
        }
        return json.dumps(content, allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> CaseResult:
        """Read what ``to_json`` wrote.

        Raises:
            ValueError: it is something else.
        """
        try:
            content = json.loads(line)
            measures = {
                name: np.array([np.nan if value is None else value for value in values], float)
                for name, values in content.pop("measures").items()
            }
            case = content.pop("case")
            experiments = tuple((seed, episode) for seed, episode in case.pop("experiments"))
            result = cls(case=Case(**case, experiments=experiments), measures=measures, **content)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"not a result of the transfer benchmark: {error}") from error
        for name, values in result.measures.items():
            if values.shape != (len(experiments),):
                raise ValueError(f"measure {name!r} has {values.size} values for {len(experiments)} experiments")
        return result


class ResultFile:
    """All results of a benchmark, one per line. A line is whole or not there: an interruption costs one case."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __iter__(self) -> Iterator[CaseResult]:
        """Read every whole line; the last one of an interrupted run may be cut off and is left out.

        Raises:
            ValueError: a line before the last is broken; names it.
        """
        if not self.path.exists():
            return
        lines = self.path.read_text(encoding="utf-8").split("\n")
        for number, line in enumerate(lines[:-1], 1):
            try:
                yield CaseResult.from_json(line)
            except ValueError as error:
                raise ValueError(f"{self.path}, line {number}: {error}") from error

    def append(self, results: Iterable[CaseResult]) -> None:
        """Add results, each on a line of its own."""
        with self.path.open("a+", encoding="utf-8") as file:
            end = file.seek(0, 2)
            if end:
                content = self.path.read_bytes()
                if not content.endswith(b"\n"):  # what an interruption cut off
                    file.truncate(content.rfind(b"\n") + 1)
            for result in results:
                file.write(result.to_json() + "\n")
                file.flush()
