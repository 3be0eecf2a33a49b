"""Training from the command line: the run folder, resuming, interruption, several processes."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from robolearn.cli.main import main
from robolearn.experiment import compose
from robolearn.logging.csv_log import CsvLog, read_csv
from robolearn.rl.checkpoint import read_checkpoint

from .conftest import TINY


def test_the_run_folder_holds_everything(trained):
    assert {path.name for path in trained.iterdir()} >= {
        "config.yaml", "meta.json", "metrics.csv", "curves.png", "log.txt", "checkpoints"
    }  # fmt: skip
    assert list(trained.glob("events.out.tfevents*"))
    config = compose(trained / "config.yaml")
    assert (config.seed, config.env.num_envs, config.env.threads) == (5, 4, 0), "threads are no part of the experiment"
    table = read_csv(trained / "metrics.csv")
    assert table["iteration"].tolist() == [1, 2, 3]
    assert table["train/total_steps"][-1] - table["train/total_steps"][0] == 2 * 4 * 4
    state = read_checkpoint(trained / "checkpoints" / "checkpoint_000003.pt")
    assert compose(state["meta"]["experiment"]) == config
    meta = json.loads((trained / "meta.json").read_text())
    assert meta["starts"][0]["last_iteration"] == 3 and meta["starts"][0]["wall_s"] > 0


def test_tensorboard_has_the_same_numbers(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(trained))
    events.Reload()
    logged = [event.value for event in events.Scalars("train/mean_step_reward")]
    assert logged == pytest.approx(read_csv(trained / "metrics.csv")["train/mean_step_reward"].tolist(), rel=1e-5)


@pytest.fixture
def copy(trained, tmp_path):
    """A copy of the run that a test may change."""
    return Path(shutil.copytree(trained, tmp_path / trained.name))


def test_a_resumed_run_goes_on_in_its_folder(copy, capsys):
    assert main(["train", "--resume", str(copy), "runner.iterations=5", "--threads=1"]) == 0
    assert read_csv(copy / "metrics.csv")["iteration"].tolist() == [1, 2, 3, 4, 5]
    assert (copy / "checkpoints" / "checkpoint_000005.pt").is_file()
    assert [start["iteration"] for start in json.loads((copy / "meta.json").read_text())["starts"]] == [0, 3]
    assert "5 iterations" in capsys.readouterr().out


def test_resuming_is_exact_and_cuts_what_came_after_the_checkpoint(trained, copy):
    straight = copy.parent / "straight"
    assert main(["train", "a1_velocity_flat", *TINY, "--iterations=5", f"--out={straight}", "--seed=5"]) == 0
    log = CsvLog(copy / "metrics.csv", resume_from=3)
    log.write(4, {"train/mean_step_reward": 1e9})  # as if the run had gone on after its last checkpoint
    assert main(["train", "--resume", str(copy), "--iterations=5", "--threads=1"]) == 0
    (folder,) = straight.iterdir()
    resumed, whole = read_csv(copy / "metrics.csv"), read_csv(folder / "metrics.csv")
    assert resumed["train/mean_step_reward"].tolist() == whole["train/mean_step_reward"].tolist()
    ends = [
        read_checkpoint(place / "checkpoints" / "checkpoint_000005.pt")["policy"]["weights"] for place in (copy, folder)
    ]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[1])


def test_a_finished_run_says_how_to_get_more(trained, capsys):
    assert main(["train", "--resume", str(trained), "--threads=1"]) == 2
    assert "all 3 iterations are done" in capsys.readouterr().err


def test_a_damaged_checkpoint_is_one_line(copy, capsys):
    newest = copy / "checkpoints" / "checkpoint_000004.pt"
    newest.write_bytes((copy / "checkpoints" / "checkpoint_000003.pt").read_bytes()[:1000])
    assert main(["train", "--resume", str(copy), "--iterations=9", "--threads=1"]) == 1
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    assert "checkpoint_000004.pt" in error and "checkpoint_000003.pt" in error, "the last good one is named"


def test_a_time_limit_ends_the_run_with_a_checkpoint(tmp_path, capsys):
    words = ["train", "a1_velocity_flat", *TINY, "--minutes=0.005", "--iterations=100000", f"--out={tmp_path}"]
    assert main([*words, "--no-tensorboard"]) == 0
    (folder,) = tmp_path.iterdir()
    assert len(list((folder / "checkpoints").glob("*.pt"))) == 1
    assert not list(folder.glob("events*"))
    assert f"go on      robolearn train --resume {folder}" in capsys.readouterr().out


def test_a_full_disk_costs_the_log_but_not_the_training(tmp_path, capsys, monkeypatch):
    def full(self, iteration, metrics):
        raise OSError(errno.ENOSPC, "No space left on device", str(self.path))

    monkeypatch.setattr(CsvLog, "write", full)
    words = ["train", "a1_velocity_flat", *TINY, "--iterations=2", f"--out={tmp_path}", "--no-tensorboard"]
    assert main(words) == 0
    (folder,) = tmp_path.iterdir()
    assert (folder / "checkpoints" / "checkpoint_000002.pt").is_file()
    text = capsys.readouterr().out
    assert "warning: the metrics of iteration 1 are not logged: No space left on device" in text


def test_when_the_last_checkpoint_cannot_be_written_it_is_saved_elsewhere(tmp_path, capsys, monkeypatch):
    from robolearn.rl import runner

    write = runner.write_checkpoint

    def full(path, state):
        if str(tmp_path / "runs") in str(path):
            raise runner.CheckpointError(f"{path}: cannot be written (the disk is full; free 1 MB)")
        write(path, state)

    monkeypatch.setattr(runner, "write_checkpoint", full)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    words = ["train", "a1_velocity_flat", *TINY, "--iterations=2", f"--out={tmp_path / 'runs'}", "--no-tensorboard"]
    assert main(words) == 1
    error = capsys.readouterr().err
    assert "the disk is full" in error and "what was learned is safe in" in error
    (saved,) = tmp_path.glob("robolearn-*/checkpoint_000002.pt")
    assert read_checkpoint(saved)["counters"]["iteration"] == 2


def _start(words, **environment):
    return subprocess.Popen(
        [sys.executable, *words],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_ctrl_c_leaves_a_checkpoint_and_says_how_to_resume(tmp_path):
    words = ["-m", "robolearn.cli.main", "train", "a1_velocity_flat", *TINY, "--iterations=100000", f"--out={tmp_path}"]
    process = _start(words)
    for line in process.stdout:
        if "spent" in line:  # the first iteration is done
            break
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    (folder,) = tmp_path.iterdir()
    assert f"Stopped. Go on with: robolearn train --resume {folder}" in output
    (checkpoint,) = (folder / "checkpoints").glob("*.pt")
    done = read_checkpoint(checkpoint)["counters"]["iteration"]
    assert done == len(read_csv(folder / "metrics.csv")["iteration"])
    assert main(["train", "--resume", str(folder), f"--iterations={done + 1}", "--threads=1"]) == 0


def test_two_processes_learn_together_and_write_one_run(tmp_path):
    words = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "robolearn.cli.main",
        "train",
    ]
    process = _start([*words, "a1_velocity_flat", *TINY, "--iterations=2", f"--out={tmp_path}"])
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    (folder,) = tmp_path.iterdir()
    assert output.count("4 environments x 2 processes") == 1, "only one process talks"
    state = read_checkpoint(folder / "checkpoints" / "checkpoint_000002.pt")
    assert len(state["processes"]) == 2
    first, second = (part["env"]["state"]["joint_position"] for part in state["processes"])
    assert not torch.equal(first, second), "each process has its own robots"
    table = read_csv(folder / "metrics.csv")
    assert table["iteration"].tolist() == [1, 2]
    assert table["train/total_steps"][1] - table["train/total_steps"][0] == 2 * 4 * 4
