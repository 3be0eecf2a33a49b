"""The YAML file of a robot: its shape, and how values are given by joint name or pattern."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from robolearn.config import ConfigError, nearest, unknown
from sim.robots.quadruped import Quadruped, Vec3
from sim.robots.robot import Foot

V = TypeVar("V")
PerJoint = float | list[float] | dict[str, float]
FootKind = Literal["geom", "site", "body"]
Collision = Literal["all", "primitives", "feet_only"]


@dataclass(frozen=True)
class ModelEntry:
    """Where the model comes from: exactly one of the own quadruped or a file.

    Attributes:
        quadruped: figures of the parametric quadruped.
        file: path of an MJCF (``.xml``) or URDF file, relative to the YAML, or inside ``package``.
        package: an installed Python package that ships the file.
    """

    quadruped: Quadruped | None = None
    file: str | None = None
    package: str | None = None

    def __post_init__(self) -> None:
        """Refuse an entry that names no model, or two."""
        if (self.quadruped is None) == (self.file is None):
            raise ValueError("give either 'file' (an MJCF or URDF path) or 'quadruped' (figures)")
        if self.package is not None and self.file is None:
            raise ValueError("'package' needs 'file', the path inside the package")


@dataclass(frozen=True)
class FootEntry:
    """What a foot is in the model: exactly one of a geom, a body or a site, by name.

    Attributes:
        at: m, where the foot is, in the frame of the body, when that is neither the geom's nor the body's own place.
    """

    geom: str | None = None
    body: str | None = None
    site: str | None = None
    at: Vec3 | None = None

    def __post_init__(self) -> None:
        """Refuse an entry that names no object, or several."""
        if sum(name is not None for name in (self.geom, self.body, self.site)) != 1:
            raise ValueError("give exactly one of 'geom', 'body', 'site'")
        if self.site is not None and self.at is not None:
            raise ValueError("'at' goes with a geom or a body; a site has its place")


@dataclass(frozen=True)
class MirrorEntry:
    """Left-right pairs given by hand.

    Attributes:
        joints: ``left: right`` pairs; joints not named map to themselves.
        signs: sign of each joint by name or pattern; derived from the joint axes where not given.
        feet: ``left: right`` pairs of foot names.
    """

    joints: dict[str, str]
    signs: dict[str, float] = field(default_factory=dict)
    feet: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RobotFile:
    """The entries of a robot's YAML file. Values per joint are a number, a list in joint order, or a mapping.

    Attributes:
        model: where the model comes from.
        kp, kd: proportional (N m/rad) and derivative (N m s/rad) gain.
        feet: names of geoms, sites or bodies; or a mapping from foot name to what it is.
        name: shown name; the file's name when missing.
        base: floating base body; the only body at the top of the model when missing.
        joints: controlled joints in policy order; all hinges in model order when missing.
        locked_joints: patterns of joints welded at 0, or a mapping from pattern to angle (rad) or position (m).
        default_pose: rad.
        effort_limit: N m; from the model when missing.
        velocity_limit: rad/s; from the URDF when missing.
        position_limit: (lower, upper) rad by name or pattern; from the model where missing.
        action_scale: rad per unit action.
        armature, joint_friction, joint_damping: from the model when missing.
        base_height: m; computed so that the feet touch the ground when missing.
        target_height: m; ``base_height`` when missing.
        termination_bodies: patterns; the base when missing.
        undesired_contact_bodies: patterns.
        mirror: ``auto`` derives pairs from names and signs from geometry, ``none`` has none.
        collision: which geoms meet the ground: all, primitives (and feet), or feet only.
        provenance: where the figures come from, and their licence.
    """

    model: ModelEntry
    kp: PerJoint
    kd: PerJoint
    feet: list[str] | dict[str, FootEntry]
    name: str | None = None
    base: str | None = None
    joints: list[str] | None = None
    locked_joints: list[str] | dict[str, float] = field(default_factory=list)
    default_pose: PerJoint = 0.0
    effort_limit: PerJoint | None = None
    velocity_limit: PerJoint | None = None
    position_limit: dict[str, tuple[float, float]] = field(default_factory=dict)
    action_scale: PerJoint = 0.25
    armature: PerJoint | None = None
    joint_friction: PerJoint | None = None
    joint_damping: PerJoint | None = None
    base_height: float | None = None
    target_height: float | None = None
    termination_bodies: list[str] | None = None
    undesired_contact_bodies: list[str] = field(default_factory=list)
    mirror: Literal["auto", "none"] | MirrorEntry = "auto"
    collision: Collision = "all"
    provenance: dict[str, str] = field(default_factory=dict)


def matches(pattern: str, name: str, where: str) -> bool:
    """Tell whether a name is ``pattern`` itself or matches it as a whole, read as a regular expression.

    Raises:
        ConfigError: ``pattern`` is not a regular expression.
    """
    try:
        return pattern == name or re.fullmatch(pattern, name) is not None
    except re.error as error:
        raise ConfigError(f"{where}: {pattern!r} is neither a name nor a valid pattern ({error})") from error


def select(patterns: Iterable[str], names: Sequence[str], kind: str, where: str) -> tuple[str, ...]:
    """Return the names that match any of the patterns, in the order of ``names``.

    Raises:
        ConfigError: a pattern matches nothing.
    """
    chosen: set[str] = set()
    for pattern in patterns:
        found = {name for name in names if matches(pattern, name, where)}
        if not found:
            raise unknown(kind, pattern, names, where)
        chosen |= found
    return tuple(name for name in names if name in chosen)


def lookup(values: Mapping[str, V], names: Sequence[str], kind: str, where: str) -> dict[str, V]:
    """Resolve values given by name or pattern. An exact name beats a pattern, a later pattern an earlier one.

    Returns:
        The value of each name that something matches.

    Raises:
        ConfigError: a key matches none of the names.
    """
    result: dict[str, V] = {}
    for key, value in sorted(values.items(), key=lambda item: item[0] in names):
        for name in select([key], names, kind, where):
            result[name] = value
    return result


def per_joint(value: PerJoint, joints: Sequence[str], where: str) -> tuple[float, ...]:
    """Return (J,) values from a number, a list in joint order, or a mapping by name or pattern.

    Raises:
        ConfigError: wrong length, an unknown joint, or a joint without a value.
    """
    if isinstance(value, list):
        if len(value) != len(joints):
            raise ConfigError(f"{where}: {len(value)} values for {len(joints)} joints ({', '.join(joints)})")
        return tuple(value)
    if not isinstance(value, dict):
        return (value,) * len(joints)
    found = lookup(value, joints, "joint", where)
    for joint in joints:
        if joint not in found:
            raise ConfigError(f"{where}: no value for joint {joint!r}.{nearest(joint, value)}")
    return tuple(found[joint] for joint in joints)


def resolve_feet(
    given: list[str] | dict[str, FootEntry], geoms: Sequence[str], sites: Sequence[str], bodies: Sequence[str]
) -> tuple[Foot, ...]:
    """Return the feet, each found among the named objects of a model; a bare name is tried as geom, site, body.

    Raises:
        ConfigError: no foot, one given twice, or one that the model does not have.
    """
    known: dict[FootKind, Sequence[str]] = {"geom": geoms, "site": sites, "body": bodies}
    feet = []
    for name in given:
        entry = given[name] if isinstance(given, dict) else FootEntry(geom=name)
        kinds = [kind for kind in known if getattr(entry, kind)] if isinstance(given, dict) else list(known)
        target = str(entry.geom or entry.site or entry.body)
        found = [kind for kind in kinds if target in known[kind]]
        if not found:
            raise unknown(", ".join(kinds), target, [option for kind in kinds for option in known[kind]], "feet")
        feet.append(Foot(name, found[0], target))
    if not feet:
        raise ConfigError("feet: at least one is needed")
    if len({foot.name for foot in feet}) < len(feet):
        raise ConfigError("feet: a foot is given twice")
    return tuple(feet)
