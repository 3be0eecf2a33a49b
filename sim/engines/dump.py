"""What happened just before an environment diverged: keep it, write it to a file, run it again in plain MuJoCo.

A dump is an ``.npz`` file without pickled objects. It holds the compiled model, the model values of the environments
concerned, and their last states and inputs, so it can be replayed on any machine with the same MuJoCo.
"""

from __future__ import annotations

import copy
import json
import os
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import torch
from torch import Tensor

from sim.engines.base import STATE_FIELDS, Engine
from sim.engines.mujoco_cpu import SANE_STATE

FORMAT = 1
MAX_DUMP_BYTES = 1 << 31
_MODEL_FILE = "model.mjb"


class DumpError(ValueError):
    """A dump that cannot be used. The message names the file and says what is wrong with it."""


class StateRecorder:
    """The states and inputs of every environment before the last few calls of ``Engine.step``, on the engine's device.

    Memory: ``length`` times the state, about 0.7 kB (float32) per environment and record for a quadruped.

    Args:
        engine: the engine to watch.
        length: K, records kept.
        substeps: physics steps that follow each record. Where controls change at every physics step, record at every
            one; a replay holds the controls of a record until the next.
    """

    def __init__(self, engine: Engine, length: int = 16, substeps: int = 1) -> None:
        if length < 1 or substeps < 1:
            raise ValueError(f"length and substeps must be at least 1, not {length} and {substeps}")
        self.length = length
        self.substeps = substeps
        self._count = 0
        self._live = {name: engine.field(name) for name in STATE_FIELDS}
        self._kept = {name: value.new_zeros((length, *value.shape)) for name, value in self._live.items()}

    def __len__(self) -> int:
        """Return the number of records held."""
        return min(self._count, self.length)

    def record(self) -> None:
        """Keep the present state and inputs. Call it right before ``Engine.step``."""
        row = self._count % self.length
        for name, value in self._live.items():
            self._kept[name][row].copy_(value)
        self._count += 1

    def history(self, ids: Tensor) -> dict[str, Tensor]:
        """Return the records of environments (M,), oldest first: (len(self), M, ...) per state field."""
        first = self._count - len(self)
        rows = torch.arange(first, self._count, device=ids.device) % self.length
        return {name: value[rows][:, ids] for name, value in self._kept.items()}


def write_dump(
    path: str | Path, engine: Engine, recorder: StateRecorder, ids: Tensor, reason: str = "", limit: int = 16
) -> Path:
    """Write the last records of environments ``ids`` (M,) int64; call it before they are reset.

    Args:
        path: the file; it appears complete or not at all.
        engine: the engine that ran them.
        recorder: what was kept of them.
        ids: the environments; only the first ``limit`` are written.
        reason: a line for the reader.
        limit: environments at most.

    Returns:
        The path.

    Raises:
        ValueError: nothing was recorded yet, or no environment is named.
        OSError: the file cannot be written.
    """
    ids = ids[:limit]
    if not len(recorder) or not len(ids):
        raise ValueError(f"nothing to dump: {len(recorder)} records of {len(ids)} environments")
    about = {
        "format": FORMAT,
        "mujoco": mujoco.__version__,
        "engine": type(engine).__name__,
        "reason": reason,
        "substeps": recorder.substeps,
    }
    binary = np.empty(mujoco.mj_sizeModel(engine.model), np.uint8)
    mujoco.mj_saveModel(engine.model, None, binary)
    arrays: dict[str, Any] = {"about": np.array(json.dumps(about)), "model": binary, "ids": ids.cpu().numpy()}
    arrays |= {f"state/{name}": value.cpu().double().numpy() for name, value in recorder.history(ids).items()}
    arrays |= {f"model/{name}": engine.expand(name)[ids].cpu().double().numpy() for name in engine.expanded}
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez_compressed(file, **arrays)
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return path


@dataclass(frozen=True)
class Dump:
    """A dump that was read and checked. K records of B environments.

    Attributes:
        model: the compiled model that all environments shared.
        ids: (B,) their numbers in the run.
        states: (K, B, ...) per state field, oldest first.
        model_fields: (B, ...) per model field that had per-environment values.
        substeps: physics steps from one record to the next.
        engine: class name of the engine that ran them.
        reason: why it was written.
    """

    model: mujoco.MjModel
    ids: np.ndarray
    states: dict[str, np.ndarray]
    model_fields: dict[str, np.ndarray]
    substeps: int
    engine: str
    reason: str


def load_dump(path: str | Path) -> Dump:
    """Read a dump and check every size in it against its model.

    Raises:
        DumpError: the file is missing, damaged, of another format or MuJoCo, or does not fit together.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_DUMP_BYTES:
                raise DumpError(f"{path}: unpacks to more than {MAX_DUMP_BYTES >> 30} GB; this is no divergence dump")
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        about = json.loads(str(arrays.pop("about")))
        binary, ids = arrays.pop("model"), arrays.pop("ids")
        version, substeps = str(about["mujoco"]), int(about["substeps"])
        if about["format"] != FORMAT:
            raise DumpError(f"{path}: format {about['format']!r} is not the one that this version reads ({FORMAT})")
    except OSError as error:
        raise DumpError(f"{path}: cannot be read ({error.strerror or error})") from error
    except KeyError as error:
        raise DumpError(f"{path}: not a divergence dump, entry {error} is missing") from error
    except DumpError:
        raise
    except (ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DumpError(f"{path}: damaged, or not a divergence dump ({error})") from error
    try:
        model = mujoco.MjModel.from_binary_path(_MODEL_FILE, {_MODEL_FILE: binary.tobytes()})
    except ValueError as error:
        raise DumpError(
            f"{path}: its model cannot be loaded; it was written by MuJoCo {version}, this is {mujoco.__version__}"
        ) from error
    parts = {prefix: {k[6:]: v for k, v in arrays.items() if k.startswith(prefix)} for prefix in ("state/", "model/")}
    dump = Dump(model, ids, parts["state/"], parts["model/"], substeps, str(about["engine"]), str(about["reason"]))
    _check_sizes(path, dump)
    return dump


def _check_sizes(path: Path, dump: Dump) -> None:
    data = mujoco.MjData(dump.model)
    if dump.ids.ndim != 1 or dump.ids.dtype.kind != "i" or not len(dump.ids) or dump.substeps < 1:
        raise DumpError(f"{path}: holds no environments")
    if set(dump.states) != set(STATE_FIELDS):
        raise DumpError(f"{path}: state fields are {sorted(dump.states)}, expected {sorted(STATE_FIELDS)}")
    count = dump.states["qpos"].shape[:1]
    wanted = {name: (*count, len(dump.ids), *getattr(data, name).shape) for name in dump.states}
    for name in dump.model_fields:
        wanted[name] = (len(dump.ids), *np.shape(_model_field(path, dump.model, name)))
    for name, value in (dump.states | dump.model_fields).items():
        if value.shape != wanted[name] or value.dtype != np.float64 or not len(value):
            raise DumpError(f"{path}: {name} is {value.dtype}{value.shape}, its model needs float64{wanted[name]}")


def _model_field(path: Path, model: mujoco.MjModel, name: str) -> Any:
    """Return a field of the model, or of its options for ``opt.<name>``."""
    owner, _, leaf = name.rpartition(".")
    value = getattr(model.opt if owner == "opt" else model, leaf, None)
    if not isinstance(value, np.ndarray | float | int):
        raise DumpError(f"{path}: the model has no field {name!r}")
    return value


@dataclass(frozen=True)
class Replay:
    """What plain MuJoCo did with one environment of a dump.

    Attributes:
        env: the environment's number in the run.
        record: the first record (0 is the oldest) from which it diverged, None when it never did.
        substep: the physics step after that record at which it did; 0 when the record itself is not sane.
        joint: the joint that was fastest, or first not finite, at that step.
    """

    env: int
    record: int | None = None
    substep: int | None = None
    joint: str = ""

    def __str__(self) -> str:
        """Return one line for people."""
        if self.record is None:
            return (
                f"environment {self.env}: plain MuJoCo stays finite from every record; "
                "look at the engine (precision, buffers) or at what was written into its state"
            )
        if self.substep == 0:
            return f"environment {self.env}: record {self.record} is not sane when it was made, at joint {self.joint!r}"
        return (
            f"environment {self.env}: plain MuJoCo diverges {self.substep} physics steps after record {self.record}, "
            f"at joint {self.joint!r}"
        )


def replay_dump(path: str | Path) -> list[Replay]:
    """Run every record of a dump again in plain MuJoCo, float64, up to the next record.

    Starting anew from each record keeps an episode that was reset in between, or chaos, from mattering.

    Returns:
        One finding per environment.

    Raises:
        DumpError: see ``load_dump``.
    """
    dump = load_dump(path)
    return [_replay(dump, row) for row in range(len(dump.ids))]


def _replay(dump: Dump, row: int) -> Replay:
    model, env = _own_model(dump, row), int(dump.ids[row])
    data = mujoco.MjData(model)
    for record in range(len(dump.states["qpos"])):
        mujoco.mj_resetData(model, data)
        for name, values in dump.states.items():
            getattr(data, name)[:] = values[record, row]
        for substep in range(dump.substeps + 1):
            if substep:
                mujoco.mj_step(model, data)
            joint = _astray(model, data)
            if joint is not None:
                return Replay(env, record, substep, joint)
    return Replay(env)


def _own_model(dump: Dump, row: int) -> mujoco.MjModel:
    """Return the model with the values of one environment; a step that diverges is not to be restarted."""
    model = copy.copy(dump.model)
    model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_AUTORESET)
    for name, values in dump.model_fields.items():
        owner = model.opt if name.startswith("opt.") else model
        setattr(owner, name.removeprefix("opt."), values[row])
    if dump.model_fields:
        mujoco.mj_setConst(model, mujoco.MjData(model))
    return model


def _astray(model: mujoco.MjModel, data: mujoco.MjData) -> str | None:
    """Return the joint that is worst, by velocity, when the state is not finite or not sane; None when it is."""
    if np.abs(data.qpos).max() < SANE_STATE and np.abs(data.qvel).max() < SANE_STATE:
        return None
    speed = np.nan_to_num(np.abs(data.qvel), nan=np.inf)
    if speed.max() < SANE_STATE:
        worst = int(np.argmax(np.nan_to_num(np.abs(data.qpos), nan=np.inf)))
        joint = int(np.searchsorted(model.jnt_qposadr, worst, side="right")) - 1
    else:
        joint = int(model.dof_jntid[int(np.argmax(speed))])
    return model.joint(joint).name or f"joint {joint}"
