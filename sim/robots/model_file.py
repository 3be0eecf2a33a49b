"""Where a robot's model comes from."""

from __future__ import annotations

from pathlib import Path

from sim.robots.description import RobotFile
from sim.robots.robot import ModelSource


def open_model(file: RobotFile, folder: Path) -> tuple[ModelSource, dict[str, float], dict[str, float]]:
    """Return the source of the model, and the effort (N m) and velocity (rad/s) limits that it gives, by joint."""
    assert file.model.quadruped is not None
    return file.model.quadruped, {}, {}
