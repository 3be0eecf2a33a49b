"""Estimates of the constrained quantities from what the roll-outs show, each divided by its budget.

With a budget-conditioned policy every quantity is estimated at M knots: a sample between two knots counts for both,
with the weights of linear interpolation. Without one, M = 1 and all weights are 1.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from robolearn.rl import ProcessGroup
from robolearn.rl.storage import RolloutStorage


def hat_weights(share: Tensor, knots: Tensor) -> Tensor:
    """Return (N, M) weights of linear interpolation at shares (N,) between ascending ``knots`` (M,); rows sum to 1."""
    right = torch.searchsorted(knots, share.contiguous()).clamp(1, len(knots) - 1)
    low, high = knots[right - 1], knots[right]
    part = ((share - low) / (high - low)).clamp(0.0, 1.0)
    weights = torch.zeros(len(share), len(knots), dtype=share.dtype, device=share.device)
    weights.scatter_(1, (right - 1).unsqueeze(1), (1.0 - part).unsqueeze(1))
    return weights.scatter_(1, right.unsqueeze(1), part.unsqueeze(1))


class EpisodeSums:
    """Means of what finished episodes cost, over the newest of them.

    Costs come in units of the budget's rate, so that an episode of full length that is always on budget sums to 1.
    Episodes that ran already when the watch began are not counted: a part of them is not known.
    """

    def __init__(self, num_envs: int, costs: int, knots: int, length: int, device: torch.device) -> None:
        """Watch K ``costs`` at M ``knots``; a full episode has ``length`` steps."""
        self._sums = torch.zeros(num_envs, costs, device=device)
        self._steps = torch.zeros(num_envs, device=device)
        self._whole = torch.zeros(num_envs, dtype=torch.bool, device=device)  # seen from its first step on
        self._length = length
        # Of episodes that finished in this roll-out, per knot: weighted sums of K costs, of the steps, and of weights.
        self._finished = torch.zeros(knots, costs + 2, dtype=torch.float64, device=device)
        self._window: deque[Tensor] = deque()

    def add(self, storage: RolloutStorage, weights: Tensor) -> None:
        """Count a roll-out whose cost streams are in units of the budget's rate.

        Args:
            storage: the roll-out.
            weights: (T, N, M) of the knots, constant along each episode.
        """
        ended = storage.terminated | storage.truncated | ~storage.valid
        for t in range(storage.steps):
            self._sums += storage.rewards[t, :, 1:]
            self._steps += 1.0
            one = torch.ones_like(self._steps)
            counts = ended[t] & storage.valid[t] & self._whole  # one that was broken off tells nothing
            rows = torch.cat((self._sums, torch.stack((self._steps, one), 1)), 1) * counts.unsqueeze(1)
            self._finished += weights[t].t().double() @ rows.double()
            self._sums.masked_fill_(ended[t].unsqueeze(1), 0.0)
            self._steps.masked_fill_(ended[t], 0.0)
            self._whole |= ended[t]

    def close(self, group: ProcessGroup, window: int) -> tuple[Tensor, Tensor, float]:
        """End a roll-out; return the means over the last ``window`` finished episodes, and their mean length.

        Returns:
            Means (M, K) at each knot, NaN where no episode has finished, and (K,) of all episodes alike; steps, 0 when
            none has finished anywhere.
        """
        sums = group.sum_(self._finished.clone()).cpu()
        self._finished.zero_()
        if float(sums[:, -1].sum()):
            self._window.append(sums)
        count = sum(float(item[:, -1].sum()) for item in self._window)
        while self._window and count - float(self._window[0][:, -1].sum()) >= window:
            count -= float(self._window.popleft()[:, -1].sum())
        if not self._window:
            unknown = torch.full(sums[:, :-2].shape, torch.nan, dtype=torch.float64)
            return unknown, unknown[0], 0.0
        total = torch.stack(list(self._window)).sum(0)
        every = total.sum(0)  # an episode's weights sum to 1
        means = total[:, :-2] / (total[:, -1:] * self._length)
        return means, every[:-2] / (every[-1] * self._length), float(every[-2] / every[-1])

    def state_dict(self) -> dict[str, Any]:
        """The window, common to all processes."""
        return {"window": list(self._window)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``."""
        self._window = deque(state["window"])

    def local_state_dict(self) -> dict[str, Any]:
        """The running episodes of this process."""
        return {"sums": self._sums, "steps": self._steps, "whole": self._whole}

    def load_local_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``local_state_dict()``."""
        self._sums.copy_(state["sums"])
        self._steps.copy_(state["steps"])
        self._whole.copy_(state["whole"])


def rollout_means(storage: RolloutStorage, weights: Tensor, group: ProcessGroup) -> tuple[Tensor, Tensor]:
    """Return means of the cost streams over the valid steps of a roll-out, given weights (T, N, M) of the knots.

    Streams are in units of the budget's rate.

    Returns:
        Means (M, K) at each knot, NaN where there is no sample, and (K,) of all samples alike.
    """
    costs = storage.rewards[..., 1:].flatten(0, 1).double()
    mass = (weights * storage.valid.unsqueeze(-1)).flatten(0, 1).double()
    sums = group.sum_(torch.cat((mass.t() @ costs, mass.sum(0).unsqueeze(1)), 1)).cpu()
    every = sums.sum(0)  # a sample's weights sum to 1
    return torch.where(sums[:, -1:] > 0, sums[:, :-1] / sums[:, -1:], torch.nan), every[:-1] / every[-1]


class Smoothed:
    """Moving average (M,) that begins with its first value and passes over NaN."""

    def __init__(self, smoothing: float) -> None:
        """``smoothing`` is the share of the old value."""
        self._smoothing = smoothing
        self._value: Tensor | None = None

    def __call__(self, new: Tensor) -> Tensor:
        """Return the average after ``new``."""
        if self._value is None:
            self._value = torch.full_like(new, float("nan"))
        old = torch.where(self._value.isnan(), new, self._value)
        mixed = self._smoothing * old + (1.0 - self._smoothing) * new
        self._value = torch.where(new.isnan(), self._value, mixed)
        return self._value

    def state_dict(self) -> dict[str, Any]:
        """The average; empty before the first value."""
        return {} if self._value is None else {"value": self._value}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``."""
        self._value = state.get("value")
