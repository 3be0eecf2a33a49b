"""Which boundary between two simulators differs first: contract, actuation, inertia, contact, or only sensitivity.

diagnosis = diagnose(path, make_world(path, "mujoco", 4), make_world(path, "pybullet", 4))
print(diagnosis.text())
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from robolearn.evaluate.sim2sim.diagnosis import actuation, contact, contract, inertia, sensitivity
from robolearn.evaluate.sim2sim.diagnosis.findings import BOUNDARIES, Diagnosis, Finding
from robolearn.evaluate.sim2sim.diagnosis.probe import read
from robolearn.evaluate.sim2sim.diagnosis.replay import Ruler, drive
from robolearn.evaluate.sim2sim.world import World

__all__ = ["BOUNDARIES", "Diagnosis", "Finding", "diagnose"]

SECONDS = 2.0


def diagnose(
    policy: Path,
    reference: World,
    candidate: World,
    seconds: float = SECONDS,
    command: Sequence[float] | None = None,
    seed: int = 0,
) -> Diagnosis:
    """Compare two simulators boundary by boundary, from the outside in.

    Args:
        policy: the file that both worlds run.
        reference: a world in MuJoCo, whose model is what the candidate is held against.
        candidate: a world with as many robots in any simulator; only its behaviour is used, none of its parameters.
        seconds: length of the runs under the policy.
        command: what is commanded in them; half of the largest first entry (forward) when None.
        seed: of test states and targets.

    Raises:
        ValueError: the worlds have different sizes or fewer than 2 robots, or the runs would be too short.
    """
    n = reference.num_envs
    steps = round(seconds / reference.env.step_dt)
    if n != candidate.num_envs or n < 2:
        raise ValueError(f"both worlds need the same number of robots, at least 2; got {n} and {candidate.num_envs}")
    if steps < 2 * contact.AHEAD:
        raise ValueError(f"seconds must be at least {2 * contact.AHEAD * reference.env.step_dt:g}, got {seconds:g}")

    def finish(findings: Sequence[Finding]) -> Diagnosis:
        return Diagnosis(policy.name, reference.simulator.name, candidate.simulator.name, tuple(findings))

    rng = np.random.default_rng(seed)
    findings = contract.check(reference, candidate, rng)
    if any(finding.verdict == "differs" for finding in findings):
        reason = "the contract must agree first: numbers would belong to different things"
        return finish([*findings, *(Finding(name, "all", "not tested", reason) for name in BOUNDARIES[1:])])
    findings += actuation.check(reference, candidate, rng)
    findings += inertia.check(reference, candidate, rng)
    halved = _halved(policy, reference)
    try:
        ruler = Ruler(reference.contract, reference.env.robot)
        reference.reset()
        start = sensitivity.perturbed(read(reference), rng)
        given = np.tile(_command(reference, command), (n, 1))
        ours, twin, theirs = (drive(world, start, given, steps) for world in (reference, halved, candidate))
        findings += contact.check(reference, halved, candidate, ours, ruler)
        agreed = all(finding.verdict != "differs" for finding in findings)
        findings.append(sensitivity.check(reference, ruler, ours, twin, theirs, agreed))
    finally:
        halved.close()
    return finish(findings)


def _halved(policy: Path, reference: World) -> World:
    """Return the reference once more with half its time step: what its own step is responsible for."""
    simulator = reference.simulator
    physics = replace(simulator.physics, timestep=simulator.physics.timestep / 2)
    twin = replace(simulator, name=f"{simulator.name}, half the time step", physics=physics)
    return World(policy, twin, reference.num_envs, reference.env.robot)


def _command(world: World, command: Sequence[float] | None) -> np.ndarray:
    entries = world.contract.command
    if command is None:
        return np.array([0.5 * entry.high if i == 0 else 0.0 for i, entry in enumerate(entries)])
    if len(command) != len(entries):
        names = ", ".join(entry.name for entry in entries)
        raise ValueError(f"command needs {len(entries)} values ({names}), got {len(command)}")
    return np.array(command, dtype=float)
