"""Conditions that end an episode before its time. (The time limit itself truncates and is not one of them.)"""

from __future__ import annotations

import math

from torch import Tensor

from sim.state import RobotState
from sim.tasks.terms import termination


@termination
def forbidden_contact(s: RobotState) -> Tensor:
    """One of the robot's termination bodies touches the ground."""
    return s.termination_contact


@termination
def tilt(s: RobotState, *, limit: float = 1.0) -> Tensor:
    """The base leans by more than ``limit`` rad."""
    return s.projected_gravity[:, 2] > -math.cos(limit)


@termination
def too_low(s: RobotState, *, height: float) -> Tensor:
    """The base is less than ``height`` m above the ground."""
    return s.base_height < height
