"""Compare trained runs of one robot: what each spends and earns, how it was learned, how it walks.

  robolearn compare runs/2026-...eco_bruce_lite_seed1 runs/2026-...eco_bruce_lite_free_seed1
  robolearn compare eco=policies/bruce_eco shaped=runs/2026-... shaped=runs/2026-... --out runs/compared

Runs with one label count as seeds of one experiment; without a label a run has the name of its experiment.
The result is a page, report.html, and a table, runs.csv.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from robolearn.cli.common import add_set_argument, add_threads_argument, clear_faults, place
from robolearn.cli.errors import EXIT_USAGE, CommandError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("runs", nargs="+", metavar="[LABEL=]RUN", help="run folders, checkpoints or released policies")
    parser.add_argument("--cost", default="mechanical_power", metavar="NAME", help="what is spent (mechanical_power)")
    parser.add_argument("--seeds", type=int, default=1, metavar="S", help="seeds of the roll-outs (default: 1)")
    parser.add_argument("--num-envs", type=int, default=64, metavar="N", help="robots per seed (default: 64)")
    add_set_argument(parser)
    parser.add_argument("--out", metavar="DIR", default="runs/compared", help="where page and table go")
    add_threads_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Compare; return 0."""
    if min(args.seeds, args.num_envs) < 1:
        raise CommandError("--seeds and --num-envs must be at least 1", EXIT_USAGE)
    with clear_faults():
        return _compare(args)


def _compare(args: argparse.Namespace) -> int:
    import dataclasses

    from robolearn.config import parse_settings
    from robolearn.evaluate.compare import compare, write_table
    from robolearn.evaluate.compare_report import write_report
    from robolearn.run_folder import find_run

    runs = []
    for word in args.runs:
        label, separator, where = word.rpartition("=")
        found = find_run(where if separator and not Path(word).exists() else word)
        found = dataclasses.replace(found, config=place(found.config, "cpu", args.threads))
        runs.append((label or found.config.name, found))
    seeds = range(args.seeds)
    found_all = compare(
        runs,
        args.cost,
        seeds,
        args.num_envs,
        parse_settings(args.set),
        lambda text: print(f"  {text}", file=sys.stderr, flush=True),
    )
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    method = f"{args.seeds * args.num_envs} episodes per run (seeds {', '.join(map(str, seeds))})."
    write_table(found_all, out / "runs.csv")
    write_report(out / "report.html", found_all, args.cost, shlex.join(["robolearn", *sys.argv[1:]]), method)
    for one in found_all:
        print(
            f"{one.label} (seed {one.run.config.seed}): {args.cost} {one.cost.text()}, "
            f"reward {one.reward.text('/s', 2)}, survived {one.survival.text(digits=2)}"
        )
    print(out / "report.html")
    return 0
