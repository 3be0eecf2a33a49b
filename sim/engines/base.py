"""What a simulator must offer: live state tensors of N copies of one model, and step, reset, forward.

Quantities are SI. Frames and layouts are MuJoCo's: quaternions are (w, x, y, z); for a free joint ``qvel[0:3]`` is the
linear velocity of the body's origin in the world frame and ``qvel[3:6]`` its angular velocity in the body frame.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import mujoco
import torch
from torch import Tensor

STATE_FIELDS = ("qpos", "qvel", "ctrl", "qfrc_applied", "xfrc_applied")
"""Writable state: a write takes effect at the next call of ``step`` or ``forward``."""
DERIVED_FIELDS = ("xpos", "xquat", "cvel", "subtree_com", "sensordata", "actuator_force", "qacc", "qfrc_actuator")
"""Read-only outputs. After ``step`` they describe the state *before* the last physics step, as in ``mj_step``."""


class Engine(ABC):
    """N copies of one compiled model.

    Attributes:
        model: the compiled model on the host; never changed after construction.
        num_envs: N.
        device: where the state tensors live.
        dtype: floating type of the state tensors (float64 on the CPU engine, float32 on Warp).
    """

    model: mujoco.MjModel
    num_envs: int
    device: torch.device
    dtype: torch.dtype

    @property
    def timestep(self) -> float:
        """Physics period in seconds."""
        return float(self.model.opt.timestep)

    @abstractmethod
    def field(self, name: str) -> Tensor:
        """Return the live (N, ...) tensor of a state or derived field (the same tensor at every call).

        Fields that are not asked for are not copied out of the simulator: ask once, at start.

        Raises:
            KeyError: ``name`` is not a state or derived field.
        """

    def sensor(self, name: str) -> Tensor:
        """Return the live (N, dim) columns of ``sensordata`` that belong to the named sensor.

        Raises:
            KeyError: the model has no such sensor.
        """
        index = mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_SENSOR, name)
        if index < 0:
            raise KeyError(f"the model has no sensor {name!r}")
        start = int(self.model.sensor_adr[index])
        return self.field("sensordata")[:, start : start + int(self.model.sensor_dim[index])]

    @abstractmethod
    def expand(self, name: str) -> Tensor:
        """Return the live (N, ...) per-environment values of a model field (``geom_friction``, ``body_mass``, ...).

        Name the fields when the engine is built: Warp cannot add any later. After writing a field from which constants
        are derived (masses, inertias, positions of bodies), call ``set_const``.

        Raises:
            KeyError: the field cannot have such values, or (on Warp) was not named.
        """

    @property
    @abstractmethod
    def expanded(self) -> tuple[str, ...]:
        """Names of the model fields that have per-environment values."""

    @abstractmethod
    def set_const(self, ids: Tensor | None = None) -> None:
        """Recompute the constants derived from expanded fields, for the given environments (all when None)."""

    @abstractmethod
    def step(self, substeps: int = 1, derived: bool = True) -> None:
        """Advance every environment by ``substeps`` physics periods with the present ``ctrl`` and applied forces.

        Args:
            substeps: number of physics periods.
            derived: whether somebody reads derived fields before the next step. Where not, they may keep older values:
                engines that take extra time to compute them do not.
        """

    @abstractmethod
    def reset(self, ids: Tensor | None = None) -> None:
        """Set the given environments (M,) int64 (all when None) to the model's default state; compute nothing."""

    @abstractmethod
    def forward(self, ids: Tensor | None = None) -> None:
        """Compute the derived fields of the present state for the given environments (all when None)."""

    @abstractmethod
    def finite(self) -> Tensor:
        """Return (N,) bool: True where positions and velocities are finite and of sane size."""

    @abstractmethod
    def diagnostics(self) -> dict[str, int]:
        """Counts since construction: ``nonfinite``, ``overflow`` (contacts or constraints dropped), ...."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Everything that the next ``step`` depends on, expanded model fields included."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue exactly from ``state_dict()``."""

    def close(self) -> None:
        """Release threads and device memory. The engine must not be used afterwards."""
        return
