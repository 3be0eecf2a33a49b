"""One tiny trained run that the tests of the commands share."""

import os
import subprocess
import sys

import pytest

from robolearn.cli.main import main

TINY = [
    "--num-envs=4",
    "--threads=1",
    "network.actor_hidden=[8]",
    "network.critic_hidden=[8]",
    "runner.steps_per_env=4",
    "ppo.epochs=1",
    "ppo.minibatches=1",
]


def run_command(*words, timeout=120, **environment):
    """Run ``robolearn`` in a process of its own and return it."""
    return subprocess.run(
        [sys.executable, "-m", "robolearn.cli.main", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=timeout,
        check=False,
    )


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Folder of a run of three iterations."""
    root = tmp_path_factory.mktemp("runs")
    assert main(["train", "a1_velocity_flat", *TINY, "--iterations=3", f"--out={root}", "--seed=5"]) == 0
    (folder,) = root.iterdir()
    return folder
