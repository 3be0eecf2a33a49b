"""deploy, request and teleop as a user meets them; the running stack is tested in tests/ros."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from robolearn import packages
from robolearn.cli import teleop
from robolearn.cli.main import main

from .conftest import run_command

RELEASED = str(Path(__file__).parents[3] / "policies" / "a1_velocity_flat" / "policy.onnx")
SLIM = """
import sys
for name in ("torch", "mujoco", "rclpy", "gymnasium", "matplotlib", "rich", "stable_baselines3", "onnx"):
    sys.modules[name] = None
from robolearn.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def failure(capsys, *words):
    """Run a command that fails and return exit code and its one line."""
    try:
        code = main(list(words))
    except SystemExit as end:
        code = end.code
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return code, lines[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["deploy"], "one of the arguments --sim --real is required"),
        (["deploy", "--sim", "--real"], "not allowed with argument"),
        (["deploy", "--sim", "--robot", "a11"], "unknown robot 'a11'. Did you mean 'a1'?"),
        (["deploy", "--sim", "--policy", "missing.onnx"], "missing.onnx: cannot be read"),
        (["deploy", "--sim", "--namespace", "1x"], "namespace '1x'"),
        (["deploy", "--sim", "--domain", "500"], "domain: expected a number from 0 to 101"),
        (["deploy", "--sim", "--link", "ros2_control"], "--link ros2_control: only with --real"),
        (["deploy", "--real", "--link", "loopbak"], "Did you mean 'loopback'?"),
        (["deploy", "--real", "--use-sim-time", "true"], "real time"),
        (["deploy", "--sim", "sim_node.hoisted"], "override 'sim_node.hoisted': expected KEY.SUBKEY=VALUE"),
        (["deploy", "--sim", "simnode.hoisted=true"], "unknown node 'simnode'"),
        (["deploy", "--sim", "hoisted=true"], "unknown node 'hoisted'"),
        (["deploy", "--sim", "--params", "missing.yaml"], "missing.yaml: cannot be read"),
        (["deploy", "--sim", "--set", "budget"], "--set budget: expected NAME=VALUE with a number"),
        (["deploy", "--sim", "--set", "budget=0.7"], "setting 'budget': is one of a policy, and none is given"),
        (["set", "budget=high"], "set budget=high: expected NAME=VALUE with a number"),
        (["set", "budget=0.7", "--namespace", "a b"], "namespace 'a b'"),
        (["request", "strat"], "invalid choice: 'strat'"),
        (["request", "arm", "--domain", "x"], "argument --domain"),
        (["request", "arm", "--namespace", "a b"], "namespace 'a b'"),
        (["teleop", "--namespace", "a b"], "namespace 'a b'"),
        (["teleop", "--params", "missing.yaml"], "missing.yaml: cannot be read"),
    ],
)
def test_wrong_words_are_refused_in_one_line(capsys, monkeypatch, words, message):
    monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)
    code, line = failure(capsys, *words)
    assert code == 2
    assert message in line


@pytest.mark.parametrize("words", [["deploy", "--real"], ["request", "arm"], ["set", "budget=1"], ["teleop"]])
def test_without_rclpy_one_line_says_what_to_install(capsys, monkeypatch, words):
    monkeypatch.setattr(packages, "is_installed", lambda name: False)
    code, line = failure(capsys, *words)
    assert code == 1
    assert "pip install '.[ros]'" in line


def test_the_commands_need_no_training_packages(tmp_path):
    script = tmp_path / "slim.py"
    script.write_text(SLIM)
    for words in (["deploy", "--help"], ["request", "--help"], ["set", "--help"], ["teleop", "--help"]):
        done = subprocess.run(
            [sys.executable, str(script), *words], capture_output=True, text=True, timeout=120, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_teleop_becomes_the_node(monkeypatch, tmp_path):
    pytest.importorskip("rclpy")
    monkeypatch.setattr(os, "environ", dict(os.environ))
    parameters = tmp_path / "teleop.yaml"
    parameters.write_text("/**/teleop_node:\n  ros__parameters: {max_vx: 1.0}\n")
    called = []
    monkeypatch.setattr(teleop.os, "execve", lambda *words: called.append(words))
    main(["teleop", "--namespace", "a1", "--domain", "5", "--params", str(parameters)])
    ((program, words, environment),) = called
    assert program == words[0] == sys.executable
    assert words[1:] == [
        "-m", "robolearn_ros.teleop_node", "--ros-args", "-r", "__ns:=/a1", "--params-file", str(parameters)
    ]  # fmt: skip
    assert environment["ROS_DOMAIN_ID"] == "5"


def test_a_request_that_nobody_hears(tmp_path):
    pytest.importorskip("rclpy")
    done = run_command(
        "request", "arm", "--timeout", "0.5", "--namespace", "nobody", ROS_DOMAIN_ID="9", ROS_LOG_DIR=str(tmp_path)
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "/nobody/safety_monitor (domain 9) did not answer within 0.5 s" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--episodes", "0"], "--episodes 0: must be at least 1"),
        (["--seconds", "0.5"], "--seconds 0.5 --speed 1: must be at least 1"),
        (["--speed", "-1"], "--speed -1: must be at least 1, and from 0 to 100"),
        (["--fault", "motor_off"], "fault motor_off: not a JSON object"),
        (["--fault", '{"kind": "motor_of"}'], "Did you mean 'motor_off'"),
    ],
)
def test_a_comparison_that_cannot_be_run_is_refused(words, message, capsys):
    assert main(["sim2sim-deployed", RELEASED, *words]) == 2
    assert message in capsys.readouterr().err
