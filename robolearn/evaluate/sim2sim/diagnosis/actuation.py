"""Second boundary: the torques that drives ask for, at known targets and joint states.

Torques are compared with the law of the contract at the candidate's own joint states, so that no physics takes part.
"""

from __future__ import annotations

import numpy as np
import torch

from robolearn.evaluate.sim2sim.diagnosis.findings import Finding, judge
from robolearn.evaluate.sim2sim.diagnosis.probe import (
    Array,
    Indices,
    States,
    Watched,
    evaluate,
    joints,
    nominal,
    place,
    step,
    watching,
)
from robolearn.evaluate.sim2sim.world import World
from sim.actuators import FRICTION_SPEED

NAME = "actuation"
STEPS = 14
SLOWEST = 0.1  # s; longer delays are not looked for
SHARE = 0.25
"""Share of the effort limit that the gentle targets ask for, so that no limit takes part."""
LARGEST = 0.15  # rad
GAIN = 0.01
"""Drives are trimmed to about a percent; the fit itself is exact, because both sides see the same states."""
FRICTION = 0.01  # N m, a tenth of the joint friction that training adds
SPEEDS = np.linspace(-0.5, 1.1, 17)
"""Shares of the no-load speed at which the limits are read; below 0 the motor brakes."""
SATURATING = 3.0
"""Effort limits that the violent targets ask for."""


def check(reference: World, candidate: World, rng: np.random.Generator) -> list[Finding]:
    """Compare delay, gains, friction and limits of the drives."""
    watched, targets = _excite(candidate, rng)
    fits = [_fit(reference, watched, targets, lag) for lag in range(_most_lag(candidate) + 1)]
    best = int(np.argmin([fit.unexplained for fit in fits]))
    return [_delay(candidate, best), *_gains(reference, fits[best]), *_limits(reference, candidate, best)]


def _most_lag(world: World) -> int:
    """Return the longest delay that is looked for, in physics steps; it leaves half of the targets to compare."""
    return min(round(SLOWEST / world.env.engine.timestep), STEPS // 2 * world.env.task.physics.decimation)


class _Fit:
    """``tau = kp (target - q) - kd dq - friction clamp(dq / FRICTION_SPEED)``, for each joint; targets are ``lag`` old.

    Attributes:
        kp, kd, friction: (J,) of the best fit.
        unexplained: share of the torques' sum of squares that the fit leaves.
    """

    def __init__(self, error: Array, velocity: Array, torque: Array) -> None:
        """Fit (S, J) position errors in rad, velocities in rad/s and torques in N m."""
        rubbing = np.clip(velocity / FRICTION_SPEED, -1, 1)
        found, left = [], 0.0
        for j in range(torque.shape[1]):
            design = np.stack((error[:, j], -velocity[:, j], -rubbing[:, j]), 1)
            solution, *_ = np.linalg.lstsq(design, torque[:, j], rcond=None)
            found.append(solution)
            left += float(((design @ solution - torque[:, j]) ** 2).sum())
        self.kp, self.kd, self.friction = np.array(found).T
        self.unexplained = left / max(float((torque**2).sum()), np.finfo(float).tiny)


def _excite(world: World, rng: np.random.Generator) -> tuple[Watched, Array]:
    """Give new small targets at every control step, in the air; return what was seen and the targets (T, N, J)."""
    robot, n = world.env.robot, world.num_envs
    size = np.minimum(LARGEST, SHARE * np.array(robot.effort_limit) / np.array(robot.kp))
    targets = np.array(robot.default_pose) + size * rng.uniform(-1, 1, (STEPS, n, len(size)))
    place(world, nominal(world, n).lifted())
    with watching(world) as watched:
        for target in targets:
            step(world, target)
        return watched(), targets


def _fit(reference: World, watched: Watched, targets: Array, lag: int) -> _Fit:
    """Explain the torques by targets that are ``lag`` physics steps old."""
    scene = reference.env.scene
    per_step = len(watched.ctrl) // len(targets)
    first = STEPS // 2 * per_step
    steps = np.arange(first, len(watched.ctrl))
    target = targets[(steps - lag) // per_step]
    q, dq = watched.qpos[first:, :, scene.joint_qpos], watched.qvel[first:, :, scene.joint_qvel]
    count = target.shape[-1]
    return _Fit(*(value.reshape(-1, count) for value in (target - q, dq, watched.ctrl[first:])))


def _delay(candidate: World, lag: int) -> Finding:
    dt = 1e3 * candidate.env.engine.timestep
    evidence = f"the age of targets that explains the torques best, in steps of {dt:g} ms; targets change every period"
    what = f"targets act {lag * dt:.0f} ms late (action delay)"
    return judge(NAME, "delay", lag * dt, 0, dt / 2, "ms", what, evidence)


def _gains(reference: World, fit: _Fit) -> list[Finding]:
    robot, names = reference.env.robot, reference.env.robot.joints
    kp, kd = fit.kp / np.array(robot.kp), fit.kd / np.array(robot.kd) if min(robot.kd) > 0 else np.ones(len(names))
    stronger = abs(float(np.median(kp / kd)) - 1) < GAIN and abs(float(np.median(kp)) - 1) > GAIN
    evidence = f"least squares over torques in the air; the law leaves {fit.unexplained:.1g} of them unexplained"
    findings = []
    for label, factor, meaning in (("kp", kp, "stiffness"), ("kd", kd, "damping")):
        at = int(np.abs(factor - 1).argmax())
        everywhere = np.ptp(factor) < GAIN
        where = "of every joint" if everywhere else f"of {names[at]}"
        what = f"{label} ({meaning}) {where} is {factor[at]:.3g} times the contract's"
        if stronger and everywhere:
            what = f"torques are {factor[at]:.3g} times the contract's, kp and kd alike (motor strength)"
        findings.append(judge(NAME, label, float(factor[at]), 1, GAIN, "times", what, evidence))
    at = int(np.abs(fit.friction).argmax())
    what = f"{names[at]} loses {fit.friction[at]:.3g} N m to dry friction"
    findings.append(judge(NAME, "joint friction", float(fit.friction[at]), 0, FRICTION, "N m", what, evidence))
    what = f"{fit.unexplained:.0%} of the torques do not follow from position error and velocity: another drive"
    findings.append(judge(NAME, "PD law", fit.unexplained, 0, GAIN, "", what, "share of the sum of squares"))
    return findings


def _limits(reference: World, candidate: World, lag: int) -> list[Finding]:
    """Ask for more than drives can give, at many speeds; compare the torques with the reference's drives."""
    robot = reference.env.robot
    limit, fastest, gain = (np.array(v) for v in (robot.effort_limit, robot.velocity_limit, robot.kp))
    signs = np.where(np.arange(len(limit)) % 2, -1.0, 1.0)
    count = 2 * len(SPEEDS)
    sides = np.where(np.arange(count) < len(SPEEDS), 1.0, -1.0)[:, None] * signs
    start = nominal(reference, count).lifted()
    start.qvel[:, reference.env.scene.joint_qvel] = np.tile(SPEEDS, 2)[:, None] * fastest * sides
    targets = np.array(robot.default_pose) + SATURATING * sides * (limit / gain)
    measured, expected, speed = np.moveaxis(_saturated(reference, candidate, start, targets, lag), 1, 0)
    speed = speed * sides / fastest
    measured, expected = measured * sides, expected * sides
    slowest, columns = np.abs(speed).argmin(0), np.arange(len(limit))
    evidence = f"targets {SATURATING:g} effort limits away, {count} speeds, in the air"
    findings = []
    ratio = measured[slowest, columns] / expected[slowest, columns]
    at = int(np.abs(ratio - 1).argmax())
    what = f"the effort limit of {robot.joints[at]} is {ratio[at] * limit[at]:.3g} N m instead of {limit[at]:.3g} N m"
    findings.append(judge(NAME, "effort limit", float(ratio[at]), 1, GAIN, "times", what, evidence))
    gap = np.abs(measured / ratio - expected) / limit
    worst = tuple(int(i) for i in np.unravel_index(gap.argmax(), gap.shape))
    at = worst[1]
    theirs, ours = (_no_load(speed[:, at], value[:, at], limit[at]) * fastest[at] for value in (measured, expected))
    what = (
        f"at {speed[worst]:.0%} of its velocity limit {robot.joints[worst[1]]} gives {measured[worst]:.3g} instead of "
        f"{expected[worst]:.3g} N m; no-load speed {theirs:.3g} instead of {ours:.3g} rad/s"
    )
    findings.append(judge(NAME, "velocity limit", float(gap.max()), 0, GAIN, "effort limits", what, evidence))
    return findings


def _saturated(reference: World, candidate: World, start: States, targets: Array, lag: int) -> Array:
    """Return (C, 3, J): torques of the candidate, of the reference's drives in the same state, and joint velocities.

    They are read as soon as the targets act.
    """
    law = reference.env.actuators
    periods = lag // candidate.env.task.physics.decimation + 1

    def run(ids: Indices) -> Array:
        place(candidate, start[ids])
        with watching(candidate) as watched:
            for _ in range(periods):
                step(candidate, targets[ids])
            seen = watched()
        state = States(seen.qpos[lag], seen.qvel[lag])
        q, dq = joints(candidate, state)
        given = (torch.as_tensor(value).to(law.kp) for value in (targets[ids], q, dq))
        expected = law.torque(*given).double().cpu().numpy()
        return np.stack((seen.ctrl[lag], expected, dq), 1)

    return evaluate(candidate, len(targets), run)


def _no_load(speed: Array, torque: Array, limit: float) -> float:
    """Return the share of the velocity limit at which a falling torque-speed line (C,) reaches zero; inf for none."""
    falling = (torque > 0.02 * limit) & (torque < 0.98 * torque.max())
    if falling.sum() < 2:
        return float("inf")
    slope, offset = np.polyfit(speed[falling], torque[falling], 1)
    return float(-offset / slope)
