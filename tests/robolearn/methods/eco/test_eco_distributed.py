"""Two processes with different data hold one set of multipliers."""

import os
import subprocess
import sys
from pathlib import Path

import torch


def test_estimates_and_multipliers_are_the_same_in_all_processes(tmp_path):
    worker = Path(__file__).with_name("torchrun_eco.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", worker, tmp_path]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    first, second = (torch.load(tmp_path / f"eco{rank}.pt") for rank in range(2))
    for name in ("multipliers", "violations", "running"):
        assert torch.equal(first[name], second[name]), name
    assert first["violations"].isfinite().all() and first["multipliers"][1] > 0.0
    assert first["running"].item() > 0.0
