"""MuJoCo Warp: all environments in one batch on a GPU, seen from torch without copies, stepped through captured graphs.

Warp's CPU device runs the same code one thread wide; it is there for tests.
"""

from __future__ import annotations

import copy
import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from typing import Any, no_type_check

import mujoco
import torch
from torch import Tensor

from robolearn.config import ConfigError, nearest
from robolearn.packages import MissingPackageError, missing
from sim.engines.base import DERIVED_FIELDS, STATE_FIELDS, Engine
from sim.engines.mujoco_cpu import SANE_STATE

_log = logging.getLogger(__name__)


def check_versions(mujoco_version: str, warp_version: str) -> None:
    """Refuse a MuJoCo Warp that was written for another MuJoCo: its tables follow one minor version.

    Raises:
        ConfigError: the two differ in their major or minor number.
    """
    if mujoco_version.split(".")[:2] != warp_version.split(".")[:2]:
        raise ConfigError(
            f"engine 'warp': mujoco {mujoco_version} and mujoco-warp {warp_version} do not belong together; "
            f"install the same major.minor of both, such as mujoco-warp=={'.'.join(mujoco_version.split('.')[:2])}.*"
        )


try:
    check_versions(mujoco.__version__, metadata.version("mujoco-warp"))
    import mujoco_warp as mjw
    import warp as wp
except (ImportError, metadata.PackageNotFoundError) as _error:
    raise MissingPackageError(f"engine 'warp': {missing('mujoco_warp')} ({_error})") from _error

wp.config.log_level = max(wp.config.log_level, wp.LOG_WARNING)
wp.init()
wp.set_module_options({"enable_backward": False})

_STATE = (*STATE_FIELDS, "act", "qacc_warmstart", "time", "mocap_pos", "mocap_quat", "eq_active", "userdata", "history")
"""All that the next step depends on (mjSTATE_INTEGRATION), warm start and delays included."""

_CONST_INPUTS = {
    *("qpos0", "body_mass", "body_inertia", "body_ipos", "body_iquat", "body_pos", "body_quat", "body_gravcomp"),
    *("jnt_pos", "jnt_axis", "dof_armature", "eq_data", "geom_size"),
    *("tendon_stiffness", "tendon_damping", "tendon_armature"),
}
_CONST_OUTPUTS = (
    *("body_subtreemass", "body_invweight0", "dof_invweight0", "tendon_length0", "tendon_invweight0", "actuator_acc0"),
    *("eq_data", "geom_size", "geom_aabb", "geom_rbound", "cam_pos0", "cam_poscom0", "cam_mat0"),
    *("light_pos0", "light_poscom0", "light_dir0"),
)
"""What ``mujoco_warp.set_const`` writes; each needs one row per environment once any of its inputs has."""

_UNCONVERGED = int(mjw.OverflowType.ITERATIONS | mjw.OverflowType.LS_ITERATIONS)
_DROPPED = int(mjw.OverflowType.ALL) & ~_UNCONVERGED


@wp.kernel
@no_type_check  # the language inside kernels is Warp's, not Python's
def _count_flags(
    dropped: int,
    unconverged: int,
    flags: wp.array[wp.int32],
    counts: wp.array[wp.int64],
    seen: wp.array[wp.int32],
) -> None:
    """Add the worlds whose flags were raised to ``counts`` (dropped, unconverged), note the kinds, lower the flags."""
    world = wp.tid()
    raised = flags[world]
    if raised & dropped:
        wp.atomic_add(counts, 0, wp.int64(1))
        wp.atomic_or(seen, 0, raised & dropped)
    if raised & unconverged:
        wp.atomic_add(counts, 1, wp.int64(1))
    flags[world] = 0


class MujocoWarpEngine(Engine):
    """``mujoco_warp``: float32 state on the device; every operation is recorded once and replayed as a graph.

    The first call of an operation runs it directly, which compiles and loads its kernels (minutes on a GPU that has
    never run this model, seconds later); the second call records it. Torch and Warp share torch's current stream, so
    their kernels execute in program order and nothing waits for the host.

    Args:
        model: the compiled model.
        num_envs: number of copies.
        device: ``"cuda"``, ``"cuda:1"``, ... or ``"cpu"``.
        expand: names of model fields that get per-environment values.
        nconmax: contacts per environment, on average over the batch; None for an estimate from the model.
        njmax: constraint rows of any one environment; None for an estimate from the model.
        capture: record and replay graphs; False runs every kernel launch from Python.

    Raises:
        ConfigError: the device is missing, or the model has a feature that MuJoCo Warp does not run.
        KeyError: an entry of ``expand`` is not a model field that can have per-environment values.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        num_envs: int,
        device: str = "cuda:0",
        expand: Sequence[str] = (),
        nconmax: int | None = None,
        njmax: int | None = None,
        capture: bool = True,
    ) -> None:
        self.model = model
        self.num_envs = num_envs
        self.device = _find_device(device)
        self.dtype = torch.float32
        self._warp_device = wp.device_from_torch(self.device)
        self._stream: Any = None  # torch's current stream, as Warp sees it
        self._recording_stream = wp.Stream(self._warp_device) if self._warp_device.is_cuda else None
        self._capture = capture
        self._graphs: dict[str, Any] = {}
        self._warm: set[str] = set()
        self._graph_lost = 0
        self._overflow_reported = 0
        sizes = {name: num_envs for name in _with_constants(expand)}
        if model.opt.enableflags & mujoco.mjtEnableBit.mjENBL_SLEEP:
            raise ConfigError("engine 'warp' does not support sleeping: remove the model's <flag sleep='enable'/>")
        model = copy.copy(model)  # Warp never resets a diverging world by itself, and refuses the flag that says so
        model.opt.disableflags &= ~int(mujoco.mjtDisableBit.mjDSBL_AUTORESET)
        with wp.ScopedDevice(self._warp_device):
            try:
                self._model = mjw.put_model(model, batch_sizes=sizes)
                self._data = mjw.make_data(model, nworld=num_envs, nconmax=nconmax, njmax=njmax)
            except (RuntimeError, ValueError) as error:  # unsupported features come as one of these
                raise ConfigError(f"engine 'warp' cannot run this model: {error}") from error
            self._counts = wp.zeros(2, dtype=wp.int64)
            self._seen = wp.zeros(1, dtype=wp.int32)
        self._model.opt.warn_overflow = 0  # the kernels would print in every step; the flags are counted instead
        if self._warp_device.is_cuda:
            self._model.opt.graph_conditional = wp.is_conditional_graph_supported()
            wp.synchronize_device(self._warp_device)
        self._fields: dict[str, Tensor] = {}
        self._declared = tuple(expand)
        self._expanded = {name: wp.to_torch(getattr(self._model, name)) for name in sizes}
        arrays = {name: getattr(self._data, name) for name in _STATE}
        self._state = {name: wp.to_torch(array) for name, array in arrays.items() if array.size}
        self._defaults = {name: value[:1].clone() for name, value in self._state.items()}
        self._nonfinite = torch.zeros((), dtype=torch.int64, device=self.device)

    def field(self, name: str) -> Tensor:
        """See ``Engine.field``. The tensor is the simulator's own memory."""
        if name not in self._fields:
            if name not in STATE_FIELDS + DERIVED_FIELDS:
                raise KeyError(f"unknown field {name!r}.{nearest(name, STATE_FIELDS + DERIVED_FIELDS)}")
            self._fields[name] = self._state[name] if name in self._state else wp.to_torch(getattr(self._data, name))
        return self._fields[name]

    def expand(self, name: str) -> Tensor:
        """Return the values of a model field that was named in the constructor's ``expand``, (N, ...), live.

        Raises:
            KeyError: it was not named there. Memory is laid out, and its addresses recorded, before the first step.
        """
        if name not in self._declared:
            _check_expandable(name)
            raise KeyError(f"model field {name!r} is shared by all environments: name it in the engine's expand=(...)")
        return self._expanded[name]

    @property
    def expanded(self) -> tuple[str, ...]:
        """See ``Engine.expanded``."""
        return self._declared

    def set_const(self, ids: Tensor | None = None) -> None:
        """See ``Engine.set_const``. All environments are computed; for the others that changes nothing."""
        with self._outputs_kept():
            self._run("set_const", lambda: mjw.set_const(self._model, self._data, restore=False))

    def step(self, substeps: int = 1, derived: bool = True) -> None:
        """See ``Engine.step``. Derived fields come with it."""
        self._run(f"step({substeps})", lambda: self._step(substeps))

    def _step(self, substeps: int) -> None:
        for _ in range(substeps):
            mjw.step(self._model, self._data)
        flags = [_DROPPED, _UNCONVERGED, self._data.overflow, self._counts, self._seen]
        wp.launch(_count_flags, dim=self.num_envs, inputs=flags)

    def reset(self, ids: Tensor | None = None) -> None:
        """See ``Engine.reset``."""
        rows = slice(None) if ids is None else ids
        for name, value in self._state.items():
            value[rows] = self._defaults[name]
        if "qpos0" in self._expanded:
            self._state["qpos"][rows] = self._expanded["qpos0"][rows]

    def forward(self, ids: Tensor | None = None) -> None:
        """See ``Engine.forward``. All environments are computed; the outputs of the others are then put back."""
        if ids is None:
            self._run("forward", lambda: mjw.forward(self._model, self._data))
        elif len(ids):
            with self._outputs_kept(ids):
                self._run("forward", lambda: mjw.forward(self._model, self._data))

    @contextmanager
    def _outputs_kept(self, except_ids: Tensor | None = None) -> Iterator[None]:
        """Put the derived fields that were handed out back at the end, except those of the given environments."""
        outputs = [tensor for name, tensor in self._fields.items() if name in DERIVED_FIELDS]
        before = [tensor.clone() for tensor in outputs]
        yield
        for tensor, old in zip(outputs, before, strict=True):
            if except_ids is not None:
                old[except_ids] = tensor[except_ids]
            tensor.copy_(old)

    def _run(self, key: str, operation: Callable[[], None]) -> None:
        """Run ``operation`` on torch's stream: directly at its first call, recorded at its second, then replayed."""
        if key not in self._warm:
            _log.info("engine 'warp': first %s; a machine that has never run this model compiles its kernels now", key)
        elif self._capture and key not in self._graphs:
            self._graphs[key] = self._record(key, operation)
        graph = self._graphs.get(key)
        with self._scope():
            if graph is not None:
                wp.capture_launch(graph, stream=self._stream)
            else:
                operation()
        self._warm.add(key)

    @contextmanager
    def _scope(self) -> Iterator[None]:
        if not self._warp_device.is_cuda:
            with wp.ScopedDevice(self._warp_device):
                yield
            return
        stream = torch.cuda.current_stream(self.device)
        if self._stream is None or self._stream.cuda_stream != stream.cuda_stream:
            self._stream = wp.stream_from_torch(stream)
        with wp.ScopedStream(self._stream):
            yield

    def _record(self, key: str, operation: Callable[[], None]) -> Any:
        """Return the graph of ``operation`` without executing it, or None with a warning when that is impossible."""
        try:
            if not self._warp_device.is_cuda:
                with wp.ScopedDevice(self._warp_device), wp.ScopedCapture(self._warp_device) as capture:
                    operation()
                return capture.graph
            stream = self._recording_stream  # torch's usual stream is the legacy one, which cannot be recorded
            with wp.ScopedStream(stream), wp.ScopedCapture(stream=stream) as capture:
                operation()
            return capture.graph
        except Exception as error:  # Warp raises many kinds here; each means the same: go on without a graph
            self._graph_lost += 1
            _log.warning("engine 'warp': %s runs without a recorded graph, which is much slower: %s", key, error)
            return None

    def finite(self) -> Tensor:
        """See ``Engine.finite``. A NaN compares as False, so one pass finds both kinds of fault."""
        qpos, qvel = self._state["qpos"], self._state["qvel"]
        good = (qpos.abs().amax(1) < SANE_STATE) & (qvel.abs().amax(1) < SANE_STATE)
        self._nonfinite += self.num_envs - good.sum()
        return good

    def diagnostics(self) -> dict[str, int]:
        """See ``Engine.diagnostics``; waits for the device.

        ``overflow`` counts the calls of ``step``, per environment, in which a buffer was too small; a rise is logged
        with the buffer's name. ``unconverged`` counts those in which the constraint solver used up its iterations.
        """
        with self._scope():
            counts, seen = self._counts.numpy(), int(self._seen.numpy()[0])
        overflow = int(counts[0])
        if overflow > self._overflow_reported:
            _log.warning(
                "engine 'warp': %d more environment steps lost contacts or constraints (%s); raise nconmax (now %d on "
                "average) or njmax (now %d)",
                overflow - self._overflow_reported,
                ", ".join(kind.name or "" for kind in mjw.OverflowType if kind & seen),
                self._data.naconmax // self.num_envs,
                self._data.njmax,
            )
            self._overflow_reported = overflow
        return {
            "nonfinite": int(self._nonfinite),
            "overflow": overflow,
            "unconverged": int(counts[1]),
            "graph_lost": self._graph_lost,
        }

    def state_dict(self) -> dict[str, Any]:
        """See ``Engine.state_dict``."""
        return {
            "state": {name: value.clone() for name, value in self._state.items()},
            "expanded": {name: value.clone() for name, value in self._expanded.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See ``Engine.load_state_dict``.

        Raises:
            ValueError: the state belongs to another model, another number of environments, or other expanded fields.
        """
        pairs = [("state", self._state), ("expanded", self._expanded)]
        for part, own in pairs:
            if set(state[part]) != set(own):
                raise ValueError(f"simulator {part} differs: saved {sorted(state[part])}, here {sorted(own)}")
            for name, value in own.items():
                if state[part][name].shape != value.shape:
                    raise ValueError(
                        f"simulator {part} {name!r} has shape {tuple(state[part][name].shape)}, "
                        f"this engine needs {tuple(value.shape)}"
                    )
        for part, own in pairs:
            for name, value in own.items():
                value.copy_(state[part][name])
        self.forward()

    def close(self) -> None:
        """See ``Engine.close``. Tensors that were handed out keep their memory."""
        if self._warp_device.is_cuda:
            wp.synchronize_device(self._warp_device)
        self._graphs.clear()


def _find_device(name: str) -> torch.device:
    """Return the device, CUDA with its index.

    Raises:
        ConfigError: not a CPU or CUDA device, or one that torch or Warp does not have.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"engine 'warp': {name!r} is not a device; use 'cuda', 'cuda:1', ... or 'cpu'") from error
    if device.type == "cpu":
        return torch.device("cpu")
    if device.type != "cuda":
        raise ConfigError(f"engine 'warp' runs on CUDA devices or the CPU, not on {name!r}")
    if not torch.cuda.is_available():
        raise ConfigError(
            f"engine 'warp': torch {torch.__version__} sees no CUDA device for {name!r}; install the NVIDIA driver "
            "and a CUDA build of torch, or use engine 'mujoco'"
        )
    if not wp.is_cuda_available():
        raise ConfigError(
            f"engine 'warp': Warp {wp.__version__} sees no CUDA device for {name!r}; update the NVIDIA driver"
        )
    index = torch.cuda.current_device() if device.index is None else device.index
    if index >= torch.cuda.device_count():
        raise ConfigError(f"engine 'warp': no device {name!r}, there are {torch.cuda.device_count()} CUDA devices")
    return torch.device("cuda", index)


def _expandable() -> list[str]:
    """Names of the model fields that MuJoCo Warp can hold once per environment."""
    return [field.name for field in dataclasses.fields(mjw.Model) if getattr(field.type, "shape", ())[:1] == ("*",)]


def _check_expandable(name: str) -> None:
    if name not in _expandable():
        raise KeyError(f"model field {name!r} cannot have per-environment values.{nearest(name, _expandable())}")


def _with_constants(names: Sequence[str]) -> list[str]:
    """Add the fields that ``set_const`` will write, in a fixed order and once each."""
    for name in names:
        _check_expandable(name)
    constants = _CONST_OUTPUTS if _CONST_INPUTS & set(names) else []
    return list(dict.fromkeys([*names, *constants]))
