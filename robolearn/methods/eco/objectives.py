"""What the actor minimises under constraints: ECO's Lagrangian, and the baselines on the same data.

Symbols: ratio r of new to old probability; A the advantage of the reward and A_i of cost i, both normalised over the
roll-out; L the clipped surrogate of the reward; e_i = J_i / b_i - 1 the relative violation; lambda_i the multiplier.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from robolearn.methods.eco.config import EcoConfig
from robolearn.rl.ppo import AdvantageScale, Batch, surrogate_loss
from robolearn.rl.storage import RolloutStorage


@dataclass
class ConstraintState:
    """What objectives read; the method writes it before and after each update.

    Attributes:
        streams: number of constraints on costs, C; they come first and have stream 1 + i. A constraint on the mirror
            error is one more entry, the last.
        violations: (C or C + 1,) e, of the last estimate; NaN before the first.
        multipliers: likewise, lambda; without a budget as input.
        reward_size: mean size of a step's reward: the unit of a price.
        mirror_budget: the mirror error that is aimed at.
        sample_multipliers: (T, N, C) where they differ from sample to sample.
        weights: likewise, the configured weights.
    """

    streams: int
    violations: Tensor
    multipliers: Tensor
    weights: Tensor
    reward_size: float = 1.0
    mirror_budget: float = 1.0
    sample_multipliers: Tensor | None = None
    generator: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(0))


def cost_surrogates(batch: Batch, count: int, clip: float | None) -> Tensor:
    """Return (G, C) ratio times the normalised advantage of each cost; pessimistic where ``clip`` is given."""
    ratio = (batch.log_prob - batch.old_log_prob).exp().unsqueeze(1)
    costs = batch.advantages[:, 1 : 1 + count]
    plain = ratio * costs
    return plain if clip is None else torch.maximum(plain, ratio.clamp(1.0 - clip, 1.0 + clip) * costs)


class Objective(ABC):
    """Common part: the clipped surrogate of the reward."""

    def __init__(self, config: EcoConfig, state: ConstraintState, clip: float) -> None:
        """``clip`` limits the change of the probability ratio."""
        self.config, self.state, self.clip = config, state, clip
        self._scale: AdvantageScale | None = None

    def begin(self, storage: RolloutStorage, scale: AdvantageScale) -> None:
        """Remember how advantages were normalised."""
        self._scale = scale

    @abstractmethod
    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Return named scalar losses, whose sum is minimised."""

    def reward(self, batch: Batch) -> Tensor:
        """The clipped surrogate of the reward, negated, ()."""
        return surrogate_loss(batch.log_prob, batch.old_log_prob, batch.advantages[:, 0], self.clip)

    def costs(self, batch: Batch, pessimistic: bool = False) -> Tensor:
        """Surrogates (C,) of the normalised cost advantages."""
        return cost_surrogates(batch, self.state.streams, self.clip if pessimistic else None).mean(0)

    def mirror(self, batch: Batch) -> Tensor:
        """The mirror error, ()."""
        assert batch.mirror is not None  # the method sees to it
        return batch.mirror

    def losses(self, batch: Batch) -> list[Tensor]:
        """One loss per constraint, the mirror error in shares of its budget."""
        costs = list(self.costs(batch).unbind())
        if len(self.state.violations) == self.state.streams:
            return costs
        return [*costs, self.mirror(batch) / self.state.mirror_budget]


class Lagrangian(Objective):
    """ECO: ``(L + sum_i lambda_i E[r A_i] + lambda_m mirror) / (1 + sum lambda)``; multipliers are constants here.

    Each sample has its own multiplier with a budget-conditioned policy.
    """

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms."""
        state, config = self.state, self.config
        assert self._scale is not None
        clip = self.clip if config.cost_surrogate == "pessimistic" else None
        mirror = state.multipliers[state.streams :]
        outside = mirror.sum() if config.mirror_in_divisor else 0.0
        reward = torch.minimum(*_clipped(batch, self.clip))
        costs = cost_surrogates(batch, state.streams, clip)
        if config.cost_scale == "price":
            costs = costs * (self._scale.std[1:] * (state.reward_size / self._scale.std[0]))
        if state.sample_multipliers is None:
            price = state.multipliers[: state.streams]
            divisor = 1.0 + price.sum() + outside
            terms = {"surrogate": -reward.mean() / divisor, "cost": (costs @ price).mean() / divisor}
        else:
            prices = batch.select_all(state.sample_multipliers)
            divisors = 1.0 + prices.sum(1) + outside
            terms = {"surrogate": -(reward / divisors).mean(), "cost": ((costs * prices).sum(1) / divisors).mean()}
            divisor = 1.0 + state.sample_multipliers.mean((0, 1)).sum() + outside
        if len(mirror):
            terms["mirror_price"] = mirror[0] * self.mirror(batch) / divisor
        return terms


def _clipped(batch: Batch, clip: float) -> tuple[Tensor, Tensor]:
    ratio = (batch.log_prob - batch.old_log_prob).exp()
    advantages = batch.advantages[:, 0]
    return ratio * advantages, ratio.clamp(1.0 - clip, 1.0 + clip) * advantages


class Penalty(Objective):
    """P3O (Zhang et al. 2022): ``L + sum_i weight_i relu(E[max(r A_i, clip(r) A_i)] + e_i)``.

    Advantages are those of costs in units of the budget's rate, as e is: a change of the mean advantage by x changes
    J / b by x. N-P3O (Lee et al. 2023) divides everything in the bracket by the deviation of the cost's advantages.
    """

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms."""
        assert self._scale is not None
        state = self.state
        weights = torch.where(state.violations.isnan(), 0.0, state.weights)  # what is not known yet does not act
        violations = state.violations.nan_to_num()
        std = self._scale.std[1:]
        bracket = self.costs(batch, pessimistic=True) + violations[: state.streams] / std
        if self.config.algorithm == "p3o":
            bracket = bracket * std
        terms = {"surrogate": self.reward(batch), "cost": (weights[: state.streams] * bracket.relu()).sum()}
        if len(violations) > state.streams:
            over = self.mirror(batch) / state.mirror_budget - 1.0  # needs no surrogate: it is that of the new policy
            terms["mirror_price"] = weights[-1] * over.relu()
        return terms


class Barrier(Objective):
    """IPO (Liu et al. 2020) by its gradient: a price of ``weight / (b - J)`` on each cost, in shares of the budget.

    What ECO's release calls IPO, ``ipo_release``, is ``weight / (J - b)``, and 0 within the budget: it acts only after
    a violation and fades as that grows. It is here to compare with, not to be used.

    As in OmniSafe the price is at most ``barrier_maximum``, which also holds beyond the budget, and the sum is divided
    by 1 + prices.
    """

    def prices(self) -> Tensor:
        """Return the price of each constraint."""
        e, weights, most = self.state.violations.nan_to_num(nan=-1.0), self.state.weights, self.config.barrier_maximum
        if self.config.algorithm == "ipo_release":
            return torch.where(e > 0, weights / e.clamp(min=1e-6), 0.0)
        return torch.where(e < 0, weights / (-e).clamp(min=1e-6), most).clamp(max=most)

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms."""
        prices = self.prices()
        cost = (torch.stack(self.losses(batch)) * prices).sum()
        divisor = 1.0 + prices.sum()
        return {"surrogate": self.reward(batch) / divisor, "cost": cost / divisor}


class Switching(Objective):
    """CRPO (Xu et al. 2021): the reward while all constraints hold within ``tolerance``, else one violated cost alone.

    With several violated, each minibatch draws one.
    """

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms; the one that is not followed counts 0."""
        violated = (self.state.violations > self.config.tolerance).nonzero().flatten().tolist()
        reward = self.reward(batch)
        if not violated:
            return {"surrogate": reward, "cost": torch.zeros_like(reward)}
        choice = int(torch.randint(len(violated), (), generator=self.state.generator))
        return {"surrogate": torch.zeros_like(reward), "cost": self.losses(batch)[violated[choice]]}


class RewardOnly(Objective):
    """The reward alone: for methods that act on the roll-out. A mirror error has a fixed price, its ``weight``."""

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms."""
        terms = {"surrogate": self.reward(batch)}
        if len(self.state.weights) > self.state.streams:
            terms["mirror_price"] = self.state.weights[-1] * self.mirror(batch)
        return terms


def make_objective(config: EcoConfig, state: ConstraintState, clip: float) -> Objective:
    """Return the objective of the configured algorithm."""
    kinds: dict[str, Any] = {
        "lagrangian": Lagrangian,
        "p3o": Penalty,
        "n_p3o": Penalty,
        "ipo": Barrier,
        "ipo_release": Barrier,
        "crpo": Switching,
        "cat": RewardOnly,
        "shaped": RewardOnly,
    }
    objective: Objective = kinds[config.algorithm](config, state, clip)
    return objective
