"""How many episodes a minute the transfer benchmark gets from each simulator, and what a second process adds.

The simulators take turns in one process, each with a case of the suite, undisturbed, with as many robots as such a case
has; what is not installed is left out. Then one process and two take turns with the same cases: those of the suite that
are undisturbed or disturbed by everything together, in all of its simulators, the starts of the processes included.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median

from common import Ratio, Report, finish, parse, parser, take_turns, timed

from robolearn.evaluate.sim2sim.episodes import run_case
from robolearn.evaluate.sim2sim.results import JOINT, NOMINAL, Case
from robolearn.evaluate.sim2sim.scripts import SECONDS
from robolearn.evaluate.sim2sim.simulators import REFERENCE, SIMULATORS, missing
from robolearn.evaluate.sim2sim.spread import spread
from robolearn.evaluate.sim2sim.suite import SUITES, cases_of

POLICY = Path(__file__).parents[1] / "policies" / "a1_velocity_flat" / "policy.onnx"


def run(case: Case, seconds: float) -> None:
    """Run a case in this process."""
    check(run_case(case, POLICY, seconds=seconds).error, case)


def run_all(cases: Sequence[Case], seconds: float, processes: int) -> None:
    """Run cases in so many processes."""
    for result in spread(cases, partial(run_case, policy=POLICY, seconds=seconds), processes):
        check(result.error, result.case)


def check(error: str, case: Case) -> None:
    """Stop at a failed case: it would count as a fast one."""
    if error:
        raise SystemExit(f"sim2sim: {case.simulator}: {error}")


def episodes(cases: Sequence[Case]) -> int:
    """Number of episodes in cases."""
    return sum(len(case.experiments) for case in cases)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    options = parser(__doc__)
    options.add_argument("--suite", default="quick", choices=SUITES)
    options.add_argument("--sims", nargs="+", choices=SIMULATORS, metavar="SIM", help="beside the reference")
    args = parse(options, arguments)
    suite, seconds, rounds = SUITES[args.suite], SECONDS, args.rounds or (1 if args.quick else 3)
    names, shared = args.sims or list(SIMULATORS), suite.simulators
    if args.quick:
        suite, seconds, shared = replace(suite, seeds=1, episodes=1), 0.1, (REFERENCE,)
        names = [name for name in names if name != "warp"]  # it compiles for a minute
    report = Report(
        "sim2sim",
        {"suite": suite.name, "robot": "a1", "seconds of an episode": seconds, "threads": 1, "rounds": rounds},
        "episodes/min",
    )
    able = [name for name in dict.fromkeys([REFERENCE, *names]) if not missing(SIMULATORS[name])]
    report.notes += [f"{name}: {reason}" for name in names if (reason := missing(SIMULATORS[name]))]
    cases = {name: cases_of(suite, ["a1"], [name])[0] for name in able}
    for case in cases.values():
        run(case, 0.1)  # imports, compiles
    alone = take_turns(
        {name: partial(timed, partial(run, case, seconds), 60 * episodes([case])) for name, case in cases.items()},
        rounds,
    )
    for name, speeds in alone.items():
        ratio = Ratio(name, REFERENCE, [a / b for a, b in zip(speeds, alone[REFERENCE], strict=True)])
        report.rows.append({
            "simulator": name,
            "robots": episodes([cases[name]]),
            "episodes a minute": f"{median(speeds):.0f} ({min(speeds):.0f} to {max(speeds):.0f})",
            f"to {REFERENCE}": ratio.text(),
        })  # fmt: skip
    # Slow engines first, as in a suite: no process is left alone with one at the end.
    work = cases_of(suite, ["a1"], [name for name in reversed(shared) if name in cases])
    work = [case for case in work if case.perturbation in (NOMINAL, JOINT)]
    report.speeds = take_turns(
        {
            name: partial(timed, partial(run_all, work, seconds, count), 60 * episodes(work))
            for name, count in (("1 process", 1), ("2 processes", 2))
        },
        rounds,
    )
    report.compare("2 processes", "1 process")
    report.settings["cases for processes"] = len(work)
    return finish(report, args)


if __name__ == "__main__":
    sys.exit(main())
