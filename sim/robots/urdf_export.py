"""A compiled robot as one URDF text, for simulators that cannot read MuJoCo's models, and the way back to its ids.

The URDF says the same as the model: every body is a link with its full inertia, every hinge or slide is a joint whose
zero is MuJoCo's, every geom that meets the ground is a collision shape. What a URDF cannot say is refused by name.

Bodies that cannot move against their parent stay links of their own, on fixed joints: contacts, sensors and forces
name them, and a reader that prefers fewer links can merge them without loss.

Shapes are spheres, boxes, cylinders and capsules. ``<capsule>`` is not in the URDF standard, but Bullet, Drake and
MuJoCo read it, and it is one smooth shape: a cylinder between two spheres would double the contacts of each end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import mujoco
import numpy as np
from numpy.typing import NDArray

from robolearn.config import ConfigError

Array = NDArray[np.float64]
UNLIMITED = 1e6
"""Effort (N m, N) and velocity (rad/s, m/s) limit of a joint for which the model gives none; a URDF must have one."""
_HINGE, _SLIDE, _FREE = (int(getattr(mujoco.mjtJoint, f"mjJNT_{kind}")) for kind in ("HINGE", "SLIDE", "FREE"))


@dataclass(frozen=True)
class UrdfLink:
    """One link.

    Attributes:
        name: the body's name.
        body: its id in the model.
        offset: (3,) m, origin of the link's frame in the body's frame. The axes are parallel. It is zero unless the
            joint's anchor lies elsewhere than the body's origin: in a URDF the two are one point.
        geoms: ids of the geoms behind the link's collision shapes, in their order.
    """

    name: str
    body: int
    offset: tuple[float, float, float]
    geoms: tuple[int, ...]


@dataclass(frozen=True)
class UrdfJoint:
    """One joint that moves, and what a URDF has no place for. Its value is MuJoCo's ``qpos``, zero for zero.

    Attributes:
        name: the joint's name.
        child: name of the link that it moves.
        qpos: index in ``qpos``.
        dof: index in ``qvel``.
        limits: rad or m, None when it turns without end.
        armature: kg m^2 or kg, rotor inertia seen at the joint.
        damping: N m s/rad or N s/m.
        friction: N m or N, dry friction.
    """

    name: str
    child: str
    qpos: int
    dof: int
    limits: tuple[float, float] | None
    armature: float
    damping: float
    friction: float


@dataclass(frozen=True)
class Urdf:
    """A robot on a free base.

    Attributes:
        text: the document.
        links: every link, in the order of MuJoCo's bodies; the first is the base.
        joints: the joints that move, in the order of ``qpos`` and ``qvel``.
    """

    text: str
    links: tuple[UrdfLink, ...]
    joints: tuple[UrdfJoint, ...]


def export_urdf(model: mujoco.MjModel, name: str = "robot") -> Urdf:
    """Write the robot of a compiled model: the one moving body in the world with everything that hangs on it.

    What belongs to the world itself, such as the ground, is left out.

    Raises:
        ConfigError: a part of the model that a URDF cannot hold; the message names it and says what to do.
    """
    _refuse_constraints(model)
    root = _root(model)
    bodies = [body for body in range(root, model.nbody) if model.body_rootid[body] == root]
    joints = {body: _joint_of(model, body, root) for body in bodies}
    document = Element("robot", name=name)
    links = tuple(_add_link(document, model, body, joints[body]) for body in bodies)
    moving = [_add_joint(document, model, body, joints) for body in bodies[1:]]
    _refuse_repeated([str(element.get("name")) for element in document.findall("joint")])
    ElementTree.indent(document)
    text = ElementTree.tostring(document, encoding="unicode")
    return Urdf(text, links, tuple(joint for joint in moving if joint is not None))


def _name(model: mujoco.MjModel, kind: str, index: int) -> str:
    """Return the name of a body, joint, geom, ..., or its kind and number when it has none."""
    found = mujoco.mj_id2name(model, getattr(mujoco.mjtObj, f"mjOBJ_{kind.upper()}"), index)
    return str(found) if found else f"{kind}{index}"


def _refuse_constraints(model: mujoco.MjModel) -> None:
    for kind, count, advice in (
        ("tendon", model.ntendon, "leave it out or replace it by joints"),
        ("equality", model.neq, "leave the constraint out, or weld the bodies in the model"),
        ("flex", model.nflex, "leave the soft body out"),
    ):
        if count:
            raise ConfigError(f"{kind} {_name(model, kind, 0)!r}: a URDF has only rigid links and joints; {advice}")


def _refuse_repeated(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"joint {name!r}: the URDF needs this name for a fixed joint too; rename the joint")


def _root(model: mujoco.MjModel) -> int:
    """Return the body on the free joint."""
    tops = [body for body in range(1, model.nbody) if model.body_parentid[body] == 0]
    if len(tops) != 1:
        names = ", ".join(_name(model, "body", body) for body in tops) or "none"
        raise ConfigError(f"exactly one body is expected at the top of the model, found {names}: keep the robot alone")
    root = tops[0]
    first = model.body_jntadr[root]
    if model.body_jntnum[root] != 1 or model.jnt_type[first] != _FREE:
        raise ConfigError(f"body {_name(model, 'body', root)!r} has no free joint: give it one, or leave it out")
    return root


def _joint_of(model: mujoco.MjModel, body: int, root: int) -> int | None:
    """Return the hinge or slide between a body and its parent; None for the base and for bodies that are fixed."""
    name, count = _name(model, "body", body), model.body_jntnum[body]
    if body == root or not count:
        return None
    if count > 1:
        raise ConfigError(f"body {name!r} has {count} joints, a URDF link one: put a body of its own under each")
    joint = int(model.body_jntadr[body])
    if model.jnt_type[joint] not in (_HINGE, _SLIDE):
        kind = mujoco.mjtJoint(model.jnt_type[joint]).name.removeprefix("mjJNT_").lower()
        raise ConfigError(f"joint {_name(model, 'joint', joint)!r} has the type {kind}: use hinges, or lock it")
    return joint


def _offset(model: mujoco.MjModel, joint: int | None) -> Array:
    """Return (3,) m, the link's origin in the body's frame: the anchor of its hinge. A slide's anchor means nothing."""
    if joint is None or model.jnt_type[joint] != _HINGE:
        return np.zeros(3)
    return np.array(model.jnt_pos[joint])


def _add_link(document: Element, model: mujoco.MjModel, body: int, joint: int | None) -> UrdfLink:
    name, offset = _name(model, "body", body), _offset(model, joint)
    link = SubElement(document, "link", name=name)
    inertial = SubElement(link, "inertial")
    # Principal axes and moments as MuJoCo has them: nothing is diagonalised anew.
    _add_origin(inertial, model.body_ipos[body] - offset, model.body_iquat[body])
    SubElement(inertial, "mass", value=_text(model.body_mass[body]))
    moments = dict(zip(("ixx", "iyy", "izz"), map(_text, model.body_inertia[body]), strict=True))
    SubElement(inertial, "inertia", moments | dict.fromkeys(("ixy", "ixz", "iyz"), "0"))
    start = model.body_geomadr[body]
    geoms = [geom for geom in range(start, start + model.body_geomnum[body]) if _collides(model, geom)]
    for geom in geoms:
        collision = SubElement(link, "collision", name=_name(model, "geom", geom))
        _add_origin(collision, model.geom_pos[geom] - offset, model.geom_quat[geom])
        SubElement(SubElement(collision, "geometry"), *_shape(model, geom))
    x, y, z = map(float, offset)
    return UrdfLink(name, body, (x, y, z), tuple(geoms))


def _collides(model: mujoco.MjModel, geom: int) -> bool:
    if model.geom_contype[geom]:
        raise ConfigError(
            f"geom {_name(model, 'geom', geom)!r} has contype {model.geom_contype[geom]}: it would meet other parts of "
            "the robot, and simulators disagree on which; use contype 0 and conaffinity 1, which meets the ground alone"
        )
    return bool(model.geom_conaffinity[geom])


def _shape(model: mujoco.MjModel, geom: int) -> tuple[str, dict[str, str]]:
    """Return tag and attributes of a geom's shape; MuJoCo's sizes are half lengths."""
    kind, size = mujoco.mjtGeom(model.geom_type[geom]), model.geom_size[geom]
    if kind == mujoco.mjtGeom.mjGEOM_SPHERE:
        return "sphere", {"radius": _text(size[0])}
    if kind == mujoco.mjtGeom.mjGEOM_BOX:
        return "box", {"size": _texts(2 * size)}
    if kind in (mujoco.mjtGeom.mjGEOM_CAPSULE, mujoco.mjtGeom.mjGEOM_CYLINDER):
        tag = "capsule" if kind == mujoco.mjtGeom.mjGEOM_CAPSULE else "cylinder"
        return tag, {"radius": _text(size[0]), "length": _text(2 * size[1])}
    shape = kind.name.removeprefix("mjGEOM_").lower()
    raise ConfigError(
        f"geom {_name(model, 'geom', geom)!r} has the shape {shape}: use a sphere, capsule, cylinder or box, or let it "
        "collide with nothing (collision: primitives or feet_only in the robot's file)"
    )


def _add_joint(document: Element, model: mujoco.MjModel, body: int, joints: dict[int, int | None]) -> UrdfJoint | None:
    """Connect a body with its parent; return the joint if it moves."""
    joint, parent = joints[body], int(model.body_parentid[body])
    child, place = _name(model, "body", body), np.array(model.body_pos[body])
    turn, kind, limits = np.array(model.body_quat[body]), "fixed", None
    if joint is not None:
        kind, place, turn = _at_zero(model, body, joint)
        if model.jnt_limited[joint]:
            limits = (float(model.jnt_range[joint, 0]), float(model.jnt_range[joint, 1]))
    name = f"{child}_fixed" if joint is None else _name(model, "joint", joint)
    element = SubElement(document, "joint", name=name, type=kind)
    SubElement(element, "parent", link=_name(model, "body", parent))
    SubElement(element, "child", link=child)
    _add_origin(element, place - _offset(model, joints[parent]), turn)
    if joint is None:
        return None
    SubElement(element, "axis", xyz=_texts(model.jnt_axis[joint]))
    effort = model.jnt_actfrcrange[joint, 1] if model.jnt_actfrclimited[joint] else UNLIMITED
    limit = SubElement(element, "limit", effort=_text(effort), velocity=_text(UNLIMITED))
    if limits is not None:
        limit.set("lower", _text(limits[0]))
        limit.set("upper", _text(limits[1]))
    elif kind == "revolute":
        element.set("type", "continuous")
    elif kind == "prismatic":
        limit.set("lower", _text(-UNLIMITED))
        limit.set("upper", _text(UNLIMITED))
    dof = int(model.jnt_dofadr[joint])
    return UrdfJoint(
        name, child, int(model.jnt_qposadr[joint]), dof, limits,
        float(model.dof_armature[dof]), float(model.dof_damping[dof]), float(model.dof_frictionloss[dof]),
    )  # fmt: skip


def _at_zero(model: mujoco.MjModel, body: int, joint: int) -> tuple[str, Array, Array]:
    """Return the joint's kind, and position (3,) and quaternion (4,) of the child link in the parent body at zero.

    The model gives the pose at ``qpos0``, the URDF at zero: the joint moves back by ``qpos0``. A hinge turns about its
    anchor, which is the link's origin and stays where it is.
    """
    axis, reference = model.jnt_axis[joint], float(model.qpos0[model.jnt_qposadr[joint]])
    place, turn = np.array(model.body_pos[body]), np.array(model.body_quat[body])
    shift = np.zeros(3)
    if model.jnt_type[joint] == _SLIDE:
        mujoco.mju_rotVecQuat(shift, -reference * axis, turn)
        return "prismatic", place + shift, turn
    mujoco.mju_rotVecQuat(shift, model.jnt_pos[joint], turn)
    back, result = np.zeros(4), np.zeros(4)
    mujoco.mju_axisAngle2Quat(back, axis, -reference)
    mujoco.mju_mulQuat(result, turn, back)
    return "revolute", place + shift, result


def _add_origin(element: Element, place: Array, quat: Array) -> None:
    SubElement(element, "origin", xyz=_texts(place), rpy=_texts(roll_pitch_yaw(quat)))


def roll_pitch_yaw(quat: Array) -> Array:
    """Return (3,) rad, the angles of a URDF for a unit quaternion (w, x, y, z): R = Rz(yaw) Ry(pitch) Rx(roll)."""
    flat = np.zeros(9)
    mujoco.mju_quat2Mat(flat, np.asarray(quat, dtype=np.float64))
    r = flat.reshape(3, 3)
    level = np.hypot(r[0, 0], r[1, 0])
    pitch = np.arctan2(-r[2, 0], level)
    if level > 1e-9:
        return np.array([np.arctan2(r[2, 1], r[2, 2]), pitch, np.arctan2(r[1, 0], r[0, 0])])
    return np.array([np.arctan2(-r[1, 2], r[1, 1]), pitch, 0.0])  # upright: only roll and yaw together mean something


def _text(number: float) -> str:
    return repr(float(number) + 0.0)  # the shortest text that reads back as the same number; no minus zero


def _texts(numbers: Array) -> str:
    return " ".join(map(_text, numbers))
