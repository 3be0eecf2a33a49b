"""What several sub-commands share: devices, threads, faults of the lower layers as clear lines."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from robolearn.cli.errors import EXIT_FAILURE, CommandError
from robolearn.config import ConfigError

if TYPE_CHECKING:
    from robolearn.experiment import ExperimentConfig


def add_run_argument(parser: argparse.ArgumentParser) -> None:
    """Add the positional argument that names a trained policy."""
    parser.add_argument(
        "run",
        nargs="?",
        metavar="RUN",
        help="run folder, checkpoint file, or folder of a released policy; the newest run when left out",
    )


def add_threads_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--threads``."""
    parser.add_argument(
        "--threads", type=int, metavar="N", help="CPU threads of the simulator and of torch (default: one per core)"
    )


def add_set_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--set``, for what the operator of a policy sets."""
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="setting of the policy; may be repeated"
    )


def place(config: ExperimentConfig, device: str | None, threads: int | None, processes: int = 1) -> ExperimentConfig:
    """Settle where an experiment runs, and set the number of threads of torch.

    Args:
        config: the experiment.
        device: ``cpu``, ``cuda``, ``cuda:1``, ...; None keeps the experiment's. CUDA chooses the Warp engine.
        threads: threads of simulator and torch; None divides the cores evenly among the processes.
        processes: number of processes on this machine.

    Raises:
        ConfigError: the device does not exist here.
    """
    import torch

    from robolearn.run_folder import cores

    env = config.env
    if device is not None:
        kind, separator, index = device.partition(":")
        if kind not in ("cpu", "cuda") or (separator and not index.isdigit()):
            raise ConfigError(f"--device {device}: expected cpu, cuda or cuda:N")
        full = "cpu" if kind == "cpu" else f"cuda:{index or os.environ.get('LOCAL_RANK', '0')}"
        env = dataclasses.replace(env, device=full, engine="mujoco" if kind == "cpu" else "warp")
    if env.device.startswith("cuda"):
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        number = int(env.device.partition(":")[2] or 0)
        if number >= count:
            found = f"only {count} GPU(s) found" if count else "no GPU found (or torch is a CPU build)"
            raise ConfigError(f"device {env.device!r}: {found}; use --device cpu, or install a CUDA build of torch")
    if threads is not None and threads < 1:
        raise ConfigError(f"--threads {threads}: must be at least 1")
    number = threads or env.threads or max(1, cores() // processes)
    torch.set_num_threads(number)
    return dataclasses.replace(config, env=dataclasses.replace(env, threads=number))


@contextlib.contextmanager
def clear_faults() -> Iterator[None]:
    """Turn the faults that lower layers explain themselves into one line."""
    from robolearn.evaluate.rendering import RenderError
    from robolearn.rl.checkpoint import CheckpointError
    from robolearn.rl.runner import DivergenceError

    try:
        yield
    except (CheckpointError, DivergenceError, RenderError) as error:
        raise CommandError(str(error), EXIT_FAILURE) from error
