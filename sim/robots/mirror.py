"""Left-right symmetry of a robot, from the names of its joints and the geometry of its model.

Mirroring at the plane y = 0 is M = diag(1, -1, 1). A hinge axis is a pseudo-vector: a rotation by q about ``a`` becomes
a rotation by q about ``-M a``. If the mirror image of joint i is joint j, whose own axis is ``b``, then
q_j = sign * q_i with sign = b . (-M a), which must be +1 or -1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import mujoco
import numpy as np

from robolearn.config import ConfigError, unknown
from sim.robots.description import MirrorEntry, lookup
from sim.robots.kinematics import pose
from sim.robots.robot import Foot, MirrorJoint

REFLECTION = np.array([1.0, -1.0, 1.0])
POSITION_TOLERANCE = 0.02  # m; real robots are not built exactly symmetric
AXIS_TOLERANCE = 0.02
POSE_TOLERANCE = 1e-6  # rad
WORDS = {"left": "right", "Left": "Right", "LEFT": "RIGHT"}
LETTERS = {"FL": "FR", "RL": "RR", "HL": "HR", "LF": "RF", "LH": "RH", "LR": "RR", "BL": "BR", "L": "R", "l": "r"}


def mirrored_name(name: str, names: Sequence[str]) -> str:
    """Return the name of the other side (``FL_hip`` -> ``FR_hip``, ``left_knee`` -> ``right_knee``), else ``name``."""
    for pairs, pattern in ((WORDS, "{}"), (LETTERS, "(?<![A-Za-z]){}(?![A-Za-z])")):
        for left, right in pairs.items():
            for one, other in ((left, right), (right, left)):
                image = re.sub(pattern.format(one), other, name)
                if image != name and image in names:
                    return image
    return name


def derive(
    model: mujoco.MjModel,
    base: str,
    joints: Sequence[str],
    default_pose: Sequence[float],
    feet: Sequence[Foot],
    entry: MirrorEntry | None,
) -> tuple[tuple[MirrorJoint, ...], tuple[int, ...]]:
    """Return the mirror image of each joint, (J,), and of each foot.

    Args:
        model: the compiled robot.
        base: name of its base body.
        joints: (J,) controlled joints.
        default_pose: (J,) rad, which must be symmetric.
        feet: the feet.
        entry: pairs given by hand; None derives them from names.

    Raises:
        ConfigError: a joint has no mirror image, or the pose is not symmetric.
    """
    names = [foot.name for foot in feet]
    if entry is None:
        image = {name: mirrored_name(name, joints) for name in joints}
        foot_image = {name: mirrored_name(name, names) for name in names}
    else:
        image = _pairs(entry.joints, joints, "joint", "mirror.joints")
        foot_image = _pairs(entry.feet, names, "foot", "mirror.feet") if entry.feet else {}
        foot_image = foot_image or {name: mirrored_name(name, names) for name in names}
    signs = lookup(entry.signs, joints, "joint", "mirror.signs") if entry else {}

    data = pose(model, base, dict.fromkeys(joints, 0.0))
    result = []
    for i, name in enumerate(joints):
        source = image[name]
        sign = signs.get(name)
        if sign is None:
            sign = _sign(model, data, source, name)
        elif abs(sign) != 1:
            raise ConfigError(f"mirror.signs: the sign of {name!r} must be 1 or -1, got {sign}")
        index = list(joints).index(source)
        if abs(default_pose[i] - sign * default_pose[index]) > POSE_TOLERANCE:
            raise ConfigError(
                f"mirror: default_pose is not symmetric: {name!r} is {default_pose[i]:g} rad and the mirror image of "
                f"{source!r} is {sign * default_pose[index]:g} rad"
            )
        result.append(MirrorJoint(index, sign))
    return tuple(result), tuple(names.index(foot_image[name]) for name in names)


def _pairs(pairs: dict[str, str], names: Sequence[str], kind: str, where: str) -> dict[str, str]:
    image = {name: name for name in names}
    for left, right in pairs.items():
        for name in (left, right):
            if name not in names:
                raise unknown(kind, name, names, where)
            if image[name] != name:
                raise ConfigError(f"{where}: {kind} {name!r} is in two pairs")
        image[left], image[right] = right, left
    return image


def _sign(model: mujoco.MjModel, data: mujoco.MjData, source: str, target: str) -> float:
    """Return the sign with which ``target`` follows the mirror image of ``source``; the base must be at the origin."""
    a, b = model.joint(source).id, model.joint(target).id
    distance = float(np.linalg.norm(REFLECTION * data.xanchor[a] - data.xanchor[b]))
    if distance > POSITION_TOLERANCE:
        raise ConfigError(f"mirror: joint {target!r} lies {distance:.3f} m from the mirror image of {source!r}")
    cosine = float(data.xaxis[b] @ (-REFLECTION * data.xaxis[a]))
    if abs(cosine) < 1 - AXIS_TOLERANCE:
        raise ConfigError(f"mirror: the axis of joint {target!r} is not that of the mirror image of {source!r}")
    return float(np.sign(cosine))
