"""Search for the smallest budget that costs nothing that matters: ECO's linear search, with a rule for its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """What a policy that was trained within a budget does.

    Attributes:
        budget: in the unit of the search; None where there was none.
        cost: what it really spends, in the same unit.
        tracking: tracking reward as a share of its maximum.
        survival: share of the episodes without a fall.
    """

    budget: float | None
    cost: float
    tracking: float
    survival: float


@dataclass(frozen=True)
class SearchRule:
    """When a budget is too small.

    Attributes:
        step: by how much the budget falls from one training to the next.
        tracking_loss: largest loss of tracking against the policy without a budget, as a share.
        survival: smallest survival.
    """

    step: float
    tracking_loss: float = 0.05
    survival: float = 0.99

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.step <= 0 or not 0 <= self.tracking_loss < 1 or not 0 <= self.survival <= 1:
            raise ValueError(
                f"step above 0, tracking_loss in [0, 1) and survival in [0, 1]; got {self.step}, {self.tracking_loss}, "
                f"{self.survival}"
            )

    def good(self, outcome: Outcome, free: Outcome) -> bool:
        """Whether nothing that matters was lost against the policy without a budget."""
        return outcome.tracking >= (1.0 - self.tracking_loss) * free.tracking and outcome.survival >= self.survival


def search(train: Callable[[float | None], Outcome], rule: SearchRule) -> Iterator[tuple[Outcome, bool]]:
    """Train without a budget, then with smaller and smaller ones; yield each outcome and whether it is good.

    The first budget is the largest multiple of ``step`` below what the free policy spends. The last good outcome is the
    answer; the search ends with the first that is not, or when no budget is left.

    Args:
        train: trains and measures a policy within a budget, or without one. Starting from the weights of the one before
            is much cheaper than from nothing.
        rule: when to stop.

    Raises:
        ValueError: the free policy does not survive by itself: a budget cannot mend that.
    """
    free = train(None)
    if free.survival < rule.survival:
        raise ValueError(
            f"without a budget {free.survival:.1%} of the episodes survive, less than {rule.survival:.1%}: "
            "train longer first"
        )
    yield free, True
    number = -(-free.cost // rule.step) - 1
    while number > 0:
        outcome = train(number * rule.step)
        good = rule.good(outcome, free)
        yield outcome, good
        if not good:
            return
        number -= 1
