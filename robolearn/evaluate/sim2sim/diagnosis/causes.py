"""What may be wrong with a model, and which of it explains forces that are missing."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from robolearn.evaluate.sim2sim.diagnosis.oracle import Motion, Oracle, weigh
from robolearn.evaluate.sim2sim.diagnosis.probe import Array, Indices

ENOUGH = 0.98
"""Share of the missing forces at which an explanation is complete."""
MOST = 3
"""Causes that are named together at most."""
PENALTY = 1e-3
"""Share that each further unknown must explain to be worth it."""


Forces = Callable[[Motion, Array], list[Array]]


@dataclass(frozen=True)
class Cause:
    """Something in the model that may be wrong.

    Attributes:
        forces: missing forces (M, nv) per unit of each unknown, for a motion and what is missing in it.
        tell: words for the unknowns that were found.
    """

    forces: Forces
    tell: Callable[[Array], str]


def explain(oracle: Oracle, motions: Sequence[Motion]) -> str:
    """Say what explains the missing forces of motions: one cause where one does, else the few that explain most.

    Forces are made relative to the push, or to the forces of motion, of each step, so that every step counts alike.
    Causes are added one at a time, always the one that explains most of what is left (orthogonal matching pursuit:
    Pati, Rezaiifar and Krishnaprasad, Asilomar 1993).
    """
    rulers = [motion.ruler(oracle) for motion in motions]
    lost = [motion.missing(oracle) for motion in motions]

    def column(forces: Sequence[Array]) -> Array:
        return np.concatenate([weigh(ruler, force).ravel() for ruler, force in zip(rulers, forces, strict=True)])

    missing = column(lost)
    causes = list(every_cause(oracle))
    designs = []
    for cause in causes:
        by_motion = [cause.forces(motion, gone) for motion, gone in zip(motions, lost, strict=True)]
        designs.append(np.stack([column(forces) for forces in zip(*by_motion, strict=True)], 1))
    chosen: list[int] = []
    left = 1.0
    while len(chosen) < MOST and left > 1 - ENOUGH:
        best = min(
            (i for i in range(len(causes)) if i not in chosen),
            key=lambda i: _left([designs[j] for j in (*chosen, i)], missing) + PENALTY * designs[i].shape[1],
        )
        chosen.append(best)
        left = _left([designs[j] for j in chosen], missing)
    design = [designs[i] for i in chosen]
    values, *_ = np.linalg.lstsq(np.concatenate(design, 1), missing, rcond=None)
    parts = np.split(values, np.cumsum([part.shape[1] for part in design])[:-1])
    told = "; ".join(causes[i].tell(part) for i, part in zip(chosen, parts, strict=True))
    head = "" if left <= 1 - ENOUGH else "several things at once, above all: "
    return f"{head}{told} (this explains {1 - left:.1%} of the missing forces)"


def _left(designs: Sequence[Array], missing: Array) -> float:
    """Return the share of the sum of squares that columns leave unexplained."""
    design = np.concatenate(designs, 1)
    values, *_ = np.linalg.lstsq(design, missing, rcond=None)
    return float(((missing - design @ values) ** 2).sum() / (missing**2).sum())


def every_cause(oracle: Oracle) -> Iterator[Cause]:
    """All causes, simple ones first: of two that explain as much, the first is named."""
    yield from _drives(oracle)
    yield from _rotors(oracle)
    yield from _rubbing(oracle)
    everything = [("body_mass", slice(None)), ("body_inertia", slice(None))]
    yield Cause(
        _factor(oracle, everything), lambda x: f"all masses and inertias are {1 + x[0]:.3g} times the reference's"
    )
    yield from _bodies(oracle)


def _drives(oracle: Oracle) -> Iterator[Cause]:
    """A drive gives a share of what is asked for: what it lacks is missing."""
    groups = [("every joint", np.arange(len(oracle.joints)))]
    groups += [(joint, np.array([j])) for j, joint in enumerate(oracle.joints)]
    for text, columns in groups:
        yield Cause(_lacking(oracle, columns), _share(text))


def _lacking(oracle: Oracle, columns: Indices) -> Forces:
    def forces(motion: Motion, missing: Array) -> list[Array]:
        torques = np.zeros_like(motion.torques)
        torques[:, columns] = motion.torques[:, columns]
        return [oracle.forces(motion.states, torques, np.zeros_like(motion.wrenches))]

    return forces


def _share(text: str) -> Callable[[Array], str]:
    return lambda x: f"the torque that acts at {text} is {1 - x[0]:.3g} times what was asked for"


def _found(oracle: Oracle, motion: Motion, missing: Array, model: mujoco.MjModel) -> Array:
    """Return those of the missing forces that are not missing if the robot is like a changed model."""
    mujoco.mj_setConst(model, mujoco.MjData(model))
    return missing - motion.missing(oracle, model)


def _factor(oracle: Oracle, fields: Sequence[tuple[str, int | slice]]) -> Forces:
    """Forces per factor on values of the model; inverse dynamics are linear in masses and in inertias."""

    def forces(motion: Motion, missing: Array) -> list[Array]:
        model = copy.copy(oracle.model)
        for name, index in fields:
            getattr(model, name)[index] *= 2
        return [_found(oracle, motion, missing, model)]

    return forces


def _bodies(oracle: Oracle) -> Iterator[Cause]:
    kinds = {
        "mass": ("body_mass",),
        "inertia": ("body_inertia",),
        "mass, with its inertia,": ("body_mass", "body_inertia"),
    }
    for body in np.flatnonzero(oracle.model.body_mass > 0):
        name = oracle.model.body(body).name
        for kind, fields in kinds.items():
            text = f"the {kind} of {name}"
            yield Cause(_factor(oracle, [(field, int(body)) for field in fields]), _times(text))
        yield Cause(_shift(oracle, int(body)), _shifted(name))


def _times(text: str) -> Callable[[Array], str]:
    return lambda x: f"{text} is {1 + x[0]:.3g} times the reference's"


def _shift(oracle: Oracle, body: int, small: float = 1e-3) -> Forces:
    """Forces per m that a centre of mass moves along each axis of its body, for shifts that are small."""

    def forces(motion: Motion, missing: Array) -> list[Array]:
        result = []
        for axis in range(3):
            model = copy.copy(oracle.model)
            model.body_ipos[body, axis] += small
            result.append(_found(oracle, motion, missing, model) / small)
        return result

    return forces


def _shifted(name: str) -> Callable[[Array], str]:
    return lambda x: f"the centre of mass of {name} is shifted by ({', '.join(f'{1e3 * v:.1f}' for v in x)}) mm"


def _rotors(oracle: Oracle) -> Iterator[Cause]:
    """Rotor inertia acts on the acceleration of its joint alone."""
    nominal = oracle.model.dof_armature[oracle.dofs]
    same = np.ptp(nominal) == 0
    groups = [(f"of every joint{'' if same else ' (mean)'}", oracle.dofs, float(nominal.mean()))]
    groups += [(f"of {joint}", oracle.dofs[[j]], float(nominal[j])) for j, joint in enumerate(oracle.joints)]
    for text, dofs, value in groups:
        yield Cause(_acting(dofs, lambda motion: motion.accelerations), _rotor(text, value))


def _rotor(text: str, nominal: float) -> Callable[[Array], str]:
    return lambda x: f"the armature (rotor inertia) {text} is {nominal + x[0]:.3g} instead of {nominal:.3g} kg m^2"


def _rubbing(oracle: Oracle) -> Iterator[Cause]:
    """Damping takes the velocity at the end of the step, as nearly every engine does for stability's sake."""
    groups = [("of every joint", "N m s/rad", oracle.dofs)]
    groups += [
        ("of the base's rotation", "N m s/rad", np.arange(3, 6)),
        ("of the base's motion", "N s/m", np.arange(3)),
    ]
    groups += [(f"of {joint}", "N m s/rad", oracle.dofs[[j]]) for j, joint in enumerate(oracle.joints)]
    for text, unit, dofs in groups:
        yield Cause(_acting(dofs, lambda motion: motion.final_velocity), _more(f"damping {text}", unit))
    for text, unit, dofs in groups:
        yield Cause(
            _acting(dofs, lambda motion: np.sign(motion.final_velocity)),
            _more(f"dry friction {text}", unit.split(" s")[0]),
        )


def _acting(dofs: Indices, what: Callable[[Motion], Array]) -> Forces:
    """Forces of unit size per ``what`` of each of some degrees of freedom."""

    def forces(motion: Motion, missing: Array) -> list[Array]:
        result = np.zeros_like(motion.accelerations)
        result[:, dofs] = what(motion)[:, dofs]
        return [result]

    return forces


def _more(text: str, unit: str) -> Callable[[Array], str]:
    return lambda x: f"{text} is {x[0]:+.3g} {unit} beyond the reference's"
