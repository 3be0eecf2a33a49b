"""Find the smallest budget that costs nothing that matters: lower it step by step, train on, measure.

  robolearn budget-search eco/bruce_lite --constraint energy --step 10

The first training is without the budget. Each further one goes on from the policy before it. The search ends when
tracking or survival suffers, or the budget is not kept; the last good policy is the answer. Survival suffers where its
95 % interval lies below the limit. Every stage is a run folder of its own.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from robolearn.cli.common import add_threads_argument, clear_faults, place
from robolearn.cli.errors import EXIT_INTERRUPTED, EXIT_USAGE, CommandError
from robolearn.config import ConfigError, unknown

if TYPE_CHECKING:
    from robolearn.evaluate.statistics import Interval
    from robolearn.experiment import ExperimentConfig
    from robolearn.methods.eco.search import Outcome, SearchRule
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
    parser.add_argument(
        "--excess", type=float, default=0.05, metavar="S", help="how far above its budget it may be (default: 0.05)"
    )
    parser.add_argument(
        "--num-envs", type=int, default=192, metavar="N", help="robots that are measured (default: 192)"
    )
    parser.add_argument("--out", metavar="DIR", default="runs/budget_search", help="where run folders and table go")
    add_threads_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Search; return 0."""
    from robolearn.methods.eco.search import SearchRule

    try:
        rule = SearchRule(args.step, args.tracking_loss, args.survival, args.excess)
    except ValueError as error:
        raise CommandError(f"--step, --tracking-loss, --survival, --excess: {error}", EXIT_USAGE) from error
    if min(args.iterations, args.num_envs, 1 if args.first is None else args.first) < 1:
        raise CommandError("--first, --iterations and --num-envs must be at least 1", EXIT_USAGE)
    with clear_faults():
        return _search(args, rule)


def _search(args: argparse.Namespace, rule: SearchRule) -> int:
    from robolearn.experiment import compose
    from robolearn.methods.eco.search import SearchError, search

    config = compose(args.experiment, None, args.overrides)
    if config.eco is None:
        raise ConfigError(f"{args.experiment}: has no constraints (section eco); robolearn list shows eco/...")
    name = args.constraint or next(iter(config.eco.constraints))
    _check(config, name)
    unit = config.eco.constraints[name].unit
    stages = _Stages(args, name)
    table = Path(args.out) / RESULTS
    if table.exists():
        raise CommandError(f"{table} holds an earlier search: give another folder with --out", EXIT_USAGE)
    table.parent.mkdir(parents=True, exist_ok=True)
    best: Outcome | None = None
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("budget", "cost", "tracking", "survival", "objection", "run"))
        try:
            for outcome, objection in search(stages.train, rule):
                asked = "none" if outcome.budget is None else f"{outcome.budget:g} {unit}"
                line = (outcome.budget, outcome.cost, outcome.tracking, outcome.survival, objection, stages.folder)
                writer.writerow(line)
                file.flush()
                print(
                    f"budget {asked}: spends {outcome.cost:.4g} {unit}, tracking {outcome.tracking:.3f}, "
                    f"survival {outcome.survival:.1%}{f' - too little: {objection}' if objection else ''}",
                    flush=True,
                )
                best = best if objection else outcome
        except SearchError as error:
            raise CommandError(str(error)) from error
    assert best is not None  # nothing speaks against the first, or there was an error
    if best.budget is None:
        answer = "no good budget: the largest that was tried is too small already, a smaller --step tries larger ones"
    else:
        answer = f"smallest good budget: {best.budget:g} {unit}"
    print(f"{answer}; all stages: {table}")
    return 0


def _check(config: ExperimentConfig, name: str) -> None:
    """Refuse before hours of training what cannot be searched."""
    from robolearn.methods.eco.config import MIRROR

    assert config.eco is not None
    if name not in config.eco.constraints:
        raise unknown("constraint", name, config.eco.constraints, "--constraint")
    if config.eco.constraints[name].cost == MIRROR:
        raise ConfigError(f"--constraint {name}: the mirror error is not what a robot spends; name another constraint")
    if config.eco.algorithm != "lagrangian":
        raise ConfigError(
            f"eco.algorithm {config.eco.algorithm}: only lagrangian finds the price of a budget by itself"
        )
    if config.eco.conditioning is not None:
        raise ConfigError("eco.conditioning: this policy is for many budgets already; set it to null")
    if config.ppo.schedule == "linear":
        raise ConfigError("ppo.schedule linear ends at 0, but stages go on: use adaptive or fixed")


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
        import numpy as np

        from robolearn import run_folder
        from robolearn.evaluate.compare import tail_mean
        from robolearn.experiment import compose, make_env, make_runner
        from robolearn.logging.progress import RunProgress, Shown
        from robolearn.logging.run_log import RunLog
        from robolearn.methods.eco.search import Outcome

        args = self._args
        config = compose(args.experiment, None, args.overrides)
        goal = self._done + (args.iterations if self._last else args.first or config.runner.iterations)
        name = f"{config.name}_{'free' if budget is None else f'{budget:g}'}"
        overrides = [
            *args.overrides,
            f"eco.constraints.{self._constraint}.budget={NO_BUDGET if budget is None else budget}",
            f"runner.iterations={goal}",
            f"name={name}",
        ]
        config = place(compose(args.experiment, None, overrides), None, args.threads)
        env = make_env(config, stagger=True)
        folder = run_folder.create(args.out, config, ["robolearn", *sys.argv[1:]])
        runner = make_runner(config, env, folder / "checkpoints")
        if self._last is not None:
            runner.load(self._last.checkpoint)
        values: list[float] = []
        share = f"eco/{self._constraint}/value"
        shown = (Shown("reward", "train/mean_reward", ".2f"), Shown("cost", share, ".4g"))
        with (
            RunLog(folder, name, tensorboard=False) as log,
            RunProgress(name, goal, shown, runner.iteration, config.runner.max_seconds) as progress,
        ):

            def on_iteration(metrics: dict[str, float]) -> None:
                log.write(runner.iteration, metrics)
                progress.update(runner.iteration, metrics)
                values.append(metrics.get(share, float("nan")))

            result = runner.learn(on_iteration=on_iteration)
            log.draw()
        env.close()
        if result.iteration < goal:
            raise CommandError(
                f"stopped in the stage {folder} at iteration {result.iteration} of {goal}; its checkpoint is there",
                EXIT_INTERRUPTED,
            )
        self._done, self._last, self.folder = goal, run_folder.find_run(str(folder)), str(folder)
        tracking, survival = self._measure()
        return Outcome(budget, tail_mean(np.array(values)), tracking, survival.value, survival.high)

    def _measure(self) -> tuple[float, Interval]:
        """Return tracking and survival of the last stage: mean actions, nobody pushes."""
        from robolearn.evaluate.rollout import quiet, rollout, tracking_share
        from robolearn.evaluate.statistics import wilson
        from robolearn.experiment import make_env
        from robolearn.rl import load_policy

        assert self._last is not None
        config = place(self._last.config, None, self._args.threads)
        env = make_env(quiet(config), num_envs=self._args.num_envs, seed=config.seed + 1)
        trace = rollout(env, load_policy(self._last.checkpoint, config.env.device))
        env.close()
        return tracking_share(trace), wilson(int(trace.survived.sum()), trace.survived.size)
