"""What one environment costs, in time and memory, when there are 16, 64, ... 4096 of them.

Each number of environments is measured in a process of its own, taking turns with a fixed number of environments there,
so that the figures can be put beside each other. Memory is what building and stepping them adds to the process.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from common import Ratio, Report, finish, parse, parser, take_turns, timed

REFERENCE = 256


def resident_mib() -> float:
    """Resident memory of this process in MiB."""
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(robot: str, task: str, num_envs: int, threads: int, seed: int, rounds: int, work: int) -> dict[str, Any]:
    """Measure one number of environments in this process: speeds in environment steps/s, memory in MiB."""
    from physics import RandomActions, make_env

    small = make_env(robot, task, 1, threads, seed)  # loads every library, so that only the environments are weighed
    small.step(RandomActions(small, 0.5, seed)())
    before = resident_mib()
    sides = {}
    memory = 0.0
    for name, count in (("this", num_envs), ("reference", REFERENCE)):
        env = make_env(robot, task, count, threads, seed)
        actions = RandomActions(env, 0.5, seed)
        steps = max(1, work // count)

        def stepping(env: Any = env, actions: Any = actions, steps: int = steps) -> None:
            for _ in range(steps):
                env.step(actions())

        stepping()
        memory = memory or resident_mib() - before
        sides[name] = partial(timed, stepping, steps * count)
    return {"speeds": take_turns(sides, rounds), "memory": memory}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    options = parser(__doc__)
    options.add_argument("--robot", default="a1")
    options.add_argument("--task", default="velocity_flat")
    options.add_argument("--counts", type=int, nargs="+", default=[16, 64, 256, 1024, 4096])
    options.add_argument("--work", type=int, default=16384, help="environment steps per turn")
    options.add_argument("--one", type=int, help="measure this number in this process and print JSON")
    args = parse(options, arguments)
    if args.quick:
        args.counts, args.work = args.counts if args.one else [2], 32
    rounds = args.rounds or (2 if args.quick else 7)
    if args.one:
        print(json.dumps(measure(args.robot, args.task, args.one, args.threads, args.seed, rounds, args.work)))
        return 0
    report = Report(
        "scaling",
        {"robot": args.robot, "task": args.task, "threads": args.threads, "environment steps per turn": args.work,
         "seed": args.seed},
        "environment steps/s",
    )  # fmt: skip
    for count in args.counts:
        command = [sys.executable, __file__, "--one", str(count), "--rounds", str(rounds), "--work", str(args.work)]
        command += ["--robot", args.robot, "--task", args.task, "--threads", str(args.threads)]
        command += ["--seed", str(args.seed), *(["--quick"] if args.quick else [])]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.stderr.write(done.stderr)
            raise SystemExit(f"scaling: {count} environments failed")
        found = json.loads(done.stdout.splitlines()[-1])
        speeds, reference = found["speeds"]["this"], found["speeds"]["reference"]
        report.speeds[f"{count} environments"] = speeds
        cost = Ratio(
            f"cost per step, {count} environments",
            f"{REFERENCE} environments",
            [b / a for a, b in zip(speeds, reference, strict=True)],
        )
        report.ratios.append(cost)
        report.rows.append(
            {
                "environments": count,
                "cost of a step, us": f"{1e6 / statistics.median(speeds):.1f}",
                f"relative to {REFERENCE}": cost.text(),
                "memory, MiB": f"{found['memory']:.1f}",
                "memory per environment, KiB": f"{1024 * found['memory'] / count:.1f}",
            }
        )
    return finish(report, args)


if __name__ == "__main__":
    sys.exit(main())
