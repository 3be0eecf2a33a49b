"""What each process of the data-parallel test does; with one process it learns from the union of their data."""

import sys
from pathlib import Path

import torch
from toy import TargetEnv, make_runner, random_storage

from robolearn.rl import PPO, ActorCritic, NetworkConfig, PPOConfig
from robolearn.rl.distributed import start

WORLD = 2


def slice_storage(rank, size):
    """Return the environments of one process out of the same 16."""
    everything = random_storage(num_envs=16, costs=1)
    storage = random_storage(num_envs=16 // size, costs=1)
    part = slice(rank * 16 // size, (rank + 1) * 16 // size)
    for name in (
        "actions",
        "mean",
        "log_prob",
        "rewards",
        "values",
        "final_values",
        "terminated",
        "truncated",
        "valid",
    ):
        getattr(storage, name).copy_(getattr(everything, name)[:, part])
    for name, obs in storage.obs.items():
        obs.copy_(everything.obs[name][:, part])
    storage.finish(torch.zeros_like(storage.values[0]), 0.9, 0.8)
    return storage


def update(group):
    """Return parameters, step size and metrics after full-batch updates."""
    torch.manual_seed(group.rank)  # networks differ until they take over those of rank 0
    policy = ActorCritic({"policy": 3, "critic": 4}, 2, 1, NetworkConfig(actor_hidden=(8,), critic_hidden=(8,)))
    ppo = PPO(policy, PPOConfig(epochs=6, minibatches=1), group=group)
    metrics = ppo.update(slice_storage(group.rank, group.size))
    return {"params": ppo.optimizer.params, "lr": ppo.optimizer.lr, "metrics": metrics}


def train(group, folder):
    """Train with other environments in each process, and resume; return parameters and normaliser."""
    for goal in (2, 4):
        env = TargetEnv(num_envs=8, seed=10 * goal + group.rank)
        runner = make_runner(env, folder, seed=group.rank, group=group)
        if goal == 4:
            runner.load(folder / "checkpoint_000002.pt")
        runner.learn(goal)
    norm = runner.policy.actor_norm
    return {
        "params": runner.ppo.optimizer.params,
        "mean": norm.mean,
        "count": norm.count,
        "target": env.target,
        "noise": torch.rand(3, generator=runner.ppo.generator),
        "total_steps": runner.total_steps,
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    group = start("cpu")
    results = {"update": update(group), "train": train(group, folder / "run")}
    torch.save(results, folder / f"rank{group.rank}.pt")
    group.close()
