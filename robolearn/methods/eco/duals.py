"""Controllers of Lagrange multipliers: from the relative violation of a constraint to its multiplier.

Each holds M multipliers, one per knot of a budget-conditioned policy, else M = 1. They live on the host: an update
happens once per iteration and has a handful of numbers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from robolearn.methods.eco.config import DualConfig


class Dual(ABC):
    """M multipliers and what they remember.

    Attributes:
        value: (M,) float64, the multipliers; 0 where the constraint is slack.
    """

    def __init__(self, config: DualConfig, count: int = 1) -> None:
        """Start ``count`` multipliers at the configured value."""
        self.config = config
        self.value = torch.full((count,), config.initial, dtype=torch.float64)

    @abstractmethod
    def update(self, ratio: Tensor) -> Tensor:
        """Return the multipliers (M,) after seeing J / b (M,); a knot without a finite estimate stays as it is."""

    def forget(self) -> None:  # noqa: B027 - a controller without memory has nothing to forget
        """Forget what was seen of J / b, as when the budget changes; the multipliers stay."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next update depends on."""
        return {name: item.clone() for name, item in vars(self).items() if isinstance(item, Tensor)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``.

        Raises:
            ValueError: it belongs to another kind of controller, or another number of multipliers.
        """
        own = self.state_dict()
        if set(own) != set(state):
            raise ValueError(f"dual: the state holds {sorted(state)}, this {type(self).__name__} needs {sorted(own)}")
        for name in own:
            if own[name].shape != state[name].shape:
                sizes = f"{tuple(state[name].shape)}, this run needs {tuple(own[name].shape)}"
                raise ValueError(f"dual: {name} was saved with shape {sizes}: another delay, or other knots?")
        for name in own:
            setattr(self, name, state[name].clone())

    def _violation(self, ratio: Tensor) -> Tensor:
        return (ratio.double() - 1.0).clamp(max=self.config.largest)

    def _limited(self, value: Tensor) -> Tensor:
        return value.clamp(0.0, self.config.maximum)


class AdamDual(Dual):
    """Adam (Kingma and Ba 2015) on ``-lambda (J / b - 1)``, clipped at 0: what the release of ECO does.

    A step is about ``lr`` long whatever the violation. The clip leaves the moments as they are, as in the release.
    """

    def __init__(self, config: DualConfig, count: int = 1) -> None:
        super().__init__(config, count)
        self.forget()

    def forget(self) -> None:
        """See ``Dual.forget``."""
        self.first, self.second, self.steps = (torch.zeros_like(self.value) for _ in range(3))

    def update(self, ratio: Tensor) -> Tensor:
        """See ``Dual.update``."""
        known = torch.isfinite(ratio)
        gradient = torch.where(known, -self._violation(ratio), 0.0)
        self.steps = self.steps + known
        self.first = torch.where(known, 0.9 * self.first + 0.1 * gradient, self.first)
        self.second = torch.where(known, 0.999 * self.second + 0.001 * gradient.square(), self.second)
        steps = self.steps.clamp(min=1.0)
        mean, spread = self.first / (1.0 - 0.9**steps), self.second / (1.0 - 0.999**steps)
        moved = self.value - self.config.lr * mean / (spread.sqrt() + 1e-8)
        self.value = torch.where(known, self._limited(moved), self.value)
        return self.value


class NormalizedDual(Dual):
    """Gradient ascent in units of the budget: ``lambda <- lambda + lr (J / b - 1)``, clipped at 0."""

    def update(self, ratio: Tensor) -> Tensor:
        """See ``Dual.update``."""
        moved = self._limited(self.value + self.config.lr * self._violation(ratio))
        self.value = torch.where(torch.isfinite(ratio), moved, self.value)
        return self.value


class PIDDual(Dual):
    """Proportional, integral and derivative action on e = J / b - 1 (Stooke et al. 2020, algorithm 2).

        I <- I + ki e        P <- a P + (1 - a) e        D <- a D + (1 - a) J / b
        lambda = clip(kp P + I + kd max(0, D - D[delay updates ago]), 0, maximum)

    Anti-windup: the integral stays between 0 and ``maximum``. It does not grow while the multiplier is at its maximum,
    nor while a violation above ``largest`` shrinks by itself: a policy takes its time, and what the integral gathers on
    the way is too much at the budget.
    """

    def __init__(self, config: DualConfig, count: int = 1) -> None:
        super().__init__(config, count)
        self.integral = self.value.clone()
        self.forget()

    def forget(self) -> None:
        """See ``Dual.forget``."""
        self.error = torch.zeros_like(self.value)
        shape = (self.config.delay + 1, len(self.value))
        self.past = torch.full(shape, torch.nan, dtype=torch.float64)  # newest first; of D

    def update(self, ratio: Tensor) -> Tensor:
        """See ``Dual.update``."""
        c, known = self.config, torch.isfinite(ratio)
        ratio = torch.where(known, ratio.double(), 1.0)
        error, top = self._violation(ratio), 1.0 + c.largest
        first = self.past[0].isnan()  # averages begin with the first value, not with 0
        smooth = c.smoothing
        proportional = torch.where(first, error, smooth * self.error + (1.0 - smooth) * error)
        level = torch.where(first, ratio, smooth * self.past[0].nan_to_num() + (1.0 - smooth) * ratio)
        past = torch.cat((level.unsqueeze(0), self.past[:-1]))
        before = past[-1]
        rise = level.clamp(max=top) - before.clamp(max=top)
        outer = c.kp * proportional + c.kd * torch.where(before.isnan(), 0.0, rise).clamp(min=0.0)
        full = (self.integral + outer >= c.maximum) & (error > 0)
        shrinking = (ratio > top) & (level < before)
        integral = (self.integral + c.ki * error).clamp(0.0, c.maximum)
        integral = torch.where(full | shrinking, self.integral, integral)
        value = self._limited(outer + integral)
        self.integral = torch.where(known, integral, self.integral)
        self.error = torch.where(known, proportional, self.error)
        self.past = torch.where(known, past, self.past)
        self.value = torch.where(known, value, self.value)
        return self.value


_KINDS: Mapping[str, type[Dual]] = {"adam": AdamDual, "normalized": NormalizedDual, "pid": PIDDual}


def make_dual(config: DualConfig, count: int = 1) -> Dual:
    """Return ``count`` multipliers with the configured controller."""
    return _KINDS[config.kind](config, count)
