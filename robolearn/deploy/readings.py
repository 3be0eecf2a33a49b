"""Which of the robot's readings to believe, and how long ago what was good. Judging that is the monitor's task."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from robolearn.deploy.types import Array, RobotState

MAX_GAP = 10.0
"""s; a longer silence counts as this long, so that no jump of a clock can use up the precision of later times."""
MOVED = 1e-3
"""rad; a motion that every sensor must notice."""


class Clock:
    """The monitor's own time: runs on at every tick, also when the caller's clock stands still or jumps back.

    Attributes:
        time: s, starts at 0.
        gap: s since the tick before.
        dt: s that motions may go on by: never more than a control tick.
        steady_time: ``time`` when the caller's clock last went forward.
    """

    def __init__(self, control_dt: float) -> None:
        self._control_dt = control_dt
        self._last: float | None = None
        self.time = 0.0
        self.gap = 0.0
        self.dt = 0.0
        self.steady_time = 0.0

    def tick(self, now: float) -> None:
        """Take the caller's clock, in s."""
        step = self._control_dt if self._last is None else now - self._last
        steady = math.isfinite(now) and step > 0.0
        self.gap = min(step, MAX_GAP) if steady else self._control_dt
        self.dt = min(self.gap, self._control_dt)
        self.time += self.gap
        if steady:
            self.steady_time = self.time
        if math.isfinite(now):
            self._last = now

    @property
    def unsteady(self) -> float:
        """s for which the caller's clock has not gone forward."""
        return self.time - self.steady_time


class Readings:
    """The robot's readings: refuses what cannot be right and keeps the last good one.

    Attributes:
        state: the last good reading; None before the first.
        problem: why the reading of this tick was refused as invalid; empty when it was not.
        arrived: whether something came in this tick.
        frozen: readings come, but repeat the sequence number.
        backwards: readings come, but with an older stamp or sequence number, or a stamp from the future.
        speed: (J,) rad/s between the last two good readings; 0 before there are two.
        disagreement: rad/s between how the orientation changed from the last good reading to this one and the angular
            rate in both; 0 before there are two.
    """

    def __init__(self, joints: int, control_dt: float) -> None:
        self._joints = joints
        self._control_dt = control_dt
        self._stamp = -math.inf
        self._sequence: int | None = None
        self._good_time = -math.inf
        self._accepted_time = 0.0
        self._unit_time = 0.0
        self._imu: tuple[float, ...] = ()
        self._imu_time = 0.0
        self._imu_position = np.zeros(joints)
        self._position = np.full(joints, np.nan)
        self._velocity = np.full(joints, np.nan)
        self._joint_time = np.zeros(joints)
        self.state: RobotState | None = None
        self.problem = ""
        self.arrived = False
        self.frozen = False
        self.backwards = False
        self.speed: Array = np.zeros(joints)
        self.disagreement = 0.0

    def take(self, state: RobotState | None, now: float, time: float, tolerance: float) -> None:
        """Take what came in this tick; None when nothing did.

        Args:
            state: the reading; the same one may be given again.
            now: s, the caller's clock.
            time: s, the monitor's clock.
            tolerance: how far the quaternion's norm may be from 1.
        """
        self.arrived = state is not None
        self.problem = "" if state is None else invalid_state(state, self._joints)
        if state is None or self.problem:
            return
        repeated = state.sequence == self._sequence
        if repeated and abs(state.stamp - self._stamp) < 0.5 * self._control_dt:
            return  # the same one again; on another clock its stamp is never quite the same
        if state.stamp > now + self._control_dt:
            self.backwards = True
            return
        elapsed = state.stamp - self._stamp
        older = elapsed < 0.0 or (self._sequence is not None and state.sequence < self._sequence)
        self._stamp, self._sequence = state.stamp, state.sequence  # a robot that restarted counts anew
        if older:
            self.backwards = True
        elif repeated:
            self.frozen = True
        else:
            if self.state is not None:
                self.speed = np.abs(state.position - self._position) / max(elapsed, self._control_dt)
                self.disagreement = _disagreement(self.state, state, max(elapsed, 0.5 * self._control_dt))
            self._accept(state, now, time, tolerance)

    def _accept(self, state: RobotState, now: float, time: float, tolerance: float) -> None:
        self.state = state
        self.frozen = self.backwards = False
        self._accepted_time = time
        delay = now - state.stamp
        self._good_time = time - (min(max(delay, 0.0), MAX_GAP) if math.isfinite(delay) else MAX_GAP)
        if abs(self.norm - 1.0) <= tolerance:
            self._unit_time = time
        imu = (*state.orientation.tolist(), *state.angular_velocity.tolist())
        if imu != self._imu:
            self._imu, self._imu_time, self._imu_position = imu, time, state.position.copy()
        changed = (state.position != self._position) | (state.velocity != self._velocity)
        self._joint_time[changed] = time
        self._position[:] = state.position
        self._velocity[:] = state.velocity

    @property
    def norm(self) -> float:
        """Norm of the quaternion; NaN before the first reading."""
        return math.nan if self.state is None else math.hypot(*self.state.orientation.tolist())

    def age(self, time: float) -> float:
        """s since the stamp of the last good reading; infinite before the first."""
        return time - self._good_time

    def unaccepted(self, time: float) -> float:
        """s since a reading was accepted."""
        return time - self._accepted_time

    def not_unit(self, time: float) -> float:
        """s since the orientation was a unit quaternion, as far as readings came."""
        return 0.0 if self.state is None or self._unit_time == self._accepted_time else time - self._unit_time

    def imu_frozen(self, time: float) -> float:
        """s for which the IMU has not changed, though joints moved or its own rate says that it turned."""
        if self.state is None:
            return 0.0
        age = time - self._imu_time
        turned = float(np.abs(self.state.angular_velocity).max()) * age
        moved = float(np.abs(self.state.position - self._imu_position).max())
        return age if max(turned, moved) > MOVED else 0.0

    def joint_frozen(self, time: float) -> tuple[float, int]:
        """s for which a joint's reading has not changed, though its own velocity says that it moved; and which."""
        if self.state is None:
            return 0.0, 0
        ages = time - self._joint_time
        ages = np.where(np.abs(self.state.velocity) * ages > MOVED, ages, 0.0)
        worst = int(ages.argmax())
        return float(ages[worst]), worst


def _disagreement(before: RobotState, after: RobotState, elapsed: float) -> float:
    """Return how far the turn between two readings is from their mean angular rate, in rad/s, in the base frame."""
    aw, ax, ay, az = before.orientation.tolist()
    bw, bx, by, bz = after.orientation.tolist()
    w = aw * bw + ax * bx + ay * by + az * bz  # of the product conjugate(before) * after, as are x, y and z
    x = aw * bx - ax * bw - ay * bz + az * by
    y = aw * by - ay * bw - az * bx + ax * bz
    z = aw * bz - az * bw - ax * by + ay * bx
    if not w:
        return 0.0  # half a turn, or no quaternion: nothing can be said
    mean = 0.5 * (before.angular_velocity + after.angular_velocity)
    return math.dist((2.0 * x / w / elapsed, 2.0 * y / w / elapsed, 2.0 * z / w / elapsed), mean.tolist())


def invalid(value: Any, shape: tuple[int, ...]) -> str:
    """Return what is wrong with an array that shall be finite floats of a shape; empty when nothing is."""
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        return "is no array of floats"
    if value.shape != shape:
        return f"has shape {value.shape}, expected {shape}"
    return "" if np.isfinite(value).all() else "is not finite"


def invalid_state(state: RobotState, count: int) -> str:
    """Return why a reading of ``count`` joints cannot be used; empty when nothing is wrong."""
    joints = (count,)
    for name, shape in (
        ("position", joints), ("velocity", joints), ("torque", joints),
        ("orientation", (4,)), ("angular_velocity", (3,)),
    ):  # fmt: skip
        if problem := invalid(getattr(state, name), shape):
            return f"{name} {problem}"
    if not isinstance(state.temperature, np.ndarray) or state.temperature.shape not in (joints, (0,)):
        return f"temperature must be of shape {joints} or empty"
    if not isinstance(state.sequence, int | np.integer):
        return "sequence is no whole number"
    if not isinstance(state.stamp, float | int) or not math.isfinite(state.stamp):
        return "stamp is not finite"
    return ""
