"""Two processes with different data hold one set of multipliers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch


def test_estimates_and_multipliers_are_the_same_in_all_processes(tmp_path):
    worker = Path(__file__).with_name("torchrun_eco.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", worker, tmp_path]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    first, second = (torch.load(tmp_path / f"eco{rank}.pt") for rank in range(2))
    for name in ("multipliers", "violations", "running", "sums", "clipped"):
        assert torch.equal(first[name], second[name]), name
    assert first["violations"].isfinite().all() and first["multipliers"][1] > 0.0
    assert first["running"].item() > 0.0
    _, longest, price = first["sums"].tolist()
    assert 1.0 < longest < 3.0 and price > 0.0, "episodes of 3 and of 1 step"
    assert first["clipped"].item() == pytest.approx(0.5), "rewards below 0 in one of the two"
