"""An environment that fails leaves a file from which the failure can be looked at again."""

import torch

from sim.engines.dump import load_dump, replay_dump
from sim.environment import MAX_DUMPS, RECORDED_STEPS


def test_a_failure_leaves_a_dump_that_replays(make_env, tmp_path):
    env = make_env({}, num_envs=4)
    env.dump_folder = tmp_path
    for _ in range(RECORDED_STEPS):
        env.step(torch.zeros(4, 12))
    env.engine.field("qvel")[2, 7] = 1e9  # a blow that no integrator survives
    result = env.step(torch.zeros(4, 12))
    assert result.valid.tolist() == [True, True, False, True]
    path = tmp_path / "divergence_1.npz"
    dump = load_dump(path)
    assert dump.ids.tolist() == [2]
    assert len(dump.states["qpos"]) == RECORDED_STEPS
    assert [replay.env for replay in replay_dump(path)] == [2]


def test_only_the_first_failures_are_dumped(make_env, tmp_path):
    env = make_env({}, num_envs=2)
    env.dump_folder = tmp_path
    for _ in range(MAX_DUMPS + 2):
        env.engine.field("qvel")[1, 7] = torch.nan
        assert not env.step(torch.zeros(2, 12)).valid[1]
    assert len(list(tmp_path.iterdir())) == MAX_DUMPS


def test_no_folder_no_file(make_env, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    env = make_env({}, num_envs=2)
    env.engine.field("qvel")[1, 7] = torch.nan
    assert not env.step(torch.zeros(2, 12)).valid[1]
    assert not list(tmp_path.iterdir())
