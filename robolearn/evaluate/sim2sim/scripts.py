"""Command scripts: what a robot is asked to do in an episode, the same for every simulator, perturbation and policy.

A script is piecewise constant: the robot stands, then goes forward, goes sideways, turns, and does all of it together,
in drawn order and strength, and stops.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from robolearn.config import ConfigError
from robolearn.deploy.contract import CommandEntry
from robolearn.evaluate.sim2sim.draws import stream
from robolearn.evaluate.sim2sim.results import Experiment

Array = NDArray[np.float64]
COMMANDS = ("vx", "vy", "yaw_rate")
"""Columns of a script: m/s, m/s and rad/s, in the base's heading frame."""
SECONDS = 10.0
"""Length of an episode."""
STAND, MOVE = 0.1, 0.2
"""Share of an episode for standing at either end, and for each of the four movements between."""
MOVEMENTS = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1))
"""Columns of ``COMMANDS`` that each movement uses: forward, sideways, turning, all together."""
ALONE, TOGETHER = (0.5, 1.0), (0.25, 0.75)
"""Share of the range's end that a movement asks for, when one column moves and when all do."""
FIXED = ((0.6, 0, 0), (0, 0.6, 0), (0, 0, 0.6), (0.6, 0.3, -0.5))
"""Shares of the range's ends in the fixed script; below 0 of the lower end."""


def draw(command: Sequence[CommandEntry], experiments: Sequence[Experiment], seconds: float, dt: float) -> Array:
    """Return the scripts of N experiments, (T, N, 3), one row per control step of ``dt`` s.

    Args:
        command: what the policy can be asked for, from its contract; every value stays within its range.
        experiments: (N,) which.
        seconds: length of an episode.
        dt: control period, s.

    Raises:
        ConfigError: the policy takes other commands than ``COMMANDS``.
    """
    low, high = _range(command)
    return np.stack([_episode(low, high, experiment, seconds, dt) for experiment in experiments], 1)


def fixed(command: Sequence[CommandEntry], episodes: int, seconds: float, dt: float) -> Array:
    """Return the script that films and diagnoses use, (T, N, 3), the same in every episode; see ``draw``."""
    low, high = _range(command)
    shares = np.array(FIXED)
    levels = np.abs(shares) * np.where(shares < 0, low, high)
    return np.repeat(_timeline(levels, low, high, seconds, dt)[:, None], episodes, 1)


def _range(command: Sequence[CommandEntry]) -> tuple[Array, Array]:
    """Lower and upper ends of the three columns, (3,) each."""
    names = tuple(entry.name for entry in command)
    if names != COMMANDS:
        raise ConfigError(
            f"policy command: the scripts ask for {', '.join(COMMANDS)}, this policy takes {', '.join(names) or 'none'}"
        )
    return np.array([entry.low for entry in command]), np.array([entry.high for entry in command])


def _episode(low: Array, high: Array, experiment: Experiment, seconds: float, dt: float) -> Array:
    """(T, 3): one drawn script."""
    rng = stream(*experiment, "script")
    levels = []
    for movement in MOVEMENTS:
        share = rng.uniform(*(TOGETHER if all(movement) else ALONE), 3)
        backward = rng.random(3) < 0.5
        if movement == (1, 0, 0):
            backward[:] = False
        # A range that lies on one side of zero has one direction only.
        end = np.where(backward & (low < 0) | (high <= 0), low, high)
        levels.append(np.array(movement) * share * end)
    return _timeline(rng.permutation(np.array(levels)), low, high, seconds, dt)


def _timeline(levels: Array, low: Array, high: Array, seconds: float, dt: float) -> Array:
    """(T, 3): stand, the four movements (4, 3) in turn, stand; kept within the range, even where 0 is outside."""
    still = np.zeros((1, levels.shape[1]))
    phases = np.clip(np.concatenate((still, levels, still)), low, high)
    starts = STAND + MOVE * np.arange(len(levels) + 1)
    share = (np.arange(round(seconds / dt)) + 0.5) * dt / seconds
    return phases[np.searchsorted(starts, share)]
