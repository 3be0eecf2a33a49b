"""What of the physics' speed is left in the environment: observations, rewards, resets, randomisation and all.

The environment takes turns with bare ``mujoco.batch`` on the same compiled model, states and threads.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

from common import Report, Turn, finish, parse, parser, take_turns
from physics import RandomActions, RawPhysics, Recorder, make_env

from sim.environment import TaskEnv

AIM = 0.85


def stepping(env: TaskEnv, actions: RandomActions, steps: int) -> None:
    """Step the environment."""
    for _ in range(steps):
        env.step(actions())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    options = parser(__doc__)
    options.add_argument("--robot", default="a1")
    options.add_argument("--task", default="velocity_flat")
    options.add_argument("--num-envs", type=int, nargs="+", default=[512, 2048])
    options.add_argument("--work", type=int, default=32768, help="environment steps per turn")
    args = parse(options, arguments)
    if args.quick:
        args.num_envs, args.work = [16], 64
    rounds = args.rounds or (2 if args.quick else 15)
    report = Report(
        "env_step",
        {"robot": args.robot, "task": args.task, "environments": args.num_envs, "threads": args.threads,
         "environment steps per turn": args.work, "seed": args.seed},
        "physics steps/s",
    )  # fmt: skip
    for count in args.num_envs:
        env = make_env(args.robot, args.task, count, args.threads, args.seed)
        actions, recorder, raw = RandomActions(env, 0.5, args.seed), Recorder(env), RawPhysics(env)
        steps = max(1, args.work // count)
        work = steps * env.task.physics.decimation * count
        run = partial(stepping, env, actions, steps)
        names = (f"environment ({count})", f"raw physics ({count})")
        turns: dict[str, Turn] = {
            names[0]: partial(recorder.timed, run, work),
            names[1]: lambda raw=raw, kept=recorder: raw.speed(kept.rows),  # type: ignore[misc]
        }
        take_turns(turns, 1)
        report.speeds |= take_turns(turns, rounds)
        report.compare(*names, AIM)
        report.notes.append(f"{count} environments: {env.engine.diagnostics()}")
        env.close()
    return finish(report, args)


if __name__ == "__main__":
    sys.exit(main())
