"""The command: what it prints, writes and returns."""

import json

import pytest

from robolearn.cli.main import main


def test_it_passes_and_writes_its_results(tmp_path, capsys):
    words = ["safety-check", "--kinds", "estop_pressed", "loop_stopped", "--moments", "1", "--minutes", "0.05"]
    assert main([*words, "--jobs", "1", "--out", str(tmp_path / "out")]) == 0
    text = capsys.readouterr().out
    assert "2 of 2 cases met the requirement" in text
    assert "left" in text
    assert json.loads((tmp_path / "out" / "safety_check.json").read_text())["met"] is True


def test_several_processes_give_the_same(tmp_path, capsys):
    words = ["safety-check", "--kinds", "estop_pressed", "tilt_push", "--moments", "2", "--minutes", "0"]
    results = []
    for jobs in ("1", "2"):
        assert main([*words, "--jobs", jobs, "--out", str(tmp_path / jobs)]) == 0
        results.append(json.loads((tmp_path / jobs / "safety_check.json").read_text()))
    assert results[0] == results[1]


def test_it_fails_where_the_requirement_is_not_met(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("robolearn.evaluate.safety_check.ALLOWED", -1)
    words = ["safety-check", "--kinds", "estop_pressed", "--moments", "1", "--minutes", "0", "--jobs", "1"]
    assert main([*words, "--out", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert "Not met" in captured.out
    assert "do not meet the requirement" in captured.err
    assert json.loads((tmp_path / "safety_check.json").read_text())["met"] is False


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--kinds", "estop"], 2, "Did you mean 'estop_pressed'"),
        (["--moments", "-1"], 1, "--moments -1: must be at least 0"),
        (["--moments", "0", "--minutes", "0"], 1, "nothing to do"),
        (["no.onnx", "--quick", "--jobs", "1"], 1, "no.onnx"),
        (["--robot", "a2", "--quick", "--jobs", "1"], 2, "unknown robot 'a2'"),
    ],
)
def test_wrong_words_are_refused_in_one_line(words, code, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["safety-check", *words]) == code
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_the_cases_can_be_listed(capsys):
    assert main(["safety-check", "--kinds", "list"]) == 0
    assert "motor_off" in capsys.readouterr().out
