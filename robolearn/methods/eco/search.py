"""Search for the smallest budget that costs nothing that matters: ECO's linear search, with a rule for its end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass


class SearchError(ValueError):
    """There is nothing to search from."""


@dataclass(frozen=True)
class Outcome:
    """What a policy that was trained within a budget does.

    Attributes:
        budget: in the unit of the search; None where there was none.
        cost: what it spends with the sampled actions that the budget bounds, in the same unit.
        tracking: share of the commanded velocity that it follows, 1 at best.
        survival: share of the episodes without a fall.
        survival_high: upper limit of its confidence interval.
    """

    budget: float | None
    cost: float
    tracking: float
    survival: float
    survival_high: float


@dataclass(frozen=True)
class SearchRule:
    """When a budget is too small.

    Attributes:
        step: by how much the budget falls from one training to the next.
        tracking_loss: largest loss of tracking against the policy without a budget, as a share.
        survival: smallest survival; a budget is too small where the interval of its survival lies below.
        excess: by which share of the budget the cost may be above it.
    """

    step: float
    tracking_loss: float = 0.05
    survival: float = 0.99
    excess: float = 0.05

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.step <= 0 or not 0 <= self.tracking_loss < 1 or not 0 <= self.survival <= 1 or self.excess < 0:
            raise ValueError(
                "step above 0, tracking_loss in [0, 1), survival in [0, 1] and excess from 0; got "
                f"{self.step}, {self.tracking_loss}, {self.survival}, {self.excess}"
            )

    def objection(self, outcome: Outcome, free: Outcome) -> str:
        """Return why a budget is too small, or "" where nothing that matters was lost against ``free``."""
        if outcome.survival_high < self.survival:
            return f"only {outcome.survival:.1%} survive"
        if not outcome.tracking >= (1.0 - self.tracking_loss) * free.tracking:  # NaN is an objection
            return f"tracking fell from {free.tracking:.3f} to {outcome.tracking:.3f}"
        if outcome.budget is not None and not outcome.cost <= (1.0 + self.excess) * outcome.budget:
            return f"not kept, {outcome.cost:.4g} were spent: perhaps more iterations are needed"
        return ""


def search(train: Callable[[float | None], Outcome], rule: SearchRule) -> Iterator[tuple[Outcome, str]]:
    """Train without a budget, then with smaller and smaller ones; yield each outcome and the objection to it, or "".

    The first budget is the largest multiple of ``step`` below what the free policy spends. The last outcome without an
    objection is the answer; the search ends with the first that has one, or when no budget is left.

    Args:
        train: trains and measures a policy within a budget, or without one. Starting from the weights of the one before
            is much cheaper than from nothing.
        rule: when to stop.

    Raises:
        SearchError: the free policy does not survive, or follows no command: a budget cannot mend that; or it spends
            less than a step.
    """
    free = train(None)
    if free.survival_high < rule.survival:
        raise SearchError(
            f"without a budget {free.survival:.1%} of the episodes survive, less than {rule.survival:.1%}: "
            "train longer first"
        )
    if not (math.isfinite(free.tracking) and free.tracking > 0):
        raise SearchError(f"without a budget tracking is {free.tracking:.3f}: train longer first")
    if not math.isfinite(free.cost):
        raise SearchError("without a budget the cost is not known: train longer first")
    yield free, ""
    number = -(-free.cost // rule.step) - 1
    if number < 1:
        raise SearchError(
            f"without a budget {free.cost:.4g} are spent: with a step of {rule.step:g} there is no budget to try"
        )
    while number > 0:
        outcome = train(number * rule.step)
        objection = rule.objection(outcome, free)
        yield outcome, objection
        if objection:
            return
        number -= 1
