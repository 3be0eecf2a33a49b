"""``robolearn log``: what happened as text, JSON and pictures; what is no recording is one clear line."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from robolearn.cli.main import main
from robolearn.deploy.recording import POLICY

from ..replay.stage import Stage

RELEASED = Path(__file__).parents[3] / "policies" / "a1_velocity_flat" / "policy.onnx"


@pytest.fixture(scope="module")
def recordings(policy_file, tmp_path_factory):
    """A folder with one recording: a walk that ends by an emergency stop."""
    out = tmp_path_factory.mktemp("recordings")
    stage = Stage(policy_file).play(0.3)
    stage.run(0.05, estop=True)
    stage.write(out)
    return out


def one_line(text):
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    assert lines[0].startswith("robolearn: error: ")
    return lines[0]


def test_the_newest_recording_is_told(recordings, capsys):
    assert main(["log", str(recordings)]) == 0
    text = capsys.readouterr().out
    for words in ("robot a1", "operator: start_policy", "emergency stop pressed", "identical to 1e-05"):
        assert words in text, words
    assert "fresh controller" not in text


def test_the_controller_decides_again_when_asked(recordings, capsys):
    assert main(["log", str(recordings), "--decide"]) == 0
    assert "same modes and commands" in capsys.readouterr().out


def test_json_has_it_all(recordings, capsys):
    assert main(["log", str(recordings), "--json", "--decide"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["policy"]["identical"] is True
    assert found["controller"]["disagreement"] is None
    assert [each["mode"] for each in found["summary"]["modes"]] == ["idle", "stand", "ready", "policy", "estop"]
    assert found["messages"]["robot_state"] == found["summary"]["period"]["count"] + 1
    assert found["plots"] == []


def test_a_mismatch_is_named_and_is_a_failure(policy_file, tmp_path, capsys):
    stage = Stage(policy_file)
    stage.miscompute = lambda state: replace(state, velocity=0.5 * state.velocity)
    stage.play(0.2)
    stage.write(tmp_path)
    assert main(["log", str(tmp_path)]) == 1
    assert "DIFFERENT: first observation term joint_velocity, since" in capsys.readouterr().out


def test_another_policy_is_run_over_the_same_signals(recordings, capsys):
    assert main(["log", str(recordings), "--policy", str(RELEASED)]) == 1
    assert f"policy {RELEASED}, run again over" in capsys.readouterr().out


def test_a_recording_without_a_policy_is_told_all_the_same(tmp_path, capsys):
    stage = Stage()
    stage.run(0.1)
    stage.write(tmp_path)
    assert main(["log", str(tmp_path), "--plots", str(tmp_path / "plots")]) == 0
    text = capsys.readouterr().out
    assert "policy: it never ran" in text
    assert str(tmp_path / "plots" / "joints.png") in text
    assert (tmp_path / "plots" / "joints.png").exists()


def test_not_finite_numbers_are_null(policy_file, tmp_path, capsys):
    stage = Stage(policy_file)
    stage.play(0.1)
    stage.miscompute = lambda state: replace(state, velocity=np.full(12, np.nan))
    stage.run(0.02)
    stage.write(tmp_path)
    assert main(["log", str(tmp_path), "--json"]) == 1
    text = capsys.readouterr().out
    assert "NaN" not in text
    assert "Infinity" not in text
    assert json.loads(text)["policy"]["differences"]


def test_what_is_no_recording_is_one_line(recordings, tmp_path, capsys):
    foreign, damaged = tmp_path / "foreign", tmp_path / "damaged"
    foreign.mkdir()
    (foreign / "bag.mcap").write_bytes(b"something else")
    shutil.copytree(next(recordings.iterdir()), damaged)
    next(damaged.glob("*.mcap")).write_bytes(b"")
    for bag, words, code in (
        (tmp_path / "nothing", "no such file or folder", 1),
        (tmp_path / "foreign", "no recording of recorder_node here", 1),
        (damaged, "empty", 1),
    ):
        assert main(["log", str(bag)]) == code
        line = one_line(capsys.readouterr().err)
        assert str(bag) in line
        assert words in line
    shutil.copytree(next(recordings.iterdir()), tmp_path / "edited")
    (tmp_path / "edited" / POLICY).write_bytes(b"x")
    assert main(["log", str(tmp_path / "edited")]) == 1
    assert POLICY in one_line(capsys.readouterr().err)


def test_a_span_without_anything_is_said(recordings, tmp_path, capsys):
    assert main(["log", str(recordings), "--plots", str(tmp_path), "--span", "100", "200"]) == 1
    assert "nothing to draw there; it is 2.9" in one_line(capsys.readouterr().err)


@pytest.mark.parametrize("words", [["--span", "0", "1"], ["--plots", "x", "--span", "1", "1"]])
def test_a_span_that_cannot_be_drawn_is_refused(recordings, words, capsys):
    assert main(["log", str(recordings), *words]) == 2
    assert "--span FROM TO" in one_line(capsys.readouterr().err)
