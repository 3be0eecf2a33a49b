"""Determinism, and continuing exactly from a saved state, with everything random switched on."""

import pytest
import torch

from sim.environment import EnvConfig, TaskEnv
from sim.robots import load_robot
from sim.tasks import load_task

N = 6
EVERYTHING = {
    "episode_s": 0.5,
    "actions": {"delay": [0, 3]},
    "sensors": {"delay": [0, 4]},
    "observations": {"policy": {"history": 3, "terms": {"joint_position": {"bias": 0.02}, "budget": {}}}},
    "settings": {"budget": {"range": [0.5, 1.0], "default": 1.0, "unit": "1", "meaning": "share"}},
    "commands": {"resample_s": [0.3, 0.3]},
    "disturbances": {"push": {"interval_s": 0.3}, "force": {"interval_s": 0.2, "duration_s": 0.06}},
}


@pytest.fixture(params=["velocity_flat", "velocity_rough"])
def build(request, small_terrain):
    changes = dict(EVERYTHING)
    if request.param == "velocity_rough":
        changes["terrain"] = small_terrain
    task = load_task(request.param, changes)

    def _build(seed):
        return TaskEnv(task, load_robot("a1"), EnvConfig(N, threads=1), seed, stagger=True)

    return _build


def roll(env, steps, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [env.step(torch.randn(N, 12, generator=generator)) for _ in range(steps)]


def same(one, two):
    for a, b in zip(one, two, strict=True):
        pairs = [(a.obs[name], b.obs[name]) for name in a.obs] + [(a.final_obs[n], b.final_obs[n]) for n in a.final_obs]
        names = ("reward", "costs", "terminated", "truncated", "final_ids", "valid")
        pairs += [(getattr(a, name), getattr(b, name)) for name in names]
        if not all(torch.equal(x, y) for x, y in pairs):
            return False
    return True


def test_equal_seeds_give_equal_runs_and_others_do_not(build):
    envs = [build(3), build(3), build(4)]
    first = [env.reset() for env in envs]
    assert torch.equal(first[0]["policy"], first[1]["policy"])
    assert not torch.equal(first[0]["policy"], first[2]["policy"])
    runs = [roll(env, 30) for env in envs]
    assert same(runs[0], runs[1])
    assert not same(runs[0], runs[2])
    assert sum(len(result.final_ids) for result in runs[0]) >= N  # episodes ended on the way


def test_a_saved_state_continues_exactly(build):
    env = build(3)
    env.reset()
    roll(env, 20)
    saved = env.state_dict()
    expected = roll(env, 30, seed=1)
    other = build(99)
    other.reset()
    roll(other, 3, seed=5)
    other.load_state_dict(saved)
    assert same(roll(other, 30, seed=1), expected)
    env.load_state_dict(saved)  # running on has not changed what was saved
    assert same(roll(env, 30, seed=1), expected)


def test_a_saved_state_survives_a_file_read_without_code(build, tmp_path):
    env = build(3)
    env.reset()
    roll(env, 5)
    torch.save(env.state_dict(), tmp_path / "state.pt")
    expected = roll(env, 8, seed=1)
    other = build(99)
    other.reset()
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert same(roll(other, 8, seed=1), expected)


def test_the_state_of_another_size_is_refused(build):
    env, saved = build(3), build(3).state_dict()
    saved["engine"]["state"] = saved["engine"]["state"][:2]
    with pytest.raises(ValueError, match="shape"):
        env.load_state_dict(saved)
