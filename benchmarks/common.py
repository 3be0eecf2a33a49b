"""What the benchmarks share: turns of the contenders, ratios, the machine, tables and JSON.

Speeds measured at different times on a busy machine cannot be compared. So the contenders take turns (A B A B ...),
each turn gives a ratio of neighbours in time, and the median of these ratios is the result; the speeds themselves are
only shown.

``python benchmarks/common.py --table FILE.json ...`` prints the Markdown table of results for the documentation.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robolearn.rl.runner import OnPolicyRunner

PACKAGES = ("robolearn", "mujoco", "torch", "numpy", "gymnasium", "stable-baselines3", "rsl-rl-lib", "mujoco-warp")
Turn = Callable[[], float]
"""Does one turn of work and returns its speed, in units per second."""


@dataclass
class Ratio:
    """How the speed of one contender compares with another's, turn by turn.

    Attributes:
        of: the contender.
        against: the other.
        values: speed of the first over speed of the second, one per turn.
        aim: what the project aims at; None without an aim.
    """

    of: str
    against: str
    values: list[float]
    aim: float | None = None

    @property
    def median(self) -> float:
        """The result."""
        return statistics.median(self.values)

    def text(self) -> str:
        """Median with the smallest and the largest, as ``0.91 (0.88 to 0.93)``."""
        return f"{self.median:.2f} ({min(self.values):.2f} to {max(self.values):.2f})"


@dataclass
class Report:
    """What one benchmark found.

    Attributes:
        name: name of the benchmark.
        settings: what was measured: sizes, threads, seeds.
        unit: of the speeds.
        speeds: speed of each contender, one per turn.
        ratios: the results.
        rows: further results, one mapping per line of a table.
        notes: what a reader must know.
        machine: where it ran.
    """

    name: str
    settings: dict[str, Any]
    unit: str
    speeds: dict[str, list[float]] = field(default_factory=dict)
    ratios: list[Ratio] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=lambda: machine())

    def compare(self, of: str, against: str, aim: float | None = None) -> Ratio:
        """Add the ratio of two contenders' speeds."""
        pairs = zip(self.speeds[of], self.speeds[against], strict=True)
        self.ratios.append(Ratio(of, against, [a / b for a, b in pairs], aim))
        return self.ratios[-1]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        data = asdict(self)
        for ratio, plain in zip(self.ratios, data["ratios"], strict=True):
            plain |= {"median": ratio.median, "min": min(ratio.values), "max": max(ratio.values)}
        return data

    def show(self) -> str:
        """The report as text."""
        where = ", ".join(f"{key} {value}" for key, value in self.machine.items() if key != "versions")
        what = ", ".join(f"{key} {value}" for key, value in self.settings.items())
        lines = [f"{self.name}: {what}", where]
        if self.speeds:
            rows = [
                {"contender": name, self.unit: f"{statistics.median(values):,.0f}"}
                for name, values in self.speeds.items()
            ]
            lines += ["", *table(rows)]
        if self.ratios:
            lines += ["", *table([_ratio_row(ratio) for ratio in self.ratios])]
        if self.rows:
            lines += ["", *table(self.rows)]
        return "\n".join([*lines, *([""] if self.notes else []), *self.notes])


def _ratio_row(ratio: Ratio) -> dict[str, Any]:
    aim = "" if ratio.aim is None else f"{ratio.aim:g}"
    return {"ratio of": ratio.of, "to": ratio.against, "median (min to max)": ratio.text(), "aim": aim}


def take_turns(contenders: Mapping[str, Turn], rounds: int) -> dict[str, list[float]]:
    """Let the contenders work in turn, ``rounds`` times each; return their speeds, one per round."""
    speeds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, turn in contenders.items():
            speeds[name].append(turn())
    return speeds


def timed(work: Callable[[], object], units: float) -> float:
    """Do the work and return ``units`` per second."""
    start = time.perf_counter()
    work()
    return units / (time.perf_counter() - start)


def learn(
    runner: OnPolicyRunner, iterations: int | None = None, on_iteration: Callable[..., None] | None = None
) -> None:
    """Train as ``runner.learn`` does, but let the first Ctrl-C or SIGTERM end the benchmark, not one turn of it.

    Raises:
        KeyboardInterrupt: the training was told to stop.
    """
    if runner.learn(iterations, on_iteration).interrupted:
        raise KeyboardInterrupt


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> dict[str, Any]:
    """Describe where the benchmark runs, without naming the machine."""
    info: dict[str, Any] = {
        "cpu": _cpu_name(),
        "cores": cores(),
        "memory": _memory(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load": f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown",
    }
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
        info["gpu"] = sys.modules["torch"].cuda.get_device_name(0)
    info["versions"] = {name: version for name in PACKAGES if (version := _version(name))}
    return info


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    except (AttributeError, ValueError, OSError):
        return "unknown"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the lines of a Markdown table of rows with equal keys, padded to be read as it is."""
    columns = list(rows[0])
    cells = [columns, *([str(row[column]) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]

    def line(values: Sequence[str]) -> str:
        return "| " + " | ".join(value.ljust(width) for value, width in zip(values, widths, strict=True)) + " |"

    return [line(cells[0]), line(["-" * width for width in widths]), *map(line, cells[1:])]


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the arguments that every benchmark has."""
    result = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--quick", action="store_true", help="tiny sizes: shows that it runs, measures nothing")
    result.add_argument("--json", metavar="PATH", type=Path, help="write the report there")
    result.add_argument("--rounds", type=int, metavar="N", help="turns of each contender")
    result.add_argument("--seed", type=int, default=0, metavar="N")
    result.add_argument("--threads", type=int, metavar="N", help="of simulator and torch (default: one per core)")
    return result


def parse(result: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse arguments and settle the number of threads; a quick run takes one, as it shares the machine with others."""
    options = result.parse_args(arguments)
    options.threads = options.threads or (1 if options.quick else cores())
    return options


def finish(report: Report, options: argparse.Namespace) -> int:
    """Print the report, write it where asked, and return the exit code 0."""
    if options.quick:
        report.notes.append("Quick run: sizes are too small for these figures to mean anything.")
    print(report.show())
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report.as_dict(), indent=1) + "\n", encoding="utf-8")
    return 0


def results_table(reports: Sequence[Mapping[str, Any]]) -> str:
    """Return reports, as read from JSON, as Markdown: ratios first, then further rows, then machines."""
    ratios: list[dict[str, Any]] = []
    details: list[str] = []
    machines: dict[str, int] = {}
    for report in reports:
        key = json.dumps({name: value for name, value in report["machine"].items() if name != "load"})
        number = machines.setdefault(key, len(machines) + 1)
        for data in report["ratios"]:
            ratio = Ratio(data["of"], data["against"], data["values"], data["aim"])
            turns = len(ratio.values)
            ratios.append({"benchmark": report["name"], **_ratio_row(ratio), "turns": turns, "machine": number})
        if report["rows"]:
            details += ["", f"**{report['name']}** (machine {number})", "", *table(report["rows"])]
        details += [f"\n{report['name']}: {note}" for note in report["notes"]]
    lines = table(ratios) if ratios else []
    lines += details
    for text, number in machines.items():
        data = json.loads(text)
        versions = ", ".join(f"{name} {version}" for name, version in data.pop("versions").items())
        lines += ["", f"Machine {number}: {', '.join(f'{key} {value}' for key, value in data.items())}; {versions}."]
    return "\n".join(lines).strip()


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table of the reports in the given files."""
    result = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument(
        "--table", nargs="+", type=Path, required=True, metavar="FILE", help="reports written by --json"
    )
    options = result.parse_args(arguments)
    print(results_table([json.loads(path.read_text(encoding="utf-8")) for path in options.table]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
