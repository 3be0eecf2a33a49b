"""The roll-out buffer and generalised advantage estimation for a reward and K cost streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from robolearn.rl.networks import Decision
from sim.interface import Observations, StepResult


def gae(
    rewards: Tensor,
    values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    final_values: Tensor,
    last_values: Tensor,
    gamma: float | Sequence[float] | Tensor,
    lam: float | Sequence[float] | Tensor,
    valid: Tensor | None = None,
    survival: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (Schulman et al. 2016, equations 11 to 16) for S streams at once.

        delta_t = r_t + gamma * V'_t - V_t
        A_t     = delta_t + gamma * lam * (1 - done_t) * A_(t+1)

    V'_t is 0 after a terminal state, the value of the episode's true final observation at a time limit, and V_(t+1)
    otherwise. An invalid transition has advantage 0, and nothing after it reaches back past it.

    Args:
        rewards: (T, N, S) reward (column 0) and costs.
        values: (T, N, S) values of the observations acted on.
        terminated: (T, N) bool; wins where ``truncated`` is set too.
        truncated: (T, N) bool.
        final_values: (T, N, S) values of the final observations; read only where truncated.
        last_values: (N, S) values of the observations after the last step.
        gamma: discount, one for all streams or one per stream.
        lam: lambda, likewise.
        valid: (T, N) bool; null means that every transition is valid.
        survival: (T, N) probability with which the episode is taken to go on after each step, beside its real end
            (Chane-Sane et al. 2024, "CaT"); null means 1.

    Returns:
        The advantages and the returns (advantage + value), each (T, N, S).
    """
    gammas = torch.as_tensor(gamma, dtype=values.dtype, device=values.device)
    lams = torch.as_tensor(lam, dtype=values.dtype, device=values.device)
    next_values = torch.cat((values[1:], last_values.unsqueeze(0)))
    next_values = torch.where(truncated.unsqueeze(-1), final_values, next_values)
    next_values = next_values.masked_fill(terminated.unsqueeze(-1), 0.0)
    if survival is not None:
        next_values = next_values * survival.unsqueeze(-1)
    deltas = rewards + gammas * next_values - values
    going_on = ~(terminated | truncated)
    if valid is not None:
        going_on = going_on & valid
        deltas = deltas.masked_fill(~valid.unsqueeze(-1), 0.0)
    decay = going_on.unsqueeze(-1) * (gammas * lams)
    if survival is not None:
        decay = decay * survival.unsqueeze(-1)
    advantages = torch.empty_like(deltas)
    running = torch.zeros_like(last_values)
    for t in range(rewards.shape[0] - 1, -1, -1):
        running = torch.addcmul(deltas[t], decay[t], running, out=advantages[t])
    return advantages, advantages + values


class RolloutStorage:
    """Everything that one roll-out of T steps in N environments leaves behind, in tensors made once.

    Attributes:
        obs: (T, N, D) raw observations per group.
        actions: (T, N, A).
        mean: (T, N, A) means of the policy that acted.
        log_prob: (T, N).
        rewards: (T, N, S) reward and costs.
        values: (T, N, S).
        final_values: (T, N, S) values of final observations; 0 where no episode ended.
        terminated: (T, N) bool.
        truncated: (T, N) bool.
        valid: (T, N) bool.
        starts: (T, N) bool, whether an episode starts with this step.
        memory: (N, M) memory before the first step.
        survival: (T, N) see ``gae``; None where nothing but its real end ends an episode.
        advantages: (T, N, S), filled by ``finish``.
        returns: (T, N, S), filled by ``finish``.
    """

    def __init__(
        self,
        steps: int,
        num_envs: int,
        obs_dims: Mapping[str, int],
        num_actions: int,
        num_costs: int = 0,
        memory_size: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        """Allocate the buffers."""
        streams = 1 + num_costs

        def make(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(steps, num_envs, *shape, dtype=dtype, device=device)

        self.steps, self.num_envs = steps, num_envs
        self.obs = {name: make(dim) for name, dim in obs_dims.items()}
        self.actions, self.mean, self.log_prob = make(num_actions), make(num_actions), make()
        self.rewards, self.values, self.final_values = make(streams), make(streams), make(streams)
        self.terminated, self.truncated = make(dtype=torch.bool), make(dtype=torch.bool)
        self.valid, self.starts = make(dtype=torch.bool), make(dtype=torch.bool)
        self.memory = torch.zeros(num_envs, memory_size, device=device)
        self.survival: Tensor | None = None
        self.advantages, self.returns = make(streams), make(streams)

    @property
    def num_samples(self) -> int:
        """T times N."""
        return self.steps * self.num_envs

    def record_decision(self, t: int, obs: Observations, decision: Decision, starts: Tensor) -> None:
        """Store what was seen and decided at step ``t``, before the environment moves on.

        Args:
            t: index of the step.
            obs: raw observations (N, D per group); only the groups of this storage are kept.
            decision: what the policy decided.
            starts: (N,) bool, whether an episode starts here.
        """
        for name, buffer in self.obs.items():
            buffer[t].copy_(obs[name])
        self.actions[t].copy_(decision.actions)
        self.mean[t].copy_(decision.mean)
        self.log_prob[t].copy_(decision.log_prob)
        self.values[t].copy_(decision.values)
        self.starts[t].copy_(starts)

    def record_result(self, t: int, result: StepResult, costs: Tensor, final_values: Tensor | None) -> None:
        """Store what the environment returned at step ``t``.

        Args:
            t: index of the step.
            result: the environment's answer.
            costs: (N, K) those that are learned from.
            final_values: (M, S) values of the final observations of ``result.final_ids``; None when no episode ended.
        """
        self.rewards[t, :, 0].copy_(result.reward)
        if self.rewards.shape[-1] > 1:
            self.rewards[t, :, 1:].copy_(costs)
        self.terminated[t].copy_(result.terminated)
        self.truncated[t].copy_(result.truncated)
        self.valid[t].copy_(result.valid)
        self.final_values[t].zero_()
        if final_values is not None:
            self.final_values[t].index_copy_(0, result.final_ids, final_values)

    def finish(
        self, last_values: Tensor, gamma: float | Sequence[float] | Tensor, lam: float | Sequence[float] | Tensor
    ) -> None:
        """Fill ``advantages`` and ``returns``, given the values (N, S) of the observations after the last step."""
        self.advantages, self.returns = gae(
            self.rewards,
            self.values,
            self.terminated,
            self.truncated,
            self.final_values,
            last_values,
            gamma,
            lam,
            self.valid,
            self.survival,
        )
