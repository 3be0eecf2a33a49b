"""Last boundary: the loop of policy and robot, which makes small differences large.

Runs of the reference whose starts differ by what float32 rounds away say how soon that happens without any other
simulator.
"""

from __future__ import annotations

import math

import numpy as np

from robolearn.evaluate.sim2sim.diagnosis.findings import Finding
from robolearn.evaluate.sim2sim.diagnosis.probe import States
from robolearn.evaluate.sim2sim.diagnosis.replay import Ruler, Run, rms
from robolearn.evaluate.sim2sim.world import World

NAME = "sensitivity"
ROUNDING = 2.0**-24
"""Half the distance of neighbouring float32 numbers, relative to them."""
PARTED = 0.5
"""Standard deviations of training, root mean square over signals: two runs that have nothing to do with each other are
about 1.4 apart."""
FALLEN = 0.5
"""Cosine of the base's tilt; less is a fall."""


def perturbed(start: States, rng: np.random.Generator) -> States:
    """Return the N states, all but the first changed by rounding errors of float32."""
    result = States(start.qpos.copy(), start.qvel.copy())
    for values in (result.qpos, result.qvel):
        noise = ROUNDING * rng.normal(size=values.shape)
        noise[0] = 0
        values += noise * np.maximum(np.abs(values), 1.0)
    return result


def check(reference: World, ruler: Ruler, ours: Run, halved: Run, theirs: Run, agreed: bool) -> Finding:
    """Say when the candidate's run parts from the reference's, and whether rounding alone parts runs as soon.

    Args:
        reference: whose robot.
        ruler: measures distances.
        ours: run of the reference; its first robot started exactly, the others perturbed.
        halved: the same with half the time step.
        theirs: the candidate's.
        agreed: whether every boundary before this one agrees.
    """
    spread = [_parting(reference, ruler, ours, ours, i, 0)[0] for i in range(1, ours.targets.shape[1])]
    times, names = zip(
        *(_parting(reference, ruler, theirs, ours, i, i) for i in range(theirs.targets.shape[1])), strict=True
    )
    own = [_parting(reference, ruler, halved, ours, i, i)[0] for i in range(theirs.targets.shape[1])]
    parts, rounding, step = (float(np.median(values)) for values in (times, spread, own))
    dt = reference.env.step_dt
    length = len(ours) * dt
    first = names[int(np.argmin(times))]
    told = [f"rounding parts two runs of the reference {_when(rounding)}", f"half its time step {_when(step)}"]
    for who, run in (("reference", ours), ("candidate", theirs)):
        fallen = _falls(run)
        if fallen:
            told.append(f"{fallen} of {run.targets.shape[1]} robots of the {who} fall or fail")
    evidence = f"{length:g} s under the policy from the same starts; " + "; ".join(told)
    if math.isinf(parts):
        return Finding(
            NAME, "divergence", "ok", f"the runs stay together for {length:g} s", length, length, dt, "s", evidence
        )
    what = f"the runs part {_when(parts)}, {first} first"
    if agreed and parts >= min(spread):
        what += ": no sooner than rounding makes the reference part from itself, so it is the policy's sensitivity"
    elif agreed and parts >= 0.5 * step:
        what += ": about as soon as the reference's own time step makes it part, so it is the policy's sensitivity"
    elif agreed:
        what += ": differences within the tolerances of the other boundaries grow under the policy"
    expected = min(rounding, length)
    return Finding(NAME, "divergence", "differs", what, parts, expected, dt, "s", evidence)


def _when(time: float) -> str:
    return "never" if math.isinf(time) else f"after {time:.2f} s"


def _parting(world: World, ruler: Ruler, a: Run, b: Run, i: int, j: int) -> tuple[float, str]:
    """Return when robot ``i`` of one run and ``j`` of another part, inf for never, and the signal that leads.

    A step that a simulator did not get through parts them as well.
    """
    for t in range(1, min(len(a), len(b)) + 1):
        pair = (States(run.states[t].qpos[[k]], run.states[t].qvel[[k]]) for run, k in ((a, i), (b, j)))
        apart = ruler.distance(world, *pair)[0]
        if not (a.valid[t - 1, i] and b.valid[t - 1, j]) or not float(rms(apart)) <= PARTED:
            return t * world.env.step_dt, ruler.names[int(np.nan_to_num(apart, nan=np.inf).argmax())]
    return math.inf, ""


def _falls(run: Run) -> int:
    """Count the robots that fell over or whose simulation failed."""
    last = run.states[-1].qpos
    upright = 1 - 2 * (last[:, 4] ** 2 + last[:, 5] ** 2)
    return int((~(upright > FALLEN) | ~run.valid.all(0)).sum())
