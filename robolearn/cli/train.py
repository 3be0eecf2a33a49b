"""Train a policy for a task on a robot.

  robolearn train a1_velocity_flat                           an experiment of the project
  robolearn train velocity_flat --robot go2                  any task on any robot
  robolearn train my_experiment.yaml ppo.learning_rate=1e-3  a file of yours, with overrides
  robolearn train --resume runs/2026-...                     go on from the newest checkpoint

Ctrl-C stops after the running iteration with a checkpoint. Several processes:
  torchrun --nproc-per-node 2 -m robolearn.cli.main train a1_velocity_flat
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robolearn.cli.common import add_threads_argument, clear_faults, place
from robolearn.cli.errors import EXIT_INTERRUPTED, EXIT_USAGE, CommandError
from robolearn.config import ConfigError, to_dict

if TYPE_CHECKING:
    from robolearn.experiment import ExperimentConfig
    from robolearn.logging.progress import RunProgress
    from robolearn.logging.run_log import RunLog
    from robolearn.rl.distributed import ProcessGroup
    from robolearn.rl.runner import OnPolicyRunner, TrainResult
    from robolearn.run_folder import Run

SHORTCUTS = (("seed", "seed"), ("num_envs", "env.num_envs"), ("iterations", "runner.iterations"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("experiment", nargs="?", metavar="EXPERIMENT|TASK", help="see robolearn list")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="entries to change, see robolearn config")
    parser.add_argument("--robot", metavar="R", help="robot to use: a name, or the path of its YAML")
    parser.add_argument("--seed", type=int, metavar="N", help="seed of everything that is drawn")
    parser.add_argument("--num-envs", type=int, metavar="N", help="environments per process")
    parser.add_argument("--iterations", type=int, metavar="N", help="iterations of the whole run")
    parser.add_argument("--minutes", type=float, metavar="M", help="stop after M minutes, with a checkpoint")
    parser.add_argument("--device", metavar="D", help="cpu, cuda or cuda:N")
    parser.add_argument("--resume", metavar="RUN", help="run folder or checkpoint to go on from")
    parser.add_argument("--out", metavar="DIR", default="runs", help="folder of all runs (default: runs)")
    parser.add_argument("--no-tensorboard", action="store_true", help="write CSV and PNG only")
    add_threads_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Train; return 0, or 130 after Ctrl-C."""
    if args.resume and args.experiment and "=" in args.experiment:  # with --resume every word is an override
        args.overrides, args.experiment = [args.experiment, *args.overrides], None
    if bool(args.resume) == bool(args.experiment):
        raise CommandError("name one experiment or task (see robolearn list), or --resume RUN", EXIT_USAGE)
    with clear_faults():
        return _train(args)


def _train(args: argparse.Namespace) -> int:
    from robolearn.experiment import SEED_STEP, make_env, make_runner
    from robolearn.rl import distributed

    config, resumed = _configure(args)
    device = args.device or config.env.device
    group = distributed.start(device if device.startswith("cuda") else "cpu")
    try:
        placed = place(config, args.device, args.threads, group.size)
        threads = config.env.threads  # how many threads ran is no part of the experiment
        config = dataclasses.replace(placed, env=dataclasses.replace(placed.env, threads=threads))
        env = make_env(placed, seed=config.seed + SEED_STEP * group.rank, stagger=True)
        runner = make_runner(config, env, None, group)
        if resumed is not None:
            runner.load(resumed.checkpoint)
            if runner.iteration >= config.runner.iterations:
                raise ConfigError(
                    f"{resumed.checkpoint}: all {runner.iteration} iterations are done; ask for more with --iterations"
                )
        folder = _share_folder(group, args, config, resumed, runner.iteration)
        runner.folder = folder / "checkpoints"
        env.dump_folder = runner.folder if group.is_main else None
        if group.is_main:
            size = f"{env.num_envs} environments" + (f" x {group.size} processes" if group.size > 1 else "")
            place_text = placed.env.device if placed.env.engine == "warp" else f"{placed.env.threads} CPU threads"
            print(f"{config.name}: seed {config.seed}, {size}, {place_text}\n{folder}/", flush=True)
        resumed_from = None if resumed is None else runner.iteration
        return _learn(config, runner, group, folder, resumed_from, not args.no_tensorboard)
    finally:
        group.close()


def _configure(args: argparse.Namespace) -> tuple[ExperimentConfig, Run | None]:
    from robolearn.experiment import compose
    from robolearn.run_folder import find_run

    overrides = list(args.overrides)
    overrides += [f"{key}={getattr(args, name)}" for name, key in SHORTCUTS if getattr(args, name) is not None]
    if args.minutes is not None:
        overrides.append(f"runner.max_seconds={60 * args.minutes}")
    if not args.resume:
        return compose(args.experiment, args.robot, overrides), None
    if args.robot:
        raise CommandError("--robot cannot change in a resumed run", EXIT_USAGE)
    found = find_run(args.resume, args.out)
    base = to_dict(found.config)
    base["runner"].pop("max_seconds", None)  # a time limit holds for one call
    return compose(base, None, overrides), found


def _share_folder(
    group: ProcessGroup, args: argparse.Namespace, config: ExperimentConfig, resumed: Run | None, iteration: int
) -> Path:
    """Rank 0 makes the run folder, or continues the one resumed from; all processes learn its name."""
    from robolearn import run_folder

    name: list[Any] = [None]
    if group.is_main:
        command = ["robolearn", *sys.argv[1:]]
        if resumed is None:
            name[0] = str(run_folder.create(args.out, config, command))
        else:
            run_folder.write_start(resumed.folder, config, command, iteration)
            name[0] = str(resumed.folder)
    if group.size > 1:
        import torch.distributed as dist

        dist.broadcast_object_list(name, 0)
    return Path(name[0])


def _learn(
    config: ExperimentConfig,
    runner: OnPolicyRunner,
    group: ProcessGroup,
    folder: Path,
    resumed_from: int | None,
    tensorboard: bool,
) -> int:
    from robolearn.logging.progress import RunProgress, Shown
    from robolearn.logging.run_log import RunLog
    from robolearn.rl import CheckpointError

    shown = (
        Shown("reward", "train/mean_reward", ".2f"),
        Shown("velocity", "env/term/track_linear_velocity", ".0%"),
        Shown("yaw", "env/term/track_yaw_rate", ".0%"),
        Shown("episode", "train/mean_episode_length", ".0f", " steps"),
        Shown("fps", "time/fps", ",.0f"),
    )
    if not group.is_main:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            runner.learn()
        return 0
    goal, limit = config.runner.iterations, config.runner.max_seconds
    title = f"{config.name}, seed {config.seed}"
    with (
        RunLog(folder, title, resumed_from, tensorboard) as log,
        RunProgress(config.name, goal, shown, runner.iteration, limit) as progress,
        _warnings_to(progress, log),
    ):
        log.event(f"start at iteration {runner.iteration}")

        def on_iteration(metrics: dict[str, float]) -> None:
            log.write(runner.iteration, metrics)
            progress.update(runner.iteration, metrics)

        try:
            result = runner.learn(on_iteration=on_iteration)
        except CheckpointError as error:
            log.event(f"CheckpointError: {error}")
            raise CommandError(_rescue(runner, error)) from error
        except KeyboardInterrupt:
            log.event("interrupted twice")
            raise CommandError(_resume_hint(folder, runner.iteration), EXIT_INTERRUPTED) from None
        except BaseException as error:
            log.event(f"{type(error).__name__}: {error}")
            raise
        log.event(f"end at iteration {result.iteration}, {result.checkpoint}")
        with contextlib.suppress(OSError):
            log.draw()
    return _summary(config, runner, result, folder)


@contextlib.contextmanager
def _warnings_to(progress: RunProgress, log: RunLog) -> Iterator[None]:
    """Show warnings as one line above the progress, and keep them in the log."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        text = " ".join(str(message).split())
        progress.message(f"warning: {text}")
        log.event(f"warning: {text}")

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.showwarning = show
        yield


def _rescue(runner: OnPolicyRunner, error: Exception) -> str:
    """Save what was learned where there is still room, and say where that is."""
    from robolearn.rl import CheckpointError

    if runner.group.size > 1:
        return str(error)
    try:
        folder = Path(tempfile.mkdtemp(prefix="robolearn-"))
        path = folder / f"checkpoint_{runner.iteration:06d}.pt"
        runner.save(path)
    except (CheckpointError, OSError):
        return str(error)
    return f"{error}; what was learned is safe in {path} instead"


def _resume_hint(folder: Path, iteration: int) -> str:
    from robolearn.run_folder import find_checkpoint

    checkpoint = find_checkpoint(folder)
    if checkpoint is None:
        return f"stopped in iteration {iteration + 1}, before the first checkpoint"
    return f"stopped; the last checkpoint is {checkpoint}. Go on with: robolearn train --resume {folder}"


def _summary(config: ExperimentConfig, runner: OnPolicyRunner, result: TrainResult, folder: Path) -> int:
    from robolearn.logging.csv_log import read_csv
    from robolearn.logging.curves import sparkline
    from robolearn.logging.progress import clock
    from robolearn.run_folder import CURVES, METRICS, read_meta, write_meta

    table = read_csv(folder / METRICS)
    seconds = float(table["time/elapsed_s"][-1]) if "time/elapsed_s" in table else 0.0
    meta = read_meta(folder)
    if meta.get("starts"):
        meta["starts"][-1] |= {"wall_s": round(seconds, 3), "last_iteration": result.iteration}
        write_meta(folder, meta)
    print(f"\n{result.iteration} iterations, {runner.total_steps:,} environment steps; this call took {clock(seconds)}")
    for label, name in (
        ("return", "train/mean_reward"),
        ("velocity", "env/term/track_linear_velocity"),
        ("yaw rate", "env/term/track_yaw_rate"),
    ):
        values = table.get(name)
        if values is not None and values.size:
            print(f"  {label:<10} {sparkline(values)}  {values[-1]:.3g}")
    print(f"  curves     {folder / CURVES}\n  checkpoint {result.checkpoint}")
    if result.interrupted:
        print(f"Stopped. Go on with: robolearn train --resume {folder}")
        return EXIT_INTERRUPTED
    if result.out_of_time and result.iteration < config.runner.iterations:
        print(f"  go on      robolearn train --resume {folder}")
    print(f"  watch it   robolearn play {folder}\n  measure it robolearn eval {folder}")
    return 0
