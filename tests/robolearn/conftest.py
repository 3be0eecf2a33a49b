"""Tiny policies of the A1 on the flat velocity task, with random weights: as runs, and exported."""

import pytest
import torch

from robolearn.config import dump_yaml
from robolearn.experiment import compose, make_env
from robolearn.export import export as exporting
from robolearn.export.export import export, from_run
from robolearn.rl import PPO, ActorCritic, NetworkConfig, OnPolicyRunner, RunnerConfig
from robolearn.run_folder import find_run


@pytest.fixture(scope="session")
def policy_file(tmp_path_factory):
    """The file of an exported policy."""
    return _make_policy(tmp_path_factory.mktemp("policy"))


BUDGET = (
    "task.settings.budget={range: [0.5, 1.0], default: 0.9, unit: '1', meaning: share of the energy}",
    "task.observations.policy.terms.budget={scale: 2.0}",
)


@pytest.fixture(scope="session")
def budget_file(tmp_path_factory):
    """The file of a policy whose operator sets a budget, and which remembers more than its previous action."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"PARITY_ROBOTS": 1, "PARITY_STEPS": 30, "SEEN_ROBOTS": 16, "SEEN_STEPS": 20}.items():
            patch.setattr(exporting, name, value)
        return _make_policy(tmp_path_factory.mktemp("budget"), *BUDGET, rnn="gru", rnn_size=4)


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
