"""A simulation that diverges or an action that is no number: seen, contained, told."""

import pytest
import torch

N, BAD = 4, 2
OTHERS = [0, 1, 3]


@pytest.fixture(params=["plain", "delayed sensors and history"])
def changes(request):
    if request.param == "plain":
        return {}
    policy = {"measured": True, "history": 3}
    quiet = {"base_angular_velocity": 0.2, "projected_gravity": 0.05, "joint_position": 0.01, "joint_velocity": 1.5}
    policy["terms"] = {name: {"noise": 0.0} for name in quiet}
    return {"sensors": {"delay": [1, 5]}, "observations": {"policy": policy}}


def actions_of(seed):
    return torch.randn(N, 12, generator=torch.Generator().manual_seed(seed))


def finite(result):
    values = [*result.obs.values(), *result.final_obs.values(), result.reward, result.costs]
    return all(bool(value.isfinite().all()) for value in [*values, *map(torch.as_tensor, result.log.values())])


def spoil(env, action, fault):
    if fault == "action":
        action = action.clone()
        action[BAD, 3] = torch.nan
    elif fault == "position":
        env.engine.field("qpos")[BAD, 8] = torch.inf
    else:
        env.engine.field("qvel")[BAD, 8] = torch.nan if fault == "velocity" else 1e9
    return action


@pytest.mark.parametrize("fault", ["velocity", "position", "far too fast", "action"])
def test_a_fault_stays_in_its_environment(make_env, changes, fault, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # should MuJoCo write its log
    sound, faulty = make_env(changes, num_envs=N), make_env(changes, num_envs=N)
    for seed in range(3):
        sound.step(actions_of(seed))
        faulty.step(actions_of(seed))
    action = actions_of(5)
    expected, result = sound.step(action), faulty.step(spoil(faulty, action, fault))
    assert result.valid.tolist() == [i != BAD for i in range(N)]
    assert expected.valid.all()
    assert result.final_ids.tolist() == [BAD]
    assert result.truncated.tolist() == [i == BAD for i in range(N)]
    assert not result.terminated.any()
    assert float(result.reward[BAD]) == 0.0
    assert result.costs[BAD].tolist() == [0.0, 0.0]
    assert finite(result)
    if fault != "action":
        assert faulty.engine.diagnostics()["nonfinite"] == 1
    assert sound.engine.diagnostics()["nonfinite"] == 0
    for _ in range(4):
        assert torch.equal(result.reward[OTHERS], expected.reward[OTHERS])
        assert torch.equal(result.costs[OTHERS], expected.costs[OTHERS])
        for name in result.obs:
            assert torch.equal(result.obs[name][OTHERS], expected.obs[name][OTHERS])
        action = actions_of(7)
        expected, result = sound.step(action), faulty.step(action)
        assert result.valid.all()
        assert finite(result)


def test_the_environment_that_failed_begins_a_sound_episode(make_env, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    env, fresh = make_env(num_envs=N), make_env(num_envs=N)
    env.step(actions_of(0))
    env.step(spoil(env, actions_of(1), "velocity"))
    assert env.state.episode_step.tolist() == [0 if i == BAD else 2 for i in range(N)]
    for seed in range(3):
        a, b = env.step(actions_of(seed)), fresh.step(actions_of(seed))
        assert torch.equal(a.obs["critic"][BAD], b.obs["critic"][BAD])
        assert torch.equal(a.reward[BAD], b.reward[BAD])


def test_all_environments_may_fail_at_once(make_env, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    env = make_env(num_envs=N)
    env.engine.field("qvel")[:] = torch.nan
    result = env.step(actions_of(0))
    assert not result.valid.any()
    assert finite(result)
    assert result.reward.tolist() == [0.0] * N
    assert env.step(actions_of(1)).valid.all()


def test_a_fault_on_rough_ground_is_no_progress(make_env, small_terrain, tmp_path, monkeypatch):
    """The robot is put back to where it started: the way to there must not count as walked."""
    monkeypatch.chdir(tmp_path)
    env = make_env({"terrain": small_terrain | {"initial_max_level": 0}}, num_envs=N)
    env.curriculum.level[:] = 1
    env.reset()
    env.engine.field("qvel")[BAD] = torch.nan
    result = env.step(actions_of(0))
    assert not result.valid[BAD]
    assert env.curriculum.level.tolist() == [1] * N
    assert env.state.base_height[BAD] > 0.2
