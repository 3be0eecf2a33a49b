"""Robots from MJCF or URDF files that others wrote: find the file, strip what belongs to a scene, keep the robot."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import mujoco
import numpy as np

from robolearn.config import ConfigError, unknown
from sim.robots import urdf
from sim.robots.description import Collision, ModelEntry, RobotFile, lookup, resolve_feet, select
from sim.robots.quadruped import Vec3
from sim.robots.robot import Foot, ModelSource, foot_geoms

log = logging.getLogger(__name__)
SCENE_PARTS = ("actuators", "sensors", "keys", "lights", "cameras", "pairs", "excludes", "tuples", "texts", "numerics")

# What a file's main defaults may change in elements that are added later.
DEFAULTS = {
    "geom": (
        *("type", "size", "contype", "conaffinity", "condim", "priority", "friction", "solmix", "solref", "solimp"),
        *("margin", "gap", "mass", "density", "group", "rgba", "material"),
    ),
    "joint": ("type", "axis", "limited", "range", "stiffness", "damping", "armature", "frictionloss", "ref", "group"),
    "site": ("type", "size", "group", "rgba", "material"),
}


@dataclass(frozen=True)
class FileModel:
    """A robot in a file, and what to do with it.

    Attributes:
        path: the MJCF or URDF file.
        modified: its time stamp (ns), so that an edited file is read again.
        base: body that floats; a child of the world.
        locked: joints to weld, with their position (rad or m).
        keep: bodies that stay bodies even when they cannot move against their parent.
        feet: the feet.
        points: geoms and bodies that get a site for a foot, and its place in the body's frame (m).
        collision: which geoms meet the ground.
    """

    path: Path
    modified: int
    base: str
    locked: tuple[tuple[str, float], ...]
    keep: tuple[str, ...]
    feet: tuple[Foot, ...]
    points: tuple[tuple[Foot, Vec3], ...]
    collision: Collision

    def build(self) -> mujoco.MjSpec:
        """Return a fresh specification of the robot alone (a copy: the files are read once).

        Raises:
            ConfigError: the model cannot be used; the message says why.
        """
        return _build(self).copy()


class OpenedModel(NamedTuple):
    """A model, its feet, and the effort (N m) and velocity (rad/s) limits that it gives by joint."""

    source: ModelSource
    feet: tuple[Foot, ...]
    efforts: dict[str, float]
    speeds: dict[str, float]


def open_model(file: RobotFile, folder: Path) -> OpenedModel:
    """Open the model that a description names.

    Args:
        file: the robot's description.
        folder: where the description lies; the model's path is relative to it.

    Raises:
        ConfigError: no such file or package, not a model, or entries that name unknown bodies, joints or feet.
    """
    if file.model.quadruped is not None:
        source = file.model.quadruped
        return OpenedModel(source, _find_feet(source.build(), file)[0], {}, {})
    path = locate(file.model, folder)
    spec, speeds, notes = _read(path)
    for note in notes:
        log.warning("%s: %s", path.name, note)
    bodies = [body.name for body in spec.bodies[1:] if body.name]
    base = _find_base(spec, file.base)
    feet, points = _find_feet(spec, file)
    marked = [foot.object for foot in feet if foot.kind == "body"]
    marked += select(file.termination_bodies or (), bodies, "body", "termination_bodies")
    marked += select(file.undesired_contact_bodies, bodies, "body", "undesired_contact_bodies")
    locked = _find_locked(spec, file)
    modified = path.stat().st_mtime_ns
    model = FileModel(path, modified, base, locked, (base, *marked), feet, points, file.collision)
    _warn_of_meshes(model, file.name or path.stem)
    return OpenedModel(model, feet, _effort_limits(spec), speeds)


def locate(entry: ModelEntry, folder: Path) -> Path:
    """Return the path of the model file.

    Raises:
        ConfigError: the package is not installed, or the file does not exist.
    """
    file = Path(str(entry.file)).expanduser()
    if entry.package is None:
        path = folder / file
    else:
        path = _package_folder(entry.package) / file
    if not path.is_file():
        raise ConfigError(f"model.file: {path} does not exist")
    return path.resolve()


def _package_folder(package: str) -> Path:
    """Return the folder of an importable package, or the one in which a distribution of that name is installed."""
    try:
        found = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        found = None
    if found is not None and found.submodule_search_locations:
        return Path(next(iter(found.submodule_search_locations)))
    try:
        return Path(str(importlib.metadata.distribution(package).locate_file("")))
    except (importlib.metadata.PackageNotFoundError, ValueError):
        raise ConfigError(f"model.package: {package!r} is not installed (pip install {package})") from None


def _read(path: Path) -> tuple[mujoco.MjSpec, dict[str, float], list[str]]:
    """Return the file's specification as it is, velocity limits (rad/s) that a URDF gives, and what cannot be shown."""
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, UnicodeDecodeError) as error:
        raise ConfigError(f"model.file: {path} is not valid XML: {error}") from error
    if root.tag not in ("mujoco", "robot"):
        raise ConfigError(f"model.file: {path} has the root element <{root.tag}>, expected <mujoco> or <robot>")
    try:
        if root.tag == "robot":
            spec, notes = urdf.read(root, path)
            return spec, urdf.velocity_limits(root), notes
        spec = mujoco.MjSpec.from_file(str(path))
    except ValueError as error:
        raise ConfigError(f"model.file: MuJoCo cannot read {path}: {error}") from error
    return spec, {}, _drop_missing_meshes(spec, path)


def _drop_missing_meshes(spec: mujoco.MjSpec, path: Path) -> list[str]:
    """Remove display-only geoms whose mesh file is missing; refuse when the mesh matters to the physics."""
    notes = []
    for mesh in list(spec.meshes):
        file = path.parent / spec.compiler.meshdir / mesh.file
        if not mesh.file or file.is_file():
            continue
        for geom in [geom for geom in spec.geoms if geom.meshname == mesh.name]:
            weightless = geom.parent.explicitinertial or geom.mass == 0 or geom.density == 0
            if geom.contype or geom.conaffinity or not weightless:
                raise ConfigError(f"model.file: mesh file {file} is missing")
            spec.delete(geom)
        notes.append(f"mesh {file.name} is missing and is not shown")
        spec.delete(mesh)
    return notes


def _find_base(spec: mujoco.MjSpec, given: str | None) -> str:
    top = [body for body in spec.worldbody.bodies if body.name]
    if given is not None:
        if given not in [body.name for body in top]:
            raise unknown("body at the top of the model", given, [body.name for body in top], "base")
        base = next(body for body in top if body.name == given)
    else:
        moving = [body for body in top if body.find_all("joint")]
        if len(moving) != 1:
            names = ", ".join(body.name for body in moving) or "none"
            raise ConfigError(f"base: exactly one body with joints is expected at the top of the model, found {names}")
        base = moving[0]
    for joint in base.joints:
        if joint.type != mujoco.mjtJoint.mjJNT_FREE:
            raise ConfigError(f"base: {base.name!r} has the joint {joint.name!r}; it must be free or have no joint")
    return str(base.name)


def _find_feet(spec: mujoco.MjSpec, file: RobotFile) -> tuple[tuple[Foot, ...], tuple[tuple[Foot, Vec3], ...]]:
    """Return the feet, and those of them that are points for which a site is to be added."""
    geoms = [geom.name for geom in spec.geoms if geom.name]
    bodies = [body.name for body in spec.bodies[1:] if body.name]
    given = resolve_feet(file.feet, geoms, [site.name for site in spec.sites], bodies)
    places = {name: entry.at for name, entry in file.feet.items()} if isinstance(file.feet, dict) else {}
    points = []
    feet = []
    for foot in given:
        at = places.get(foot.name)
        if at is None:
            feet.append(foot)
            continue
        if file.model.file is None:
            raise ConfigError(f"feet.{foot.name}: 'at' is for model files only")
        points.append((foot, at))
        feet.append(Foot(foot.name, "site", f"{foot.name}_foot"))
    return tuple(feet), tuple(points)


def _find_locked(spec: mujoco.MjSpec, file: RobotFile) -> tuple[tuple[str, float], ...]:
    joints = [joint.name for joint in spec.joints if joint.type != mujoco.mjtJoint.mjJNT_FREE]
    given = file.locked_joints
    values = given if isinstance(given, dict) else dict.fromkeys(given, 0.0)
    locked = lookup(values, joints, "joint", "locked_joints")
    for joint in file.joints or ():
        if joint in locked:
            raise ConfigError(f"locked_joints: {joint!r} is also in joints")
    return tuple(locked.items())


def _effort_limits(spec: mujoco.MjSpec) -> dict[str, float]:
    """Return the smallest torque bound (N m) that the model puts on each joint, for joints that have one."""
    bounds: dict[str, list[float]] = {}
    for joint in spec.joints:
        bounds.setdefault(joint.name, []).append(abs(joint.actfrcrange[1]))
    for actuator in spec.actuators:
        if actuator.trntype not in (mujoco.mjtTrn.mjTRN_JOINT, mujoco.mjtTrn.mjTRN_JOINTINPARENT):
            continue
        gear = abs(actuator.gear[0])
        found = bounds.setdefault(actuator.target, [])
        found.append(gear * abs(actuator.forcerange[1]))
        if actuator.biastype == mujoco.mjtBias.mjBIAS_NONE:
            found.append(gear * abs(actuator.gainprm[0] * actuator.ctrlrange[1]))
    return {joint: min(filter(None, found)) for joint, found in bounds.items() if any(found)}


@lru_cache(maxsize=16)
def _build(model: FileModel) -> mujoco.MjSpec:
    spec, _, _ = _read(model.path)
    base = spec.body(model.base)
    _strip_scene(spec, base)
    for name, value in model.locked:
        _weld(spec, name, value)
    if not base.joints:
        base.add_freejoint(name="root")
    for number, body in enumerate(spec.bodies):
        body.name = body.name or f"body{number}"
    for foot, point in model.points:
        parent = spec.geom(foot.object).parent if foot.kind == "geom" else spec.body(foot.object)
        parent.add_site(name=f"{foot.name}_foot", pos=point)
    _set_collisions(spec, model)
    for joint in spec.joints:  # torques are limited by the actuator model, in one place only
        joint.actfrclimited = mujoco.mjtLimited.mjLIMITED_FALSE
    for name in model.keep:
        spec.body(name).fuse = False
    for foot in model.feet:
        if foot.kind == "site":
            spec.site(foot.object).parent.fuse = False
    try:
        spec.fuse_static()
    except ValueError as error:
        raise ConfigError(f"model.file: MuJoCo refuses {model.path}: {error}") from error
    spec.compiler.fusestatic = False
    _reset_settings(spec)
    return spec


def _strip_scene(spec: mujoco.MjSpec, base: mujoco.MjsBody) -> None:
    """Remove everything but the robot: world geoms, other bodies, lights, actuators, sensors, keyframes, ...."""
    for part in SCENE_PARTS:
        for item in list(getattr(spec, part)):
            spec.delete(item)
    world = spec.worldbody
    for item in [*world.geoms, *world.sites, *[body for body in world.bodies if body.name != base.name]]:
        spec.delete(item)
    for texture in [texture for texture in spec.textures if texture.type == mujoco.mjtTexture.mjTEXTURE_SKYBOX]:
        spec.delete(texture)


def _weld(spec: mujoco.MjSpec, name: str, value: float) -> None:
    """Remove a joint and leave its body where the joint, at ``value`` (rad or m), would have put it."""
    joint = spec.joint(name)
    body = joint.parent
    reference = (
        np.deg2rad(joint.ref) if spec.compiler.degree and joint.type == mujoco.mjtJoint.mjJNT_HINGE else joint.ref
    )
    shift = value - reference
    if shift:
        if joint.type == mujoco.mjtJoint.mjJNT_BALL:
            raise ConfigError(f"locked_joints: {name!r} is a ball joint and can only be locked at 0")
        if body.joints[0].name != name:
            raise ConfigError(f"locked_joints: {name!r} is not the first joint of its body and can only be locked at 0")
        quat = _quaternion(spec, body)
        axis = np.array(joint.axis) / np.linalg.norm(joint.axis)
        turn, offset = np.array([1.0, 0, 0, 0]), shift * axis
        if joint.type == mujoco.mjtJoint.mjJNT_HINGE:
            mujoco.mju_axisAngle2Quat(turn, axis, shift)
            offset = joint.pos - _rotate(turn, joint.pos)
        body.pos = body.pos + _rotate(quat, offset)
        result = np.zeros(4)
        mujoco.mju_mulQuat(result, quat, turn)
        body.quat = result
    for equality in [e for e in spec.equalities if name in (e.name1, e.name2)]:
        spec.delete(equality)
    spec.delete(joint)


def _quaternion(spec: mujoco.MjSpec, body: mujoco.MjsBody) -> np.ndarray:
    """Return the orientation of a body, (4,), and make it the only one that the specification holds."""
    if body.alt.type != mujoco.mjtOrientation.mjORIENTATION_QUAT:
        compiler = spec.compiler
        body.quat = spec.resolve_orientation(degree=compiler.degree, sequence=compiler.eulerseq, orientation=body.alt)
        body.alt.type = mujoco.mjtOrientation.mjORIENTATION_QUAT
    return np.array(body.quat)


def _rotate(quat: np.ndarray, vector: np.ndarray) -> np.ndarray:
    result = np.zeros(3)
    mujoco.mju_rotVecQuat(result, np.asarray(vector, dtype=float), quat)
    return result


def _set_collisions(spec: mujoco.MjSpec, model: FileModel) -> None:
    """Let the chosen geoms meet the ground (conaffinity 1) and no geom meet another of the robot (contype 0)."""
    for geom in spec.geoms:
        geom.conaffinity = int(bool(geom.contype or geom.conaffinity))
        geom.contype = 0
        geom.priority = 0
    of_feet = [geom for foot in model.feet for geom in foot_geoms(spec, foot)]
    for geom in spec.geoms:
        heavy = geom.type == mujoco.mjtGeom.mjGEOM_MESH
        if model.collision == "feet_only" or (model.collision == "primitives" and heavy):
            geom.conaffinity = 0
    for geom in of_feet:
        geom.conaffinity = 1


def _reset_settings(spec: mujoco.MjSpec) -> None:
    """Forget the file's solver options, sizes and main defaults: they would leak into the scene around the robot."""
    fresh = mujoco.MjSpec()
    spec.option = fresh.option
    spec.njmax, spec.nconmax, spec.memory = fresh.njmax, fresh.nconmax, fresh.memory
    for kind, names in DEFAULTS.items():
        ours, plain = getattr(spec.default, kind), getattr(fresh.default, kind)
        for name in names:
            setattr(ours, name, getattr(plain, name))


def _warn_of_meshes(source: FileModel, name: str) -> None:
    heavy = sum(g.conaffinity and g.type == mujoco.mjtGeom.mjGEOM_MESH for g in _build(source).geoms)
    if heavy:
        advice = ": consider 'collision: primitives'" if source.collision == "all" else ""
        log.warning("%s: %d collision geoms are meshes, slow above all on GPU%s", name, heavy, advice)
