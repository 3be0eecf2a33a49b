"""Walking of the linear inverted pendulum: its motion in closed form, where to step, and how the feet get there.

The mass stays at one height above the ground and is pushed away from the point of support ``p``:
``x'' = omega^2 (x - p)`` with ``omega^2 = g / height`` (Kajita et al. 2001). Its divergent component of motion
``xi = x + x' / omega`` obeys ``xi' = omega (xi - p)`` (Takenaka et al. 2009; the capture point of Pratt et al. 2006):
after ``t`` seconds on one foot ``xi = p + (xi_0 - p) exp(omega t)``. Whoever chooses where the next foot stands,
chooses where ``xi`` is seen from it; the convergent rest dies out by itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
GRAVITY = 9.81  # m/s^2
LEFT, RIGHT = 0, 1


def natural_rate(height: float) -> float:
    """Return ``omega`` in rad/s of a pendulum of so many m.

    Raises:
        ValueError: the height is not above 0.
    """
    if not height > 0:
        raise ValueError(f"height must be above 0 m, got {height}")
    return math.sqrt(GRAVITY / height)


def pendulum(x: ArrayLike, v: ArrayLike, support: ArrayLike, omega: float, t: float) -> tuple[Array, Array]:
    """Return place (m) and speed (m/s) of the pendulum after ``t`` s on one point of support."""
    c, s = math.cosh(omega * t), math.sinh(omega * t)
    speed, point = np.asarray(v, float), np.asarray(support, float)
    offset = np.asarray(x, float) - point
    return point + offset * c + speed / omega * s, offset * omega * s + speed * c


def divergent(x: ArrayLike, v: ArrayLike, omega: float) -> Array:
    """Return the divergent component of motion, m."""
    return np.asarray(x, float) + np.asarray(v, float) / omega


@dataclass(frozen=True)
class Gait:
    """How to walk.

    Attributes:
        step_time: s on one foot.
        width: m between the lines that left and right foot walk on.
        height: m, of the base's origin above the ground.
        clearance: m that a swinging foot is lifted.
        feedback: share of an error of ``xi`` that one step puts right, forwards and sideways. A pendulum is best off
            with 1; BRUCE, which holds itself up a little, makes more even steps with 0.8 and 0.9.
        forward: m, limit of a step's length either way.
        sideways: m, smallest and largest distance of the feet.
    """

    step_time: float = 0.275
    width: float = 0.152
    height: float = 0.43
    clearance: float = 0.03
    feedback: tuple[float, float] = (1.0, 1.0)
    forward: float = 0.15
    sideways: tuple[float, float] = (0.06, 0.30)

    def __post_init__(self) -> None:
        if not self.sideways[0] <= self.width <= self.sideways[1]:
            raise ValueError(f"width {self.width} m must lie within sideways {self.sideways} m")
        if min(self.step_time, self.height, self.clearance, self.forward, self.sideways[0]) <= 0:
            raise ValueError("step_time, height, clearance, forward and sideways must be above 0")


def inwards(stance: int) -> float:
    """Return the sign of y of the way from a standing foot to the other one."""
    return -1.0 if stance == LEFT else 1.0


def steady_offset(velocity: ArrayLike, gait: Gait, omega: float, stance: int) -> Array:
    """Return where ``xi`` is seen from a foot, (2,) m, at the moment at which it begins to stand in the steady gait.

    Forwards each step of length ``L = v T`` repeats itself when ``L + b = b exp(omega T)``; sideways the mirror image
    of each step does when ``width - b = b exp(omega T)`` (Khadiv et al. 2016).

    Args:
        velocity: (2,) m/s, forwards and to the left.
        gait: step time and width.
        omega: rad/s.
        stance: the foot that begins to stand.
    """
    growth = math.exp(omega * gait.step_time)
    drift = np.asarray(velocity, float) * gait.step_time / (growth - 1.0)
    return drift + np.array([0.0, inwards(stance) * gait.width / (growth + 1.0)])


def foothold(xi: ArrayLike, velocity: ArrayLike, gait: Gait, omega: float, stance: int, left: float) -> Array:
    """Return where the swinging foot is to land, (2,) m forwards and to the left, seen from the standing foot.

    With full feedback the next step begins with the steady offset ``b``, whatever ``xi`` is:
    ``p = xi exp(omega left) - b`` (Khadiv et al. 2016). With the share ``k`` of it the error of ``xi`` changes by the
    factor ``(1 - k) exp(omega T)`` from step to step, within the limits of the gait; its size must stay below 1.

    Args:
        xi: (2,) m, seen from the standing foot.
        velocity: (2,) m/s.
        gait: timing and limits.
        omega: rad/s.
        stance: the foot that stands.
        left: s until the swinging foot lands.
    """
    steady = steady_offset(velocity, gait, omega, stance) * math.exp(omega * gait.step_time)
    landed = steady + np.array(gait.feedback) * (np.asarray(xi, float) * math.exp(omega * left) - steady)
    place = landed - steady_offset(velocity, gait, omega, 1 - stance)
    side = inwards(stance)
    place[0] = np.clip(place[0], -gait.forward, gait.forward)
    place[1] = side * np.clip(side * place[1], *gait.sideways)
    return place


def first_step_time(gait: Gait, omega: float) -> float:
    """Return the s for which a robot that rests between its feet must stand on one of them to be in the steady gait.

    At rest ``xi`` is half the width away from either foot and has to become ``b exp(omega T)``.
    """
    growth = math.exp(omega * gait.step_time)
    return math.log(2.0 * growth / (growth + 1.0)) / omega


def smooth(share: float) -> float:
    """Return the polynomial of least jerk from 0 to 1, at a share of the time between (Flash and Hogan 1985)."""
    s = min(max(share, 0.0), 1.0)
    return s**3 * (10.0 - 15.0 * s + 6.0 * s * s)


class Stepper:
    """Keeps the clock of the steps and moves the swinging foot. Places are seen from the standing foot, in world axes.

    The first step only shifts the weight: the foot that will stand next is lifted a little and put down where it was,
    within ``first_step_time``; then the other one is lifted.

    Args:
        gait: how to walk.
        omega: rad/s, of the pendulum.
        heading: rad, where to walk to at first.
        stance: the foot that takes the weight first.

    Attributes:
        stance: the foot that stands.
        time: s since it began to stand.
        heading: rad, where to walk to.
        target: (2,) m, where the swinging foot will land.
        steps: how many feet have landed.
    """

    def __init__(self, gait: Gait, omega: float, heading: float = 0.0, stance: int = RIGHT) -> None:
        self.gait, self.omega, self.heading, self.stance = gait, omega, heading, stance
        self._begin = self.time = gait.step_time - first_step_time(gait, omega)
        self.steps = 0
        self._start: Array | None = None
        self._from_heading = heading
        self.target = self._turn(np.array([0.0, inwards(stance) * gait.width]))

    @property
    def left(self) -> float:
        """s until the swinging foot lands."""
        return max(0.0, self.gait.step_time - self.time)

    def advance(self, dt: float, yaw_rate: float = 0.0) -> bool:
        """Let ``dt`` s pass while the heading turns with ``yaw_rate`` rad/s; return whether the feet changed roles."""
        self.time += dt
        self.heading += yaw_rate * dt
        if self.time < self.gait.step_time - 1e-9:
            return False
        self.time -= self.gait.step_time
        self.stance = 1 - self.stance
        self.steps += 1
        self._begin, self._start = 0.0, None
        return True

    def plan(self, xi: ArrayLike, velocity: ArrayLike, swing: ArrayLike, swing_heading: float) -> None:
        """Choose where to land.

        Args:
            xi: (2,) m, seen from the standing foot, world axes.
            velocity: (2,) m/s to walk with, forwards and to the left of the heading.
            swing: (3,) m, where the swinging foot is: kept as the start of its way when the step is new.
            swing_heading: rad, where it points.
        """
        if self._start is None:
            self._start, self._from_heading = np.array(swing, float), swing_heading
        seen = self._turn(np.asarray(xi, float), -1.0)
        self.target = self._turn(foothold(seen, velocity, self.gait, self.omega, self.stance, self.left))

    def swing(self, ahead: float = 0.0) -> tuple[Array, float]:
        """Return place (3,) m and heading (rad) of the swinging foot, ``ahead`` s from now.

        Raises:
            RuntimeError: nothing was planned yet.
        """
        if self._start is None:
            raise RuntimeError("call plan() before swing(): the step has no start yet")
        share = min((self.time + ahead - self._begin) / (self.gait.step_time - self._begin), 1.0)
        way = smooth(share) if self.steps else 0.0
        lift = self.gait.clearance * (1.0 - self._begin / self.gait.step_time)
        place = np.empty(3)
        place[:2] = self._start[:2] + way * (self.target - self._start[:2])
        # A quartic hump, at rest at both ends, on the way from the start's height to the ground.
        place[2] = self._start[2] * (1.0 - smooth(share)) + lift * 16.0 * (share * (1.0 - share)) ** 2
        turn = math.remainder(self.heading - self._from_heading, 2 * math.pi)
        return place, self._from_heading + way * turn

    def _turn(self, vector: Array, sign: float = 1.0) -> Array:
        c, s = math.cos(self.heading), sign * math.sin(self.heading)
        return np.array([c * vector[0] - s * vector[1], s * vector[0] + c * vector[1]])
