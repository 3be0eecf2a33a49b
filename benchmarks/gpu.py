"""Environment steps per second on a GPU: stepping alone, with inference, and training, at 1k to 16k environments.

Needs a CUDA device, ``pip install '.[gpu]'``, and for the G1 its model: ``pip install --no-deps mjlab``.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from common import Report, finish, learn, parse, parser, take_turns, timed
from physics import RandomActions
from train_loop import make_runner

from robolearn import packages
from robolearn.config import ConfigError
from sim.environment import EnvConfig, TaskEnv
from sim.robots import load_robot
from sim.tasks import load_task

G1 = Path(__file__).parents[1] / "examples" / "robots" / "g1.yaml"


def missing() -> str | None:
    """Why this cannot run here, in one line; None where it can."""
    if not torch.cuda.is_available():
        return "no CUDA device found, or torch is a CPU build: run this on a GPU machine with a CUDA build of torch"
    try:
        import mujoco_warp  # noqa: F401
    except ImportError:
        return packages.missing("mujoco_warp")
    return None


def synchronised(work: Callable[[], object], device: str) -> Callable[[], None]:
    """Let the clock see when the device is done, not when it was told."""

    def run() -> None:
        work()
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)

    return run


def measure(robot: str, task: str, num_envs: int, device: str, seed: int, steps: int, rounds: int) -> dict[str, object]:
    """Measure one robot and size; return a row of the result."""
    env = TaskEnv(load_task(task), load_robot(robot), EnvConfig(num_envs, "warp", device), seed, stagger=True)
    env.reset()
    actions = RandomActions(env, 0.5, seed, count=4)
    runner = make_runner(env, seed)
    state = {"obs": env.reset()}

    def stepping() -> None:
        for _ in range(steps):
            env.step(actions())

    @torch.no_grad()
    def inference() -> None:
        memory = runner.policy.initial_memory(num_envs)
        for _ in range(steps):
            decision = runner.policy.act(state["obs"], memory, runner.ppo.generator)
            state["obs"] = env.step(decision.actions).obs

    def training() -> None:
        learn(runner, runner.iteration + max(1, steps // runner.storage.steps))

    samples = {"stepping": steps, "inference": steps, "training": max(1, steps // runner.storage.steps) * 24}
    works = {"stepping": stepping, "inference": inference, "training": training}
    turns = {
        name: lambda name=name: timed(synchronised(works[name], device), samples[name] * num_envs) for name in works
    }
    take_turns(turns, 1)
    speeds = take_turns(turns, rounds)
    row: dict[str, object] = {"robot": Path(robot).stem, "environments": num_envs}
    row |= {f"{name}, steps/s": f"{statistics.median(values):,.0f}" for name, values in speeds.items()}
    free, total = torch.cuda.mem_get_info(device) if device.startswith("cuda") else (0, 0)
    row |= {"faults": str(env.engine.diagnostics()), "GPU memory, MiB": round((total - free) / 2**20)}
    env.close()
    return row


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    options = parser(__doc__)
    options.add_argument("--robots", nargs="+", default=["a1", str(G1)])
    options.add_argument("--task", default="velocity_flat")
    options.add_argument("--counts", type=int, nargs="+", default=[1024, 2048, 4096, 8192, 16384])
    options.add_argument("--steps", type=int, default=96, help="control steps per turn")
    options.add_argument("--device", default="cuda:0")
    args = parse(options, arguments)
    if args.device.startswith("cuda") and (reason := missing()):
        print(f"gpu: skipped: {reason}")
        return 0
    if args.quick:
        args.robots, args.counts, args.steps = args.robots[:1], [4], 2
    rounds = args.rounds or (1 if args.quick else 5)
    report = Report(
        "gpu",
        {"task": args.task, "device": args.device, "control steps per turn": args.steps, "rounds": rounds,
         "seed": args.seed},
        "environment steps/s",
    )  # fmt: skip
    for robot in args.robots:
        for count in args.counts:
            try:
                report.rows.append(measure(robot, args.task, count, args.device, args.seed, args.steps, rounds))
            except ConfigError as error:
                report.notes.append(f"{Path(robot).stem} left out: {error}")
                break
            print(report.rows[-1], flush=True)
    return finish(report, args)


if __name__ == "__main__":
    sys.exit(main())
