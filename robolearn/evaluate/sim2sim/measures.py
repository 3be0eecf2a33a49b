"""What a recorded episode is judged by: physical measures, each with its formula, and scores between 0 and 1.

Each measure is one function of a ``Trace`` that returns a value per episode; its docstring holds the formula. Only what
happened before the fall counts: ``survival`` says how long that was, and a robot that lies still must not look precise.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robolearn.evaluate import transport
from robolearn.evaluate.transport import GRAVITY

Array = NDArray[np.float64]
Single = NDArray[np.float32]
Flags = NDArray[np.bool_]
LOADED = 0.05  # body weights, from which a foot counts as loaded
SCORE = "score"
"""Name of the overall score among the measures of a case."""


@dataclass(frozen=True)
class Trace:
    """What N robots did in one episode each; T rows, the states that control steps ended in.

    Rows after the end of an episode (``alive`` False) are there and mean nothing.

    Attributes:
        dt: s per step.
        steps: length of the episode in control steps; more than T where no robot got that far.
        alive: (T, N) bool, neither fallen nor diverged until the end of the step.
        fell: (N,) bool, a body that must not touch the ground did, or the base leant over 60 degrees.
        diverged: (N,) bool, the simulation or the policy gave numbers that are not finite.
        command: (T, N, 3) vx, vy (m/s) and yaw rate (rad/s) that held during the step.
        position: (T, N, 3) m, base in the world.
        orientation: (T, N, 4) unit quaternion (w, x, y, z), base to world. On a slope the world stands on the slope.
        velocity: (T, N, 3) m/s, base frame.
        angular_velocity: (T, N, 3) rad/s, base frame.
        joint_position, joint_velocity: (T, N, J) rad, rad/s.
        target: (T, N, J) rad, joint targets that held during the step.
        torque: (T, N, J) N m, of the step's last physics step.
        power: (T, N) W, mechanical power sum |tau dq|, mean over the step's physics steps.
        foot_velocity: (T, N, F, 3) m/s in the world.
        foot_force: (T, N, F) N, net contact force.
        mass: (N,) kg, payload included.
        effort_limit: (N, J) N m, as perturbed.
        position_limit: (J, 2) rad.
    """

    dt: float
    steps: int
    alive: Flags
    fell: Flags
    diverged: Flags
    command: Single
    position: Single
    orientation: Single
    velocity: Single
    angular_velocity: Single
    joint_position: Single
    joint_velocity: Single
    target: Single
    torque: Single
    power: Single
    foot_velocity: Single
    foot_force: Single
    mass: Array
    effort_limit: Array
    position_limit: Array


Compute = Callable[[Trace], Array]


@dataclass(frozen=True)
class Measure:
    """One measure.

    Attributes:
        name: key in a case's result.
        label: what people read.
        unit: its unit; empty for pure numbers.
        zero, one: values with the scores 0 and 1; between them the score is linear, beyond them it is cut off.
        weight: in the overall score; 0 where the measure only informs.
        compute: from a trace to (N,) values; NaN where an episode has none.
    """

    name: str
    label: str
    unit: str
    zero: float
    one: float
    weight: float
    compute: Compute

    @property
    def better(self) -> str:
        """Whether ``higher`` or ``lower`` is better."""
        return "higher" if self.one > self.zero else "lower"

    @property
    def formula(self) -> str:
        """The formula in words and symbols."""
        return " ".join((inspect.getdoc(self.compute) or "").split())

    def score(self, values: Array) -> Array:
        """Return ``clip((value - zero) / (one - zero), 0, 1)``, (N,); NaN stays NaN."""
        return np.clip((np.asarray(values, float) - self.zero) / (self.one - self.zero), 0.0, 1.0)


MEASURES: dict[str, Measure] = {}
"""Every measure by name, in the order of reports."""


def _measure(label: str, unit: str, zero: float, one: float, weight: float) -> Callable[[Compute], Compute]:
    """Enter a function into ``MEASURES`` under its own name."""

    def enter(compute: Compute) -> Compute:
        MEASURES[compute.__name__] = Measure(compute.__name__, label, unit, zero, one, weight, compute)
        return compute

    return enter


def measure(trace: Trace) -> dict[str, Array]:
    """Return every measure of each episode, (N,), and the overall score under ``score``."""
    values = {name: m.compute(trace) for name, m in MEASURES.items()}
    return values | {SCORE: overall(values)}


def scores(values: Mapping[str, Array]) -> dict[str, Array]:
    """Return the score of every measure for each episode, (N,), from the values that ``measure`` gave.

    An episode that fell or diverged gets 0 in everything but ``survival``, whatever it did before. NaN means that the
    episode has no such value, as the cost of transport of a robot that was not asked to move.
    """
    lost = values["fell"] > 0
    result = {name: np.where(lost, 0.0, m.score(values[name])) for name, m in MEASURES.items()}
    return result | {"survival": MEASURES["survival"].score(values["survival"])}


def overall(values: Mapping[str, Array]) -> Array:
    """Return the overall score of each episode, (N,) in [0, 1]: the mean of its scores by weight, without the NaN."""
    parts = scores(values)
    stacked = np.stack([parts[name] for name in MEASURES])
    weights = np.array([m.weight for m in MEASURES.values()])[:, None] * np.isfinite(stacked)
    return (np.nan_to_num(stacked) * weights).sum(0) / weights.sum(0)


def _mean(trace: Trace, values: Single | Array) -> Array:
    """Mean over the steps before the fall, (T, N) -> (N,); NaN where there are none."""
    count = trace.alive.sum(0)
    total = np.where(trace.alive, values, 0.0).sum(0, dtype=np.float64)
    return np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)


def _change(trace: Trace, values: Single, order: int) -> Array:
    """Mean size of the differences of some order between steps, over joints and steps before the fall, (N,)."""
    count = np.maximum(trace.alive.sum(0) - order, 0)
    sizes = np.abs(np.diff(values.astype(np.float64), order, axis=0)).mean(-1)
    total = np.where(trace.alive[order:], sizes, 0.0).sum(0)
    return np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)


def _percentile(trace: Trace, values: Single | Array, q: float) -> Array:
    """Percentile over the steps before the fall, (T, N) -> (N,); NaN where there are none."""
    columns = [column[alive] for column, alive in zip(values.T, trace.alive.T, strict=True)]
    return np.array([np.percentile(column, q) if column.size else np.nan for column in columns])


def _planar_error(trace: Trace) -> Array:
    """(T, N) squared planar velocity error, m^2/s^2."""
    difference = (trace.command - trace.velocity)[..., :2].astype(np.float64)
    return np.square(difference).sum(-1)


def _upward(trace: Trace) -> Array:
    """(T, N) cosine of the angle between the base's z axis and the world's."""
    x, y = trace.orientation[..., 1].astype(np.float64), trace.orientation[..., 2].astype(np.float64)
    return np.clip(1 - 2 * (x * x + y * y), -1.0, 1.0)


@_measure("share of the episode before a fall", "", 0.0, 1.0, 4.0)
def survival(trace: Trace) -> Array:
    """``t_fall / duration``, to where the robot fell or its simulation diverged; 1 without either."""
    return trace.alive.sum(0) / trace.steps


@_measure("falls", "", 1.0, 0.0, 0.0)
def fell(trace: Trace) -> Array:
    """1 where the robot fell or its simulation diverged, 0 otherwise."""
    return (trace.fell | trace.diverged).astype(float)


@_measure("planar velocity error (RMS)", "m/s", 0.8, 0.1, 1.0)
def velocity_error(trace: Trace) -> Array:
    """``sqrt(mean |v_cmd,xy - v_xy|^2)``, velocities in the base frame."""
    return np.sqrt(_mean(trace, _planar_error(trace)))


@_measure("yaw rate error (RMS)", "rad/s", 1.2, 0.15, 1.0)
def yaw_rate_error(trace: Trace) -> Array:
    """``sqrt(mean (w_cmd - w_z)^2)``, the yaw rate about the base's z axis."""
    difference = (trace.command[..., 2] - trace.angular_velocity[..., 2]).astype(np.float64)
    return np.sqrt(_mean(trace, np.square(difference)))


@_measure("velocity tracking", "", 0.2, 0.9, 1.0)
def velocity_tracking(trace: Trace) -> Array:
    """``mean exp(-|v_cmd,xy - v_xy|^2 / 0.25)``, the reward that such policies are trained with."""
    return _mean(trace, np.exp(-_planar_error(trace) / 0.25))


@_measure("position drift", "m/s", 0.5, 0.05, 1.0)
def position_drift(trace: Trace) -> Array:
    """``|sum R(heading) v_cmd,xy dt - (p_end - p_start)_xy| / duration``.

    How far the robot is from where it would be had it moved at the commanded velocity along its own heading, per
    second. Swaying about that velocity cancels, a lasting lag does not; errors of heading are not counted again.
    """
    w, x, y, z = np.moveaxis(trace.orientation.astype(np.float64), -1, 0)
    heading = np.unwrap(np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)), axis=0)
    turn = 0.5 * (heading[1:] + heading[:-1])  # midway between two rows; the way begins at the first row
    vx, vy = np.moveaxis(trace.command[1:, :, :2].astype(np.float64), -1, 0)
    asked = np.stack((np.cos(turn) * vx - np.sin(turn) * vy, np.sin(turn) * vx + np.cos(turn) * vy), -1) * trace.dt
    gone = np.diff(trace.position[..., :2].astype(np.float64), axis=0)
    missed = np.where(trace.alive[1:, :, None], asked - gone, 0.0).sum(0)
    seconds = (trace.alive.sum(0) - 1) * trace.dt
    distance = np.linalg.norm(missed, axis=-1)
    return np.divide(distance, seconds, out=np.full(len(distance), np.nan), where=seconds > 0)


@_measure("mechanical power", "W", 400.0, 50.0, 0.0)
def power(trace: Trace) -> Array:
    """``mean sum_j |tau_j dq_j|``, at every physics step. Not scored by itself: it grows with the robot."""
    return _mean(trace, trace.power)


@_measure("cost of transport", "", 3.0, 0.3, 1.0)
def cost_of_transport(trace: Trace) -> Array:
    """``mean power / (m g v)`` (Tucker, Am. Sci. 63, 1975), v the mean speed along the command, payload included in m.

    None for a robot that was asked for less than 0.05 m/s on average.
    """
    asked = _mean(trace, np.linalg.norm(trace.command[..., :2], axis=-1))
    speed = _mean(trace, transport.speed_along(trace.velocity, trace.command))
    return transport.cost_of_transport(power(trace), trace.mass, speed, asked)


@_measure("torque margin", "", 0.0, 0.7, 1.0)
def torque_margin(trace: Trace) -> Array:
    """``1 - P95_t(max_j |tau_j| / limit_j)``: what the most loaded drive has left in all but 5 % of the steps."""
    return 1 - _percentile(trace, (np.abs(trace.torque) / trace.effort_limit).max(-1), 95)


@_measure("joint-limit margin", "", 0.0, 0.3, 1.0)
def joint_limit_margin(trace: Trace) -> Array:
    """``P5_t(min_j min(q_j - low_j, high_j - q_j) / ((high_j - low_j) / 2))``.

    Distance of the joint nearest to a limit, as a share of half its range, in all but 5 % of the steps: 1 in the middle
    of the range, 0 at a limit, negative beyond.
    """
    low, high = trace.position_limit.T
    distance = np.minimum(trace.joint_position - low, high - trace.joint_position)
    return _percentile(trace, (distance / ((high - low) / 2)).min(-1), 5)


@_measure("joint target acceleration", "rad/s²", 400.0, 50.0, 1.0)
def action_smoothness(trace: Trace) -> Array:
    """``mean_t,j |a_(t+1) - 2 a_t + a_(t-1)| / dt^2`` of the joint targets a."""
    return _change(trace, trace.target, 2) / trace.dt**2


@_measure("torque rate", "1/s", 8.0, 1.0, 1.0)
def torque_smoothness(trace: Trace) -> Array:
    """``mean_t,j |tau_(t+1) - tau_t| / (limit_j dt)``: full torques of a drive per second."""
    return _change(trace, (trace.torque / trace.effort_limit).astype(np.float32), 1) / trace.dt


@_measure("tilt of the base (RMS)", "rad", 0.4, 0.03, 1.0)
def tilt(trace: Trace) -> Array:
    """``sqrt(mean angle^2)``, the angle between the base's z axis and the ground's normal: roll and pitch together."""
    return np.sqrt(_mean(trace, np.square(np.arccos(_upward(trace)))))


@_measure("roll and pitch rate (RMS)", "rad/s", 3.0, 0.3, 1.0)
def tilt_rate(trace: Trace) -> Array:
    """``sqrt(mean (w_x^2 + w_y^2))``, base frame."""
    return np.sqrt(_mean(trace, np.square(trace.angular_velocity[..., :2].astype(np.float64)).sum(-1)))


@_measure("foot slip", "m/s", 0.5, 0.05, 1.0)
def foot_slip(trace: Trace) -> Array:
    """``mean |v_foot,xy|`` over the feet that carry more than 5 % of the body weight.

    The velocity is that of the foot's reference point: a round foot of radius r that rolls at w and does not slip
    shows r w.
    """
    weight = (trace.mass * GRAVITY)[None, :, None]
    loaded = (trace.foot_force > LOADED * weight) & trace.alive[..., None]
    speed = np.linalg.norm(trace.foot_velocity[..., :2].astype(np.float64), axis=-1)
    count, total = loaded.sum((0, 2)), np.where(loaded, speed, 0.0).sum((0, 2))
    return np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)


@_measure("peak foot force", "body weights", 4.0, 0.9, 1.0)
def peak_foot_force(trace: Trace) -> Array:
    """``P99_t(max_f |F_f|) / (m g)``, of the most loaded foot; passed in 1 % of the steps: no single sample decides."""
    return _percentile(trace, trace.foot_force.max(-1), 99) / (trace.mass * GRAVITY)
