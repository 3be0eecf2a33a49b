import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torchrun_worker import train, update

from robolearn.rl import ProcessGroup, read_checkpoint
from robolearn.rl.distributed import start


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("torchrun")
    worker = Path(__file__).with_name("torchrun_worker.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", worker, folder]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"rank{rank}.pt") for rank in range(2)], folder


def test_two_processes_learn_what_one_learns_from_all_the_data(ranks):
    (first, second), _ = ranks
    alone = update(ProcessGroup())
    assert torch.equal(first["update"]["params"], second["update"]["params"])
    assert torch.equal(first["update"]["lr"], second["update"]["lr"])
    torch.testing.assert_close(first["update"]["params"], alone["params"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(first["update"]["lr"], alone["lr"])
    assert first["update"]["metrics"]["ppo/kl"] == pytest.approx(alone["metrics"]["ppo/kl"], rel=1e-3)


def test_parameters_and_normalisers_stay_equal_while_the_data_differ(ranks):
    (first, second), _ = ranks
    for name in ("params", "mean", "count"):
        assert torch.equal(first["train"][name], second["train"][name]), name
    assert not torch.equal(first["train"]["target"], second["train"]["target"])
    assert not torch.equal(first["train"]["noise"], second["train"]["noise"])
    # The roll-out that fills the normaliser and four more, of 6 steps, 8 environments and 2 processes.
    assert float(first["train"]["count"]) == first["train"]["total_steps"] == 5 * 6 * 8 * 2


def test_only_the_first_process_writes_and_it_writes_for_all(ranks):
    _, folder = ranks
    names = sorted(path.name for path in (folder / "run").iterdir())
    assert names == ["checkpoint_000002.pt", "checkpoint_000004.pt"]
    assert len(read_checkpoint(folder / "run" / names[0])["processes"]) == 2


def test_one_process_needs_no_group(monkeypatch, tmp_path):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    group = start("cpu")
    assert (group.rank, group.size, group.is_main) == (0, 1, True)
    value = torch.tensor([3.0])
    assert group.average_(value) is value
    assert [part.item() for part in group.gather(value)] == [3.0]
    assert group.collect("x") == ["x"]
    assert group.any(True)
    assert not group.any(False)
    assert train(group, tmp_path)["total_steps"] == 5 * 6 * 8
