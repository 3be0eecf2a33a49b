"""Samples per second of our training against PPO of Stable-Baselines3, on the same model with equal networks.

Both learn from roll-outs of equal size in 4 epochs of 4 minibatches, with 128-128 units. SB3 gets its processes
(``SubprocVecEnv``, one simulator and torch thread in each) with two kinds of environment, and several numbers of them:

- ``gymnasium``: our own task through our Gymnasium environment;
- ``plain``: the same compiled model in a bare MuJoCo and NumPy environment that does much less (``plain_env.py``).

The result is our speed over that of the best number of processes. ``SB3VecEnv`` is our vectorised adapter: no part of
the result, but what a user of SB3 should take.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Sequence
from functools import partial

import gymnasium
import torch
from common import Report, Turn, finish, parse, parser, take_turns, timed
from physics import make_env
from plain_env import PlainEnv
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import SubprocVecEnv, VecEnv
from train_loop import make_runner

from sim.adapters.gymnasium_env import RoboLearnEnv
from sim.adapters.sb3 import SB3VecEnv

AIM = 8.0


def make_plain(robot: str, task: str) -> gymnasium.Env:
    """Build the plain environment in a worker process."""
    torch.set_num_threads(1)
    return PlainEnv(robot, task)


def make_gymnasium(robot: str, task: str) -> gymnasium.Env:
    """Build our environment in a worker process."""
    torch.set_num_threads(1)
    return RoboLearnEnv(robot, task)


def sb3_turn(env: VecEnv, samples: int, seed: int, threads: int) -> Turn:
    """Return a turn of SB3's PPO: one roll-out of at least ``samples`` samples and its update."""
    steps = -(-samples // env.num_envs)
    batch = -(-steps * env.num_envs // 4)
    model = PPO(
        "MlpPolicy", env, n_steps=steps, batch_size=batch, n_epochs=4, seed=seed, device="cpu",
        policy_kwargs={"net_arch": [128, 128], "activation_fn": torch.nn.ELU},
    )  # fmt: skip

    def turn() -> float:
        torch.set_num_threads(threads)
        work = partial(model.learn, steps * env.num_envs, reset_num_timesteps=model.num_timesteps == 0)
        return timed(work, steps * env.num_envs)

    return turn


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    options = parser(__doc__)
    options.add_argument("--robot", default="a1")
    options.add_argument("--task", default="velocity_flat")
    options.add_argument("--num-envs", type=int, default=512, help="of ours")
    options.add_argument("--processes", type=int, nargs="+", help="of SB3 (default: 1, 2 and 4 times the threads)")
    args = parse(options, arguments)
    if args.quick:
        args.num_envs = 2
    counts = args.processes or ([1] if args.quick else [args.threads * k for k in (1, 2, 4)])
    rounds = args.rounds or (1 if args.quick else 5)
    iterations = 1 if args.quick else 8
    env = make_env(args.robot, args.task, args.num_envs, args.threads, args.seed)
    runner = make_runner(env, args.seed)
    samples = runner.storage.num_samples

    def ours() -> float:
        torch.set_num_threads(args.threads)
        work = partial(runner.learn, runner.iteration + iterations)
        return timed(work, iterations * samples)

    makers: dict[str, Callable[[str, str], gymnasium.Env]] = {"gymnasium": make_gymnasium, "plain": make_plain}
    turns: dict[str, Turn] = {"ours": ours}
    opened: list[VecEnv] = []
    for kind, maker in makers.items():
        for count in counts:
            workers: list[Callable[[], gymnasium.Env]] = [partial(maker, args.robot, args.task) for _ in range(count)]
            opened.append(SubprocVecEnv(workers, start_method="spawn"))
            turns[f"SB3, {count} processes, {kind}"] = sb3_turn(opened[-1], samples, args.seed, args.threads)
    opened.append(SB3VecEnv(args.robot, args.task, args.num_envs, threads=args.threads, stagger=True))
    turns["SB3 on our SB3VecEnv"] = sb3_turn(opened[-1], samples, args.seed, args.threads)
    report = Report(
        "vs_sb3",
        {"robot": args.robot, "task": args.task, "environments of ours": args.num_envs, "threads": args.threads,
         "samples per update": samples, "seed": args.seed},
        "samples/s",
    )  # fmt: skip
    try:
        report.speeds = take_turns(turns, rounds)
    finally:
        for vec_env in opened:
            vec_env.close()
    for kind in makers:
        names = [name for name in turns if name.endswith(kind)]
        report.compare("ours", max(names, key=lambda name: statistics.median(report.speeds[name])), AIM)
    report.compare("ours", "SB3 on our SB3VecEnv")
    report.notes.append("Of each kind of environment only the fastest number of processes is compared.")
    return finish(report, args)


if __name__ == "__main__":
    sys.exit(main())
