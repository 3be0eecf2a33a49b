"""Measure a trained policy: tracking errors, survival, survival under pushes, energy, each with an interval.

robolearn eval                                    the newest run
robolearn eval runs/2026-... --seeds 5 --json out.json
robolearn eval runs/2026-... --report policies/a1_velocity_flat     everything a release needs, with a video
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import sys
from pathlib import Path

from robolearn.cli.common import (
    add_run_argument,
    add_set_argument,
    add_threads_argument,
    clear_faults,
    place,
)
from robolearn.cli.errors import EXIT_USAGE, CommandError
from robolearn.config import ConfigError, parse_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_run_argument(parser)
    parser.add_argument("--seeds", type=int, default=3, metavar="S", help="number of seeds (default: 3)")
    parser.add_argument("--num-envs", type=int, default=64, metavar="N", help="robots per seed (default: 64)")
    parser.add_argument("--seconds", type=float, metavar="S", help="length of an episode (default: the task's)")
    parser.add_argument("--impulses", metavar="J,J,...", help="strengths of the pushes in N s; none leaves them out")
    parser.add_argument("--push-envs", type=int, default=256, metavar="N", help="robots that are pushed (default: 256)")
    add_set_argument(parser)
    parser.add_argument("--quick", action="store_true", help="few robots, short episodes: a first impression")
    parser.add_argument("--json", metavar="FILE", help="also write the figures as JSON")
    parser.add_argument("--report", metavar="DIR", help="write the complete report: figures, pictures, video, policy")
    parser.add_argument("--no-video", action="store_true", help="leave the video out of the report")
    parser.add_argument("--device", metavar="D", help="cpu, cuda or cuda:N")
    add_threads_argument(parser)


def parse_impulses(text: str | None) -> list[float] | None:
    """Read ``"0,10,20"``; ``"none"`` gives an empty list.

    Raises:
        ConfigError: not numbers of 0 or more.
    """
    if text is None:
        return None
    if text == "none":
        return []
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = [-1.0]
    if min(values) < 0:
        raise ConfigError(f"--impulses {text}: expected numbers of 0 or more, such as 0,10,20")
    return values


def run(args: argparse.Namespace) -> int:
    """Evaluate a policy."""
    if min(args.seeds, args.num_envs, args.push_envs) < 1:
        raise CommandError("--seeds, --num-envs and --push-envs must be at least 1", EXIT_USAGE)
    with clear_faults():
        return _evaluate(args)


def _evaluate(args: argparse.Namespace) -> int:
    from robolearn.evaluate.report import evaluate, write_report
    from robolearn.run_folder import find_run

    impulses, settings = parse_impulses(args.impulses), parse_settings(args.set)
    found = find_run(args.run)
    found = dataclasses.replace(found, config=place(found.config, args.device or "cpu", args.threads))
    print(f"{found.config.name}: {found.checkpoint}", flush=True)
    quick = args.quick
    evaluation = evaluate(
        found,
        seeds=range(1 if quick else args.seeds),
        num_envs=min(args.num_envs, 32) if quick else args.num_envs,
        seconds=args.seconds or (8.0 if quick else None),
        impulses=impulses,
        push_envs=min(args.push_envs, 64) if quick else args.push_envs,
        settings=settings,
        tell=lambda text: print(f"  {text} ...", file=sys.stderr, flush=True),
    )
    print(evaluation.text())
    if args.json:
        Path(args.json).write_text(json.dumps(evaluation.to_dict(), indent=2) + "\n", encoding="utf-8")
        print(args.json)
    if args.report:
        folder = Path(args.report)
        video = None if args.no_video else _video(args, found, folder)
        print(write_report(folder, found, evaluation, shlex.join(["robolearn", *sys.argv[1:]]), video))
    return 0


def _video(args: argparse.Namespace, found: object, folder: Path) -> str | None:
    """Film the walk for the report; a machine that cannot draw gets a report without it."""
    from robolearn.cli.main import main
    from robolearn.run_folder import Run

    assert isinstance(found, Run)
    folder.mkdir(parents=True, exist_ok=True)
    words = ["play", str(found.checkpoint), "--viewer", "video", "--out", str(folder / "walk.mp4")]
    words += ["--sheet", str(folder / "walk.png")]
    words += [word for setting in args.set for word in ("--set", setting)]
    words += ["--threads", str(args.threads)] if args.threads else []
    return "walk.mp4" if main(words) == 0 else None
