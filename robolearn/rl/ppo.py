"""Proximal policy optimisation (Schulman et al. 2017), from a finished roll-out to better parameters.

Nothing in a minibatch waits for the device: the step size, the divergence and the count of skipped steps are tensors,
and the metrics are read once at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from robolearn.rl.config import PPOConfig
from robolearn.rl.distributed import ProcessGroup
from robolearn.rl.networks import LOG_2PI, ActorCritic
from robolearn.rl.optimizer import FlatAdam
from robolearn.rl.storage import RolloutStorage
from sim.interface import Symmetry

LR_FACTOR = 1.5
"""Factor by which the adaptive schedule changes the step size."""


@dataclass
class Batch:
    """One minibatch as objectives and auxiliary losses see it; B samples, or sequences of T steps, flattened.

    The actor learns from G = copies * B samples: the data itself and, with augmentation, its mirror images behind it.

    Attributes:
        storage: the roll-out.
        index: chosen samples out of T * N, or chosen environments for a policy with memory.
        sequences: which of the two.
        copies: 1, and 1 more for each symmetry by which the data is augmented.
        actor_x: (B, D) normalised inputs of the actor.
        critic_x: (B, D) normalised inputs of the critics.
        mean: (B, A) action means, with gradient.
        values: (B, S) values, with gradient; one column only where costs have no critic.
        log_prob: (G,) logarithm of the density of the actions taken, with gradient.
        old_log_prob: (G,) the same when they were taken.
        advantages: (G, S) of each stream, weighted and, where the configuration says so, normalised: a plain mean over
            them is a mean over valid samples.
        mirror: () mean squared difference between the actions of mirrored states and mirrored actions, with gradient;
            None where it is not computed.
    """

    storage: RolloutStorage
    index: Tensor
    sequences: bool
    copies: int
    actor_x: Tensor
    critic_x: Tensor
    mean: Tensor
    values: Tensor
    log_prob: Tensor
    old_log_prob: Tensor
    advantages: Tensor
    mirror: Tensor | None

    def select(self, x: Tensor) -> Tensor:
        """Pick this minibatch's rows (B, ...) from a tensor (T, N, ...) of the roll-out."""
        return _select(x, self.index, self.sequences)

    def select_all(self, x: Tensor) -> Tensor:
        """Pick the rows (G, ...) that belong to the samples that the actor learns from."""
        return _tile(self.select(x), self.copies)


class PolicyObjective(Protocol):
    """What the actor minimises; methods replace it."""

    def begin(self, storage: RolloutStorage, scale: AdvantageScale) -> None:
        """Prepare for the minibatches of one update."""

    def __call__(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return named scalar losses, whose sum is minimised."""


AuxiliaryLoss = Callable[[Batch], Mapping[str, Tensor]]
"""Returns named scalar losses that are added to the loss as they are."""


@dataclass(frozen=True)
class AdvantageScale:
    """How advantages were normalised: ``A = mean + std * normalised``.

    Attributes:
        mean, std: (S,) of each stream over the valid samples of the roll-out; 0 and 1 where nothing was normalised.
    """

    mean: Tensor
    std: Tensor


class RewardObjective:
    """The clipped surrogate of the reward; costs are ignored."""

    def __init__(self, clip: float) -> None:
        """``clip`` limits the change of the probability ratio."""
        self.clip = clip

    def begin(self, storage: RolloutStorage, scale: AdvantageScale) -> None:
        """Nothing to prepare."""

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Return the surrogate loss."""
        loss = surrogate_loss(batch.log_prob, batch.old_log_prob, batch.advantages[:, 0], self.clip)
        return {"surrogate": loss}


def surrogate_loss(log_prob: Tensor, old_log_prob: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """Clipped surrogate objective (Schulman et al. 2017, equation 7), negated, mean over (B,) samples."""
    ratio = (log_prob - old_log_prob).exp()
    clipped = ratio.clamp(1.0 - clip, 1.0 + clip)
    return -torch.minimum(ratio * advantages, clipped * advantages).mean()


def value_loss(values: Tensor, old_values: Tensor, returns: Tensor, weights: Tensor, clip: float | None) -> Tensor:
    """Squared error (B, S), pessimistic against changes above ``clip``: weighted mean over B, sum over S."""
    error = (values - returns).square()
    if clip is not None:
        limited = old_values + (values - old_values).clamp(-clip, clip)
        error = torch.maximum(error, (limited - returns).square())
    return (error * weights.unsqueeze(-1)).mean(0).sum()


def gaussian_log_prob(x: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Logarithm (B,) of the density of a diagonal Gaussian at ``x`` (B, A)."""
    scaled = (x - mean) * (-log_std).exp()
    return -0.5 * scaled.square().sum(-1) - log_std.sum() - 0.5 * x.shape[-1] * LOG_2PI


def gaussian_entropy(log_std: Tensor) -> Tensor:
    """Entropy () of a diagonal Gaussian with ``log_std`` (A,)."""
    return log_std.sum() + 0.5 * log_std.numel() * (1.0 + LOG_2PI)


def gaussian_kl(old_mean: Tensor, old_log_std: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Divergence KL(old || new) (B,) of diagonal Gaussians with means (B, A) and common ``log_std`` (A,)."""
    variance_ratio = (2.0 * (old_log_std - log_std)).exp()
    distance = ((mean - old_mean) * (-log_std).exp()).square()
    return (log_std - old_log_std + 0.5 * (variance_ratio - 1.0)).sum() + 0.5 * distance.sum(-1)


def adapt_lr(lr: Tensor, kl: Tensor, desired_kl: float, low: float, high: float) -> Tensor:
    """Return the next step size (): smaller above twice the wanted divergence, larger below half of it."""
    factor = torch.where(kl > 2.0 * desired_kl, 1.0 / LR_FACTOR, torch.where(kl < 0.5 * desired_kl, LR_FACTOR, 1.0))
    return (lr * torch.where(torch.isfinite(kl), factor, 1.0)).clamp(low, high)


def _select(x: Tensor, index: Tensor, sequences: bool) -> Tensor:
    return x.index_select(1, index).flatten(0, 1) if sequences else x.flatten(0, 1).index_select(0, index)


class PPO:
    """The update. It changes the policy it is given; methods compose with it through the two hooks.

    Attributes:
        optimizer: Adam on all parameters; its ``lr`` is the current step size.
        generator: source of the order of samples, and of the action noise of the runner.
    """

    def __init__(
        self,
        policy: ActorCritic,
        config: PPOConfig | None = None,
        symmetries: Sequence[Symmetry] = (),
        *,
        seed: int = 0,
        group: ProcessGroup | None = None,
        objective: PolicyObjective | None = None,
        auxiliary_losses: Sequence[AuxiliaryLoss] = (),
        auxiliary_parameters: Sequence[Sequence[nn.Parameter]] = (),
    ) -> None:
        """Prepare the optimiser; parameters and buffers become those of rank 0.

        Args:
            policy: networks on their final device.
            config: settings.
            symmetries: ``VecEnv.symmetries``.
            seed: start of the random numbers; each process adds its rank.
            group: the processes that learn together.
            objective: what the actor minimises; ``RewardObjective`` where None.
            auxiliary_losses: hooks that add losses.
            auxiliary_parameters: groups of further parameters that these losses train.

        Raises:
            ValueError: symmetry is asked for but not known, or not possible with a recurrent policy.
        """
        self.policy, self.config = policy, config or PPOConfig()
        self.group = group or ProcessGroup()
        self.objective = objective or RewardObjective(self.config.clip)
        self.auxiliary_losses = tuple(auxiliary_losses)
        device = policy.log_std.device
        self.symmetries = tuple(_to_device(symmetry, device) for symmetry in symmetries)
        if self.config.symmetry != "none" and not symmetries:
            raise ValueError("symmetry: the environment knows none; set it to none or give the robot a mirror map")
        if self.config.symmetry != "none" and policy.memory_size:
            raise ValueError("symmetry: not possible with a recurrent policy; set symmetry or rnn to none")
        self.generator = torch.Generator(device).manual_seed(seed + self.group.rank)
        groups = [*policy.parameter_groups(), *auxiliary_parameters]
        self.optimizer = FlatAdam(groups, self.config.learning_rate, extras=1)
        self.group.broadcast_([self.optimizer.params, *policy.buffers()])

    @property
    def gammas(self) -> list[float]:
        """Discount of each stream."""
        config = self.config
        cost = config.gamma if config.cost_gamma is None else config.cost_gamma
        return [config.gamma] + [cost] * self.policy.num_costs

    @property
    def lams(self) -> list[float]:
        """Lambda of each stream."""
        config = self.config
        return [config.lam] + [config.lam if config.cost_lam is None else config.cost_lam] * self.policy.num_costs

    def update(self, storage: RolloutStorage, done: float = 0.0) -> dict[str, float]:
        """Learn from a finished roll-out; return the means of losses and diagnostics over its minibatches.

        ``done`` is the share of the run that is over, for a ``linear`` schedule.
        """
        config, policy, optimizer = self.config, self.policy, self.optimizer
        if config.schedule == "linear":
            optimizer.lr.fill_(config.learning_rate * (1.0 - done))
        advantages, weights, scale = self._weighted_advantages(storage)
        self.objective.begin(storage, scale)
        actor_copies, critic_copies, action_copies = self._copies(storage)
        old_log_std = policy.log_std.detach().clone()
        augmented = len(action_copies)
        skipped_before = optimizer.skipped.clone()
        total: Tensor | None = None
        last_kl = torch.zeros((), device=self.optimizer.lr.device)  # sum over the minibatches of the last epoch
        names: list[str] = []
        steps = 0
        for index, sequences in self._minibatches(storage):

            def pick(x: Tensor, index: Tensor = index, sequences: bool = sequences) -> Tensor:
                return _select(x, index, sequences)

            actor_x, critic_x = _join([pick(x) for x in actor_copies]), _join([pick(x) for x in critic_copies])
            mean, values = self._evaluate(storage, actor_x, critic_x, index, sequences)
            log_std = policy.log_std
            advantage, weight, old_log_prob, old_mean = map(pick, (advantages, weights, storage.log_prob, storage.mean))
            count = weight.shape[0]
            learned = mean[: augmented * count]
            actions = _join([pick(x) for x in action_copies])
            log_prob = gaussian_log_prob(actions, learned, log_std)
            mirror = self._mirror_loss(mean, count) if len(actor_copies) > 1 else None
            batch = Batch(
                storage, index, sequences, augmented, actor_x[:count], critic_x[:count], mean[:count], values[:count],
                log_prob, _tile(old_log_prob, augmented), _tile(advantage, augmented), mirror,
            )  # fmt: skip
            losses = dict(self.objective(batch))
            loss = torch.stack(list(losses.values())).sum() if len(losses) > 1 else next(iter(losses.values()))
            valued = values.shape[-1]  # costs may have no critic
            old_values, returns = (_tile(pick(x[..., :valued]), augmented) for x in (storage.values, storage.returns))
            value = value_loss(values, old_values, returns, _tile(weight, augmented), config.value_clip)
            entropy = gaussian_entropy(log_std)
            losses |= {"value": value, "entropy": entropy}
            loss = loss + config.value_coef * value - config.entropy_coef * entropy
            if mirror is not None:
                losses["mirror"] = mirror
                if config.symmetry in ("loss", "both"):
                    loss = loss + config.mirror_coef * mirror
            for hook in self.auxiliary_losses:
                for name, extra in hook(batch).items():
                    losses[name] = extra
                    loss = loss + extra
            optimizer.zero_grad()
            loss.backward()
            with torch.no_grad():
                kl = (gaussian_kl(old_mean, old_log_std, mean[:count], log_std) * weight).mean()
                optimizer.extras[0] = kl
                self.group.average_(optimizer.buffer)
                kl = optimizer.extras[0].clone()
                last_kl = kl if steps % config.minibatches == 0 else last_kl + kl
                norm = optimizer.step(config.max_grad_norm)
                policy.limit_std()
                if not names:
                    names = [*(f"loss/{name}" for name in losses), "ppo/kl", "ppo/gradient_norm"]
                row = torch.stack([*(item.detach() for item in losses.values()), kl, norm])
                total = row if total is None else total + row
            steps += 1
        assert total is not None
        if config.schedule == "adaptive":
            last_kl = last_kl / config.minibatches
            optimizer.lr.copy_(adapt_lr(optimizer.lr, last_kl, config.desired_kl, config.lr_min, config.lr_max))
        return self._metrics(storage, names, total / steps, optimizer.skipped - skipped_before, steps)

    def _weighted_advantages(self, storage: RolloutStorage) -> tuple[Tensor, Tensor, AdvantageScale]:
        """Return the advantages (T, N, S), the weights (T, N) of the samples, and how advantages were normalised.

        The weight of a valid sample is 1 / (share of valid samples), of an invalid one 0, so that a plain mean over any
        part is an unbiased mean over valid samples. Advantages are normalised over all processes and weighted.
        """
        mask = storage.valid.double().unsqueeze(-1)
        advantages = storage.advantages
        streams = advantages.shape[-1]
        wide = advantages.double() * mask
        moments = torch.cat((wide.sum((0, 1)), wide.square().sum((0, 1)), mask.sum().view(1)))
        sums = self.group.sum_(moments)
        number = sums[-1].clamp(min=1.0)
        weights = (mask.squeeze(-1) * (storage.num_samples * self.group.size / number)).float()
        mean, std = advantages.new_zeros(streams), advantages.new_ones(streams)
        if self.config.normalize_advantages:
            mean64 = sums[:streams] / number
            std = (sums[streams:-1] / number - mean64.square()).clamp(min=0.0).sqrt().float() + 1e-8
            mean = mean64.float()
            advantages = (advantages - mean) / std
        return advantages * weights.unsqueeze(-1), weights, AdvantageScale(mean, std)

    def _copies(self, storage: RolloutStorage) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Return the data and its mirror images (T, N, ...): normalised inputs of actor and critics, and actions."""
        actor_x, critic_x = self.policy.normalize(storage.obs)
        actors, critics, actions = [actor_x], [critic_x], [storage.actions]
        if self.config.symmetry == "none":
            return actors, critics, actions
        for symmetry in self.symmetries:
            mirrored = {name: symmetry.obs[name](storage.obs[name]) for name in self.policy.groups}
            actor_x, critic_x = self.policy.normalize(mirrored)
            actors.append(actor_x)
            if self.config.symmetry in ("augment", "both"):
                critics.append(critic_x)
                actions.append(symmetry.action(storage.actions))
        return actors, critics, actions

    def _mirror_loss(self, mean: Tensor, count: int) -> Tensor:
        """Mean squared difference between the action of a mirrored state and the mirrored action (Yu et al. 2018)."""
        parts = mean.split(count)
        errors = [
            (part - symmetry.action(parts[0])).square().mean()
            for part, symmetry in zip(parts[1:], self.symmetries, strict=True)
        ]
        return torch.stack(errors).mean()

    def _minibatches(self, storage: RolloutStorage) -> Iterator[tuple[Tensor, bool]]:
        """Yield shuffled sample indices, or environment indices for a policy with memory, epoch by epoch."""
        sequences = self.policy.memory_size > 0
        total = storage.num_envs if sequences else storage.num_samples
        size = total // self.config.minibatches
        if size == 0:
            what = "environments" if sequences else "samples"
            raise ValueError(f"minibatches: {self.config.minibatches} is more than the {total} {what} of a roll-out")
        for _ in range(self.config.epochs):
            order = torch.randperm(total, generator=self.generator, device=self.generator.device)
            for i in range(self.config.minibatches):
                yield order[i * size : (i + 1) * size], sequences

    def _evaluate(
        self, storage: RolloutStorage, actor_x: Tensor, critic_x: Tensor, index: Tensor, sequences: bool
    ) -> tuple[Tensor, Tensor]:
        if not sequences:
            return self.policy.evaluate(actor_x, critic_x)
        shape = (storage.steps, index.numel(), -1)
        memory, starts = storage.memory.index_select(0, index), storage.starts.index_select(1, index)
        mean, values = self.policy.evaluate_sequence(actor_x.view(shape), critic_x.view(shape), memory, starts)
        return mean.flatten(0, 1), values.flatten(0, 1)

    def _metrics(
        self, storage: RolloutStorage, names: list[str], means: Tensor, skipped: Tensor, steps: int
    ) -> dict[str, float]:
        returns, values = storage.returns[..., 0], storage.values[..., 0]
        unexplained = (returns - values).var(correction=0) / returns.var(correction=0).clamp(min=1e-12)
        std = self.policy.log_std.detach().exp().mean()
        names = [*names, "ppo/learning_rate", "ppo/std", "ppo/explained_variance", "ppo/skipped", "ppo/skipped_share"]
        extra = torch.stack((self.optimizer.lr, std, 1.0 - unexplained, skipped.float(), skipped / steps))
        return dict(zip(names, torch.cat((means, extra)).tolist(), strict=True))

    def state_dict(self) -> dict[str, Any]:
        """Optimiser and step size."""
        return {"optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``."""
        self.optimizer.load_state_dict(state["optimizer"])


def _join(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _tile(x: Tensor, copies: int) -> Tensor:
    return x if copies == 1 else torch.cat([x] * copies)


def _to_device(symmetry: Symmetry, device: torch.device) -> Symmetry:
    return Symmetry({name: item.to(device) for name, item in symmetry.obs.items()}, symmetry.action.to(device))
