"""Third boundary: how the robot moves under known forces when nothing touches it.

Accelerations are velocities gained over one physics step, divided by it. From rest they hold to second order in the
step for every integrator, so that a time step or an integrator cannot be taken for a mass. MuJoCo's inverse dynamics of
the reference model say which forces these accelerations need; what is left over is the deviation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robolearn.evaluate.sim2sim.diagnosis.causes import explain
from robolearn.evaluate.sim2sim.diagnosis.findings import Finding, judge
from robolearn.evaluate.sim2sim.diagnosis.oracle import Motion, Oracle
from robolearn.evaluate.sim2sim.diagnosis.probe import Array, Indices, States, evaluate, in_the_air, place, read
from robolearn.evaluate.sim2sim.world import World

NAME = "inertia"
POSES = 3
SHARE = 0.1
"""Share of the effort limit with which a joint pushes, and of the weight with which the base is pushed."""
ARM = 0.1  # m; the base is turned by the pushing force at this arm
SPEED = 1.0
"""rad/s, m/s: typical velocity where forces that come with velocity are compared."""
FIGURES = 0.01
"""Descriptions give masses and inertias with two or three digits; a hundredth is what they are worth."""
GRAVITY = 0.01  # m/s^2: a tilt of 0.06 degrees
OWN = 2.0
"""A candidate may deviate by this many times what the reference's own step makes it deviate from the equations."""


@dataclass(frozen=True)
class _Moved:
    """What one simulator did: free fall from rest, pushes from rest (beyond free fall), motion without pushes."""

    fall: Motion
    pushed: Motion
    coasting: Motion

    def __add__(self, gravity: Array) -> _Moved:
        """Return the same with ``gravity`` (3,) m/s^2 more: what a simulator of another gravity would have done."""
        return _Moved(self.fall + gravity, self.pushed + gravity, self.coasting + gravity)


def check(reference: World, candidate: World, rng: np.random.Generator) -> list[Finding]:
    """Compare gravity, answers to pushes, and forces that come with velocity."""
    oracle = Oracle(reference)
    rest, coasting = in_the_air(reference, POSES, rng, 0.0), in_the_air(reference, POSES, rng, SPEED)
    own, theirs = (_move(world, oracle, rest, coasting) for world in (reference, candidate))
    ours = np.array(oracle.model.opt.gravity)
    found = theirs.fall.accelerations[:, :3].mean(0)
    alike = theirs + (ours - found)
    pushed = [float(moved.pushed.deviation(oracle).max()) for moved in (own, alike)]
    pushes = FIGURES + OWN * pushed[0]
    coasted = [float(moved.coasting.deviation(oracle).max()) for moved in (own, alike)]
    rates = FIGURES + OWN * coasted[0]
    cause = ""
    if pushed[1] > pushes or coasted[1] > rates:
        cause = explain(oracle, [alike.pushed, alike.coasting])
    return [
        _gravity(theirs.fall, found, ours),
        judge(
            NAME,
            "answer to pushes",
            pushed[1],
            0,
            pushes,
            "of the push",
            cause,
            f"one physics step from rest in the air, {POSES} poses, joints and base pushed in turn; the worst push",
        ),
        judge(
            NAME,
            "forces of motion",
            coasted[1],
            0,
            rates,
            "of the forces",
            cause,
            f"one physics step without torque, {POSES} states at {SPEED:g} m/s and rad/s in the air; the worst state",
        ),
    ]


def _gravity(fall: Motion, found: Array, ours: Array) -> Finding:
    """Let go: whatever the masses are, everything falls alike."""
    error = float(np.abs(fall.accelerations[:, :3] - ours).max())
    sizes = float(np.linalg.norm(found)), float(np.linalg.norm(ours))
    cosine = found @ ours / max(sizes[0] * sizes[1], np.finfo(float).tiny)
    tilt = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    vector = ", ".join(f"{value:.3f}" for value in found)
    what = f"gravity is ({vector}) m/s^2: {sizes[0]:.3f} m/s^2, tilted by {tilt:.2f} degrees"
    evidence = f"acceleration of the base in free fall from rest, {len(fall.states)} poses"
    return judge(NAME, "gravity", error, 0, GRAVITY, "m/s^2", what, evidence)


def _move(world: World, oracle: Oracle, rest: States, coasting: States) -> _Moved:
    """Let a simulator fall, be pushed, and coast."""
    joints, n = len(oracle.dofs), POSES
    limits = np.array(world.env.robot.effort_limit)
    weight = float(oracle.model.body_mass.sum()) * float(np.linalg.norm(oracle.model.opt.gravity))
    torques = np.vstack((np.diag(SHARE * limits), np.zeros((6, joints))))
    wrench = SHARE * weight * np.diag([1, 1, 1, ARM, ARM, ARM])
    wrenches = np.vstack((np.zeros((joints, 6)), wrench))
    each = np.repeat(np.arange(n), len(torques))
    pushed, torques, wrenches = rest[each], np.tile(torques, (n, 1)), np.tile(wrenches, (n, 1))
    nothing, dt = (np.zeros((n, joints)), np.zeros((n, 6))), world.env.engine.timestep
    return _Moved(
        Motion(rest, _accelerations(world, rest, *nothing), *nothing, dt),
        Motion(pushed, _accelerations(world, pushed, torques, wrenches), torques, wrenches, dt),
        Motion(coasting, _accelerations(world, coasting, *nothing), *nothing, dt),
    )


def _accelerations(world: World, states: States, torques: Array, wrenches: Array) -> Array:
    """Set states (M), apply joint torques (M, J) and wrenches on the base (M, 6); return the velocity gained per s."""
    engine, base = world.env.engine, world.env.scene.base_body

    def run(ids: Indices) -> Array:
        place(world, states[ids])
        before = read(world)
        control, applied = engine.field("ctrl"), engine.field("xfrc_applied")
        control.copy_(control.new_tensor(torques[ids]))
        applied[:, base] = applied.new_tensor(wrenches[ids])
        engine.step()
        applied[:, base] = 0
        return (read(world).qvel - before.qvel) / engine.timestep

    return evaluate(world, len(states), run)
