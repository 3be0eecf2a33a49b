"""What of the physics' speed is left in the whole training loop: inference, roll-out, advantages and update included.

Training takes turns with bare ``mujoco.batch`` on the same compiled model, states and threads. One turn is a few
iterations of 24 steps, 4 epochs and 4 minibatches, with networks of 128-128 units.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from common import Report, finish, learn, parse, parser, take_turns
from physics import RawPhysics, Recorder, make_env

from robolearn.rl import PPO, ActorCritic, NetworkConfig, OnPolicyRunner, PPOConfig, RunnerConfig, seed_everything
from sim.environment import TaskEnv

if TYPE_CHECKING:
    from robolearn.methods.eco import EcoMethod

AIM = 0.65
NETWORK = NetworkConfig(actor_hidden=(128, 128), critic_hidden=(128, 128))
UPDATE = PPOConfig(epochs=4, minibatches=4)


def make_runner(
    env: TaskEnv, seed: int, steps: int = 24, method: EcoMethod | None = None, network: NetworkConfig = NETWORK
) -> OnPolicyRunner:
    """Return a training loop of the sizes that the benchmarks compare, after its first iteration.

    Args:
        env: the environment.
        seed: of weights and exploration.
        steps: control steps of a roll-out.
        method: bounds costs; plain PPO without one.
        network: sizes, and whether costs have a critic.
    """
    seed_everything(seed)
    costs, objective = (len(method.cost_names), method.objective) if method else (0, None)
    policy = ActorCritic(env.obs_dims, env.num_actions, costs, network).to(env.device)
    ppo = PPO(policy, UPDATE, seed=seed, objective=objective)
    runner = OnPolicyRunner(env, policy, ppo, RunnerConfig(steps_per_env=steps), method=method)
    learn(runner, 1)
    return runner


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    options = parser(__doc__)
    options.add_argument("--robot", default="a1")
    options.add_argument("--task", default="velocity_flat")
    options.add_argument("--num-envs", type=int, default=512)
    options.add_argument("--iterations", type=int, default=4, help="per turn")
    args = parse(options, arguments)
    if args.quick:
        args.num_envs, args.iterations = 16, 1
    rounds = args.rounds or (2 if args.quick else 15)
    env = make_env(args.robot, args.task, args.num_envs, args.threads, args.seed)
    recorder, raw = Recorder(env), RawPhysics(env)
    torch.set_num_threads(args.threads)  # of the update
    runner = make_runner(env, args.seed)
    shares: list[float] = []

    def training() -> None:
        seconds = {"collect": 0.0, "update": 0.0}

        def add(metrics: dict[str, float]) -> None:
            for name in seconds:
                seconds[name] += metrics[f"time/{name}_s"]

        learn(runner, runner.iteration + args.iterations, add)
        shares.append(seconds["update"] / (seconds["collect"] + seconds["update"]))

    work = args.iterations * runner.storage.steps * env.task.physics.decimation * env.num_envs
    report = Report(
        "train_loop",
        {"robot": args.robot, "task": args.task, "environments": args.num_envs, "threads": args.threads,
         "iterations per turn": args.iterations, "seed": args.seed},
        "physics steps/s",
    )  # fmt: skip
    report.speeds = take_turns(
        {"training": lambda: recorder.timed(training, work), "raw physics": lambda: raw.speed(recorder.rows)}, rounds
    )
    report.compare("training", "raw physics", AIM)
    report.notes.append(f"The update takes {sorted(shares)[len(shares) // 2]:.0%} of the training time (median).")
    return finish(report, args)


if __name__ == "__main__":
    sys.exit(main())
