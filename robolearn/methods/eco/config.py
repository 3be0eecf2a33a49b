"""Settings of constrained learning. Every value is checked when the object is made; an error names the field."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Algorithm = Literal["lagrangian", "p3o", "n_p3o", "ipo", "ipo_release", "crpo", "cat", "shaped"]
Kind = Literal["episode_sum", "rate", "batch_average"]
MIRROR = "mirror"
"""The quantity that is not a cost of the environment: the squared error of left-right mirroring of the actions."""
BUDGET = "budget"
"""Setting of a task, and observation group of one column: the share of the budget that each episode has."""


@dataclass(frozen=True)
class DualConfig:
    """How a Lagrange multiplier follows its constraint. All controllers see the relative violation e = J / b - 1.

    A violation above ``largest`` counts as that: far from the budget, how far says nothing about the right price.

    Attributes:
        kind: ``adam`` as in the release of ECO: steps of ``lr`` whatever the violation; ``normalized`` gradient ascent:
            steps of ``lr`` times e; ``pid``: see ``PIDDual``.
        lr: step size of ``adam`` and ``normalized``.
        kp, ki, kd: gains of ``pid``.
        delay: updates over which ``pid`` takes its difference.
        smoothing: share of the old value in the moving averages of ``pid``.
        largest: limit of e.
        initial: multiplier at the start (``pid``: of its integral).
        maximum: upper limit of the multiplier.
        warm_up: no update before episodes have lasted this share of the longest possible one for the first time. It
            holds the other algorithms back, too, all but ``shaped``: to save before there is a skill teaches to rest.
        period: iterations between two updates.
    """

    kind: Literal["adam", "normalized", "pid"] = "pid"
    lr: float = 0.03
    kp: float = 0.5
    ki: float = 0.02
    kd: float = 0.2
    delay: int = 10
    smoothing: float = 0.8
    largest: float = 1.0
    initial: float = 0.0
    maximum: float = 10.0
    warm_up: float = 0.0
    period: int = 1

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.kind not in ("adam", "normalized", "pid"):
            raise ValueError(f"kind: must be adam, normalized or pid, got {self.kind!r}")
        if min(self.lr, self.maximum, self.largest) <= 0:
            raise ValueError(f"lr, maximum, largest: must be above 0, got {self.lr}, {self.maximum}, {self.largest}")
        if min(self.kp, self.ki, self.kd) < 0:
            raise ValueError(f"kp, ki, kd: must be 0 or more, got {self.kp}, {self.ki}, {self.kd}")
        if not 0 <= self.smoothing < 1 or not 0 <= self.warm_up <= 1:
            raise ValueError(f"smoothing in [0, 1) and warm_up in [0, 1], got {self.smoothing} and {self.warm_up}")
        if not 0 <= self.initial <= self.maximum:
            raise ValueError(f"initial: must be between 0 and maximum ({self.maximum}), got {self.initial}")
        if self.delay < 1 or self.period < 1:
            raise ValueError(f"delay and period: must be at least 1, got {self.delay} and {self.period}")


@dataclass(frozen=True)
class ConstraintConfig:
    """One bound: the estimate J of a quantity shall stay below its budget.

    Attributes:
        cost: name of a cost of the task, or ``mirror``: mean squared difference between the action of a mirrored state
            and the mirrored action.
        budget: b, in ``unit``.
        unit: of the budget. For a cost in watts ``W`` and ``J`` (per full episode) are converted into each other as the
            kind needs; any other text is shown as it is.
        kind: ``episode_sum``: cost times time, summed over an episode, mean of the last finished ones (what ECO bounds;
            an episode that ends early is cheap); ``rate``: mean cost per time over the roll-out; what is learned is the
            difference to that mean, so that a fall, which ends all costs, saves nothing; ``batch_average``: mean
            over the samples of the roll-out, as they are (falls make it cheap); the only one for ``mirror``.
        window: finished episodes over which an episode sum is averaged, rounded up to whole roll-outs.
        smoothing: share of the old value in the moving average of a rate or batch average.
        dual: the multiplier's controller.
        aim: share of the budget that is aimed at; a little below 1 keeps what is left of the loop's noise within it.
        weight: (``shaped``) price in reward per unit of cost and second; (``p3o``, ``n_p3o``) factor on the penalty;
            (``ipo``, ``ipo_release``) factor on the barrier.
    """

    cost: str
    budget: float
    unit: str = ""
    kind: Kind = "episode_sum"
    window: int = 100
    smoothing: float = 0.0
    dual: DualConfig = field(default_factory=DualConfig)
    aim: float = 1.0
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0 < self.aim <= 1:
            raise ValueError(f"aim: must be above 0 and at most 1, got {self.aim}")
        if self.kind not in ("episode_sum", "rate", "batch_average"):
            raise ValueError(f"kind: must be episode_sum, rate or batch_average, got {self.kind!r}")
        if not self.budget > 0:
            raise ValueError(f"budget: must be above 0 (violations are measured in shares of it), got {self.budget}")
        if self.cost == MIRROR and self.kind != "batch_average":
            raise ValueError(f"kind: {MIRROR!r} has no time; its kind is batch_average, got {self.kind!r}")
        if self.unit not in ("J", "W") and self.unit.lower() in ("j", "w", "kj", "kw", "wh", "joule", "watt"):
            raise ValueError(f"unit: {self.unit!r} is not converted; give the budget in J (per full episode) or W")
        if self.kind == "episode_sum" and self.smoothing:
            raise ValueError("smoothing: an episode sum is a mean over its `window` already; leave one of them out")
        if self.window < 1 or not 0 <= self.smoothing < 1:
            raise ValueError(f"window at least 1 and smoothing in [0, 1), got {self.window} and {self.smoothing}")
        if self.weight < 0:
            raise ValueError(f"weight: must be 0 or more, got {self.weight}")

    def rate(self, episode_s: float) -> float:
        """Return the budget as a mean cost per time, in the cost's unit; ``episode_s`` is a full episode's length."""
        if self.cost == MIRROR:
            return self.budget
        if self.unit == "J":
            return self.budget / episode_s
        if self.unit == "W":
            return self.budget
        return self.budget / episode_s if self.kind == "episode_sum" else self.budget


@dataclass(frozen=True)
class ConditioningConfig:
    """One policy for many budgets: a share of the budget is an input of the policy, drawn anew for each episode.

    Attributes:
        constraint: name of the constraint whose budget is multiplied by the share.
        knots: shares at which a multiplier is kept, ascending; between them it is interpolated.
    """

    constraint: str
    knots: list[float] = field(default_factory=lambda: [0.5, 0.6, 0.7, 0.8, 0.9, 1.0])

    def __post_init__(self) -> None:
        """Check the ranges."""
        if len(self.knots) < 2 or self.knots != sorted(set(self.knots)) or self.knots[0] <= 0:
            raise ValueError(f"knots: need at least two ascending shares above 0, got {self.knots}")


@dataclass(frozen=True)
class EcoConfig:
    """Constrained learning around PPO.

    Attributes:
        constraints: what is bounded, by name.
        algorithm: ``lagrangian`` is ECO; the others are baselines with the same data, networks and budget, see
            ``objectives.py``; ``cat`` ends episodes softly; ``shaped`` pays for costs at a fixed price.
        cost_surrogate: ``unclipped`` as released, or ``pessimistic``: the larger of the plain and the clipped one.
        cost_scale: ``own``: a cost's advantage is divided by its own deviation, as released; ``price``: by that of the
            reward, and multiplied by the mean size of a step's reward: a multiplier of 1 then prices a step that is
            just on budget at one mean reward, whatever the units, and the loop is damped (see docs/eco.md). While all
            rewards are 0 nothing has a price.
        mirror_in_divisor: whether the mirror's multiplier counts in the divisor 1 + sum of multipliers.
        tolerance: (``crpo``) relative violation up to which the reward is followed.
        barrier_maximum: (``ipo``) largest factor on a cost.
        termination: (``cat``) largest probability of a soft termination at the start and at the end of its ramp.
        termination_ramp: (``cat``) iterations of that ramp.
        conditioning: one policy for many budgets.
    """

    constraints: dict[str, ConstraintConfig]
    algorithm: Algorithm = "lagrangian"
    cost_surrogate: Literal["unclipped", "pessimistic"] = "unclipped"
    cost_scale: Literal["own", "price"] = "own"
    mirror_in_divisor: bool = True
    tolerance: float = 0.0
    barrier_maximum: float = 1.0
    termination: tuple[float, float] = (0.05, 0.25)
    termination_ramp: int = 500
    conditioning: ConditioningConfig | None = None

    def __post_init__(self) -> None:
        """Check that the parts fit each other."""
        if not self.constraints:
            raise ValueError("constraints: at least one is needed; without any, this is PPO: leave the section out")
        if self.conditioning is not None:
            name = self.conditioning.constraint
            if name not in self.constraints:
                raise ValueError(f"conditioning.constraint: {name!r} is none of {', '.join(self.constraints)}")
            if self.constraints[name].cost == MIRROR:
                raise ValueError("conditioning.constraint: the mirror error has no budget that a robot could be given")
            if self.algorithm != "lagrangian":
                raise ValueError(f"conditioning: needs the algorithm lagrangian, got {self.algorithm}")
        low, high = self.termination
        if not 0 <= low <= high <= 1 or self.termination_ramp < 1:
            raise ValueError(f"termination: an ordered pair in [0, 1] and a ramp of at least 1, got {low}, {high}")
        if self.tolerance < 0 or self.barrier_maximum <= 0:
            raise ValueError("tolerance must be 0 or more and barrier_maximum above 0")
        mirrors = [name for name, entry in self.constraints.items() if entry.cost == MIRROR]
        if mirrors and self.algorithm == "cat":
            raise ValueError(f"constraints.{mirrors[0]}: a soft termination needs a cost of a step, {MIRROR} has none")
