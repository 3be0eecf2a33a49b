import importlib.util
import subprocess
import sys
import warnings
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env, check_returned_data_not_reused, data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import DictInfoToList, RecordEpisodeStatistics

from robolearn.config import ConfigError
from sim.adapters import ENV_IDS
from sim.adapters.gymnasium_env import RoboLearnEnv, RoboLearnVectorEnv
from sim.environment import EnvConfig, TaskEnv
from sim.robots import list_robots, load_robot
from sim.tasks import list_tasks, load_task

spec = importlib.util.spec_from_file_location("adapter_helpers", Path(__file__).parent / "helpers.py")
helpers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(helpers)
FLAT = "robolearn/a1_velocity_flat-v0"


def can_draw():
    import mujoco

    try:
        mujoco.Renderer(mujoco.MjModel.from_xml_string("<mujoco/>"), 8, 8).close()
    except Exception:
        return False
    return True


def test_every_robot_and_task_is_registered():
    assert {f"robolearn/{robot}_{task}-v0" for robot in list_robots() for task in list_tasks()} == set(ENV_IDS)
    assert set(ENV_IDS) <= set(gymnasium.registry)


def test_make_works_without_import_when_the_module_is_named():
    code = (
        "import gymnasium, sys; env = gymnasium.make('sim.adapters:robolearn/go1_velocity_flat-v0');"
        "assert 'stable_baselines3' not in sys.modules; print(env.action_space.shape[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "12"


@pytest.mark.parametrize("name", [FLAT, "robolearn/a1_velocity_rough-v0"])
def test_gymnasium_checker_passes(name):
    env = gymnasium.make(name, disable_env_checker=True).unwrapped
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(env, skip_render_check=name != FLAT or not can_draw())
    # Observations are unbounded, as those of Gymnasium's own MuJoCo environments; nothing else may be found.
    unexpected = [str(w.message) for w in caught if "infinity" not in str(w.message)]
    assert unexpected == []
    env.close()


def test_sb3_checker_passes():
    from stable_baselines3.common.env_checker import check_env as sb3_check_env

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sb3_check_env(gymnasium.make(FLAT).unwrapped)


def test_a_seed_gives_the_trajectory_of_a_new_environment():
    first, second = RoboLearnEnv("a1", "velocity_rough"), RoboLearnEnv("a1", "velocity_rough")
    actions = np.random.default_rng(0).uniform(-1, 1, (60, 12)).astype(np.float32)

    def trajectory(env):
        seen = [env.reset(seed=7)[0]]
        for action in actions:
            obs, reward, terminated, truncated, _ = env.step(action)
            seen += [obs, [reward]]
            if terminated or truncated:
                seen.append(env.reset()[0])
        return np.concatenate(seen)

    second.reset(seed=3)
    for action in actions[:5]:
        second.step(action)
    a = trajectory(first)
    assert np.array_equal(a, trajectory(second))
    assert np.array_equal(a, trajectory(first))  # whatever happened before
    first.reset(seed=8)
    assert not np.array_equal(a[:45], first.reset(seed=8)[0][:45])


def test_seeding_equals_a_new_task_environment():
    env = RoboLearnVectorEnv("a1", "velocity_rough", 3)
    env.reset(seed=1)
    env.step(env.action_space.sample())
    obs, _ = env.reset(seed=5)
    seed = int(np.random.default_rng(5).integers(2**63))  # gymnasium seeds a PCG64 with the seed
    reference = TaskEnv(load_task("velocity_rough"), load_robot("a1"), EnvConfig(3), seed=seed)
    assert np.array_equal(obs, reference.reset()["policy"].numpy())
    assert torch.equal(env.bridge.env.curriculum.level, reference.curriculum.level)
    action = env.action_space.sample()
    result = reference.step(torch.from_numpy(action) * 4.0)
    assert np.array_equal(env.step(action)[0], result.obs["policy"].numpy())


def test_unseeded_environments_differ():
    a, b = RoboLearnEnv("a1", "velocity_flat"), RoboLearnEnv("a1", "velocity_flat")
    assert not np.array_equal(a.reset()[0], b.reset()[0])


def test_actions_are_scaled_and_clipped():
    wide = RoboLearnEnv("a1", helpers.calm_task(), action_range=4.0)
    narrow = RoboLearnEnv("a1", helpers.calm_task(), action_range=1.0)
    for env in (wide, narrow):
        env.reset(seed=0)
    wide.step(np.full(12, 0.1))
    narrow.step(np.full(12, 0.4))
    assert torch.allclose(wide.bridge.env.state.action, torch.full((1, 12), 0.4))
    assert torch.equal(wide.bridge.env.state.joint_position, narrow.bridge.env.state.joint_position)
    wide.step(np.full(12, 3.0))
    assert torch.equal(wide.bridge.env.state.action, torch.full((1, 12), 4.0))


def test_info_holds_costs_and_terms():
    env = RoboLearnEnv("a1", helpers.calm_task())
    env.reset(seed=0, options={"command": helpers.COMMAND})
    _, reward, _, _, info = env.step(np.zeros(12))
    assert set(info["costs"]) == {"mechanical_power", "velocity_error"}
    task = helpers.calm_task()
    weighted = sum(task.rewards[name]["weight"] * value for name, value in info["terms"].items())
    assert reward == pytest.approx(weighted * task.step_dt, rel=1e-5)
    assert info["valid"] is True
    velocity = env.bridge.env.state.base_linear_velocity[0, :2].numpy()
    assert info["costs"]["velocity_error"] == pytest.approx(
        np.linalg.norm(np.array(helpers.COMMAND[:2]) - velocity), rel=1e-5
    )


def test_the_last_observation_of_an_episode_is_returned_and_then_a_reset_is_needed():
    env = RoboLearnEnv("a1", helpers.calm_task(episode_s=0.06))
    first = env.reset(seed=0)[0]
    for k in range(3):
        obs, _, terminated, truncated, _ = env.step(np.full(12, 0.05))
        assert (terminated, truncated) == (False, k == 2)
    assert np.allclose(obs[-12:], 0.2)  # the previous action, not the zeros of a new episode
    with pytest.raises(gymnasium.error.ResetNeeded, match="reset"):
        env.step(np.zeros(12))
    again = env.reset()[0]
    assert np.array_equal(again[3:], first[3:])  # only the drawn command differs


def test_a_held_command_stays_over_episodes_until_given_back():
    env = RoboLearnVectorEnv("a1", helpers.calm_task(episode_s=0.04), 2)
    scale = np.array([2.0, 2.0, 0.25])
    obs, _ = env.reset(seed=0, options={"command": helpers.COMMAND})
    for _ in range(5):
        assert np.allclose(obs[:, :3], np.array(helpers.COMMAND) * scale)
        obs = env.step(np.zeros((2, 12)))[0]
    obs, _ = env.reset(options={"command": None})
    assert not np.allclose(obs[:, :3], np.array(helpers.COMMAND) * scale)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"robot": "a2"}, "a1"),
        ({"task": "velocity_flatt"}, "velocity_flat"),
        ({"group": "polizy"}, "Did you mean 'policy'"),
        ({"action_range": 20.0}, r"\(0, 10\]"),
        ({"render_mode": "human"}, "rgb_array"),
        ({"overrides": {"rewards": {"trak": {"weight": 1.0}}}}, "trak"),
    ],
)
def test_wrong_settings_say_what_is_right(change, match):
    with pytest.raises(ConfigError, match=match):
        RoboLearnEnv(**{"robot": "a1", "task": "velocity_flat", **change})


def test_wrong_reset_options_say_what_is_right():
    env = RoboLearnEnv("a1", "velocity_flat")
    with pytest.raises(ConfigError, match="Did you mean 'command'"):
        env.reset(options={"comand": [0, 0, 0]})
    with pytest.raises(ConfigError, match="expected 3 numbers"):
        env.reset(options={"command": [0.0, 1.0]})


@pytest.mark.skipif(not can_draw(), reason="no off-screen rendering here")
def test_pictures_show_the_robot():
    env = gymnasium.make(FLAT, render_mode="rgb_array", image_size=(64, 48)).unwrapped
    env.reset(seed=0)
    image = env.render()
    assert image.shape == (48, 64, 3) and image.dtype == np.uint8
    contrast = [np.ptp(part.astype(int)) for part in (image[16:32, 24:40], image[40:, :8])]
    assert contrast[0] > 100 > contrast[1]  # black and white robot in the middle, plain ground in the corner
    env.close()
    env.close()
    assert gymnasium.make(FLAT).unwrapped.render() is None


# -- many at once ------------------------------------------------------------------------------------------------------


def pair(num_envs=3, episode_s=0.2):
    """Our vector environment, and Gymnasium's around single ones, without any chance."""
    task = helpers.calm_task(episode_s)
    ours = RoboLearnVectorEnv("a1", task, num_envs)
    singles = SyncVectorEnv(
        [lambda: RoboLearnEnv("a1", task) for _ in range(num_envs)], autoreset_mode=AutoresetMode.SAME_STEP
    )
    return ours, singles


def test_vector_spaces_and_metadata_equal_gymnasiums_own():
    ours, singles = pair()
    for name in ("single_observation_space", "single_action_space", "observation_space", "action_space", "num_envs"):
        assert getattr(ours, name) == getattr(singles, name)
    assert ours.metadata == singles.metadata
    assert ours.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert ours.metadata["render_fps"] == 50


def test_vector_results_equal_those_of_single_environments():
    """Same observations, rewards, ends, final observations and infos over several episodes, falls included."""
    ours, singles = pair(episode_s=0.6)
    options = {"command": helpers.COMMAND}
    (a, info_a), (b, info_b) = ours.reset(seed=0, options=dict(options)), singles.reset(seed=0, options=dict(options))
    assert np.array_equal(a, b) and info_a == info_b == {}
    rng = np.random.default_rng(0)
    ends = {"terminated": 0, "truncated": 0}
    for _ in range(70):
        actions = rng.uniform(-0.1, 0.1, (3, 12)).astype(np.float32)
        actions[1], actions[2, :3], actions[2, 3:] = 1.0, 1.0, -1.0  # these two fall
        ours_step, single_step = ours.step(actions), singles.step(actions)
        for x, y in zip(ours_step[:4], single_step[:4], strict=True):
            assert x.dtype == y.dtype and np.allclose(x, y, atol=1e-6)
        assert ours_step[0] in ours.observation_space
        ends["terminated"] += ours_step[2].sum()
        ends["truncated"] += ours_step[3].sum()
        compare_info(ours_step[4], single_step[4])
    assert ends["terminated"] > 0 and ends["truncated"] > 0


def compare_info(ours, theirs):
    """Terms are known per environment only where there is one; all else must agree, masks included."""
    theirs = {key: value for key, value in theirs.items() if key not in ("terms", "_terms")}
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        if isinstance(value, dict):
            compare_info(value, theirs[key])
        elif value.dtype == object:
            assert all(
                (x is None and y is None) or np.allclose(x, y, atol=1e-6)
                for x, y in zip(value, theirs[key], strict=True)
            )
        else:
            assert value.dtype == theirs[key].dtype
            assert np.allclose(value, theirs[key], rtol=1e-5)


def test_make_vec_uses_the_vector_environment():
    env = gymnasium.make_vec(FLAT, num_envs=4, vectorization_mode="vector_entry_point")
    assert isinstance(env.unwrapped, RoboLearnVectorEnv) and env.num_envs == 4
    assert isinstance(gymnasium.make_vec(FLAT, num_envs=2).unwrapped, RoboLearnVectorEnv)
    obs, _ = env.reset(seed=0)
    assert obs.shape == (4, 45) and len({row.tobytes() for row in obs}) == 4
    env.close()


def test_vector_results_are_never_reused():
    overrides = {"episode_s": 0.04}
    check_returned_data_not_reused(RoboLearnVectorEnv("a1", "velocity_flat", 1, overrides=overrides))
    env = RoboLearnVectorEnv("a1", "velocity_rough", 2, overrides=overrides)
    obs, _ = env.reset(seed=0)
    kept = obs.copy()
    env.step(np.zeros((2, 12)))
    assert np.array_equal(obs, kept)
    obs = env.step(np.zeros((2, 12)))[0]
    follow = env.bridge.env.state_dict()["sensing"]["memory.policy"].clone()
    obs[:] = 99.0
    assert torch.equal(env.bridge.env.state_dict()["sensing"]["memory.policy"], follow)


def test_vector_resets_are_deterministic():
    env = RoboLearnVectorEnv("a1", "velocity_rough", 2)
    action = np.full((2, 12), 0.3, np.float32)
    runs = []
    for _ in range(2):
        first = env.reset(seed=11)
        runs.append((first[0], *env.step(action), env.reset()[0]))
    assert data_equivalence(*runs, exact=True)


def test_gymnasiums_vector_wrappers_understand_it():
    env = RecordEpisodeStatistics(RoboLearnVectorEnv("a1", helpers.calm_task(episode_s=0.06), 2))
    env.reset(seed=0)
    total = np.zeros(2)
    for _ in range(3):
        _, reward, _, truncated, info = env.step(np.zeros((2, 12)))
        total += reward
    assert truncated.all()
    assert np.allclose(info["episode"]["r"], total) and (info["episode"]["l"] == 3).all()
    env = DictInfoToList(RoboLearnVectorEnv("a1", helpers.calm_task(episode_s=0.04), 2))
    env.reset(seed=0)
    assert set(env.step(np.zeros((2, 12)))[4][1]) == {"costs", "valid"}
    assert set(env.step(np.zeros((2, 12)))[4][1]) == {"final_obs", "final_info"}
