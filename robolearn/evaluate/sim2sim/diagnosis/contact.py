"""Fourth boundary: the ground. Load, friction, and the recorded run given again, step by step.

Tolerances come from the reference itself, run with half its time step: whoever has another, equally good contact
solver may differ by as much.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robolearn.evaluate.sim2sim.diagnosis.findings import Finding, judge
from robolearn.evaluate.sim2sim.diagnosis.probe import Array, States, nominal, place, read, step, watching
from robolearn.evaluate.sim2sim.diagnosis.replay import Ruler, Run, again, rms
from robolearn.evaluate.sim2sim.world import World

NAME = "contact"
TWICE = 2.0
"""A first-order method errs by twice what halving its step changes (L. F. Richardson, Phil. Trans. A 210, 1911)."""
STAND_S = 1.0
MEAN_S = 0.2
LOAD = 0.01  # of the weight: what the masses themselves are worth
HEIGHT = 1e-3  # m: no robot is built to less
FRICTION = 0.05  # of the coefficient: measured ones scatter by far more
SLIDE = 10.0
"""m/s with which the standing robot is sent off: so fast that even a soft contact gives all the friction it has."""
SLIDE_S = 0.06
SLIPPING = 1.0  # m/s; slower feet may stick or creep
PRESSED = 5.0  # N
ALONG_AXIS = 0.9
"""Quantile of the ratios that counts as the coefficient: a pyramidal cone gives less aslant to its axes."""
STARTS = 24
AHEAD = 5
"""Control steps that targets are given for, open loop."""
SMALL = 0.02
"""Standard deviations of training; a fiftieth of what the policy saw is far inside its sensor noise."""


def check(reference: World, halved: World, candidate: World, run: Run, ruler: Ruler) -> list[Finding]:
    """Compare load, height, friction, and what comes of a step with and without the ground."""
    worlds = (reference, halved, candidate)
    stances = [_stand(world) for world in worlds]
    weight = float(reference.env.scene.model.body_mass.sum() * np.linalg.norm(reference.env.scene.model.opt.gravity))
    in_the_air, on_the_ground = _replay(worlds, run, ruler)
    slides = [_slide(world, stance.final) for world, stance in zip(worlds, stances, strict=True)]
    return [in_the_air, _load(stances, weight), _friction(slides), _height(stances), on_the_ground]


@dataclass(frozen=True)
class _Stance:
    """A robot that stands: load on its feet in N, height of its base in m, and its last states."""

    load: float
    height: float
    final: States


def _stand(world: World) -> _Stance:
    """Stand in the default pose until it has settled."""
    place(world, nominal(world, world.num_envs))
    dt = world.env.step_dt
    default = np.tile(np.array(world.env.robot.default_pose), (world.num_envs, 1))
    for _ in range(round((STAND_S - MEAN_S) / dt)):
        step(world, default)
    with watching(world) as watched:
        for _ in range(round(MEAN_S / dt)):
            step(world, default)
        seen = watched()
    return _Stance(float(np.abs(seen.force[..., 2].sum(-1)).mean()), float(seen.qpos[..., 2].mean()), read(world))


def _load(stances: list[_Stance], weight: float) -> Finding:
    ours, halved, theirs = (stance.load for stance in stances)
    tolerance = LOAD * weight + TWICE * max(abs(ours - weight), abs(halved - weight))
    what = f"the feet carry {theirs:.1f} N, {theirs / weight:.2f} times the weight"
    evidence = f"sum of vertical forces on the feet, standing, mean of {MEAN_S:g} s; the reference carries {ours:.1f} N"
    return judge(NAME, "standing load", theirs, weight, tolerance, "N", what, evidence)


def _height(stances: list[_Stance]) -> Finding:
    ours, halved, theirs = (stance.height for stance in stances)
    tolerance = HEIGHT + TWICE * abs(halved - ours)
    what = f"the robot stands {1e3 * (theirs - ours):+.1f} mm higher: the contact is softer or stiffer, or creeps"
    evidence = "height of the base in the default pose under its weight"
    return judge(NAME, "standing height", theirs, ours, tolerance, "m", what, evidence)


def _slide(world: World, standing: States) -> float:
    """Send a standing robot off; return force along over force across the ground of feet that slip.

    NaN when no foot slips.
    """
    start = States(standing.qpos, standing.qvel.copy())
    start.qvel[:, 0] += SLIDE
    default = np.tile(np.array(world.env.robot.default_pose), (world.num_envs, 1))
    place(world, start)
    with watching(world) as watched:
        for _ in range(round(SLIDE_S / world.env.step_dt)):
            step(world, default)
        seen = watched()
    along, across = np.linalg.norm(seen.force[..., :2], axis=-1), np.abs(seen.force[..., 2])
    slips = (np.linalg.norm(seen.velocity[..., :2], axis=-1) > SLIPPING) & (across > PRESSED)
    return float(np.quantile(along[slips] / across[slips], ALONG_AXIS)) if slips.any() else float("nan")


def _friction(ratios: list[float]) -> Finding:
    ours, halved, theirs = ratios
    evidence = f"force along over force across the ground of slipping feet, robot sent off at {SLIDE:g} m/s"
    if not np.isfinite(ours):
        return Finding(NAME, "friction", "not tested", "no foot of the reference slipped", evidence=evidence)
    tolerance = FRICTION * ours + TWICE * abs(halved - ours)
    what = f"friction is {theirs:.2f} instead of {ours:.2f}" if np.isfinite(theirs) else "no foot slips"
    return judge(NAME, "friction", theirs, ours, tolerance, "", what, evidence)


def _replay(worlds: tuple[World, World, World], run: Run, ruler: Ruler) -> list[Finding]:
    """Give the targets of the recorded run again from its states, on the ground and lifted into the air."""
    start, targets = _starts(run)
    findings = []
    for boundary, check_name, states in (
        ("inertia", "replay in the air", start.lifted()),
        (NAME, "replay on the ground", start),
    ):
        ours, halved, theirs = (again(world, states, targets) for world in worlds)
        own = [rms(ruler.distance(worlds[0], a, b)) for a, b in zip(halved, ours, strict=True)]
        apart = [ruler.distance(worlds[0], a, b) for a, b in zip(theirs, ours, strict=True)]
        first, last = float(rms(apart[0])), float(rms(apart[-1]))
        column = ruler.names[int(rms(apart[0], 0).argmax())]
        what = f"after one control step from the same states {column} is most apart, all signals {first:.2g} deviations"
        evidence = (
            f"{len(start)} states of the reference's run, the same targets; after {AHEAD} steps {last:.2g}; half the "
            f"time step makes the reference differ by {own[0]:.2g} and {own[-1]:.2g}"
        )
        tolerance = SMALL + TWICE * float(own[0])
        findings.append(judge(boundary, check_name, first, 0, tolerance, "deviations", what, evidence))
    return findings


def _starts(run: Run) -> tuple[States, Array]:
    """Return states spread over the run, and the targets (M, H, J) that were given from there on."""
    steps = np.unique(np.linspace(0, len(run) - AHEAD, STARTS).astype(int))
    robots = np.arange(len(steps)) % run.targets.shape[1]
    pairs = list(zip(steps, robots, strict=True))
    return (
        States(*(np.array([getattr(run.states[t], name)[i] for t, i in pairs]) for name in ("qpos", "qvel"))),
        np.array([run.targets[t : t + AHEAD, i] for t, i in pairs]),
    )
