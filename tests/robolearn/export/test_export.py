"""What is exported equals what was trained, for every kind of memory and for SB3's policies."""

import copy
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from robolearn.config import ConfigError
from robolearn.deploy.contract import Setting, Signal
from robolearn.deploy.policy import OnnxPolicy
from robolearn.experiment import compose, make_env
from robolearn.export import export as exporting
from robolearn.export.export import ParityError, export, from_run
from robolearn.rl.checkpoint import load_policy
from robolearn.run_folder import find_run

from ..conftest import BUDGET


@pytest.fixture(autouse=True)
def short(monkeypatch):
    for name, value in {"PARITY_ROBOTS": 2, "PARITY_STEPS": 30, "SEEN_ROBOTS": 4, "SEEN_STEPS": 40}.items():
        monkeypatch.setattr(exporting, name, value)
    monkeypatch.setattr(exporting, "GOLDEN_AT", (0, 1, 5, 20))


VARIANTS = {
    "plain": ([], {}),
    "budget": ([*BUDGET, "task.observations.policy.history=2"], {}),
    "history": (["task.observations.policy.history=4"], {}),
    "recurrent": ([], {"rnn": "gru", "rnn_size": 8}),
    "clock": (["task.gait.period=0.37", "task.observations.policy.terms.gait_clock.scale=1.0"], {}),
    "both": (["task.observations.policy.history=3"], {"rnn": "gru", "rnn_size": 8}),
}


@pytest.mark.parametrize("kind", VARIANTS)
def test_the_file_acts_as_the_policy_in_training(tmp_path, kind, make_policy):
    """The environment of training and the network beside the file that only gets raw signals, over an episode's end."""
    overrides, network = VARIANTS[kind]
    path = make_policy(tmp_path, *overrides, **network)
    found, runtime = find_run(tmp_path), OnnxPolicy(path)
    policy = load_policy(found.checkpoint)
    config = exporting._perfect_sensors(from_run(found))
    env = make_env(config, num_envs=1)
    env.max_episode_length = 12
    obs, memory = env.reset(), policy.initial_actor_memory(1)
    restarts = 0
    for _ in range(30):
        signals = {name: value[0].numpy() for name, value in env.sensing.signals().items()}
        output = runtime.step({name: signals[name] for name in runtime.contract.signals})
        with torch.no_grad():
            action, memory = policy(obs["policy"], memory)
        assert output.observation == pytest.approx(obs["policy"][0].numpy(), abs=1e-5)
        assert output.action == pytest.approx(action[0].numpy(), abs=1e-5)
        obs = (result := env.step(action)).obs
        if len(result.final_ids):
            runtime.reset()
            memory = policy.initial_actor_memory(1)
            restarts += 1
    assert restarts == 2


def test_the_file_holds_its_targets_where_training_did(tmp_path, make_policy):
    """The environment's own target of a control step beside the file's, with a margin that many joints meet."""
    path = make_policy(tmp_path, "task.actions.margin=0.5", "task.actions.scale=20.0")
    runtime = OnnxPolicy(path)
    env = make_env(exporting._perfect_sensors(from_run(find_run(tmp_path))), num_envs=1)
    limits = env.task.actions.target_range(env.robot)
    assert runtime.contract.action.target_range == limits
    low, high = np.array(limits).T
    env.reset()
    held = 0
    for _ in range(5):
        signals = {name: value[0].numpy() for name, value in env.sensing.signals().items()}
        output = runtime.step({name: signals[name] for name in runtime.contract.signals})
        env.step(torch.tensor(output.action)[None])
        assert output.joint_target == pytest.approx(env._target[0].numpy(), abs=1e-5)
        held += int(np.isclose(output.joint_target, low).sum() + np.isclose(output.joint_target, high).sum())
    assert held > 0


def test_the_file_tells_nothing_of_the_computer_that_wrote_it(policy_file):
    data = policy_file.read_bytes()
    assert str(Path(exporting.__file__).parents[1]).encode() not in data
    assert str(Path(torch.__file__).parents[1]).encode() not in data


def test_statistics_are_those_of_the_noisy_task(policy_file):
    observation = OnnxPolicy(policy_file).contract.observation
    start = sum(term.width for term in observation.terms[: [t.name for t in observation.terms].index("joint_velocity")])
    spread = np.array(observation.statistics.std)[start : start + 12]
    assert (spread > 1.5 * 0.05 / np.sqrt(3) * 0.99).all()  # at least the sensor noise, U(-1.5, 1.5) rad/s times 0.05
    assert (np.array(observation.statistics.low) <= np.array(observation.statistics.mean)).all()
    assert (np.array(observation.statistics.mean) <= np.array(observation.statistics.high)).all()


def test_a_setting_keeps_its_range_default_and_meaning(budget_file):
    contract = OnnxPolicy(budget_file).contract
    assert contract.settings == {"budget": Setting(0.5, 1.0, 0.9, "1", "share of the energy")}
    assert contract.signals["budget"] == Signal(1, "see settings", "set by the operator")
    assert contract.observation.terms[-1].scale == (2.0,)
    low, high = contract.observation.statistics.low[-1], contract.observation.statistics.high[-1]
    assert 1.0 <= low < 1.5 < high <= 2.0  # drawn anew for every robot, twice the budget


def test_a_setting_that_only_the_critic_reads_is_none_of_the_policy(tmp_path, make_policy):
    path = make_policy(tmp_path, BUDGET[0], "task.observations.critic.terms.budget={}")
    assert OnnxPolicy(path).contract.settings == {}


def test_flat_keys_for_other_controllers(policy_file):
    import onnx

    keys = {entry.key: entry.value for entry in onnx.load(policy_file).metadata_props}
    config = compose("a1_velocity_flat")
    robot = make_env(config, num_envs=1).robot
    assert keys["joint_names"].split(",") == list(robot.joints)
    assert [float(x) for x in keys["joint_stiffness"].split(",")] == list(robot.kp)
    assert [float(x) for x in keys["default_joint_pos"].split(",")] == list(robot.default_pose)
    assert keys["observation_names"].split(",")[0] == "command"


def test_what_a_robot_cannot_measure_is_refused(tmp_path, make_policy):
    with pytest.raises(ConfigError, match=r"terms\.base_linear_velocity: reads .* simulation only"):
        make_policy(tmp_path, "task.observations.policy.terms.base_linear_velocity.scale=1.0")


def test_the_smallest_disagreement_stops_the_export(tmp_path, make_policy):
    class Slip(torch.nn.Module):
        """An actor that is off by more than the limit in torch only, as a wrong translation would be."""

        def __init__(self, actor):
            super().__init__()
            self.actor = actor

        def forward(self, obs, memory):
            action, memory = self.actor(obs, memory)
            return action + (0.0 if torch.compiler.is_exporting() else 3e-5), memory

    make_policy(tmp_path)
    source = from_run(find_run(tmp_path))
    source = dataclasses.replace(source, actor=Slip(source.actor))
    (tmp_path / "policy.onnx").unlink()
    with pytest.raises(ParityError, match=r"output .* differ by 3"):
        export(source, tmp_path / "policy.onnx")
    assert not (tmp_path / "policy.onnx").exists()


def test_a_pipeline_that_reads_differently_stops_the_export(tmp_path, monkeypatch, make_policy):
    make_policy(tmp_path)
    real = exporting._graph

    def shifted(source, env):
        graph = real(source, env)
        graph.group = copy.deepcopy(graph.group)
        graph.group.offset += 1e-3
        return graph

    monkeypatch.setattr(exporting, "_graph", shifted)
    with pytest.raises(ParityError, match="observation of the graph differs"):
        export(from_run(find_run(tmp_path)), tmp_path / "other.onnx")


@pytest.mark.parametrize("algorithm", ["ppo", "sac", "ppo normalised"])
def test_sb3_policies_export_to_the_same_contract(tmp_path, algorithm):
    from stable_baselines3 import PPO, SAC
    from stable_baselines3.common.vec_env import VecNormalize

    from robolearn.export.sb3 import from_sb3
    from sim.adapters.sb3 import SB3VecEnv

    env = SB3VecEnv("a1", "velocity_flat", 4)
    normalize = VecNormalize(env, clip_obs=5.0) if algorithm.endswith("normalised") else None
    if algorithm == "sac":
        model = SAC("MlpPolicy", env, learning_starts=50, batch_size=16, seed=0, policy_kwargs={"net_arch": [16]})
    else:
        model = PPO("MlpPolicy", normalize or env, n_steps=16, batch_size=64, n_epochs=1, seed=0)
    model.learn(128)
    path = tmp_path / "policy.onnx"
    export(from_sb3(model, compose("a1_velocity_flat"), normalize=normalize), path)
    runtime = OnnxPolicy(path)
    signals = {name: np.array(runtime.contract.golden[1].inputs[name]) for name in runtime.contract.signals}
    for _ in range(3):
        output = runtime.step(signals)
        shown = output.observation if normalize is None else normalize.normalize_obs(output.observation)
        action, _ = model.predict(shown, deterministic=True)
        assert output.action == pytest.approx(np.clip(action, -1, 1) * 4.0, abs=1e-5)
    assert runtime.contract.provenance["origin"].startswith("Stable-Baselines3")


def test_other_sb3_algorithms_are_refused():
    from stable_baselines3 import TD3

    from robolearn.export.sb3 import from_sb3
    from sim.adapters.sb3 import SB3VecEnv

    with pytest.raises(ConfigError, match="TD3: only PPO and SAC"):
        from_sb3(TD3("MlpPolicy", SB3VecEnv("a1", "velocity_flat", 1)), compose("a1_velocity_flat"))
