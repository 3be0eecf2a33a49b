"""Run folders: what is written, and how runs and checkpoints are found again."""

import json

import pytest

from robolearn import run_folder
from robolearn.config import ConfigError, config_hash
from robolearn.experiment import compose
from robolearn.rl.checkpoint import CheckpointError, checkpoint_path, write_checkpoint


@pytest.fixture(scope="module")
def config():
    return compose("a1_velocity_flat", overrides=["seed=3"])


def test_a_new_folder_says_where_it_comes_from(tmp_path, config):
    folder = run_folder.create(tmp_path, config, ["robolearn", "train", "a b"], now=0)
    assert folder.name.endswith("_a1_velocity_flat_seed3") and folder.name.startswith("19")
    assert compose(folder / "config.yaml") == config
    meta = json.loads((folder / "meta.json").read_text())
    start = meta["starts"][0]
    assert meta["config_hash"] == start["config_hash"] == config_hash(config)
    assert start["command"] == "robolearn train 'a b'" and start["seed"] == 3
    assert set(start["packages"]) >= {"torch", "mujoco", "numpy"}
    assert start["machine"]["cores"] >= 1 and start["machine"]["processor"]


def test_two_runs_of_the_same_second_get_two_folders(tmp_path, config):
    first, second = (run_folder.create(tmp_path, config, [], now=0) for _ in range(2))
    assert first != second and second.name == first.name + "_2"


def test_a_resumed_run_keeps_its_history(tmp_path, config):
    folder = run_folder.create(tmp_path, config, ["one"], now=0)
    longer = compose("a1_velocity_flat", overrides=["seed=3", "runner.iterations=9999"])
    run_folder.write_start(folder, longer, ["two"], resumed_at=50)
    meta = run_folder.read_meta(folder)
    assert [start["command"] for start in meta["starts"]] == ["one", "two"]
    assert [start["iteration"] for start in meta["starts"]] == [0, 50]
    assert meta["config_hash"] == config_hash(longer)
    assert compose(folder / "config.yaml") == longer


def test_damaged_meta_is_no_obstacle(tmp_path, config):
    folder = run_folder.create(tmp_path, config, ["one"], now=0)
    (folder / "meta.json").write_text("{")
    assert run_folder.read_meta(folder) == {}


def _checkpoint(folder, iteration, meta=None):
    path = checkpoint_path(folder / "checkpoints", iteration)
    write_checkpoint(path, {"policy": {}, "meta": meta or {}})
    return path


def test_find_run_takes_the_newest_checkpoint(tmp_path, config):
    folder = run_folder.create(tmp_path, config, [], now=0)
    _checkpoint(folder, 50)
    newest = _checkpoint(folder, 100)
    found = run_folder.find_run(folder)
    assert (found.folder, found.checkpoint, found.config) == (folder, newest, config)
    older = checkpoint_path(folder / "checkpoints", 50)
    assert run_folder.find_run(older).checkpoint == older
    assert run_folder.find_run(older).folder == folder


def test_without_a_name_the_newest_run_with_a_checkpoint_is_taken(tmp_path, config):
    old = run_folder.create(tmp_path, config, [], now=0)
    _checkpoint(old, 1)
    run_folder.create(tmp_path, config, [], now=10**9)
    assert run_folder.find_run(None, tmp_path).folder == old
    assert run_folder.find_run(old.name, tmp_path).folder == old


def test_a_checkpoint_alone_carries_its_experiment(tmp_path, config):
    from robolearn.config import to_dict

    path = tmp_path / "policy.pt"
    write_checkpoint(path, {"policy": {}, "meta": {"experiment": to_dict(config)}})
    assert run_folder.find_run(path).config == config
    assert run_folder.find_run(tmp_path).checkpoint == path


def test_what_is_not_there_is_named(tmp_path, config):
    with pytest.raises(ConfigError, match="no trained run yet"):
        run_folder.find_run(None, tmp_path)
    with pytest.raises(ConfigError, match="no such run, checkpoint or policy"):
        run_folder.find_run("nothing", tmp_path)
    folder = run_folder.create(tmp_path, config, [], now=0)
    with pytest.raises(ConfigError, match="holds no checkpoint"):
        run_folder.find_run(folder)
    with pytest.raises(ConfigError, match=f"The newest runs are: {folder.name}"):
        run_folder.find_run("nothing", tmp_path)


def test_an_empty_checkpoint_is_refused(tmp_path):
    path = tmp_path / "checkpoint_000001.pt"
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="empty"):
        run_folder.find_run(path)


def test_outside_a_repository_the_commit_is_unknown(monkeypatch):
    def no_git(*_, **__):
        raise OSError("no git")

    monkeypatch.setattr(run_folder.subprocess, "run", no_git)
    assert run_folder.git_state() == {"git_commit": None, "git_dirty": None}
