"""Actor and critics: plain or recurrent networks, a Gaussian policy, one value head per reward and cost stream."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from robolearn.config import parse, unknown
from robolearn.rl.config import NetworkConfig
from robolearn.rl.normalizer import Normalizer

# In-place where the derivative needs only the result: one buffer of activations less to write and read.
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "elu": lambda: nn.ELU(inplace=True),
    "relu": lambda: nn.ReLU(inplace=True),
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
}
LOG_2PI = math.log(2.0 * math.pi)


def mlp(sizes: Sequence[int], activation: str, last_gain: float) -> nn.Sequential:
    """Return linear layers of widths ``sizes`` with ``activation`` between them.

    Weights are orthogonal (Saxe et al. 2014) with gain sqrt(2), the last layer's with ``last_gain``; biases are 0.
    """
    layers: list[nn.Module] = []
    for i, (width_in, width_out) in enumerate(itertools.pairwise(sizes)):
        last = i == len(sizes) - 2
        linear = nn.Linear(width_in, width_out)
        nn.init.orthogonal_(linear.weight, last_gain if last else math.sqrt(2.0))
        nn.init.zeros_(linear.bias)
        layers += [linear] if last else [linear, ACTIVATIONS[activation]()]
    return nn.Sequential(*layers)


class GRU(nn.Module):
    """Gated recurrent unit (Cho et al. 2014), gates ordered reset, update, candidate as in ``torch.nn.GRU``.

    Written with plain linear layers: its memory is an explicit tensor, any ONNX exporter takes it, and the input
    products of a whole sequence are one matrix product.
    """

    def __init__(self, dim: int, size: int) -> None:
        """Make a unit for inputs of width ``dim`` with ``size`` memory entries."""
        super().__init__()
        self.size = size
        self.input = nn.Linear(dim, 3 * size)
        self.hidden = nn.Linear(size, 3 * size)
        for linear in (self.input, self.hidden):
            nn.init.uniform_(linear.weight, -(size**-0.5), size**-0.5)
            nn.init.zeros_(linear.bias)

    def _advance(self, gates: Tensor, memory: Tensor) -> Tensor:
        reset_x, update_x, new_x = gates.chunk(3, -1)
        reset_h, update_h, new_h = self.hidden(memory).chunk(3, -1)
        update = torch.sigmoid(update_x + update_h)
        new = torch.tanh(new_x + torch.sigmoid(reset_x + reset_h) * new_h)
        return new + update * (memory - new)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """Return the memory (B, H) after the input ``x`` (B, D)."""
        return self._advance(self.input(x), memory)

    def sequence(self, x: Tensor, memory: Tensor, starts: Tensor) -> Tensor:
        """Return the memories (T, B, H) along inputs ``x`` (T, B, D) from ``memory`` (B, H).

        The memory is cleared before the steps where ``starts`` (T, B) is true.
        """
        gates = self.input(x)
        keep = (~starts).unsqueeze(-1).to(memory.dtype)
        states = []
        for t in range(x.shape[0]):
            memory = self._advance(gates[t], memory * keep[t])
            states.append(memory)
        return torch.stack(states)


class Network(nn.Module):
    """Fully connected layers, with a recurrent layer before them when asked for."""

    def __init__(self, dim: int, hidden: Sequence[int], out: int, config: NetworkConfig, last_gain: float) -> None:
        """Make a network from ``dim`` inputs to ``out`` outputs."""
        super().__init__()
        self.rnn = GRU(dim, config.rnn_size) if config.rnn == "gru" else None
        self.memory_size = config.rnn_size if self.rnn is not None else 0
        self.layers = mlp([self.memory_size or dim, *hidden, out], config.activation, last_gain)

    def forward(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Map ``x`` (B, D) and ``memory`` (B, H) to the output (B, out) and the new memory."""
        if self.rnn is not None:
            memory = self.rnn(x, memory)
            x = memory
        return self.layers(x), memory

    def sequence(self, x: Tensor, memory: Tensor, starts: Tensor) -> Tensor:
        """Map ``x`` (T, B, D) to outputs (T, B, out); see ``GRU.sequence``."""
        return self.layers(x if self.rnn is None else self.rnn.sequence(x, memory, starts))


class Decision(NamedTuple):
    """What the policy decides in one step, for N environments, A actions and S = 1 + K streams.

    Attributes:
        actions: (N, A), sampled.
        log_prob: (N,), logarithm of their density.
        mean: (N, A), the deterministic action.
        values: (N, S), of the reward (column 0) and of each cost.
        memory: (N, M), memory for the next step; M is 0 without a recurrent layer.
    """

    actions: Tensor
    log_prob: Tensor
    mean: Tensor
    values: Tensor
    memory: Tensor


class ActorCritic(nn.Module):
    """Gaussian actor with a state-independent standard deviation, a reward critic and, for K > 0, a cost critic.

    The actor reads one observation group and the critics another. The critics' networks are separate, so that K = 0
    costs nothing and errors of a cost in watts cannot disturb the reward's value. Without a cost critic (see
    ``NetworkConfig.cost_critic``) the values of costs are 0: their advantages are discounted sums of what was paid.

    Attributes:
        log_std: (A,) logarithm of the standard deviation of the actions.
        memory_size: M, width of the memory of actor and critics together (the actor's part first).
    """

    def __init__(
        self, obs_dims: Mapping[str, int], num_actions: int, num_costs: int = 0, config: NetworkConfig | None = None
    ) -> None:
        """Make the networks.

        Args:
            obs_dims: width of each observation group, as ``VecEnv.obs_dims``.
            num_actions: A.
            num_costs: K.
            config: shapes.

        Raises:
            ConfigError: the configuration names a group that does not exist.
        """
        super().__init__()
        config = config or NetworkConfig()
        for name in (config.actor_group, config.critic_group):
            if name not in obs_dims:
                raise unknown("observation group", name, obs_dims, "network")
        self.config = config
        self.num_actions, self.num_costs = num_actions, num_costs
        self.groups = tuple(dict.fromkeys((config.actor_group, config.critic_group)))
        self.obs_dims = {name: obs_dims[name] for name in self.groups}
        actor_dim, critic_dim = obs_dims[config.actor_group], obs_dims[config.critic_group]
        self.actor_norm = Normalizer(actor_dim, config.obs_clip)
        self.critic_norm = Normalizer(critic_dim, config.obs_clip)
        for norm in (self.actor_norm, self.critic_norm):
            norm.freeze(not config.normalize)
        self.actor = Network(actor_dim, config.actor_hidden, num_actions, config, config.actor_gain)
        self.critic = Network(critic_dim, config.critic_hidden, 1, config, 1.0)
        valued = num_costs if config.cost_critic else 0
        self.cost_critic = Network(critic_dim, config.critic_hidden, valued, config, 1.0) if valued else None
        self.log_std = nn.Parameter(torch.full((num_actions,), math.log(config.init_std)))
        critics = [self.critic] + ([self.cost_critic] if self.cost_critic is not None else [])
        self._splits = [net.memory_size for net in (self.actor, *critics)]
        self.memory_size = sum(self._splits)

    # -- acting ----------------------------------------------------------------------------------------------------

    def forward(self, obs: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Return the deterministic action (N, A) and the new actor memory (N, H): the policy as it runs on a robot.

        Args:
            obs: (N, D) raw observations of the actor's group.
            memory: (N, H) actor memory, zeros at the start of an episode; H is 0 without a recurrent layer.
        """
        return self.actor(self.actor_norm(obs), memory)

    def initial_memory(self, num: int) -> Tensor:
        """Return the memory (num, M) of actor and critics at the start of an episode: zeros."""
        return torch.zeros(num, self.memory_size, device=self.log_std.device)

    def initial_actor_memory(self, num: int) -> Tensor:
        """Return the memory (num, H) of the actor at the start of an episode: zeros."""
        return torch.zeros(num, self.actor.memory_size, device=self.log_std.device)

    def act(self, obs: Mapping[str, Tensor], memory: Tensor, generator: torch.Generator | None = None) -> Decision:
        """Sample actions for raw observations (N, D per group) and ``memory`` (N, M)."""
        actor_x, critic_x = self.normalize(obs)
        parts = memory.split(self._splits, -1)
        mean, actor_memory = self.actor(actor_x, parts[0])
        noise = torch.empty_like(mean).normal_(generator=generator)
        values, critic_memory = self._values(critic_x, parts[1:])
        log_prob = -0.5 * noise.square().sum(-1) - self.log_std.sum() - 0.5 * self.num_actions * LOG_2PI
        new_memory = torch.cat((actor_memory, *critic_memory), -1)
        return Decision(mean + noise * self.log_std.exp(), log_prob, mean, values, new_memory)

    def values(self, obs: Mapping[str, Tensor], memory: Tensor) -> Tensor:
        """Return the values (N, S) of raw observations, given the ``memory`` (N, M) before them."""
        critic_x = self.critic_norm(obs[self.config.critic_group])
        return self._values(critic_x, memory.split(self._splits, -1)[1:])[0]

    def _values(self, critic_x: Tensor, memories: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        value, memory = self.critic(critic_x, memories[0])
        if self.cost_critic is None:
            return nn.functional.pad(value, (0, self.num_costs)), [memory]
        costs, cost_memory = self.cost_critic(critic_x, memories[1])
        return torch.cat((value, costs), -1), [memory, cost_memory]

    # -- learning --------------------------------------------------------------------------------------------------

    def normalize(self, obs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the normalised inputs of actor and critic for raw observations (..., D per group)."""
        return self.actor_norm(obs[self.config.actor_group]), self.critic_norm(obs[self.config.critic_group])

    def evaluate(self, actor_x: Tensor, critic_x: Tensor) -> tuple[Tensor, Tensor]:
        """Return action means (B, A) and values (B, S) of normalised inputs (B, D) of a policy without memory."""
        values = self.critic.layers(critic_x)
        if self.cost_critic is not None:
            values = torch.cat((values, self.cost_critic.layers(critic_x)), -1)
        return self.actor.layers(actor_x), values

    def evaluate_sequence(
        self, actor_x: Tensor, critic_x: Tensor, memory: Tensor, starts: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return action means (T, B, A) and values (T, B, S) along whole sequences.

        Args:
            actor_x: (T, B, D) normalised inputs of the actor.
            critic_x: (T, B, D) normalised inputs of the critics.
            memory: (B, M) memory before the first step.
            starts: (T, B) bool, steps before which the memory is cleared because an episode starts.
        """
        parts = memory.split(self._splits, -1)
        values = self.critic.sequence(critic_x, parts[1], starts)
        if self.cost_critic is not None:
            values = torch.cat((values, self.cost_critic.sequence(critic_x, parts[2], starts)), -1)
        return self.actor.sequence(actor_x, parts[0], starts), values

    def parameter_groups(self) -> list[list[nn.Parameter]]:
        """Return the parameters of the actor and of each critic; the gradient of each group is clipped on its own."""
        groups = [[self.log_std, *self.actor.parameters()], list(self.critic.parameters())]
        return groups if self.cost_critic is None else [*groups, list(self.cost_critic.parameters())]

    @torch.no_grad()
    def limit_std(self) -> None:
        """Put the standard deviation back between its limits, after a step: clamping inside would end its gradient."""
        self.log_std.clamp_(math.log(self.config.min_std), math.log(self.config.max_std))

    # -- saving ----------------------------------------------------------------------------------------------------

    def spec(self) -> dict[str, Any]:
        """Return what ``from_spec`` needs to build the same networks, as plain values."""
        return {
            "obs_dims": dict(self.obs_dims),
            "num_actions": self.num_actions,
            "num_costs": self.num_costs,
            "config": dataclasses.asdict(self.config),
        }

    @staticmethod
    def from_spec(spec: Mapping[str, Any]) -> ActorCritic:
        """Build untrained networks from ``spec()``."""
        config = parse(NetworkConfig, spec["config"], "network")
        return ActorCritic(spec["obs_dims"], spec["num_actions"], spec["num_costs"], config)
