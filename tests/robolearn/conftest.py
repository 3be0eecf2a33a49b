"""Tiny policies of the A1 on the flat velocity task, with random weights: as runs, and exported."""

import pytest
import torch

from robolearn.config import dump_yaml
from robolearn.experiment import compose, make_env
from robolearn.export.export import export, from_run
from robolearn.rl import PPO, ActorCritic, NetworkConfig, OnPolicyRunner, RunnerConfig
from robolearn.run_folder import find_run


@pytest.fixture(scope="session")
def policy_file(tmp_path_factory):
    """The file of an exported policy."""
    return _make_policy(tmp_path_factory.mktemp("policy"))


@pytest.fixture
def make_policy():
    """A function that writes an untrained run and its export into a folder and returns the path of the ONNX file."""
    return _make_policy


def _make_policy(folder, *overrides, **network):
    config = compose("a1_velocity_flat", overrides=["env.num_envs=2", "env.threads=1", *overrides])
    env = make_env(config)
    torch.manual_seed(3)
    sizes = {"actor_hidden": (16,), "critic_hidden": (8,), "actor_gain": 0.5, **network}
    policy = ActorCritic(env.obs_dims, env.num_actions, 0, NetworkConfig(**sizes))
    policy.actor_norm.update(torch.randn(100, env.obs_dims["policy"]) + 0.5)
    runner = OnPolicyRunner(env, policy, PPO(policy), RunnerConfig(steps_per_env=2))
    (folder / "config.yaml").write_text(dump_yaml(config))
    (folder / "checkpoints").mkdir()
    runner.save(folder / "checkpoints" / "checkpoint_000000.pt")
    env.close()
    path = folder / "policy.onnx"
    export(from_run(find_run(folder)), path)
    return path
