"""`robolearn rehearse`: what `make demo` does with its policy, shortened."""

import json
import os
import subprocess
import sys

from stack import LIMIT, RELEASED


def rehearse(folder, *words):
    command = [sys.executable, "-m", "robolearn.cli.main", "rehearse", str(RELEASED), "--out", str(folder), *words]
    environment = {**os.environ, "ROS_LOG_DIR": str(folder), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=5 * LIMIT)


def test_a_fault_is_answered_and_the_story_told(tmp_path):
    done = rehearse(tmp_path, "--seconds", "2.5", "--fault", json.dumps({"kind": "nan_velocity"}))
    assert done.returncode == 0, done.stdout + done.stderr
    text = (tmp_path / "rehearsal.txt").read_text()
    assert "damping, " in text and "nan_velocity" in text and "identical to 1e-05" in text
    page = (tmp_path / "rehearsal.html").read_text()
    for picture in (tmp_path / "plots").iterdir():
        assert f"plots/{picture.name}" in page


def test_a_fault_that_does_not_exist_is_refused(tmp_path):
    done = rehearse(tmp_path, "--seconds", "0.5", "--fault", json.dumps({"kind": "nan_velocty"}))
    assert done.returncode == 2
    assert "nan_velocity" in done.stderr
