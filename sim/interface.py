"""The contract between environments and learners. A learner needs nothing else from ``sim``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

Observations = dict[str, Tensor]
"""Observation groups by name, each ``(N, D_group)`` float32. Usual groups: ``policy``, ``critic``, ``privileged``."""


@dataclass(slots=True)
class StepResult:
    """What one control step returns. N environments, K costs; everything lies on the environment's device.

    Attributes:
        obs: observations to act on next; for episodes that ended, those of the new episode's first state.
        reward: (N,) float32.
        costs: (N, K) float32, in physical units, columns as in ``VecEnv.cost_names``.
        terminated: (N,) bool, the episode ended in a terminal state: no bootstrap.
        truncated: (N,) bool, the time limit ended the episode: bootstrap with the value of ``final_obs``.
        final_ids: (M,) int64, the environments whose episode ended in this step, ascending; empty when none did.
        final_obs: the true last observations of those episodes, (M, D_group) per group.
        valid: (N,) bool, False where the simulator state became non-finite and was reset: the transition must not be
            learned from (its reward and costs are 0 and its observation is finite).
        log: scalars worth showing, already reduced: floats or 0-dimensional tensors.
    """

    obs: Observations
    reward: Tensor
    costs: Tensor
    terminated: Tensor
    truncated: Tensor
    final_ids: Tensor
    final_obs: Observations
    valid: Tensor
    log: dict[str, float | Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class SignedPermutation:
    """The linear map ``y[..., i] = sign[i] * x[..., index[i]]``.

    Attributes:
        index: (D,) int64, a permutation of ``range(D)``.
        sign: (D,) float32, each +1 or -1.
    """

    index: Tensor
    sign: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Apply the map to the last axis of ``x``, shape (..., D)."""
        return x.index_select(-1, self.index) * self.sign

    def to(self, device: torch.device | str) -> SignedPermutation:
        """Return the same map with its tensors on ``device``."""
        return SignedPermutation(self.index.to(device), self.sign.to(device))


@dataclass(frozen=True)
class Symmetry:
    """One symmetry of the robot (usually left-right mirroring) as it acts on observations and actions.

    Attributes:
        obs: the map of each observation group.
        action: the map of the action vector.
    """

    obs: Mapping[str, SignedPermutation]
    action: SignedPermutation


@runtime_checkable
class VecEnv(Protocol):
    """N copies of one task. Episodes that end are reset inside ``step``; nothing is copied to the host.

    Attributes:
        num_envs: N.
        num_actions: A, the width of the action vector.
        device: where every tensor of the interface lives.
        obs_dims: width of each observation group.
        cost_names: names of the K cost columns.
        max_episode_length: control steps until truncation.
        step_dt: control period in seconds.
        symmetries: operators under which the task is invariant; empty when none is known.
    """

    num_envs: int
    num_actions: int
    device: torch.device
    obs_dims: dict[str, int]
    cost_names: tuple[str, ...]
    max_episode_length: int
    step_dt: float
    symmetries: tuple[Symmetry, ...]

    def reset(self) -> Observations:
        """Start a new episode everywhere and return its first observations."""

    def step(self, actions: Tensor) -> StepResult:
        """Apply ``actions`` (N, A) for one control period."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that the future depends on: simulator state, buffers, curriculum, random states."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue exactly from ``state_dict()``."""

    def close(self) -> None:
        """Release the simulator."""
