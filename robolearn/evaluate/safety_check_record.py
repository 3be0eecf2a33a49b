"""What was recorded of a run of the control loop, as arrays that can be searched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robolearn.deploy.inputs import Inputs, PolicySetup
from robolearn.deploy.modes import DRIVEN, Mode
from robolearn.deploy.robot import RobotFile
from robolearn.deploy.runner import Tick
from robolearn.deploy.types import RobotState

Flags = NDArray[Any]
Floats = NDArray[np.float64]


class Sample(NamedTuple):
    """One control tick as it was seen from outside.

    Attributes:
        now: s.
        mode: in which it was judged.
        inputs: what the controller was told.
        tick: what was read, decided and sent.
    """

    now: float
    mode: Mode
    inputs: Inputs
    tick: Tick


class Record:
    """A recording of T control ticks, from switched on, as arrays.

    Ticks without a reading, or with one that is not finite, keep the reading before; ``finite`` tells them apart.
    """

    def __init__(self, samples: Sequence[Sample], robot: RobotFile, policy: PolicySetup, slack: float = 1e-9) -> None:
        """Take samples; ``slack`` (s) is added to the limits of ages: rounding decides where they are met exactly."""
        self.slack = slack
        self.robot, self.policy, self.samples = robot, policy, samples
        self.now = np.array([sample.now for sample in samples])
        self.walking = np.array([sample.mode is Mode.POLICY for sample in samples])
        self.driven = np.array([sample.mode in DRIVEN for sample in samples])
        arrived = [sample.tick.state for sample in samples]
        names = ("position", "velocity", "torque", "orientation", "angular_velocity")
        finite = [s is not None and all(np.isfinite(getattr(s, name)).all() for name in names) for s in arrived]
        self.arrived: Flags = np.array([s is not None for s in arrived])
        self.finite: Flags = np.array(finite)
        first = next(s for s, good in zip(arrived, finite, strict=True) if good and s is not None)
        held: list[RobotState] = []
        for state, good in zip(arrived, finite, strict=True):
            if good and state is not None:
                held.append(state)
            else:
                held.append(held[-1] if held else first)
        self.position: Floats = np.array([s.position for s in held])
        self.velocity: Floats = np.array([s.velocity for s in held])
        self.torque: Floats = np.array([s.torque for s in held])
        self.orientation: Floats = np.array([s.orientation for s in held])
        self.rate: Floats = np.array([s.angular_velocity for s in held])
        self.hottest: Floats = np.array([s.temperature.max() for s in held])
        self.battery: Floats = np.array([s.battery for s in held])
        self.sequence = np.array([s.sequence for s in held])
        self.stamp: Floats = np.array([s.stamp for s in held])
        self.new: Flags = np.r_[True, (np.diff(self.sequence) != 0) | (np.diff(self.stamp) != 0)] & self.finite
        forward = np.r_[True, (np.diff(self.sequence) > 0) & (np.diff(self.stamp) >= 0)]
        self.good: Flags = self.new & forward
        commands = [samples[0].tick.output.command, *(sample.tick.output.command for sample in samples[:-1])]
        self.target: Floats = np.array([command.position for command in commands])  # as it held before the reading
        self.kp: Floats = np.array([command.kp for command in commands])
        self.kd: Floats = np.array([command.kd for command in commands])

    def since(self, good: Flags) -> Floats:
        """Return how long ago (T,), in s, a flag was last set; infinite before the first."""
        times = np.where(good, self.now, -np.inf)
        return self.now - np.maximum.accumulate(times)

    def held(self, over: ArrayLike, debounce: float) -> Flags:
        """Return where a condition (T,) has held for ``debounce`` s without a break."""
        over = np.asarray(over, bool)
        began = np.where(over & ~np.r_[False, over[:-1]], self.now, -np.inf)
        return over & (self.now - np.maximum.accumulate(began) >= debounce - abs(self.slack))

    def per_mode(self, stand: float, policy: float) -> Floats:
        """Return the limit (T, 1) of each tick."""
        return np.where(self.walking, policy, stand)[:, None]
