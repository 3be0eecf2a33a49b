"""The on-policy learning core: PPO with cost streams, symmetry, memory, exact checkpoints and several processes."""

from robolearn.rl.checkpoint import (
    CheckpointError,
    latest_good,
    load_policy,
    read_checkpoint,
)
from robolearn.rl.config import NetworkConfig, PPOConfig, RunnerConfig
from robolearn.rl.distributed import ProcessGroup
from robolearn.rl.networks import ActorCritic
from robolearn.rl.ppo import PPO, Batch
from robolearn.rl.runner import DivergenceError, OnPolicyRunner, TrainResult
from robolearn.rl.seeding import seed_everything
from robolearn.rl.storage import RolloutStorage, gae

__all__ = [
    "PPO",
    "ActorCritic",
    "Batch",
    "CheckpointError",
    "DivergenceError",
    "NetworkConfig",
    "OnPolicyRunner",
    "PPOConfig",
    "ProcessGroup",
    "RolloutStorage",
    "RunnerConfig",
    "TrainResult",
    "gae",
    "latest_good",
    "load_policy",
    "read_checkpoint",
    "seed_everything",
]
