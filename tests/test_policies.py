"""Released policies stay usable: today's code makes of their checkpoints what their ONNX files hold."""

from pathlib import Path

import pytest

from robolearn.deploy.policy import OnnxPolicy
from robolearn.export.export import export, from_run
from robolearn.run_folder import find_run

ROOT = Path(__file__).parents[1]
RELEASES = sorted(path.parent for path in ROOT.glob("policies/*/config.yaml"))


def test_there_is_one():
    assert ROOT / "policies/a1_velocity_flat" in RELEASES


@pytest.mark.parametrize("folder", RELEASES, ids=lambda folder: folder.name)
def test_the_checkpoint_exports_to_the_released_file(folder, tmp_path):
    released = OnnxPolicy(folder / "policy.onnx")
    export(from_run(find_run(folder)), tmp_path / "policy.onnx")
    again = OnnxPolicy(tmp_path / "policy.onnx")
    for field in ("robot", "task", "control_dt", "action", "signals", "memory", "command"):
        assert getattr(again.contract, field) == getattr(released.contract, field)
    again.contract = released.contract
    assert again.check_golden() == []
