"""What two constraints cost: training with ECO, with and without a cost critic, takes turns with plain PPO.

Same environment, networks and roll-outs; power and velocity error are bounded. One turn is a few iterations of
24 steps, 4 epochs and 4 minibatches.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from functools import partial

import torch
from common import Report, Turn, finish, learn, parse, parser, take_turns
from physics import make_env
from train_loop import NETWORK, make_runner

from robolearn.methods.eco import ConstraintConfig, EcoConfig, EcoMethod
from robolearn.rl import OnPolicyRunner

AIM = 0.9
CONSTRAINTS = {
    "power": ConstraintConfig("mechanical_power", 60.0, "W", "rate"),
    "error": ConstraintConfig("velocity_error", 0.2, "m/s", "rate"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    options = parser(__doc__)
    options.add_argument("--robot", default="a1")
    options.add_argument("--task", default="velocity_flat")
    options.add_argument("--num-envs", type=int, default=512)
    options.add_argument("--iterations", type=int, default=3, help="per turn")
    args = parse(options, arguments)
    if args.quick:
        args.num_envs, args.iterations = 16, 1
    rounds = args.rounds or (2 if args.quick else 9)
    torch.set_num_threads(args.threads)  # of the update
    env = make_env(args.robot, args.task, args.num_envs, args.threads, args.seed)
    config = EcoConfig(CONSTRAINTS, cost_scale="price")
    without = dataclasses.replace(NETWORK, cost_critic=False)
    runners = {
        "plain PPO": make_runner(env, args.seed),
        "2 constraints": make_runner(env, args.seed, method=EcoMethod(config, env)),
        "2 constraints, no cost critic": make_runner(env, args.seed, method=EcoMethod(config, env), network=without),
    }

    def turn(runner: OnPolicyRunner) -> float:
        seconds = 0.0

        def add(metrics: dict[str, float]) -> None:
            nonlocal seconds
            seconds += metrics["time/collect_s"] + metrics["time/update_s"]

        learn(runner, runner.iteration + args.iterations, add)
        return args.iterations * runner.storage.num_samples / seconds

    report = Report(
        "constraints",
        {"robot": args.robot, "task": args.task, "environments": args.num_envs, "threads": args.threads,
         "iterations per turn": args.iterations, "seed": args.seed},
        "environment steps/s",
    )  # fmt: skip
    turns: dict[str, Turn] = {name: partial(turn, runner) for name, runner in runners.items()}
    report.speeds = take_turns(turns, rounds)
    for name in list(runners)[1:]:
        report.compare(name, "plain PPO", AIM)
    return finish(report, args)


if __name__ == "__main__":
    sys.exit(main())
