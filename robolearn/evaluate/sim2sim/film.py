"""The same policy on the same commands in several simulators, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from robolearn.deploy.contract import read_contract
from robolearn.evaluate.rollout import Film
from robolearn.evaluate.sim2sim import scripts
from robolearn.evaluate.sim2sim.episodes import record
from robolearn.evaluate.sim2sim.results import NOMINAL, Case
from robolearn.evaluate.video import View, frames, stride, write_video
from sim.ground import Plane
from sim.robots import load_robot
from sim.robots.robot import Robot
from sim.scene import PhysicsConfig, build_scene

VIEW = View(width=426, height=240)


def film_side_by_side(
    path: Path,
    policy: Path,
    simulators: Sequence[str],
    robot: Robot | None = None,
    seconds: float = scripts.SECONDS,
) -> float:
    """Film one undisturbed episode on the fixed script in each simulator; return its length in s.

    Args:
        path: the video, ``.mp4`` or ``.gif``.
        policy: the policy file.
        simulators: from left to right.
        robot: the robot where it is not one that ships under the name in the file.
        seconds: length of the episode.

    Raises:
        ConfigError: a simulator cannot run here.
        RenderError: no image can be drawn on this machine.
    """
    shown = robot or load_robot(read_contract(policy)[0].robot.name)
    model = build_scene(shown, Plane(), PhysicsConfig()).display_model()
    films = [_film(policy, simulator, robot, seconds) for simulator in simulators]
    rate = 1.0 / (stride(films[0], VIEW) * films[0].dt)
    images = (np.hstack(row) for row in zip(*(frames(model, film, VIEW) for film in films), strict=True))
    return write_video(path, images, rate) / rate


def _film(policy: Path, simulator: str, robot: Robot | None, seconds: float) -> Film:
    """Where the robot fell, the last row is shown until the end: all films have the same length."""
    case = Case(policy.stem, simulator, NOMINAL, 0.0, experiments=((0, 0),))
    found = record(case, policy, robot, seconds, fixed=True)
    trace, rows = found.trace, found.qpos[:, 0].astype(float)
    velocity = np.concatenate([trace.velocity[:, 0, :2], trace.angular_velocity[:, 0, 2:3]], 1)
    missing = trace.steps - len(rows)
    qpos, command, velocity = (
        np.pad(part, ((0, missing), (0, 0)), mode="edge") for part in (rows, trace.command[:, 0], velocity)
    )
    fell = bool(trace.fell[0] or trace.diverged[0])
    return Film(qpos, command, velocity, trace.dt, f"{simulator}, fell" if fell else simulator)
