"""What two constraints cost: training with ECO, with and without a cost critic, takes turns with plain PPO.

Same environment, networks and roll-outs; power and velocity error are bounded. One turn is a few iterations of
24 steps, 4 epochs and 4 minibatches.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

import torch
from common import Report, Turn, finish, learn, parse, parser, take_turns
from physics import make_env

from robolearn.methods.eco import ConstraintConfig, EcoConfig, EcoMethod
from robolearn.rl import PPO, ActorCritic, NetworkConfig, OnPolicyRunner, PPOConfig, RunnerConfig, seed_everything
from sim.environment import TaskEnv

AIM = 0.9
CONSTRAINTS = {
    "power": ConstraintConfig("mechanical_power", 60.0, "W", "rate"),
    "error": ConstraintConfig("velocity_error", 0.2, "m/s", "rate"),
}


def make_runner(env: TaskEnv, seed: int, constrained: bool, critic: bool) -> OnPolicyRunner:
    """Return a training loop after its first iteration."""
    seed_everything(seed)
    method = EcoMethod(EcoConfig(CONSTRAINTS, cost_scale="price"), env) if constrained else None
    network = NetworkConfig(actor_hidden=(128, 128), critic_hidden=(128, 128), cost_critic=critic)
    policy = ActorCritic(env.obs_dims, env.num_actions, len(CONSTRAINTS) if constrained else 0, network)
    objective = method.objective if method else None
    ppo = PPO(policy, PPOConfig(epochs=4, minibatches=4), seed=seed, objective=objective)
    runner = OnPolicyRunner(env, policy, ppo, RunnerConfig(steps_per_env=24), method=method)
    learn(runner, 1)
    return runner


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
    kinds = {"plain PPO": (False, False), "2 constraints": (True, True), "2 constraints, no cost critic": (True, False)}
    runners = {name: make_runner(env, args.seed, *kind) for name, kind in kinds.items()}

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
    for name in list(kinds)[1:]:
        report.compare(name, "plain PPO", AIM)
    return finish(report, args)


if __name__ == "__main__":
    sys.exit(main())
