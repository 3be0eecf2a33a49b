"""Check that the safety monitor stops the robot in time, whatever goes wrong, and never without need.

A policy walks a simulated robot, in this process and without ROS. Every kind of fault begins at random moments; then
the robot walks on commands, with pushes and noisy readings. docs/safety_check.md says what counts.

robolearn safety-check --quick
robolearn safety-check policies/a1_velocity_flat/policy.onnx --moments 20 --minutes 60 --out results/safety
"""

from __future__ import annotations

import argparse
from pathlib import Path

from robolearn.cli.errors import EXIT_FAILURE, CommandError

RELEASED = Path(__file__).parents[2] / "policies" / "a1_velocity_flat" / "policy.onnx"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "policy", nargs="?", metavar="POLICY", help="policy file (.onnx); the released one of the A1 when left out"
    )
    parser.add_argument("--robot", default="a1", help="robot file: a name, or a path that ends in .yaml (default: a1)")
    parser.add_argument("--moments", type=int, metavar="N", help="random moments for each case (default: 20)")
    parser.add_argument("--kinds", nargs="+", metavar="CASE", help="only these cases; --kinds list shows them")
    parser.add_argument("--minutes", type=float, metavar="M", help="simulated minutes of nominal walking (default: 60)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (default: 0)")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes (default: 2)")
    parser.add_argument("--out", type=Path, default=Path("safety_check"), metavar="FOLDER", help="where results go")
    parser.add_argument("--quick", action="store_true", help="2 moments for each case and 1 minute, unless given")


def run(args: argparse.Namespace) -> int:
    """Run the check; fails when the requirement is not met."""
    from robolearn.deploy.onnx_file import PolicyFileError
    from robolearn.evaluate.safety_check_cases import CASES, choose
    from robolearn.evaluate.safety_check_report import rows, summary, table, write, write_json
    from robolearn.evaluate.safety_check_suite import Result, Suite
    from robolearn.evaluate.safety_check_suite import parts as parts_of
    from robolearn.evaluate.safety_check_suite import run as run_suite
    from robolearn.logging.progress import RunProgress, Shown

    if args.kinds == ["list"]:
        print("\n".join(f"{case.name:<24} {case.reaction:<14} {case.note}" for case in CASES.values()))
        return 0
    moments = (2 if args.quick else 20) if args.moments is None else args.moments
    minutes = (1.0 if args.quick else 60.0) if args.minutes is None else args.minutes
    for name, value, least in (("moments", moments, 0), ("minutes", minutes, 0), ("jobs", args.jobs, 1)):
        if value < least:
            raise CommandError(f"--{name} {value:g}: must be at least {least}")
    suite = Suite(
        policy=args.policy or str(RELEASED),
        robot=args.robot,
        cases=tuple(case.name for case in choose(args.kinds)),
        moments=moments,
        minutes=minutes,
        seed=args.seed,
    )
    total = len(parts_of(suite))
    if not total:
        raise CommandError("nothing to do: both --moments and --minutes are 0")
    shown = (Shown("cases", "cases", ".0f"), Shown("walked", "minutes", ".1f", " min"), Shown("not met", "bad", ".0f"))
    try:
        with RunProgress("safety check", total, shown) as progress:

            def report(done: int, result: Result) -> None:
                walked = sum(walk.seconds for walk in result.walks) / 60.0
                found = {"cases": len(result.outcomes), "minutes": walked, "bad": len(result.failures)}
                progress.update(done, found)
                write_json(result, args.out)  # a long run that is interrupted leaves what it found

            result = run_suite(suite, args.jobs, report)
    except PolicyFileError as error:
        raise CommandError(str(error), EXIT_FAILURE) from error
    write(result, args.out)
    print(f"\n{table(rows(result.outcomes))}\n\n{summary(result)}\n\nwritten to {args.out}/")
    if result.failures:
        raise CommandError(f"{len(result.failures)} of the cases and walks do not meet the requirement", EXIT_FAILURE)
    return 0
