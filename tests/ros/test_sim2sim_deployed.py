"""`robolearn sim2sim-deployed` with the real nodes: they do what the stack does in one process, and a fault shows."""

import json
import os
import subprocess
import sys

import torch
from stack import LIMIT, RELEASED

from robolearn.evaluate.sim2sim.deployed.check import check, timestep
from robolearn.evaluate.sim2sim.deployed.nodes import Way

torch.set_num_threads(1)


def test_the_nodes_do_what_the_stack_does_in_one_process(tmp_path):
    found = check(Way(RELEASED, None, timestep(), speed=0.0), 1, 2.5, 0, tmp_path, say=lambda text: None)
    assert all(each.agrees for each in found.checks), found.table()
    for row in found.rows:
        assert row.in_process == row.nodes
        if row.name in ("survival", "score"):  # a single short episode says little about the others
            assert abs(row.nodes - row.benchmark) < 0.2, found.table()


def test_a_fault_in_the_drives_of_the_nodes_is_a_disagreement(tmp_path):
    fault = json.dumps({"kind": "command_delayed", "seconds": 0.005})
    words = ("--episodes", "1", "--seconds", "1.5", "--speed", "0", "--fault", fault, "--out", str(tmp_path))
    command = [sys.executable, "-m", "robolearn.cli.main", "sim2sim-deployed", str(RELEASED), *words]
    environment = {**os.environ, "ROS_LOG_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=5 * LIMIT)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "do not agree" in done.stderr and "DIFFERS  readings" in done.stdout
    written = json.loads((tmp_path / "agreement.json").read_text())
    assert not written["agrees"] and written["rows"][0]["nodes"] is None
