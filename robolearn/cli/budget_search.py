"""Find the smallest budget that costs nothing that matters: lower it step by step, train on, measure.

  robolearn budget-search eco/bruce_lite --constraint energy --step 10

The first training is without the budget. Each further one goes on from the policy before it. The search ends when
tracking or survival suffers; the last good policy is the answer. Every stage is a run folder of its own.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from robolearn.cli.common import add_threads_argument, clear_faults, place
from robolearn.cli.errors import EXIT_USAGE, CommandError
from robolearn.config import ConfigError, unknown

if TYPE_CHECKING:
    from robolearn.methods.eco.search import Outcome
    from robolearn.run_folder import Run

NO_BUDGET = 1e9
"""In any unit: a budget that no robot reaches, whose multiplier stays 0."""
RESULTS = "budget_search.csv"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("experiment", metavar="EXPERIMENT", help="one with constraints, see robolearn list")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="entries to change, see robolearn config")
    parser.add_argument("--constraint", metavar="NAME", help="whose budget to lower (default: the first)")
    parser.add_argument("--step", type=float, required=True, metavar="B", help="by how much, in the budget's unit")
    parser.add_argument(
        "--first", type=int, metavar="N", help="iterations without a budget (default: the experiment's)"
    )
    parser.add_argument("--iterations", type=int, default=200, metavar="N", help="per budget (default: 200)")
    parser.add_argument("--tracking-loss", type=float, default=0.05, metavar="S", help="largest loss (default: 0.05)")
    parser.add_argument("--survival", type=float, default=0.99, metavar="S", help="smallest survival (default: 0.99)")
    parser.add_argument("--num-envs", type=int, default=64, metavar="N", help="robots that are measured (default: 64)")
    parser.add_argument("--out", metavar="DIR", default="runs/budget_search", help="where run folders and table go")
    add_threads_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Search; return 0."""
    from robolearn.methods.eco.search import SearchRule

    try:
        rule = SearchRule(args.step, args.tracking_loss, args.survival)
    except ValueError as error:
        raise CommandError(f"--step, --tracking-loss, --survival: {error}", EXIT_USAGE) from error
    if min(args.iterations, args.num_envs, args.first or 1) < 1:
        raise CommandError("--first, --iterations and --num-envs must be at least 1", EXIT_USAGE)
    with clear_faults():
        return _search(args, rule)


def _search(args: argparse.Namespace, rule: object) -> int:
    from robolearn.experiment import compose
    from robolearn.methods.eco.search import SearchRule, search

    assert isinstance(rule, SearchRule)
    config = compose(args.experiment, None, args.overrides)
    if config.eco is None:
        raise ConfigError(f"{args.experiment}: has no constraints (section eco); robolearn list shows eco/...")
    name = args.constraint or next(iter(config.eco.constraints))
    if name not in config.eco.constraints:
        raise unknown("constraint", name, config.eco.constraints, "--constraint")
    unit = config.eco.constraints[name].unit
    stages = _Stages(args, name)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    best: Outcome | None = None
    with (out / RESULTS).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("budget", "cost", "tracking", "survival", "good", "run"))
        try:
            for outcome, good in search(stages.train, rule):
                asked = "none" if outcome.budget is None else f"{outcome.budget:g} {unit}"
                writer.writerow((outcome.budget, outcome.cost, outcome.tracking, outcome.survival, good, stages.folder))
                file.flush()
                print(
                    f"budget {asked}: spends {outcome.cost:.4g} {unit}, tracking {outcome.tracking:.3f}, "
                    f"survival {outcome.survival:.1%}{'' if good else ' - too little'}",
                    flush=True,
                )
                best = outcome if good else best
        except ValueError as error:
            raise CommandError(str(error)) from error
    assert best is not None  # the first outcome is good, or there was an error
    answer = "no budget at all" if best.budget is None else f"{best.budget:g} {unit}"
    print(f"smallest good budget: {answer}; all stages: {out / RESULTS}")
    return 0


class _Stages:
    """Trains one stage after the other, each from where the last one ended.

    Attributes:
        folder: run folder of the last stage.
    """

    def __init__(self, args: argparse.Namespace, constraint: str) -> None:
        self._args, self._constraint = args, constraint
        self._done = 0
        self._last: Run | None = None
        self.folder = ""

    def train(self, budget: float | None) -> Outcome:
        """Train within a budget and measure the result."""
        from robolearn import run_folder
        from robolearn.experiment import compose, make_env, make_runner

        args = self._args
        config = place(compose(args.experiment, None, args.overrides), None, args.threads)
        goal = self._done + (args.iterations if self._last else args.first or config.runner.iterations)
        value = NO_BUDGET if budget is None else budget
        overrides = [
            *args.overrides,
            f"eco.constraints.{self._constraint}.budget={value}",
            f"runner.iterations={goal}",
            f"name={config.name}_{'free' if budget is None else f'{budget:g}'}",
        ]
        config = place(compose(args.experiment, None, overrides), None, args.threads)
        env = make_env(config, stagger=True)
        folder = run_folder.create(args.out, config, ["robolearn", *sys.argv[1:]])
        runner = make_runner(config, env, folder / "checkpoints")
        if self._last is not None:
            runner.load(self._last.checkpoint)
        runner.learn()
        env.close()
        self._done, self._last, self.folder = goal, run_folder.find_run(str(folder)), str(folder)
        return self._measure(budget)

    def _measure(self, budget: float | None) -> Outcome:
        """Measure the last stage: mean actions, nobody pushes; the cost at the rate of a full episode."""
        import numpy as np

        from robolearn.evaluate.rollout import quiet, rollout, steady_means
        from robolearn.experiment import make_env
        from robolearn.methods.eco.search import Outcome
        from robolearn.rl import load_policy

        assert self._last is not None
        config = self._last.config
        assert config.eco is not None
        env = make_env(quiet(config), num_envs=self._args.num_envs, seed=config.seed + 1)
        entry = config.eco.constraints[self._constraint]
        trace = rollout(env, load_policy(self._last.checkpoint, "cpu"))
        rate = entry.rate(env.max_episode_length * env.step_dt)
        env.close()
        commanded, measured = steady_means(trace)
        size = np.linalg.norm(commanded, axis=1)
        missed = np.linalg.norm(commanded - measured, axis=1) / np.maximum(size, 1e-6)
        cost = float(np.nanmean(trace.mean_cost(entry.cost))) / rate * entry.budget
        return Outcome(budget, cost, float(1.0 - np.mean(missed)), float(trace.survived.mean()))
