"""export, inspect and verify as a user runs them."""

import json

import pytest

from robolearn.cli.inspect import describe
from robolearn.cli.main import main
from robolearn.deploy.policy import OnnxPolicy
from robolearn.export import export as exporting


@pytest.fixture
def short(monkeypatch):
    for name, value in {"PARITY_ROBOTS": 1, "PARITY_STEPS": 10, "SEEN_ROBOTS": 2, "SEEN_STEPS": 10}.items():
        monkeypatch.setattr(exporting, name, value)


@pytest.mark.usefixtures("short")
def test_export_writes_a_file_that_verifies(trained, tmp_path, capsys):
    path = tmp_path / "a1.onnx"
    assert main(["export", str(trained), "--out", str(path), "--threads=1"]) == 0
    assert "agree within" in capsys.readouterr().out
    assert main(["verify", str(path)]) == 0
    assert capsys.readouterr().out.startswith("pass  ")
    assert OnnxPolicy(path).contract.provenance["origin"].startswith(f"run {trained.name}")


@pytest.mark.usefixtures("short")
def test_export_of_sb3_models(tmp_path, capsys):
    from stable_baselines3 import PPO

    from sim.adapters.sb3 import SB3VecEnv

    model = PPO("MlpPolicy", SB3VecEnv("go1", "velocity_flat", 1), n_steps=8, batch_size=8)
    model.save(tmp_path / "m.zip")
    assert main(["export", str(tmp_path / "m.zip"), "--sb3", "ppo", "--robot", "go1", "--threads=1"]) == 0
    assert OnnxPolicy(tmp_path / "m.onnx").contract.robot.name == "go1"
    (tmp_path / "bad.zip").write_bytes(b"no archive")
    assert main(["export", str(tmp_path / "bad.zip"), "--sb3", "ppo"]) == 1
    assert "no model of PPO" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "none.zip"), "--sb3", "sac"]) == 1
    assert "no such file" in capsys.readouterr().err


def test_inspect_shows_what_the_operator_sets(budget_file, policy_file, capsys):
    assert main(["inspect", str(budget_file)]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "share of the energy" in line)
    assert line.split()[:1] == ["budget"]
    assert "0.5 to 1, default 0.9" in line
    assert main(["inspect", str(policy_file)]) == 0
    assert "Settings" not in capsys.readouterr().out


def test_inspect_shows_the_contract(policy_file, capsys):
    assert main(["inspect", str(policy_file)]) == 0
    text = capsys.readouterr().out
    for word in (
        "robot a1",
        "FL_hip_joint",
        "previous_action",
        "projected_gravity",
        "yaw_rate",
        "20 ms",
        "config_hash",
    ):
        assert word in text
    assert text.splitlines() == list(describe(OnnxPolicy(policy_file).contract))


def test_inspect_json_is_the_document(policy_file, capsys):
    assert main(["inspect", str(policy_file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["robot"]["name"] == "a1"


def test_bad_files_are_one_line_and_fail(policy_file, tmp_path, capsys):
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(policy_file.read_bytes()[:-100])
    assert main(["verify", str(policy_file), str(bad), str(tmp_path / "none.onnx")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line[:4] for line in lines] == ["pass", "FAIL", "FAIL"]
    assert main(["inspect", str(bad)]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
