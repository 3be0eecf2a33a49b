"""A task's terms, bound once at start and evaluated together at every control step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from robolearn.config import ConfigError, convert
from sim.randomization import Randomizable, randomization
from sim.registry import Registry
from sim.state import RobotState
from sim.tasks.config import TaskConfig
from sim.tasks.terms import cost, reward, termination

Bound = dict[str, Callable[..., Any]]


class TermEvaluator:
    """Rewards, costs, terminations and randomisations of one task.

    Attributes:
        reward_names: names of the reward terms.
        cost_names: names of the K costs.
        model_fields: model fields that the randomisations give per-environment values.

    Raises:
        ConfigError: unknown term or parameter, missing or non-finite weight.
    """

    def __init__(self, task: TaskConfig) -> None:
        weights, params = [], {}
        for name, entry in task.rewards.items():
            rest = dict(entry)
            if "weight" not in rest:
                raise ConfigError(f"task.rewards.{name}.weight: required entry is missing")
            weights.append(convert(float, rest.pop("weight"), f"task.rewards.{name}.weight"))
            params[name] = rest
        if not weights:
            raise ConfigError("task.rewards: a task needs at least one reward")
        self._rewards = _bind(reward, params, "task.rewards")
        self._costs = _bind(cost, task.costs, "task.costs")
        self._terminations = _bind(termination, task.terminations, "task.terminations")
        self._randomizations = _bind(randomization, task.randomization, "task.randomization")
        self._weights = torch.tensor(weights) * task.step_dt
        self._clip = task.clip_reward
        self.reward_names, self.cost_names = tuple(self._rewards), tuple(self._costs)
        fields: dict[str, None] = {}
        self._derived = False
        for name in self._randomizations:
            term = randomization.get(name)
            fields |= dict.fromkeys(vars(term).get("model_fields", ()))
            self._derived |= bool(vars(term).get("derived", False))
        self.model_fields = tuple(fields)

    def __call__(self, state: RobotState) -> tuple[Tensor, Tensor, Tensor, dict[str, float | Tensor]]:
        """Evaluate every term.

        Returns:
            reward (N,), costs (N, K), terminated (N,) bool, and a log: the mean of each reward term before weighting,
            and the share of robots whose reward was clipped, where the task clips it.
        """
        values = torch.stack([term(state) for term in self._rewards.values()], 1)
        self._weights = self._weights.to(values.device)
        total = values @ self._weights
        costs = (
            torch.stack([term(state) for term in self._costs.values()], 1)
            if self._costs
            else values.new_zeros(len(values), 0)
        )
        terminated = torch.zeros(len(values), dtype=torch.bool, device=values.device)
        for term in self._terminations.values():
            terminated = terminated | term(state)
        log: dict[str, float | Tensor] = {
            f"term/{name}": mean for name, mean in zip(self.reward_names, values.mean(0).unbind(), strict=True)
        }
        if self._clip:
            log["reward/clipped_share"] = (total < 0).float().mean()
            total = total.clamp(min=0)
        return total, costs, terminated, log

    def randomize(self, drawn: Randomizable, ids: Tensor) -> None:
        """Draw everything that is randomised for environments (M,)."""
        for term in self._randomizations.values():
            term(drawn, ids)
        if self._derived:
            drawn.engine.set_const(ids)


def _bind(registry: Registry[Any], entries: Mapping[str, Mapping[str, Any]], where: str) -> Bound:
    return {name: _plain(registry.bind(name, params, where)) for name, params in entries.items()}


def _plain(term: Callable[..., Any]) -> Callable[..., Any]:
    """Drop the empty partial around a term without parameters: it is called at every step."""
    return term.func if isinstance(term, partial) and not term.keywords else term
