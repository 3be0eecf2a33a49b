"""`robolearn rehearse`: what `make demo` does with its policy, shortened."""

import json
import os
import subprocess
import sys

import pytest
from stack import LIMIT, RELEASED, ROOT


def rehearse(folder, *words, policy=RELEASED):
    command = [sys.executable, "-m", "robolearn.cli.main", "rehearse", str(policy), "--out", str(folder), *words]
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


def test_a_fault_that_does_not_exist_is_refused(tmp_path):
    done = rehearse(tmp_path, "--seconds", "0.5", "--fault", json.dumps({"kind": "nan_velocty"}))
    assert done.returncode == 2
    assert "nan_velocity" in done.stderr
