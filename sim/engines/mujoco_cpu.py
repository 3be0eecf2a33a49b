"""MuJoCo on the CPU: threaded, float64, bit-identical for any number of threads."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import mujoco
import numpy as np
import torch
from mujoco.batch import Batch
from torch import Tensor

from robolearn.config import nearest
from sim.engines.base import DERIVED_FIELDS, STATE_FIELDS, Engine

LOG = logging.getLogger(__name__)
SANE_STATE = 1e6
"""Positions (m, rad) and velocities (m/s, rad/s) beyond this are treated like non-finite ones."""


class MujocoEngine(Engine):
    """``mujoco.batch``: every simulation is a row of state, worked on by a pool of threads.

    Args:
        model: the compiled model.
        num_envs: number of copies.
        threads: worker threads, 0 for one per core.
        expand: names of model fields that get per-environment values.
    """

    def __init__(self, model: mujoco.MjModel, num_envs: int, threads: int = 0, expand: Sequence[str] = ()) -> None:
        # MuJoCo's own handler prints and writes a file into the working directory, once per bad simulation and step.
        mujoco.set_mju_user_warning(_debug)
        self.model = model
        self.num_envs = num_envs
        self.device = torch.device("cpu")
        self.dtype = torch.float64
        self._batch = Batch(model, num_envs, threads)
        self._fields: dict[str, Tensor] = {}
        self._expanded: dict[str, Tensor] = {}
        self._nonfinite = 0
        self._raised = 0
        self._qpos, self._qvel = self.field("qpos"), self.field("qvel")
        for name in expand:
            self.expand(name)
        self.reset()

    @property
    def threads(self) -> int:
        """Number of threads that step."""
        return int(self._batch.nthread)

    def field(self, name: str) -> Tensor:
        """See ``Engine.field``."""
        if name not in self._fields:
            if name not in STATE_FIELDS + DERIVED_FIELDS:
                raise KeyError(f"unknown field {name!r}.{nearest(name, STATE_FIELDS + DERIVED_FIELDS)}")
            with warnings.catch_warnings():  # derived arrays are read-only views; torch cannot express that
                warnings.simplefilter("ignore", UserWarning)
                self._fields[name] = torch.from_numpy(self._batch.bind(name))
        return self._fields[name]

    def expand(self, name: str) -> Tensor:
        """See ``Engine.expand``."""
        if name not in self._expanded:
            try:
                self._expanded[name] = torch.from_numpy(self._batch.expand(name))
            except (AttributeError, ValueError, KeyError) as error:
                raise KeyError(f"model field {name!r} cannot have per-environment values: {error}") from error
        return self._expanded[name]

    @property
    def expanded(self) -> tuple[str, ...]:
        """See ``Engine.expanded``."""
        return tuple(self._expanded)

    def set_const(self, ids: Tensor | None = None) -> None:
        """See ``Engine.set_const``."""
        self._batch.set_const(_numpy(ids))

    def step(self, substeps: int = 1, derived: bool = True) -> None:
        """See ``Engine.step``. Derived fields come with it."""
        self._guard(lambda: self._batch.step(nstep=substeps))

    def reset(self, ids: Tensor | None = None) -> None:
        """See ``Engine.reset``."""
        self._batch.reset(_numpy(ids), stage=mujoco.mjtStage.mjSTAGE_NONE)

    def forward(self, ids: Tensor | None = None) -> None:
        """See ``Engine.forward``."""
        self._guard(lambda: self._batch.forward(_numpy(ids)))

    def _guard(self, call: Any) -> None:
        """Run a simulator call; an error inside single simulations marks them non-finite, so that they are reset."""
        try:
            call()
        except mujoco.batch.SimulationError as error:
            self._raised += len(error.ids)
            self._qvel[torch.as_tensor(np.asarray(error.ids, dtype=np.int64))] = torch.nan

    def finite(self) -> Tensor:
        """See ``Engine.finite``. A NaN compares as False, so one pass finds both kinds of fault."""
        good = (self._qpos.abs().amax(1) < SANE_STATE) & (self._qvel.abs().amax(1) < SANE_STATE)
        self._nonfinite += int(self.num_envs - good.sum())
        return good

    def diagnostics(self) -> dict[str, int]:
        """See ``Engine.diagnostics``. ``raised`` counts simulations in which MuJoCo itself reported an error."""
        return {"nonfinite": self._nonfinite, "overflow": int(self._overflows()), "raised": self._raised}

    def _overflows(self) -> int:
        kinds = (mujoco.mjtWarning.mjWARN_CONTACTFULL, mujoco.mjtWarning.mjWARN_CNSTRFULL)
        return int(sum(self._batch.warning[:, int(kind)].sum() for kind in kinds))

    def state_dict(self) -> dict[str, Any]:
        """See ``Engine.state_dict``."""
        return {
            "state": torch.from_numpy(self._batch.state.copy()),
            "expanded": {name: value.clone() for name, value in self._expanded.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See ``Engine.load_state_dict``.

        Raises:
            ValueError: the state belongs to another model, another number of environments, or other expanded fields.
        """
        rows = state["state"]
        if tuple(rows.shape) != self._batch.state.shape:
            raise ValueError(
                f"simulator state has shape {tuple(rows.shape)}, this model needs {self._batch.state.shape}"
            )
        if set(state["expanded"]) != set(self._expanded):
            raise ValueError(
                f"per-environment model fields differ: saved {sorted(state['expanded'])}, here {sorted(self._expanded)}"
            )
        self._batch.state[:] = rows.numpy()
        for name, value in state["expanded"].items():
            self._expanded[name].copy_(value)
        if self._expanded:
            self.set_const()
        self.forward()


def _debug(message: str) -> None:
    LOG.debug("MuJoCo: %s", message)


def _numpy(ids: Tensor | None) -> np.ndarray | None:
    return None if ids is None else ids.numpy()
