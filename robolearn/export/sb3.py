"""Policies trained with Stable-Baselines3 through the adapter, exported to the same contract."""

from __future__ import annotations

import torch
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor, nn

from robolearn.config import ConfigError
from robolearn.experiment import ExperimentConfig
from robolearn.export.export import Exportable


class SB3Actor(nn.Module):
    """The deterministic action of an SB3 policy, in the task's units.

    Args:
        layers: observation to an action in [-1, 1], or (PPO) to one that is clipped there.
        action_range: the adapter's factor from there to the task's units.
        normalize: the statistics that the observations were normalised with, if any.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, layers: nn.Module, action_range: float, width: int, normalize: VecNormalize | None) -> None:
        super().__init__()
        self.layers, self.action_range = layers, action_range
        mean, scale, self.limit = torch.zeros(width), torch.ones(width), float("inf")
        if normalize is not None:
            statistics = normalize.obs_rms
            assert isinstance(statistics, RunningMeanStd)  # of a space that is no dictionary
            mean = torch.as_tensor(statistics.mean)
            scale = (torch.as_tensor(statistics.var) + normalize.epsilon).rsqrt()
            self.limit = float(normalize.clip_obs)
        self.register_buffer("mean", mean.float())
        self.register_buffer("scale", scale.float())

    def forward(self, obs: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Return the action (1, J) for an observation (1, D); the memory (1, 0) passes through."""
        x = ((obs - self.mean) * self.scale).clamp(-self.limit, self.limit)
        return self.layers(x).clamp(-1.0, 1.0) * self.action_range, memory


class _PPOLayers(nn.Module):
    def __init__(self, model: PPO) -> None:
        super().__init__()
        policy = model.policy
        self.features, self.hidden, self.last = policy.pi_features_extractor, policy.mlp_extractor, policy.action_net

    def forward(self, obs: Tensor) -> Tensor:
        result: Tensor = self.last(self.hidden.forward_actor(self.features(obs)))
        return result


def from_sb3(
    model: BaseAlgorithm,
    config: ExperimentConfig,
    action_range: float = 4.0,
    group: str = "policy",
    normalize: VecNormalize | None = None,
) -> Exportable:
    """Return an SB3 policy, ready to export.

    Args:
        model: a trained PPO or SAC with an MLP policy.
        config: the robot and task that it was trained on.
        action_range: what the adapter was given.
        group: the observation group that the adapter showed.
        normalize: the ``VecNormalize`` around the adapter, if there was one.

    Raises:
        ConfigError: another algorithm, or a policy that is no plain MLP.
    """
    layers: nn.Module
    policy = model.policy
    if isinstance(model, PPO) and hasattr(policy, "mlp_extractor") and not policy.squash_output:
        layers = _PPOLayers(model)
    elif isinstance(model, SAC) and not model.actor.use_sde:
        actor = model.actor
        layers = nn.Sequential(actor.features_extractor, actor.latent_pi, actor.mu, nn.Tanh())
    else:
        raise ConfigError(f"{type(model).__name__}: only PPO and SAC with plain MLP policies can be exported")
    shape = model.observation_space.shape
    if shape is None or len(shape) != 1:
        raise ConfigError(f"observation space {model.observation_space}: the adapter's is a vector")
    wrapped = SB3Actor(layers, action_range, shape[0], normalize).cpu().eval().requires_grad_(False)
    origin = f"Stable-Baselines3 {type(model).__name__}, {model.num_timesteps} steps"
    return Exportable(config, group, wrapped, 0, action_range, origin)
