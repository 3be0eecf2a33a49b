"""`robolearn rehearse`: what `make demo` does with its policy, shortened."""

import json
import os
import subprocess
import sys

import pytest
from stack import LIMIT, RELEASED, ROOT

IMPATIENT = (
    "import sys; from robolearn.cli import main, rehearse; rehearse.START = 5.0; sys.exit(main.main(sys.argv[1:]))"
)


def rehearse(folder, *words, policy=RELEASED, program=("-m", "robolearn.cli.main")):
    command = [sys.executable, *program, "rehearse", str(policy), "--out", str(folder), *words]
    environment = {**os.environ, "ROS_LOG_DIR": str(folder), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=5 * LIMIT)


@pytest.mark.parametrize("policy", ["a1_velocity_flat", "bruce_eco"])
def test_a_fault_is_answered_and_the_story_told(tmp_path, policy):
    """The biped is hoisted, stands, is put down, steps in place and walks."""
    file = ROOT / "policies" / policy / "policy.onnx"
    done = rehearse(tmp_path, "--seconds", "2.5", "--fault", json.dumps({"kind": "nan_velocity"}), policy=file)
    assert done.returncode == 0, done.stdout + done.stderr
    text = (tmp_path / "rehearsal.txt").read_text()
    assert "damping, " in text and "nan_velocity" in text and "identical to 1e-05" in text
    page = (tmp_path / "rehearsal.html").read_text()
    for picture in (tmp_path / "plots").iterdir():
        assert f"plots/{picture.name}" in page


def test_a_file_that_is_not_there_is_said(tmp_path):
    done = rehearse(tmp_path, policy=tmp_path / "gone.onnx")
    assert done.returncode == 1
    assert done.stderr == f"robolearn: error: {tmp_path / 'gone.onnx'}: cannot be read (No such file or directory)\n"


def test_a_fault_that_does_not_exist_is_refused_before_anything_starts(tmp_path):
    done = rehearse(tmp_path / "out", "--fault", json.dumps({"kind": "nan_velocty"}))
    assert done.returncode == 2
    assert done.stderr == "robolearn: error: unknown fault 'nan_velocty'. Did you mean 'nan_velocity'?\n"
    assert not (tmp_path / "out").exists()


def test_an_own_robot_file_is_rehearsed_and_a_stop_before_the_fault_told(tmp_path):
    """In this file joints may hardly move under the policy: it is stopped by itself, and the page says why."""
    text = (ROOT / "hardware" / "robots" / "a1.yaml").read_text()
    line = next(line for line in text.splitlines() if line.strip().startswith("velocity:"))
    (tmp_path / "own.yaml").write_text(
        text.replace(line, "  velocity: {mode: trip, stand: 0.6, policy: 0.05, debounce: 0.005}")
    )
    done = rehearse(tmp_path, "--robot", str(tmp_path / "own.yaml"), "sim_node.real_time_factor=0.0")
    assert done.returncode == 1, done.stdout + done.stderr
    told = (tmp_path / "rehearsal.txt").read_text()
    assert "the robot stopped by itself: " in told and "joint velocity" in told
    assert "arm " in told.split("requests of the operator")[1].split("safety")[0]


def test_one_that_is_given_up_leaves_its_report(tmp_path):
    """Nobody may ever stand up here: the battery of the simulated robot is empty from the start."""
    fault = json.dumps(json.dumps({"kind": "battery_critical"}))
    done = rehearse(tmp_path, f"sim_node.fault={fault}", program=("-c", IMPATIENT))
    assert done.returncode == 1
    assert done.stderr == (
        f"robolearn: error: arm refused: not clear: battery; what the nodes said is in {tmp_path / 'nodes.txt'}\n"
    )
    assert "start -> idle" in (tmp_path / "nodes.txt").read_text()
    assert "given up" in (tmp_path / "rehearsal.html").read_text()
