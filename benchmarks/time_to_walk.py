"""How long training takes until the robot walks: wall time and environment steps, for several seeds.

It walks when the mean of both tracking terms (linear velocity and yaw rate, each at most 1) over the last 10 iterations
is at least 0.8. The task is trained as ``robolearn train`` does it, without writing files.
"""

from __future__ import annotations

import dataclasses
import statistics
import sys
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import torch
from common import Report, finish, learn, parse, parser

from robolearn.experiment import ExperimentConfig, compose, make_env, make_runner

AIM_MINUTES = 5.0
TERMS = ("env/term/track_linear_velocity", "env/term/track_yaw_rate")
WINDOW = 10


class WalkMeter:
    """Says when the mean of both tracking terms over the last ``WINDOW`` iterations first reaches the threshold.

    Attributes:
        tracking: the present mean; NaN before the window is full.
        best: the largest mean so far.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold, self.tracking, self.best = threshold, float("nan"), 0.0
        self._recent: deque[float] = deque(maxlen=WINDOW)

    def walks(self, metrics: dict[str, float]) -> bool:
        """Take in the metrics of an iteration."""
        self._recent.append(statistics.mean(metrics[name] for name in TERMS))
        if len(self._recent) < WINDOW:
            return False
        self.tracking = statistics.mean(self._recent)
        self.best = max(self.best, self.tracking)
        return self.tracking >= self.threshold


class _Walks(Exception):
    """Ends the training."""


def train(config: ExperimentConfig, threshold: float, show: bool) -> dict[str, Any]:
    """Train one seed until it walks or the iterations end; return a row of the result."""
    env = make_env(config, stagger=True)
    runner = make_runner(config, env)
    meter = WalkMeter(threshold)
    start = time.perf_counter()

    def on_iteration(metrics: dict[str, float]) -> None:
        done = meter.walks(metrics)
        if show and (done or runner.iteration % 20 == 0):
            seconds = time.perf_counter() - start
            print(
                f"  seed {config.seed}: iteration {runner.iteration}, {seconds:.0f} s, {meter.tracking:.2f}", flush=True
            )
        if done:
            raise _Walks

    reached = False
    try:
        learn(runner, on_iteration=on_iteration)
    except _Walks:
        reached = True
    seconds = time.perf_counter() - start
    env.close()
    return {
        "seed": config.seed,
        "walks": "yes" if reached else f"no (best {meter.best:.2f})",
        "wall time, s": round(seconds, 1),
        "environment steps": runner.total_steps,
        "iterations": runner.iteration,
        "steps/s": round(runner.total_steps / seconds),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    options = parser(__doc__)
    options.add_argument("--task", default="velocity_flat")
    options.add_argument("--robot", default="a1")
    options.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options.add_argument("--threshold", type=float, default=0.8)
    options.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="entries of its experiment to change")
    args = parse(options, arguments)
    overrides = list(args.overrides)
    if args.quick:
        args.seeds, args.threshold = args.seeds[:1], 0.0
        overrides += ["env.num_envs=16", "runner.iterations=11", "runner.steps_per_env=2"]
    torch.set_num_threads(args.threads)
    base = compose(args.task, args.robot, overrides)
    base = dataclasses.replace(base, env=dataclasses.replace(base.env, threads=args.threads))
    report = Report(
        "time_to_walk",
        {"task": args.task, "robot": args.robot, "overrides": " ".join(overrides) or "none", "seeds": args.seeds,
         "threshold": args.threshold, "threads": args.threads},
        "steps/s",
    )  # fmt: skip
    for seed in args.seeds:
        report.rows.append(train(dataclasses.replace(base, seed=seed), args.threshold, not args.quick))
    walked = [row["wall time, s"] / 60 for row in report.rows if row["walks"] == "yes"]
    if walked:
        report.notes.append(
            f"{len(walked)} of {len(report.rows)} seeds walk, after {min(walked):.1f} to {max(walked):.1f} minutes, "
            f"median {statistics.median(walked):.1f}; aim: {AIM_MINUTES:g}."
        )
    return finish(report, args)


if __name__ == "__main__":
    sys.exit(main())
