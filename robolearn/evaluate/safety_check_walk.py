"""Nominal walking under the monitor: random commands, pushes and noisy readings that are no reason to stop."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robolearn.deploy.checks import Reaction
from robolearn.deploy.modes import Mode
from robolearn.deploy.policy import OnnxPolicy
from robolearn.deploy.robot import RobotFile
from robolearn.evaluate.deployed import DeployedRobot
from robolearn.evaluate.safety_check import Operator, Run
from robolearn.evaluate.safety_check_record import Record
from robolearn.evaluate.safety_check_truth import COUNTED, fullest

IMPULSE = (2.0, 8.0)
"""N s of a push in a random horizontal direction."""
PUSH_TIME = 0.1  # s
PAUSE = (5.0, 10.0)
"""s between two pushes."""
NOISE = {"position": 0.005, "velocity": 0.5, "rate": 0.1}
"""Standard deviations of the readings' noise, rad and rad/s."""
LONGEST = 600
"""Ticks; at least the longest window of the checks on limited commands."""
FALLEN_TILT, FALLEN_HEIGHT = 0.7, 0.5
"""rad, and share of the standing height: beyond, a robot that was stopped had truly lost its balance."""


@dataclass(frozen=True)
class Trip:
    """A robot that was stopped.

    Attributes:
        time: s since it was switched on.
        since_push: s since it was pushed last; infinite when it was not.
        reason: of the stop.
        message: of the stop, in words.
        fell: it had truly lost its balance; where not, the stop was a false alarm.
    """

    time: float
    since_push: float
    reason: str
    message: str
    fell: bool


@dataclass
class Walk:
    """A nominal walk.

    Attributes:
        seed: of everything.
        seconds: under the policy; after a stop a fresh robot goes on.
        pushes: how many there were.
        trips: the stops.
        warnings: how often each check warned.
        peaks: largest value or count of each check as a share of its limit; 1 is where a debounce begins.
    """

    seed: int
    seconds: float
    pushes: int
    trips: list[Trip]
    warnings: dict[str, int]
    peaks: dict[str, float]


def walk(policy: OnnxPolicy, robot: RobotFile, seed: int, seconds: float) -> Walk:
    """Walk for so many simulated seconds with commands, pushes and noise that follow from ``seed``.

    A robot that is stopped is counted, and a fresh one goes on; one that is stopped before it walks ends the walk.
    """
    found = Walk(seed, 0.0, 0, [], {}, {})
    attempt = 0
    while found.seconds < seconds - 1e-6:
        attempt += 1
        before = found.seconds
        _until_stopped(found, Run(DeployedRobot(policy, robot, seed), Operator([seed, attempt])), attempt, seconds)
        if found.seconds == before:
            break
    return found


def _until_stopped(found: Walk, run: Run, attempt: int, seconds: float) -> None:
    """Let one robot stand up and walk, until it is stopped or the walk is long enough."""
    world, rng = run.world, np.random.default_rng([found.seed, attempt])
    world.injector.inject("noise", **NOISE)
    pushed, due = -np.inf, np.inf
    while found.seconds < seconds - 1e-6:
        sample = run.step()
        if sample.mode is Mode.POLICY:
            found.seconds += world.robot.control_dt
            due = world.now + rng.uniform(*PAUSE) if due == np.inf else due
        if world.now >= due:
            angle, impulse = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(*IMPULSE)
            world.link.push(impulse * np.array([np.cos(angle), np.sin(angle), 0.0]), PUSH_TIME)
            pushed, due = world.now, world.now + rng.uniform(*PAUSE)
            found.pushes += 1
        for event in sample.tick.output.events:
            if event.reaction is Reaction.WARN:
                found.warnings[event.reason.value] = found.warnings.get(event.reason.value, 0) + 1
        stops = [event for event in sample.tick.output.events if event.reaction >= Reaction.STAND]
        if len(run.samples) >= 2 * LONGEST:
            _keep_peaks(found, run)
        if stops:
            fell = world.tilt > FALLEN_TILT or world.height < FALLEN_HEIGHT
            found.trips.append(Trip(world.now, world.now - pushed, stops[0].reason.value, stops[0].message, fell))
            break
    _keep_peaks(found, run)


def _keep_peaks(found: Walk, run: Run) -> None:
    for name, value in _peaks(run).items():
        found.peaks[name] = max(found.peaks.get(name, 0.0), value)
    del run.samples[:-LONGEST]


def _peaks(run: Run) -> dict[str, float]:
    """Return the largest value of the motion's checks in the last samples, as a share of their limits."""
    robot, safety = run.world.robot, run.world.robot.safety
    record = Record(run.samples, robot, run.world.policy.setup)
    _, x, y, _ = record.orientation.T
    effort = robot.effort_limit
    far = np.where(record.kp.any(1, keepdims=True), np.abs(record.target - record.position), 0.0)
    limits = {
        name: record.per_mode(getattr(safety, name).stand, getattr(safety, name).policy)
        for name in ("velocity", "torque", "tracking")
    }
    elapsed = np.maximum(np.diff(record.stamp), robot.control_dt)[:, None]
    speed = np.abs(np.diff(record.position, axis=0)) / elapsed / robot.velocity_limit
    peaks = {
        "tilt": float(np.arccos(np.clip(1.0 - 2.0 * (x * x + y * y), -1.0, 1.0)).max() / safety.tilt.limit),
        "angular_rate": float(np.linalg.norm(record.rate, axis=1).max() / safety.angular_rate.limit),
        "velocity": float((np.abs(record.velocity) / robot.velocity_limit / limits["velocity"]).max()),
        "torque": float((np.abs(record.torque) / effort / limits["torque"]).max()),
        "tracking": float((far / limits["tracking"]).max()),
        "position_jump": float(speed.max(initial=0.0) / safety.position_jump.limit),
    }
    return peaks | {reason.value: fullest(record, reason) for reason in COUNTED}
