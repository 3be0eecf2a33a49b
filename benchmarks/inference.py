"""How long the policy takes on a robot's computer: one evaluation, contract and all, on one core.

A policy with 512-256-128 units and a history of 5 frames, with random weights, exported as every policy is and run by
the runtime that runs on the robot. A sample is one ``PolicyRunner.evaluate``: signals by name in, joint targets out.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from common import Report, finish, parse, parser

from robolearn.config import dump_yaml
from robolearn.deploy.policy import OnnxPolicy
from robolearn.deploy.robot import load_robot_file
from robolearn.deploy.runner import PolicyRunner
from robolearn.deploy.types import RobotState
from robolearn.experiment import compose, make_env
from robolearn.export.export import export, from_run
from robolearn.rl import PPO, ActorCritic, NetworkConfig, OnPolicyRunner, RunnerConfig
from robolearn.run_folder import find_run

AIM_MS = 0.2
"""p99."""
WARM_UP = 200


def make_policy(folder: Path, hidden: tuple[int, ...], history: int, seed: int) -> Path:
    """Export an untrained policy of the A1; return its file."""
    overrides = ["env.num_envs=2", "env.threads=1", f"task.observations.policy.history={history}"]
    config = compose("a1_velocity_flat", overrides=overrides)
    env = make_env(config)
    torch.manual_seed(seed)
    policy = ActorCritic(env.obs_dims, env.num_actions, 0, NetworkConfig(actor_hidden=hidden, critic_hidden=(8,)))
    runner = OnPolicyRunner(env, policy, PPO(policy), RunnerConfig(steps_per_env=2))
    (folder / "config.yaml").write_text(dump_yaml(config))
    (folder / "checkpoints").mkdir()
    runner.save(folder / "checkpoints" / "checkpoint_000000.pt")
    env.close()
    export(from_run(find_run(folder)), folder / "policy.onnx")
    return folder / "policy.onnx"


def sample(runner: PolicyRunner, count: int, period: float, seed: int) -> np.ndarray:
    """Return the times (count,) in s of evaluations that begin every ``period`` s; 0: one after the other."""
    rng = np.random.default_rng(seed)
    joints = len(runner.setup.joints)
    states = [
        RobotState(
            position=rng.normal(0, 0.1, joints), velocity=rng.normal(0, 1, joints), torque=np.zeros(joints),
            orientation=np.array([1.0, 0, 0, 0]), angular_velocity=rng.normal(0, 0.3, 3), sequence=0, stamp=0.0,
        )
        for _ in range(64)
    ]  # fmt: skip
    command, times = np.zeros(3), []
    for number in range(count + WARM_UP):
        if period:
            time.sleep(period)
        begin = time.perf_counter()
        runner.evaluate(states[number % 64], command, 0.0)
        times.append(time.perf_counter() - begin)
    return np.array(times[WARM_UP:])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    options = parser(__doc__)
    options.add_argument("--hidden", type=int, nargs="+", default=[512, 256, 128])
    options.add_argument("--history", type=int, default=5)
    args = parse(options, arguments)
    if args.quick:
        args.hidden = [16]
    count = 50 if args.quick else 20000
    with tempfile.TemporaryDirectory() as folder:
        runner = PolicyRunner(
            OnnxPolicy(make_policy(Path(folder), tuple(args.hidden), args.history, args.seed)), load_robot_file("a1")
        )
    report = Report(
        "inference", {"hidden": args.hidden, "history": args.history, "threads": 1, "seed": args.seed}, "evaluations/s"
    )
    for name, period, number in (
        ("one after the other", 0.0, count),
        ("every 20 ms, as on a robot", 0.02, count // 20),
    ):
        times = 1e3 * sample(runner, number, period, args.seed)
        report.rows.append(
            {"evaluations": name, "samples": number, "p50, ms": round(float(np.percentile(times, 50)), 4),
             "p99, ms": round(float(np.percentile(times, 99)), 4), "largest, ms": round(float(times.max()), 3)}
        )  # fmt: skip
    report.notes.append(f"Aim: p99 at most {AIM_MS} ms.")
    return finish(report, args)


if __name__ == "__main__":
    sys.exit(main())
