"""Constrained learning around PPO: estimates J of every constraint, moves the multipliers, acts on roll-outs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from robolearn.config import ConfigError, unknown
from robolearn.methods.eco.config import BUDGET, MIRROR, EcoConfig
from robolearn.methods.eco.duals import make_dual
from robolearn.methods.eco.estimators import EpisodeSums, Smoothed, hat_weights, rollout_means
from robolearn.methods.eco.objectives import ConstraintState, Objective, make_objective
from robolearn.rl import ProcessGroup
from robolearn.rl.storage import RolloutStorage
from sim.interface import VecEnv

REWARD_SMOOTHING = 0.9
"""Share of the old value in the mean size of a step's reward, the unit of prices."""
RUNNING_MAXIMUM = 0.95
"""Share of the old value in the running maximum of a violation (Chane-Sane et al. 2024, "CaT")."""


class EcoMethod:
    """ECO and its baselines; a ``robolearn.rl.runner.Method``. Give ``objective`` to PPO and itself to the runner.

    Attributes:
        cost_names: costs of the environment that are constrained, in the order of the constraints.
        cost_scale: one over each budget's rate: streams are 1 where a step is just on budget.
        names: names of all constraints; one on the mirror error is the last.
        knots: shares of the budget at which a multiplier is kept; 1 alone without a budget as input.
        objective: what the actor minimises.
        state: violations and multipliers.
    """

    def __init__(
        self,
        config: EcoConfig,
        env: VecEnv,
        clip: float = 0.2,
        seed: int = 0,
        group: ProcessGroup | None = None,
        clip_rewards: bool = False,
    ) -> None:
        """Prepare the estimates.

        Args:
            config: what is bounded, and how.
            env: the environment.
            clip: limit of the change of the probability ratio.
            seed: of CRPO's draws.
            group: the processes that learn together.
            clip_rewards: the task's rewards are never below 0: a ``shaped`` one is not either.

        Raises:
            ConfigError: a constraint names a cost that the task does not report, or there is no share to condition on.
        """
        self.config, self._group, self._clip_rewards = config, group or ProcessGroup(), clip_rewards
        entries = config.constraints
        costs = [name for name, entry in entries.items() if entry.cost != MIRROR]
        mirrors = [name for name, entry in entries.items() if entry.cost == MIRROR]
        if len(mirrors) > 1:
            raise ConfigError(f"eco.constraints: {' and '.join(mirrors)} both bound the mirror error; keep one")
        if mirrors and not env.symmetries:
            raise ConfigError(f"eco.constraints.{mirrors[0]}: this robot or task declares no mirror symmetry")
        for name in costs:
            if entries[name].cost not in env.cost_names:
                raise unknown("cost of the task", entries[name].cost, env.cost_names, f"eco.constraints.{name}")
        if config.conditioning is not None and env.obs_dims.get(BUDGET) != 1:
            raise ConfigError(
                f"eco.conditioning: the task has no observation group {BUDGET!r} with the share of each episode"
            )
        self.names = (*costs, *mirrors)
        self._entries = [entries[name] for name in self.names]
        self.episode_s = env.max_episode_length * env.step_dt
        self.rates = [entry.rate(self.episode_s) for entry in self._entries]
        self.cost_names = tuple(entries[name].cost for name in costs)
        self.cost_scale = tuple(1.0 / rate for rate in self.rates[: len(costs)])
        self.extra_groups: tuple[str, ...] = () if config.conditioning is None else (BUDGET,)
        self._step_dt, self._max_length = env.step_dt, env.max_episode_length
        device = env.device
        self.knots = list(config.conditioning.knots) if config.conditioning else [1.0]
        self._knots = torch.tensor(self.knots, device=device)
        knots = len(self.knots)
        self._conditioned = self.names.index(config.conditioning.constraint) if config.conditioning else -1
        self._duals = [
            make_dual(entry.dual, knots if i == self._conditioned else 1) for i, entry in enumerate(self._entries)
        ]
        count = len(self.names)
        self.state = ConstraintState(
            streams=len(costs),
            violations=torch.full((count,), float("nan"), device=device),
            multipliers=torch.tensor([float(dual.value.mean()) for dual in self._duals], device=device),
            weights=torch.zeros(count, device=device),
            mirror_budget=self.rates[-1] * self._entries[-1].aim if mirrors else 1.0,
            generator=torch.Generator().manual_seed(seed),
        )
        self.objective: Objective = make_objective(config, self.state, clip)
        windows = {entry.window for entry in self._entries if entry.kind == "episode_sum"}
        if len(windows) > 1:
            raise ConfigError(f"eco.constraints: windows of episode sums must be equal, got {sorted(windows)}")
        self._window = windows.pop() if windows else 100
        self._episodes = EpisodeSums(env.num_envs, len(costs), knots, env.max_episode_length, device)
        self._smoothed = [Smoothed(entry.smoothing) for entry in self._entries]
        self._reward = Smoothed(REWARD_SMOOTHING)
        self._scale = torch.tensor(self.cost_scale, device=device)
        self._running = torch.zeros(len(costs), device=device)
        self._iteration = 0
        self._length = 0.0  # steps, of the last finished episodes
        self._longest = 0.0  # of these
        self._clipped = float("nan")  # share of the rewards that a price took below the task's limit
        self._weigh()
        self._ratios: list[Tensor] = [
            torch.full((len(dual.value),), float("nan"), dtype=torch.float64) for dual in self._duals
        ]

    # -- what the runner calls -------------------------------------------------------------------------------------

    def on_rollout(self, storage: RolloutStorage) -> None:
        """Estimate what is known before the update; let ``cat`` and ``shaped`` change the roll-out."""
        if self._conditioned >= 0:
            shares = storage.obs[BUDGET][..., 0]
            storage.rewards[..., 1 + self._conditioned] /= shares
            weights = hat_weights(shares.flatten(), self._knots).view(*shares.shape, -1)
            self._prices(weights)
        else:
            weights = storage.rewards.new_ones(()).expand(storage.steps, storage.num_envs, 1)
        means, mean = rollout_means(storage, weights, self._group)
        self._episodes.add(storage, weights)
        sums, total, self._length = self._episodes.close(self._group, self._window)
        self.state.reward_size = float(self._reward(self._reward_size(storage)))
        if self.config.algorithm == "cat":
            self._terminate_softly(storage)
        elif self.config.algorithm == "shaped":
            self._charge(storage)
        for i, entry in enumerate(self._entries[: self.state.streams]):
            at_knots, alike = (sums, total) if entry.kind == "episode_sum" else (means, mean)
            found = at_knots[:, i] if i == self._conditioned else alike[i].view(1)
            self._ratios[i] = found if entry.kind == "episode_sum" else self._smoothed[i](found)
            self._judge(i)
            if entry.kind == "rate":  # a fall must not save what the rest of the episode would have cost
                usual = self._ratios[i].nan_to_num().to(weights)
                storage.rewards[..., 1 + i] -= weights @ usual if i == self._conditioned else usual

    def _reward_size(self, storage: RolloutStorage) -> Tensor:
        """Return (1,) the mean size of a valid step's reward: unlike its mean, never near 0 where signs mix."""
        rewards = storage.rewards[..., 0].double().abs() * storage.valid
        total, count = self._group.sum_(torch.stack((rewards.sum(), storage.valid.sum().double()))).tolist()
        return torch.tensor([total / max(count, 1.0)])

    def _warm(self, i: int) -> bool:
        return self._longest >= self._entries[i].dual.warm_up * self._max_length

    def _judge(self, i: int) -> None:
        known = float(self._ratios[i].nanmean()) / self._entries[i].aim - 1.0
        self.state.violations[i] = known if self._warm(i) else float("nan")

    def _weigh(self) -> None:
        """Set the weights: 0 for constraints that do not act yet."""
        shaped = self.config.algorithm == "shaped"
        for i, entry in enumerate(self._entries):
            self.state.weights[i] = entry.weight if shaped or self._warm(i) else 0.0

    def _prices(self, weights: Tensor) -> None:
        """Give each sample its multipliers (T, N, C), interpolated between the knots."""
        columns = [
            (weights @ dual.value.to(weights))
            if i == self._conditioned
            else torch.full_like(weights[..., 0], float(dual.value))
            for i, dual in enumerate(self._duals[: self.state.streams])
        ]
        self.state.sample_multipliers = torch.stack(columns, -1)

    def _terminate_softly(self, storage: RolloutStorage) -> None:
        """End episodes with a probability that grows with the worst violation of a step's rate (CaT, equation 4).

        The running maximum begins with the first violation and moves once per roll-out. Rewards should not be negative:
        what ends the future sooner would then pay.
        """
        over = (storage.rewards[..., 1:] - 1.0).clamp(min=0.0)
        largest = torch.stack(self._group.gather(over.amax((0, 1)))).amax(0)
        mixed = RUNNING_MAXIMUM * self._running + (1.0 - RUNNING_MAXIMUM) * largest
        self._running = torch.where(self._running > 0, mixed, largest)
        low, high = self.config.termination
        most = low + (high - low) * min(self._iteration / self.config.termination_ramp, 1.0)
        acting = torch.tensor([self._warm(i) for i in range(over.shape[-1])], device=over.device)
        ending = most * (over * acting / self._running.clamp(min=1e-8)).clamp(max=1.0).amax(-1)
        storage.survival = 1.0 - ending
        storage.rewards[..., 0] *= storage.survival

    def _charge(self, storage: RolloutStorage) -> None:
        """Take the price of each cost off the reward, before the task's clip at 0 where it has one.

        The task has clipped already what was below 0 without a price; what it logs does not know of the price.
        """
        costs = storage.rewards[..., 1:] / self._scale
        rewards = storage.rewards[..., 0]
        rewards -= (costs @ self.state.weights[: self.state.streams]) * self._step_dt
        if self._clip_rewards:
            counts = torch.stack(((rewards < 0.0) & storage.valid, storage.valid)).double().sum((1, 2))
            clipped, count = self._group.sum_(counts).tolist()
            self._clipped = clipped / max(count, 1.0)
            rewards.clamp_(min=0.0)

    def on_update(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """Move the multipliers; return each constraint's estimate, share of its budget and multiplier, if any."""
        self._iteration += 1
        self._longest = max(self._longest, self._length)
        self._weigh()
        found = {"eco/episode_length_s": self._length * self._step_dt, "eco/clipped_share": self._clipped}
        for i, (name, entry, dual) in enumerate(zip(self.names, self._entries, self._duals, strict=True)):
            if entry.cost == MIRROR:
                error = self._group.average_(torch.tensor([metrics["loss/mirror"]], device=self._scale.device))
                self._ratios[i] = self._smoothed[i](error.cpu().double() / self.rates[i])
                self._judge(i)
            if self.config.algorithm == "lagrangian" and self._warm(i) and self._iteration % entry.dual.period == 0:
                dual.update(self._ratios[i] / entry.aim)
            self.state.multipliers[i] = float(dual.value.mean())
            found[f"eco/{name}/share"] = float(self._ratios[i].nanmean())
            if i != self._conditioned:  # its budgets differ
                found[f"eco/{name}/value"] = found[f"eco/{name}/share"] * entry.budget
            if self.config.algorithm != "lagrangian":
                continue  # the others have none
            found[f"eco/{name}/multiplier"] = float(dual.value.mean())
            if i == self._conditioned:
                for knot, ratio, value in zip(self.knots, self._ratios[i], dual.value, strict=True):
                    found[f"eco/{name}/share_{knot:g}"] = float(ratio)
                    found[f"eco/{name}/multiplier_{knot:g}"] = float(value)
        return {name: value for name, value in found.items() if value == value}  # no estimate yet: nothing to show

    # -- state -----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything that is common to all processes."""
        return {
            "names": list(self.names),
            "rates": list(self.rates),
            "knots": self.knots,
            "duals": [dual.state_dict() for dual in self._duals],
            "episodes": self._episodes.state_dict(),
            "smoothed": [item.state_dict() for item in self._smoothed],
            "violations": self.state.violations,
            "running": self._running,
            "iteration": self._iteration,
            "reward": self._reward.state_dict(),
            "longest": self._longest,
            "random": self.state.generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``. With other budgets the multipliers stay, what was seen of J / b does not.

        Raises:
            ValueError: it was saved with other constraints, controllers or knots.
        """
        if state["names"] != list(self.names):
            raise ValueError(
                f"the state has the constraints {', '.join(state['names'])}, this run has {', '.join(self.names)}"
            )
        if (knots := state.get("knots", self.knots)) != self.knots:  # earlier versions did not save them
            raise ValueError(f"the state has the knots {knots}, this run has {self.knots}")
        for name, dual, saved in zip(self.names, self._duals, state["duals"], strict=True):
            try:
                dual.load_state_dict(saved)
            except ValueError as error:
                raise ValueError(f"constraint {name}: {error}") from error
        self.state.multipliers.copy_(torch.tensor([float(dual.value.mean()) for dual in self._duals]))
        if state["rates"] == list(self.rates):
            self._episodes.load_state_dict(state["episodes"])
            for item, saved in zip(self._smoothed, state["smoothed"], strict=True):
                item.load_state_dict(saved)
            self.state.violations.copy_(state["violations"])
        else:
            for dual in self._duals:
                dual.forget()
        self._running.copy_(state["running"])
        self._iteration = state["iteration"]
        self._reward.load_state_dict(state["reward"])
        self._longest = state["longest"]
        self._weigh()
        self.state.generator.set_state(state["random"].cpu())

    def local_state_dict(self) -> dict[str, Any]:
        """The running episodes of this process, in units of the budgets."""
        return {"rates": list(self.rates), **self._episodes.local_state_dict()}

    def load_local_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``local_state_dict()``; with other budgets, the running episodes are not counted."""
        if state["rates"] == list(self.rates):
            self._episodes.load_local_state_dict(state)
