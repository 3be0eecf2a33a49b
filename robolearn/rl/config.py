"""Settings of the learning core. Every value is checked when the object is made; a ``ValueError`` names the field."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal


def _require(condition: bool, owner: Any, name: str, rule: str) -> None:
    if not condition:
        raise ValueError(f"{name}: must be {rule}, got {getattr(owner, name)!r}")


def _positive(owner: Any, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        _require(math.isfinite(value) and value > 0, owner, name, "above 0")


def _not_negative(owner: Any, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        _require(math.isfinite(value) and value >= 0, owner, name, "0 or more")


@dataclass(frozen=True)
class NetworkConfig:
    """Shape of the actor and of the critics.

    Attributes:
        actor_hidden: widths of the actor's hidden layers.
        critic_hidden: widths of the hidden layers of the reward critic and of the cost critic.
        activation: function after each hidden layer.
        actor_group: observation group the actor reads; it must exist on the robot.
        critic_group: observation group the critics read; it may hold what only the simulator knows.
        actor_gain: gain of the actor's last layer; small, so that the first actions are close to 0.
        init_std: standard deviation of the action noise at the start.
        min_std: lower limit of that standard deviation.
        max_std: upper limit of that standard deviation.
        normalize: whether observations are normalised by running mean and variance.
        obs_clip: limit of the normalised observations, in standard deviations.
        rnn: ``gru`` puts a recurrent layer before the hidden layers of each network.
        rnn_size: width of that layer.
        cost_critic: whether costs have a critic; without one their advantages are the discounted sums of what follows.
    """

    actor_hidden: tuple[int, ...] = (128, 128)
    critic_hidden: tuple[int, ...] = (128, 128)
    activation: Literal["elu", "relu", "tanh", "silu"] = "elu"
    actor_group: str = "policy"
    critic_group: str = "critic"
    actor_gain: float = 0.01
    init_std: float = 1.0
    min_std: float = 0.01
    max_std: float = 10.0
    normalize: bool = True
    obs_clip: float = 10.0
    rnn: Literal["none", "gru"] = "none"
    rnn_size: int = 64
    cost_critic: bool = True

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("actor_hidden", "critic_hidden"):
            _require(all(width > 0 for width in getattr(self, name)), self, name, "a list of widths above 0")
        _require(self.activation in ("elu", "relu", "tanh", "silu"), self, "activation", "elu, relu, tanh or silu")
        _require(self.rnn in ("none", "gru"), self, "rnn", "none or gru")
        _positive(self, "actor_gain", "init_std", "min_std", "max_std", "obs_clip", "rnn_size")
        _require(self.min_std <= self.init_std <= self.max_std, self, "init_std", "between min_std and max_std")


@dataclass(frozen=True)
class PPOConfig:
    """Settings of one PPO update.

    Attributes:
        epochs: passes over each roll-out.
        minibatches: parts that each pass is cut into.
        clip: limit of the change of the probability ratio.
        value_clip: limit of the change of a value, of reward or cost, in one update, in units of the return; null
            switches it off.
        value_coef: weight of the value loss.
        entropy_coef: weight of the entropy bonus.
        gamma: discount of the reward per control step.
        lam: lambda of generalised advantage estimation of the reward.
        cost_gamma: discount of the costs; null means the same as ``gamma``.
        cost_lam: lambda of the costs; null means the same as ``lam``.
        learning_rate: step size of Adam at the start.
        schedule: ``adaptive`` holds the divergence of the updates near ``desired_kl``, changing the step size once
            after each; ``linear`` lets it fall to 0 over the run; ``fixed`` changes nothing.
        desired_kl: target of the mean Kullback-Leibler divergence from the policy that collected the data, in the last
            epoch of an update.
        lr_min: lower limit of the adaptive step size.
        lr_max: upper limit of the adaptive step size.
        max_grad_norm: limit of the gradient's norm, for the actor and for each critic on its own.
        normalize_advantages: whether advantages are scaled to mean 0 and standard deviation 1 over the roll-out.
        symmetry: use of the environment's symmetries: ``augment`` learns from mirrored copies of the data, ``loss``
            adds a penalty on asymmetric actions, ``both`` does both.
        mirror_coef: weight of that penalty.
    """

    epochs: int = 4
    minibatches: int = 4
    clip: float = 0.2
    value_clip: float | None = 0.2
    value_coef: float = 1.0
    entropy_coef: float = 0.005
    gamma: float = 0.99
    lam: float = 0.95
    cost_gamma: float | None = None
    cost_lam: float | None = None
    learning_rate: float = 1e-3
    schedule: Literal["adaptive", "linear", "fixed"] = "adaptive"
    desired_kl: float = 0.01
    lr_min: float = 1e-5
    lr_max: float = 1e-2
    max_grad_norm: float = 1.0
    normalize_advantages: bool = True
    symmetry: Literal["none", "augment", "loss", "both"] = "none"
    mirror_coef: float = 0.5

    def __post_init__(self) -> None:
        """Check the ranges."""
        _positive(self, "epochs", "minibatches", "clip", "learning_rate", "desired_kl", "lr_min", "max_grad_norm")
        _not_negative(self, "value_coef", "entropy_coef", "mirror_coef")
        for name in ("gamma", "lam", "cost_gamma", "cost_lam"):
            value = getattr(self, name)
            _require(value is None or 0.0 <= value <= 1.0, self, name, "between 0 and 1")
        _require(self.value_clip is None or self.value_clip > 0, self, "value_clip", "above 0 or null")
        _require(self.lr_max >= self.lr_min, self, "lr_max", f"at least lr_min ({self.lr_min})")
        _require(self.schedule in ("adaptive", "linear", "fixed"), self, "schedule", "adaptive, linear or fixed")
        _require(self.symmetry in ("none", "augment", "loss", "both"), self, "symmetry", "none, augment, loss or both")


@dataclass(frozen=True)
class RunnerConfig:
    """Settings of the training loop.

    Attributes:
        steps_per_env: control steps per environment and iteration (T).
        iterations: iterations of the whole run, those before a resume included.
        checkpoint_every: iterations between two checkpoints; the last iteration always writes one.
        keep_checkpoints: newest checkpoints to keep in the folder; 0 keeps all.
        max_invalid_share: largest share of invalid transitions in one iteration before the run stops.
        max_seconds: wall-clock limit of this call, in seconds; null means none.
        episode_window: episodes over which the mean return and length are taken.
    """

    steps_per_env: int = 24
    iterations: int = 300
    checkpoint_every: int = 50
    keep_checkpoints: int = 0
    max_invalid_share: float = 0.01
    max_seconds: float | None = None
    episode_window: int = 100

    def __post_init__(self) -> None:
        """Check the ranges."""
        _positive(self, "steps_per_env", "checkpoint_every", "episode_window")
        _not_negative(self, "iterations", "keep_checkpoints")
        _require(0.0 <= self.max_invalid_share <= 1.0, self, "max_invalid_share", "between 0 and 1")
        _require(self.max_seconds is None or self.max_seconds > 0, self, "max_seconds", "above 0 or null")
