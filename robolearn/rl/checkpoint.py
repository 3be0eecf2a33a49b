"""Checkpoints: written whole or not at all, checked before use, and read without running code from the file."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robolearn.rl.networks import ActorCritic

FORMAT_VERSION = 1
_NAME = re.compile(r"checkpoint_(\d+)\.pt")
_ARRAY = "__numpy__"
_MARK = b"sha256"
_TAIL = len(_MARK) + 32  # what follows the data: the mark and the hash of the data


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be written or used. The message says why and what to do."""


def checkpoint_path(folder: str | Path, iteration: int) -> Path:
    """Return the path of the checkpoint written after ``iteration`` iterations."""
    return Path(folder) / f"checkpoint_{iteration:06d}.pt"


def list_checkpoints(folder: str | Path) -> list[Path]:
    """Return the checkpoints of a folder, newest first, without looking into them."""
    found = [(int(match[1]), path) for path in Path(folder).glob("*.pt") if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found, reverse=True)]


def latest_good(folder: str | Path, before: Path | None = None) -> Path | None:
    """Return the newest whole checkpoint of a folder (older than ``before``, when given), or None."""
    paths = list_checkpoints(folder)
    if before is not None:
        match = _NAME.fullmatch(before.name)
        limit = int(match[1]) if match else None
        paths = [path for path in paths if path.name != before.name and (limit is None or _number(path) < limit)]
    for path in paths:
        try:
            read_checkpoint(path, suggest=False)
        except CheckpointError:
            continue
        return path
    return None


def _number(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    return int(match[1]) if match else -1


def write_checkpoint(path: str | Path, state: Mapping[str, Any]) -> None:
    """Write ``state`` to ``path``: to a temporary file beside it first, which then takes its place in one step.

    Args:
        path: target; whatever was there stays until the new file is safely on the disk.
        state: nested mappings, lists and tuples of tensors, NumPy arrays, numbers, strings, bytes, booleans and None.

    Raises:
        CheckpointError: the disk is full, the folder cannot be written, or a value is of another type.
    """
    path = Path(path)
    buffer = io.BytesIO()
    torch.save({"format": FORMAT_VERSION, **pack(state)}, buffer)
    buffer.write(_MARK + hashlib.sha256(buffer.getbuffer()).digest())
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for leftover in path.parent.glob(".*.pt.*.tmp"):  # of a process that was killed while writing
            leftover.unlink(missing_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(buffer.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)  # noqa: PTH105 - the one call whose atomicity is promised
            _sync_folder(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        size = f"{buffer.getbuffer().nbytes / 1e6:.1f} MB"
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        why = f"the disk is full; free {size}" if full else f"{error.strerror or error}"
        raise CheckpointError(f"{path}: cannot be written ({why}).{_advice(path)}") from error


def _sync_folder(folder: Path) -> None:
    """Put the new name on the disk too; systems that cannot open folders do without."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def read_checkpoint(path: str | Path, device: torch.device | str = "cpu", suggest: bool = True) -> dict[str, Any]:
    """Read a checkpoint after checking all of it against its hash.

    Args:
        path: the file.
        device: where its tensors go.
        suggest: whether the error names an older checkpoint that is whole.

    Raises:
        CheckpointError: the file is missing, empty, damaged, or of another format version.
    """
    path = Path(path)

    def refuse(why: str) -> CheckpointError:
        return CheckpointError(f"{path}: {why}.{_advice(path) if suggest else ''}")

    if path.is_dir():
        raise refuse("is a folder, not a checkpoint; name a file in it")
    try:
        data = path.read_bytes()
    except OSError as error:
        why = "does not exist" if error.errno == errno.ENOENT else f"cannot be read ({error.strerror})"
        raise refuse(why) from error
    if not data:
        raise refuse("the file is empty; it was never written to the end")
    payload = memoryview(data)[:-_TAIL]
    if data[-_TAIL:] != _MARK + hashlib.sha256(payload).digest():
        raise refuse("not a whole checkpoint: the file is damaged, cut short or of another kind")
    try:
        state = torch.load(io.BytesIO(payload), map_location=device, weights_only=True)
    except Exception as error:
        raise refuse("not a checkpoint of this program: it holds more than tensors and plain values") from error
    version = state.get("format") if isinstance(state, dict) else None
    if version != FORMAT_VERSION:
        raise refuse(f"has format version {version}, this program reads version {FORMAT_VERSION}")
    return unpack(state)


def _advice(path: Path) -> str:
    good = latest_good(path.parent, before=path) if path.parent.is_dir() else None
    return f" The last good checkpoint before it is {good}" if good else " There is no older good checkpoint beside it"


def pack(value: Any, where: str = "state") -> Any:
    """Return a copy of ``value`` that weights-only loading accepts: NumPy values become tensors and plain numbers."""
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biuf":
            raise CheckpointError(f"{where}: an array of type {value.dtype} cannot be saved")
        return {_ARRAY: torch.from_numpy(np.array(value, copy=True, order="C"))}
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return value
    if isinstance(value, Mapping):
        return {key: pack(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [pack(item, f"{where}[{i}]") for i, item in enumerate(value)]
        return tuple(items) if isinstance(value, tuple) else items
    raise CheckpointError(f"{where}: a value of type {type(value).__name__} cannot be saved")


def unpack(value: Any) -> Any:
    """Undo ``pack``."""
    if isinstance(value, dict):
        if value.keys() == {_ARRAY}:
            return value[_ARRAY].cpu().numpy()
        return {key: unpack(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(unpack(item) for item in value)
    return value


def load_module(module: torch.nn.Module, state: Mapping[str, Tensor], path: str | Path, what: str) -> None:
    """Load tensors into ``module``.

    Raises:
        CheckpointError: names or shapes differ.
    """
    own = module.state_dict()
    for name in [*own, *(key for key in state if key not in own)]:
        here = tuple(own[name].shape) if name in own else "nothing"
        saved = tuple(state[name].shape) if name in state else "nothing"
        if here != saved:
            raise CheckpointError(
                f"{path}: {what}.{name} is {saved} in the file and {here} in this configuration; "
                "use the configuration of the run that wrote it"
            )
    module.load_state_dict(dict(state))


def load_policy(path: str | Path, device: torch.device | str = "cpu") -> ActorCritic:
    """Return the policy of a checkpoint, ready to run, without an environment.

    Raises:
        CheckpointError: see ``read_checkpoint``.
    """
    state = read_checkpoint(path)
    try:
        policy = ActorCritic.from_spec(state["policy"]["spec"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: holds no policy that this program can build ({error})") from error
    load_module(policy, state["policy"]["weights"], path, "policy")
    return policy.to(device).eval().requires_grad_(False)
