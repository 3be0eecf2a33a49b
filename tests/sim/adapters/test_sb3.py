import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium.wrappers import TimeLimit
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize

from sim.adapters.sb3 import SB3VecEnv

spec = importlib.util.spec_from_file_location("adapter_helpers", Path(__file__).parent / "helpers.py")
helpers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(helpers)


def parameters(model):
    return torch.cat([p.detach().flatten() for p in model.policy.parameters()])


@pytest.mark.parametrize("task", ["velocity_flat", "velocity_rough"])
def test_ppo_trains_unmodified(task):
    env = VecMonitor(SB3VecEnv("a1", task, 8, stagger=True))
    model = PPO("MlpPolicy", env, n_steps=32, batch_size=64, n_epochs=2, seed=0)
    before = parameters(model)
    model.learn(512)
    after = parameters(model)
    assert torch.isfinite(after).all() and not torch.equal(before, after)
    assert model.num_timesteps == 512
    assert all(np.isfinite(episode["r"]) for episode in model.ep_info_buffer)


def test_sac_trains_unmodified():
    env = SB3VecEnv("a1", "velocity_flat", 4)
    model = SAC("MlpPolicy", env, learning_starts=100, batch_size=32, train_freq=4, seed=0)
    before = parameters(model)
    model.learn(300)
    after = parameters(model)
    assert torch.isfinite(after).all() and not torch.equal(before, after)


class Spy(BaseCallback):
    """Keeps what SB3 gave to the environment and what it got."""

    def __init__(self):
        super().__init__()
        self.steps = []

    def _on_step(self):
        # The rewards are copied because SB3 adds the bootstrap to them in place.
        names = ("clipped_actions", "rewards", "dones", "infos")
        self.steps.append([np.copy(self.locals[name]) for name in names])
        return True


def test_ppo_bootstraps_with_the_true_final_observation():
    """At a time limit SB3 adds gamma * V(terminal_observation) to the reward; here V is 1000 times the last entry."""
    env = SB3VecEnv("a1", helpers.calm_task(episode_s=0.08), 3)
    model = PPO("MlpPolicy", env, n_steps=12, batch_size=36, n_epochs=1, seed=0, gamma=0.9)
    model.policy.predict_values = lambda obs: 1000.0 * obs[:, -1:]
    spy = Spy()
    model.learn(36, callback=spy)
    truncations = 0
    for t, (actions, rewards, dones, infos) in enumerate(spy.steps):
        assert dones.all() == dones.any() == ((t + 1) % 4 == 0)
        for i in range(3):
            expected = rewards[i]
            assert ("terminal_observation" in infos[i]) == dones[i]
            if dones[i]:
                assert infos[i]["TimeLimit.truncated"]
                # The last entry is the previous action: of this very step at the end, 0 in a new episode.
                expected += 0.9 * 1000.0 * 4.0 * actions[i, -1]
                truncations += 1
            assert model.rollout_buffer.rewards[t, i] == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert truncations == 9


def test_terminations_are_not_time_limits():
    env = SB3VecEnv("a1", helpers.calm_task(episode_s=20.0), 4)
    env.seed(0)
    env.reset()
    rng = np.random.default_rng(0)
    ended = 0
    for _ in range(150):
        obs, reward, done, infos = env.step(rng.choice([-1.0, 1.0], (4, 12)).astype(np.float32))
        assert obs.dtype == reward.dtype == np.float32 and np.isfinite(obs).all()
        for i in np.flatnonzero(done):
            ended += 1
            assert infos[i]["TimeLimit.truncated"] is False
            assert not np.array_equal(infos[i]["terminal_observation"], obs[i])
        assert all(set(info["costs"]) == {"mechanical_power", "velocity_error"} for info in infos)
    assert ended > 0


def test_seeds_make_it_repeatable():
    env = SB3VecEnv("a1", "velocity_flat", 3)
    assert env.seed(5) == [5, 6, 7]
    first = env.reset()
    second = env.reset()
    env.seed(5)
    assert np.array_equal(env.reset(), first)
    assert np.array_equal(env.reset(), second) and not np.array_equal(first, second)


def test_options_hold_a_command():
    env = SB3VecEnv("a1", helpers.calm_task(), 2)
    env.set_options({"command": helpers.COMMAND})
    assert np.allclose(env.reset()[:, :3], np.array(helpers.COMMAND) * [2.0, 2.0, 0.25])


def test_attributes_and_methods():
    env = SB3VecEnv("a1", "velocity_flat", 3)
    assert env.get_attr("num_actions") == [12, 12, 12]
    assert env.get_attr("step_dt", [0, 2]) == [0.02, 0.02]
    assert env.has_attr("robot") and not env.has_attr("no_such_thing")
    env.set_attr("stagger", True)
    assert env.bridge.env.stagger is True
    assert len(env.env_method("state_dict")) == 3
    assert env.env_is_wrapped(TimeLimit) == [False] * 3
    with pytest.raises(ValueError, match="leave indices out"):
        env.set_attr("stagger", False, indices=[1])
    with pytest.raises(ValueError, match="leave indices out"):
        env.env_method("reset", indices=0)


def test_sb3_wrappers_understand_it():
    env = VecNormalize(SB3VecEnv("a1", helpers.calm_task(episode_s=0.04), 2))
    env.reset()
    env.step(np.zeros((2, 12)))
    _, _, done, infos = env.step(np.zeros((2, 12)))
    assert done.all()
    raw = infos[0]["terminal_observation"]
    assert raw.shape == (45,) and np.isfinite(raw).all()
