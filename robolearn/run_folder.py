"""The folder of a run: what is written at its start, and how a run, checkpoint or released policy is found again.

::

    runs/2026-11-20_10-03-07_a1_velocity_flat_seed1/
      config.yaml      the resolved configuration; training from this file repeats the run
      meta.json        its hash, git commit, versions, machine, seed, command lines
      checkpoints/     complete checkpoints
      metrics.csv      one row per iteration
      events.out.*     the same for TensorBoard
      curves.png       learning curves
      log.txt          what happened when
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robolearn.config import ConfigError, config_hash, dump_yaml
from robolearn.version import __version__

if TYPE_CHECKING:
    from robolearn.experiment import ExperimentConfig

ROOT = Path("runs")
CONFIG, META, CHECKPOINTS, METRICS, CURVES, LOG = (
    "config.yaml",
    "meta.json",
    "checkpoints",
    "metrics.csv",
    "curves.png",
    "log.txt",
)
POLICY = "policy.pt"
PACKAGES = ("torch", "mujoco", "mujoco-warp", "warp-lang", "numpy", "gymnasium", "stable-baselines3")


@dataclass(frozen=True)
class Run:
    """A trained policy that was found.

    Attributes:
        folder: folder of the run or of the released policy.
        checkpoint: the checkpoint to use.
        config: the experiment that made it.
    """

    folder: Path
    checkpoint: Path
    config: ExperimentConfig


def create(root: str | Path, config: ExperimentConfig, command: Sequence[str], now: float | None = None) -> Path:
    """Make a new run folder with ``config.yaml`` and ``meta.json`` and return its path.

    Args:
        root: folder of all runs.
        config: the experiment.
        command: the command line that started it.
        now: s since 1970, for the name; the present when None.
    """
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime(now))
    name = f"{stamp}_{config.name}_seed{config.seed}"
    for suffix in ("", *(f"_{i}" for i in range(2, 1000))):
        folder = Path(root) / f"{name}{suffix}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        write_start(folder, config, command)
        return folder
    raise FileExistsError(f"{root}: a thousand runs named {name} exist already")


def write_start(folder: Path, config: ExperimentConfig, command: Sequence[str], resumed_at: int | None = None) -> None:
    """Write configuration and provenance; a resumed run adds an entry to the list of its starts."""
    meta = read_meta(folder)
    starts = [*meta.get("starts", []), {**provenance(config, command), "iteration": resumed_at or 0}]
    (folder / CONFIG).write_text(dump_yaml(config), encoding="utf-8")
    write_meta(folder, {**meta, "config_hash": config_hash(config), "starts": starts})


def read_meta(folder: Path) -> dict[str, Any]:
    """Return ``meta.json`` of a folder; empty when there is none or it cannot be read."""
    try:
        return dict(json.loads((folder / META).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def write_meta(folder: Path, meta: Mapping[str, Any]) -> None:
    """Write ``meta.json`` in one step."""
    partial = folder / f".{META}.partial"
    partial.write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")
    partial.replace(folder / META)


def provenance(config: ExperimentConfig, command: Sequence[str]) -> dict[str, Any]:
    """Say when, where, from which code and by which command a run starts."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": shlex.join(command),
        "seed": config.seed,
        "config_hash": config_hash(config),
        "robolearn": __version__,
        **git_state(),
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "machine": machine(),
    }


def git_state() -> dict[str, Any]:
    """Return ``git_commit`` and ``git_dirty`` of the source tree; both None outside a repository."""
    source = Path(__file__).parent

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", *words],
                cwd=source,
                capture_output=True,
                text=True,
                check=False,
                timeout=10,
                stdin=subprocess.DEVNULL,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    status = git("status", "--porcelain", "--untracked-files=no") if commit else None
    return {"git_commit": commit, "git_dirty": None if status is None else bool(status)}


def cores() -> int:
    """Number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> dict[str, Any]:
    """Return processor, cores, memory (GB), GPU and system of this machine."""
    gpu = None
    if "torch" in sys.modules:
        import torch

        gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9 if hasattr(os, "sysconf") else None
    return {
        "processor": _processor(),
        "cores": cores(),
        "memory_gb": None if memory is None else round(memory, 1),
        "gpu": gpu,
        "system": f"{platform.system()} {platform.machine()}",
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def find_run(place: str | Path | None = None, root: str | Path = ROOT) -> Run:
    """Find a trained policy.

    Args:
        place: a run folder, a checkpoint file, or the folder of a released policy; None takes the newest run.
        root: folder of all runs, searched when ``place`` is None or only a name in it.

    Raises:
        ConfigError: nothing there.
        CheckpointError: there is a checkpoint, but it cannot be used.
    """
    path = _newest(Path(root)) if place is None else Path(place)
    if not path.exists() and (Path(root) / path).exists():
        path = Path(root) / path
    if not path.exists():
        known = [folder.name for folder in _folders(Path(root))][:5]
        hint = f" The newest runs are: {', '.join(known)}." if known else " Train one first: robolearn train EXPERIMENT"
        raise ConfigError(f"{path}: no such run, checkpoint or policy.{hint}")
    if path.is_dir():
        checkpoint = find_checkpoint(path)
        if checkpoint is None:
            raise ConfigError(f"{path}: holds no checkpoint (checkpoints/checkpoint_*.pt or {POLICY})")
        return Run(path, checkpoint, _config_of(path, checkpoint))
    folder = path.parent.parent if path.parent.name == CHECKPOINTS else path.parent
    return Run(folder, path, _config_of(folder, path))


def find_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint of a run folder, or the weights of a released policy; None when there is neither."""
    from robolearn.rl.checkpoint import list_checkpoints

    for place in (folder / CHECKPOINTS, folder):
        if found := list_checkpoints(place):
            return found[0]
    return folder / POLICY if (folder / POLICY).is_file() else None


def _config_of(folder: Path, checkpoint: Path) -> ExperimentConfig:
    """The experiment as written beside the checkpoint, or as kept inside it."""
    from robolearn.experiment import compose
    from robolearn.rl.checkpoint import read_checkpoint

    if (folder / CONFIG).is_file():
        return compose(folder / CONFIG)
    inside = read_checkpoint(checkpoint).get("meta", {}).get("experiment")
    if not inside:
        raise ConfigError(f"{checkpoint}: neither the file nor its folder says which experiment it belongs to")
    return compose(inside)


def _folders(root: Path) -> list[Path]:
    """Run folders, newest first (their names begin with the date)."""
    return sorted((path.parent for path in root.glob(f"*/{CONFIG}")), key=lambda path: path.name, reverse=True)


def _newest(root: Path) -> Path:
    for folder in _folders(root):
        if find_checkpoint(folder) is not None:
            return folder
    raise ConfigError(f"{root}: no trained run yet. Train one: robolearn train a1_velocity_flat")
