"""Every benchmark runs in its quick mode, and the contenders really do the same work."""

import json
import signal

import numpy as np
import pytest
import torch

from robolearn.rl.ppo import PPO

QUICK = (
    "env_step",
    "train_loop",
    "ppo_update",
    "vs_sb3",
    "time_to_walk",
    "scaling",
    "inference",
    "constraints",
    "sim2sim",
    "deployed_agreement",
    "eco_lipm",
)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", QUICK)
def test_quick_mode_runs_and_writes_a_report(name, tmp_path, capsys):
    module = __import__(name)
    path = tmp_path / "out" / "report.json"
    assert module.main(["--quick", "--json", str(path), "--rounds", "1"]) == 0
    report = json.loads(path.read_text())
    assert report["name"] == name and report["settings"]["threads"] == 1
    assert report["machine"]["versions"]["mujoco"]
    assert all(speed > 0 for speeds in report["speeds"].values() for speed in speeds)
    assert report["ratios"] or report["rows"]
    assert "Quick run" in capsys.readouterr().out


def test_without_a_gpu_there_is_one_clear_line(capsys):
    import gpu

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert gpu.main([]) == 0
    assert capsys.readouterr().out.count("\n") == 1
    assert "no CUDA device" in gpu.missing()


def test_raw_physics_goes_through_the_states_of_the_environment():
    from physics import RandomActions, RawPhysics, Recorder, make_env

    env = make_env("a1", "velocity_flat", 3, 1, 0)
    actions, recorder, raw = RandomActions(env, 0.5, 0), Recorder(env), RawPhysics(env)
    env.step(actions())
    recorder.start()
    before = env.engine.state_dict()["state"].numpy().copy()
    env.step(actions())
    assert len(recorder.rows) == 1 and np.array_equal(recorder.rows[0], before)
    assert raw.speed(recorder.rows) > 0
    # One control step from the recorded state, controls held, by a plain loop over MuJoCo.
    import mujoco

    data = mujoco.MjData(env.scene.model)
    mujoco.mj_setState(env.scene.model, data, before[1], mujoco.mjtState.mjSTATE_INTEGRATION)
    for _ in range(4):
        mujoco.mj_step(env.scene.model, data)
    assert np.allclose(raw._batch.bind("qpos")[1], data.qpos, atol=1e-12)


def test_all_updates_start_from_equal_networks_and_data():
    import ppo_update
    from physics import make_env

    from robolearn.rl import PPO, ActorCritic, NetworkConfig, OnPolicyRunner, RunnerConfig

    env = make_env("a1", "velocity_flat", 4, 1, 0)
    torch.manual_seed(0)
    network = NetworkConfig(ppo_update.HIDDEN, ppo_update.HIDDEN, critic_group="policy", normalize=False)
    policy = ActorCritic(env.obs_dims, env.num_actions, 0, network)
    runner = OnPolicyRunner(env, policy, PPO(policy), RunnerConfig(steps_per_env=3))
    runner.collect()
    storage = runner.storage
    obs = storage.obs["policy"].flatten(0, 1)
    actions = storage.actions.flatten(0, 1)
    train, fill = ppo_update.sb3(policy, storage)
    fill()
    model = train.__self__
    values, log_prob, _ = model.policy.evaluate_actions(obs, actions)
    assert torch.allclose(values.flatten(), storage.values.flatten(), atol=1e-5)
    assert torch.allclose(log_prob, storage.log_prob.flatten(), atol=1e-4)
    assert np.array_equal(model.rollout_buffer.returns, storage.returns[..., 0].numpy())
    pytest.importorskip("rsl_rl")
    rsl = ppo_update.rsl_rl(policy, storage).__self__
    batch = rsl.storage.observations.flatten(0, 1)
    rsl.actor(batch, stochastic_output=True)
    assert torch.allclose(rsl.actor.get_output_log_prob(actions), storage.log_prob.flatten(), atol=1e-4)
    assert torch.allclose(rsl.critic(batch).flatten(), storage.values.flatten(), atol=1e-5)
    assert torch.equal(rsl.storage.returns, storage.returns)


def test_the_plain_environment_is_a_gymnasium_environment():
    from gymnasium.utils.env_checker import check_returned_data_not_reused, check_step_determinism
    from plain_env import PlainEnv

    env = PlainEnv("a1", "velocity_flat")
    check_step_determinism(env)
    check_returned_data_not_reused(env)
    obs, _ = env.reset(seed=0)
    assert obs.shape == (45,)
    for _ in range(30):
        obs, reward, fallen, _, _ = env.step(np.zeros(12))
    assert np.isfinite(obs).all() and 0.0 <= reward <= 1.0 and not fallen


@pytest.mark.parametrize("name", ["train_loop", "time_to_walk"])
def test_one_signal_ends_a_benchmark_that_trains(name, monkeypatch):
    """The training takes the first signal as a wish to stop: the benchmark must not begin its next turn."""
    update, updates = PPO.update, []

    def told(self, storage, done):
        updates.append(signal.raise_signal(signal.SIGTERM))
        return update(self, storage, done)

    monkeypatch.setattr(PPO, "update", told)
    with pytest.raises(KeyboardInterrupt):
        __import__(name).main(["--quick"])
    assert len(updates) == 1
