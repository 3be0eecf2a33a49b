"""Words for how readings, joints and velocities differ: the usual mix-ups, tried one after the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robolearn.evaluate.sim2sim.diagnosis.probe import Array, rotations

ROUNDING = 1e-4
"""Readings are float32 (6e-8 of their size) and pass a few conversions of an engine; this is a thousand times as much,
and a hundredth of what one degree of a joint is."""
DEGREES = 180 / np.pi
FRAME = 0.2
"""m/s, rad/s: how well a change of frame must explain a velocity at test speeds of about 1; gravity is in it."""


def towards(quaternions: Array, others: Array) -> Array:
    """q and -q are one orientation: choose the sign that is nearer to the other (M, 4)."""
    return np.asarray(quaternions * np.where((quaternions * others).sum(1, keepdims=True) < 0, -1.0, 1.0))


def _first_that_fits(measured: Array, meanings: Sequence[tuple[str, Array]]) -> str:
    limit = 10 * ROUNDING * max(1.0, float(np.abs(measured).max()))
    fits = (text for text, value in meanings if np.abs(measured - value).max() <= limit)
    return next(fits, "differs in a way that no usual mix-up explains")


def quaternion(measured: Array, expected: Array) -> str:
    """Say which other convention quaternions (M, 4) follow."""
    inverse = expected * [1, -1, -1, -1]
    meanings = [
        ("comes as (x, y, z, w) instead of (w, x, y, z)", np.roll(expected, -1, 1)),
        ("goes from world to base instead of base to world", inverse),
        ("comes as (x, y, z, w) and goes from world to base", np.roll(inverse, -1, 1)),
    ]
    return _first_that_fits(measured, [(text, towards(value, measured)) for text, value in meanings])


def angular_velocity(measured: Array, expected: Array, quaternions: Array) -> str:
    """Say in which other frame or unit angular velocities (M, 3) are, of bases with orientations (M, 4)."""
    turn = rotations(quaternions)
    world = np.einsum("mij,mj->mi", turn, expected)
    twice_back = np.einsum("mji,mj->mi", turn, expected)
    return _first_that_fits(
        measured,
        [
            ("is in the world frame instead of the base frame", world),
            ("was turned into the base frame twice", twice_back),
            ("has the opposite sign", -expected),
            ("is in degrees per second", expected * DEGREES),
            ("has z, x, y in place of x, y, z", expected[:, [2, 0, 1]]),
            ("has y, z, x in place of x, y, z", expected[:, [1, 2, 0]]),
            ("has x and y exchanged", expected[:, [1, 0, 2]]),
        ],
    )


def columns(measured: Array, expected: Array, names: Sequence[str]) -> str:
    """Find, for each column of (M, J), which column it is really, with which factor and offset."""
    notes = []
    for i in range(measured.shape[1]):
        fits = [_line(expected[:, j], measured[:, i]) for j in range(expected.shape[1])]
        j = int(np.argmin([error for _, _, error in fits]))
        factor, offset, error = fits[j]
        if error > 10 * ROUNDING * max(1.0, np.abs(measured[:, i]).max()):
            notes.append(f"{names[i]} follows no joint")
            continue
        said = []
        if j != i:
            said.append(f"is that of {names[j]}")
        said += _factor(factor)
        if abs(offset) > 10 * ROUNDING:
            said.append(f"is {offset:+.3f} off")
        if said:
            notes.append(f"of {names[i]} {' and '.join(said)}")
    return "; ".join(notes)


def _factor(factor: float) -> list[str]:
    """Say what a factor means."""
    size = abs(factor)
    words = ["has the opposite sign"] if factor < 0 else []
    if abs(size / DEGREES - 1) < 0.01:
        words.append("is in degrees")
    elif abs(size * DEGREES - 1) < 0.01:
        words.append("is turned from degrees into radians once too often")
    elif abs(size - 1) > 10 * ROUNDING:
        words.append(f"is {size:.3g} times as large")
    return words


def _line(x: Array, y: Array) -> tuple[float, float, float]:
    """Fit ``y = a x + b``; return a, b and the largest error."""
    design = np.stack((x, np.ones_like(x)), 1)
    (a, b), *_ = np.linalg.lstsq(design, y, rcond=None)
    return float(a), float(b), float(np.abs(design @ (a, b) - y).max())


def exchanged(
    measured: Array, expected: Array, subjects: Sequence[str], verb: str, names: Sequence[str], limit: float
) -> str:
    """Say which of the expected answers (J, D) each measured answer (J, D) is; empty when each is its own.

    An answer is recognised by its direction (largest cosine); its size may differ by a factor of ``limit``.

    Args:
        measured, expected: answers to moving each joint in turn.
        subjects, verb: what was moved, and what it does to the joints of ``names``.
        names: (J,) of the joints.
        limit: see above.
    """
    notes = []
    for i, subject in enumerate(subjects):
        j, factor = recognise(measured[i], expected, i)
        if factor == 0:
            notes.append(f"{subject} {verb} nothing")
        elif j != i:
            notes.append(f"{subject} {verb} {names[j]}{' backwards' if factor < 0 else ''}")
        elif factor < 0:
            notes.append(f"{subject} {verb} the other way")
        elif not 1 / limit <= factor <= limit:
            near = 0.5 < factor / DEGREES < 2 or 0.5 < factor * DEGREES < 2
            notes.append(f"{subject} {verb} {factor:.2g} times as far{' (degrees for radians)' if near else ''}")
    return "; ".join(notes)


def recognise(answer: Array, expected: Array, own: int) -> tuple[int, float]:
    """Return which row of ``expected`` (J, D) an answer (D,) is most like, and its size in terms of that row."""
    lengths = np.linalg.norm(expected, axis=1) * np.linalg.norm(answer)
    if lengths[own] == 0:
        return own, 0.0
    cosine = np.abs(expected @ answer) / np.maximum(lengths, np.finfo(float).tiny)
    best = own if cosine[own] >= cosine.max() - 0.02 else int(cosine.argmax())
    return best, float(expected[best] @ answer / (expected[best] @ expected[best]))


def linear_rate(change: Array, velocity: Array, turn: Array) -> str:
    """Say why positions change (M, 3) m/s unlike velocities (M, 3), of bases with rotations (M, 3, 3)."""
    if np.abs(np.einsum("mij,mj->mi", turn, velocity) - change).max() < FRAME:
        return "are in the base frame instead of the world frame"
    return "of the base do not say how its position changes (another point of the body, or another frame)"


def turning_rate(change: Array, velocity: Array, turn: Array) -> str:
    """Say why orientations change (M, 3) rad/s unlike angular velocities (M, 3), of bases with rotations (M, 3, 3)."""
    if np.abs(np.einsum("mji,mj->mi", turn, velocity) - change).max() < FRAME:
        return "of rotation are in the world frame instead of the base frame"
    return "of rotation do not say how the orientation changes"
