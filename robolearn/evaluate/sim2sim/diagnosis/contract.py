"""First boundary: do both simulators mean the same by names, order, signs, units, frames and time?

States are set by name and read back through the sensors; then the model itself is asked: where are the feet, do
positions move as velocities say, which joint follows which target, how old is a reading.
"""

from __future__ import annotations

from collections.abc import Callable

import mujoco
import numpy as np
import torch

from robolearn.evaluate.sim2sim.diagnosis import words
from robolearn.evaluate.sim2sim.diagnosis.findings import Finding, judge
from robolearn.evaluate.sim2sim.diagnosis.probe import (
    Array,
    Indices,
    States,
    evaluate,
    in_the_air,
    joints,
    nominal,
    place,
    read,
    rotations,
    sensor,
    signals,
    step,
    watching,
)
from robolearn.evaluate.sim2sim.diagnosis.words import ROUNDING
from robolearn.evaluate.sim2sim.world import World

NAME = "contract"
STATES = 12
PLACE = 1e-3
"""m; a description in text keeps five digits of lengths, and no robot is built to less than a millimetre."""
OFFSET = 0.1
"""rad, by which one joint's target is moved."""
RESPONSE_STEPS = 8
"""Control periods (160 ms) over which a joint's answer is averaged: longer than delays that a robot can walk with."""
RESPONSE = 4.0
"""Factor on the answer of a joint that may still come from gains, masses and delays; degrees for radians make 57."""
FAST = 1.0  # m/s, rad/s: typical velocity of test states
AGE_STEPS = 12
OLDEST = 0.1  # s; older readings are not looked for


def check(reference: World, candidate: World, rng: np.random.Generator) -> list[Finding]:
    """Compare every part of the contract, from names to the age of readings."""
    findings = [_names(reference, candidate)]
    if findings[0].verdict == "differs":
        return findings
    states = in_the_air(reference, STATES, rng, FAST)
    expected, measured = (_read_back(world, states) for world in (reference, candidate))
    readings = [_reading(name, reference, states, measured[name], expected[name]) for name in expected]
    findings += readings
    findings.append(_command(candidate, rng))
    findings.append(_kinematics(reference, candidate, states))
    findings += _rates(candidate, states)
    findings.append(_targets(reference, candidate))
    if all(reading.verdict == "ok" for reading in readings):
        findings.append(_age(candidate, rng))
    else:
        findings.append(Finding(NAME, "age of readings", "not tested", "readings must agree before they can be dated"))
    return findings


def _names(reference: World, candidate: World) -> Finding:
    ours, theirs = reference.env.robot.joints, candidate.env.robot.joints
    wrong = [f"{i}: {a} instead of {b}" for i, (a, b) in enumerate(zip(theirs, ours, strict=False)) if a != b]
    count = len(wrong) + abs(len(ours) - len(theirs))
    what = f"joints have other names or another order: {', '.join(wrong) or f'{len(theirs)} joints'}"
    return judge(NAME, "joint names", count, 0, 0, "joints", what, f"{len(ours)} joints compared by name and place")


# Readings


def _read_back(world: World, states: States) -> dict[str, Array]:
    """Set states (M) and return what every signal but the command says then, (M, width)."""
    names = [name for name in world.contract.readings if name != "command"]

    def run(ids: Indices) -> Array:
        place(world, states[ids])
        found = signals(world)
        return np.concatenate([found[name] for name in names], axis=1)

    widths = [world.contract.signals[name].width for name in names]
    columns = np.split(evaluate(world, len(states), run), np.cumsum(widths)[:-1], axis=1)
    return dict(zip(names, columns, strict=True))


def _reading(name: str, reference: World, states: States, measured: Array, expected: Array) -> Finding:
    """Compare one signal, (M, width), and say in which way it differs."""
    if name == "base_orientation":
        measured = words.towards(measured, expected)
        what = words.quaternion(measured, expected)
    elif name == "base_angular_velocity":
        what = words.angular_velocity(measured, expected, states.qpos[:, 3:7])
    else:
        what = words.columns(measured, expected, reference.env.robot.joints)
    error, size = float(np.abs(measured - expected).max()), max(1.0, float(np.abs(expected).max()))
    unit = reference.contract.signals[name].unit
    evidence = f"largest difference in {len(states)} states that were set in both simulators"
    return judge(NAME, name, error, 0, ROUNDING * size, unit, f"{name} {what}", evidence)


def _command(candidate: World, rng: np.random.Generator) -> Finding:
    """Hold commands and read them back."""
    if "command" not in candidate.contract.signals:
        return Finding(NAME, "command", "not tested", "the policy takes none")
    entries = candidate.contract.command
    low, high = np.array([(entry.low, entry.high) for entry in entries]).T
    given = rng.uniform(low, high, (candidate.num_envs, len(entries)))
    candidate.reset()
    candidate.hold(torch.as_tensor(given, dtype=torch.float32))
    error = float(np.abs(signals(candidate)["command"] - given).max())
    names = ", ".join(entry.name for entry in entries)
    what = f"the command ({names}) arrives changed"
    return judge(NAME, "command", error, 0, ROUNDING, "", what, "random commands held and read back")


# The model behind the readings


def _feet(world: World, states: States) -> Array:
    """Set states (M) and return the feet's positions in the world, (M, F, 3)."""

    def run(ids: Indices) -> Array:
        place(world, states[ids])
        return sensor(world, world.env.scene.foot_position)

    return evaluate(world, len(states), run)


def _kinematics(reference: World, candidate: World, states: States) -> Finding:
    """Compare where the feet are: joints that are exchanged or turned inside an engine read back all the same."""
    expected, measured = (_feet(world, states) for world in (reference, candidate))
    distance = np.linalg.norm(measured - expected, axis=-1)
    feet = [foot.name for foot in reference.env.robot.feet]
    what = ""
    if distance.max() > PLACE:
        at = int(distance.max(0).argmax())
        what = _which_joint_turns(reference, candidate) or f"foot {feet[at]} is elsewhere at the same joint angles"
    evidence = f"largest distance between the places of the feet, {len(states)} poses in any orientation"
    return judge(NAME, "kinematics", float(distance.max()), 0, PLACE, "m", what, evidence)


def _which_joint_turns(reference: World, candidate: World) -> str:
    """Turn one joint at a time and compare how all bodies turn; empty when every joint turns its own."""
    names = reference.env.robot.joints
    states = nominal(reference, len(names) + 1).lifted()
    # The model's own zero, not the default pose: there a joint that turns the other way starts from the same place.
    states.qpos[:, reference.env.scene.joint_qpos] = reference.env.engine.model.qpos0[reference.env.scene.joint_qpos]
    states.qpos[np.arange(len(names)), reference.env.scene.joint_qpos] += OFFSET
    expected, measured = (_turned(world, states) for world in (reference, candidate))
    return words.exchanged(measured, expected, names, "turns", names, RESPONSE)


def _turned(world: World, states: States) -> Array:
    """Set states (M); return by how much every body is turned (M - 1, 3B) in rad from where it is in the last one."""
    orientation = world.env.engine.field("xquat")  # asked for before it is computed, as engines want it

    def run(ids: Indices) -> Array:
        place(world, states[ids])
        return orientation.double().cpu().numpy().copy()

    found = evaluate(world, len(states), run)
    turned = np.zeros((len(states) - 1, found.shape[1], 3))
    for row, body in np.ndindex(*turned.shape[:2]):
        mujoco.mju_subQuat(turned[row, body], found[row, body], found[-1, body])
    return turned.reshape(len(turned), -1)


def _rates(candidate: World, states: States) -> list[Finding]:
    """Let states (M) move freely for one physics step: positions must change as velocities say.

    The change over a step lies between ``dt`` times the velocity before and after it, whatever the integrator.
    """
    model = candidate.env.engine.model
    dt, count = candidate.env.engine.timestep, len(states)

    def run(ids: Indices) -> Array:
        place(candidate, states[ids])
        before = read(candidate)
        candidate.env.engine.step()
        after = read(candidate)
        change = np.zeros_like(before.qvel)
        for row, start, end in zip(change, before.qpos, after.qpos, strict=True):
            mujoco.mj_differentiatePos(model, row, dt, start, end)
        return np.stack((change, before.qvel, after.qvel), 1)

    change, before, after = np.moveaxis(evaluate(candidate, count, run), 1, 0)
    middle, half = (before + after) / 2, np.abs(after - before) / 2
    turn = rotations(states.qpos[:, 3:7])
    parts: tuple[tuple[str, Array | slice, str, Callable[[Array], str]], ...] = (
        ("base velocity", slice(0, 3), "m/s", lambda seen: words.linear_rate(seen, middle[:, :3], turn)),
        ("base rotation", slice(3, 6), "rad/s", lambda seen: words.turning_rate(seen, middle[:, 3:6], turn)),
        ("joint rates", candidate.env.scene.joint_qvel, "rad/s", lambda _: "do not say how joint positions change"),
    )
    findings = []
    for name, columns, unit, explain in parts:
        excess = np.abs(change - middle)[:, columns] - half[:, columns]
        limit = 0.01 * FAST
        what = f"velocities {explain(change[:, columns])}" if excess.max() > limit else ""
        evidence = f"change of positions over one physics step of {1e3 * dt:g} ms against the velocities around it"
        findings.append(judge(NAME, name, float(max(0.0, excess.max())), 0, limit, unit, what, evidence))
    return findings


def _targets(reference: World, candidate: World) -> Finding:
    """Move one joint's target at a time, in the air: that joint must move, that way, about as far."""
    names = reference.env.robot.joints
    expected, measured = (_answers(world) for world in (reference, candidate))
    subjects = [f"the target of {name}" for name in names]
    what = words.exchanged(measured, expected, subjects, "moves", names, RESPONSE)
    wrong = len(what.split("; ")) if what else 0
    sizes = [words.recognise(measured[i], expected, i)[1] for i in range(len(names))]
    evidence = (
        f"targets moved by {OFFSET} rad in the air, mean answers within "
        f"{1e3 * RESPONSE_STEPS * reference.env.step_dt:.0f} ms: "
        f"{min(sizes):.2f} to {max(sizes):.2f} times the reference's"
    )
    return judge(NAME, "joint targets", wrong, 0, 0, "joints", what, evidence)


def _answers(world: World) -> Array:
    """Return how far every joint moves on average (J, J) when one target moves, per row, beyond what it does anyhow."""
    count = len(world.env.robot.joints)
    start = nominal(world, count + 1).lifted()
    targets = np.tile(np.array(world.env.robot.default_pose), (count + 1, 1))
    targets[np.arange(count), np.arange(count)] += OFFSET

    def run(ids: Indices) -> Array:
        place(world, start[ids])
        path = []
        for _ in range(RESPONSE_STEPS):
            step(world, targets[ids])
            path.append(joints(world, read(world))[0])
        return np.mean(path, axis=0)

    reached = evaluate(world, count + 1, run)
    return np.asarray(reached[:-1] - reached[-1])


def _age(candidate: World, rng: np.random.Generator) -> Finding:
    """Date readings: which past state of the simulator do they show?"""
    env, n = candidate.env, candidate.num_envs
    decimation, dt = env.task.physics.decimation, env.engine.timestep
    default = np.array(env.robot.default_pose)
    states = in_the_air(candidate, n, rng, FAST)
    place(candidate, states)
    seen = []
    with watching(candidate) as watched:
        for _ in range(AGE_STEPS):
            step(candidate, default + 2 * OFFSET * rng.uniform(-1, 1, (n, len(default))))
            seen.append(signals(candidate))
        past = watched()
    final = read(candidate)
    qpos, qvel = np.concatenate((past.qpos, final.qpos[None])), np.concatenate((past.qvel, final.qvel[None]))
    true = {
        "joint_position": qpos[..., env.scene.joint_qpos],
        "joint_velocity": qvel[..., env.scene.joint_qvel],
        "base_angular_velocity": qvel[..., 3:6],
    }
    names = [name for name in true if name in candidate.contract.signals]
    truth = np.concatenate([true[name] for name in names], -1)
    readings = np.stack([np.concatenate([found[name] for name in names], 1) for found in seen])
    lags = np.arange(0, min(round(OLDEST / dt), (AGE_STEPS - 4) * decimation) + 1)
    first = int(np.ceil(lags[-1] / decimation))
    ends = (np.arange(first, AGE_STEPS) + 1) * decimation
    errors = [float(((readings[first:] - truth[ends - lag]) ** 2).mean()) for lag in lags]
    age = 1e3 * dt * float(lags[int(np.argmin(errors))])
    evidence = (
        f"the past state that the readings fit best, in steps of {1e3 * dt:g} ms, while everything moves in the air"
    )
    what = f"readings are {age:.0f} ms old (observation delay)"
    return judge(NAME, "age of readings", age, 0, 0.5e3 * dt, "ms", what, evidence)
