"""Read a robot's YAML file, check every entry against the model, and return a ``Robot``."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import mujoco

from robolearn.config import ConfigError, load_yaml, parse, unknown
from sim.robots import mirror
from sim.robots.description import PerJoint, RobotFile, lookup, per_joint, select
from sim.robots.kinematics import foot_bottom, pose, standing_height
from sim.robots.model_file import open_model
from sim.robots.robot import Foot, MirrorJoint, ModelSource, Robot

log = logging.getLogger(__name__)
FOLDER = Path(__file__).parent
MAX_SINK = 0.02  # m, how far a foot may start below the ground
LIMIT_SLACK = 1e-6  # rad, for limits that were rounded when written


def list_robots() -> list[str]:
    """Return the names of the robots that ship with the simulator."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_robot(name: str | Path) -> Robot:
    """Load a robot by name (``"a1"``) or from the path of a YAML file.

    Raises:
        ConfigError: no such robot or file, or an entry that does not fit the model; the message names the entry.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        if str(name) not in list_robots():
            hint = "" if len(path.parts) == 1 else " A path must end in .yaml."
            raise ConfigError(f"{unknown('robot', str(name), list_robots())}{hint}")
        path = FOLDER / f"{name}.yaml"
    data = load_yaml(path)
    try:
        return _resolve(parse(RobotFile, data), path)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _resolve(file: RobotFile, path: Path) -> Robot:
    source, feet, efforts, speeds = open_model(file, path.parent)
    model = _compile(source)
    base = _base(model, file.base)
    joints = _joints(model, file.joints)
    limits = _position_limits(model, joints, file)
    default_pose = per_joint(file.default_pose, joints, "default_pose")
    for joint, angle, (low, high) in zip(joints, default_pose, limits, strict=True):
        if not low - LIMIT_SLACK <= angle <= high + LIMIT_SLACK:
            raise ConfigError(f"default_pose: {joint!r} is {angle:g} rad, outside its limits [{low:g}, {high:g}]")
    bodies = [model.body(i).name for i in range(1, model.nbody)]
    base_height = _base_height(model, base, dict(zip(joints, default_pose, strict=True)), feet, file.base_height)
    images, foot_images = _mirror(model, base, joints, default_pose, feet, file)
    target = base_height if file.target_height is None else file.target_height
    if target <= 0:
        raise ConfigError(f"target_height: must be positive, got {target:g}")
    dofs = [int(model.joint(joint).dofadr[0]) for joint in joints]
    return Robot(
        name=file.name or path.stem,
        base=base,
        joints=joints,
        default_pose=default_pose,
        kp=_bounded(file.kp, joints, "kp", positive=True),
        kd=_bounded(file.kd, joints, "kd"),
        effort_limit=_limit(file.effort_limit, joints, "effort_limit", efforts),
        velocity_limit=_limit(file.velocity_limit, joints, "velocity_limit", speeds),
        position_limit=limits,
        action_scale=_bounded(file.action_scale, joints, "action_scale", positive=True),
        armature=_from_model(file.armature, joints, "armature", model.dof_armature[dofs]),
        joint_friction=_from_model(file.joint_friction, joints, "joint_friction", model.dof_frictionloss[dofs]),
        joint_damping=_from_model(file.joint_damping, joints, "joint_damping", model.dof_damping[dofs]),
        feet=feet,
        base_height=base_height,
        target_height=target,
        termination_bodies=_bodies(file.termination_bodies, bodies, "termination_bodies", (base,)),
        undesired_contact_bodies=_bodies(file.undesired_contact_bodies, bodies, "undesired_contact_bodies", ()),
        mirror=images,
        foot_mirror=foot_images,
        source=source,
        provenance=dict(file.provenance),
    )


def _compile(source: ModelSource) -> mujoco.MjModel:
    try:
        return source.build().compile()
    except ValueError as error:
        raise ConfigError(f"model: MuJoCo refuses it: {error}") from error


def _base(model: mujoco.MjModel, given: str | None) -> str:
    free = [
        model.body(model.jnt_bodyid[i]).name
        for i in range(model.njnt)
        if model.jnt_type[i] == mujoco.mjtJoint.mjJNT_FREE
    ]
    if given is not None and given not in free:
        raise unknown("base body", given, free, "base")
    return given or free[0]


def _joints(model: mujoco.MjModel, given: list[str] | None) -> tuple[str, ...]:
    kinds = {model.joint(i).name: model.jnt_type[i] for i in range(model.njnt)}
    movable = [name for name, kind in kinds.items() if kind != mujoco.mjtJoint.mjJNT_FREE]
    joints = movable if given is None else given
    if not joints:
        raise ConfigError("joints: no joint is left to control")
    for joint in joints:
        if joint not in movable:
            raise unknown("joint", joint, movable, "joints")
        if kinds[joint] != mujoco.mjtJoint.mjJNT_HINGE:
            raise ConfigError(
                f"joints: {joint!r} is not a hinge; only hinges can be controlled: add it to locked_joints"
            )
        if joints.count(joint) > 1:
            raise ConfigError(f"joints: {joint!r} is given twice")
    for joint in movable:
        if joint not in joints:
            raise ConfigError(f"joints: {joint!r} of the model is neither in joints nor in locked_joints")
    return tuple(joints)


def _position_limits(model: mujoco.MjModel, joints: Sequence[str], file: RobotFile) -> tuple[tuple[float, float], ...]:
    given = lookup(file.position_limit, joints, "joint", "position_limit")
    limits = []
    for name in joints:
        joint = model.joint(name)
        if name not in given and not model.jnt_limited[joint.id]:
            raise ConfigError(f"position_limit: joint {name!r} has no limits in the model: give them here")
        low, high = given.get(name, (float(joint.range[0]), float(joint.range[1])))
        if low >= high:
            raise ConfigError(
                f"position_limit: the lower limit of {name!r} ({low:g}) is not below the upper ({high:g})"
            )
        limits.append((low, high))
    return tuple(limits)


def _limit(value: PerJoint | None, joints: Sequence[str], where: str, known: Mapping[str, float]) -> tuple[float, ...]:
    """Return (J,) positive limits from the file, else from the model."""
    if value is not None:
        return _bounded(value, joints, where, positive=True)
    for joint in joints:
        if joint not in known:
            raise ConfigError(f"{where}: the model gives none for joint {joint!r}: add the entry {where}")
    return _bounded({joint: known[joint] for joint in joints}, joints, where, positive=True)


def _base_height(
    model: mujoco.MjModel, base: str, angles: Mapping[str, float], feet: Sequence[Foot], given: float | None
) -> float:
    touching = standing_height(model, base, angles, feet)
    if given is None:
        return touching
    if given < touching - MAX_SINK:
        data = pose(model, base, angles)
        lowest = min(feet, key=lambda foot: foot_bottom(model, data, foot))
        raise ConfigError(
            f"base_height: at {given:g} m foot {lowest.name!r} starts {touching - given:.3f} m below the ground; "
            f"use {touching:.3f} or leave the entry out"
        )
    return given


def _mirror(
    model: mujoco.MjModel,
    base: str,
    joints: Sequence[str],
    angles: Sequence[float],
    feet: Sequence[Foot],
    file: RobotFile,
) -> tuple[tuple[MirrorJoint, ...] | None, tuple[int, ...] | None]:
    if file.mirror == "none":
        return None, None
    if file.mirror != "auto":
        return mirror.derive(model, base, joints, angles, feet, file.mirror)
    try:
        return mirror.derive(model, base, joints, angles, feet, None)
    except ConfigError as error:
        log.warning("%s: used without left-right symmetry (%s)", file.name or base, error)
        return None, None


def _bodies(given: list[str] | None, names: Sequence[str], where: str, default: tuple[str, ...]) -> tuple[str, ...]:
    return default if given is None else select(given, names, "body", where)


def _from_model(value: PerJoint | None, joints: Sequence[str], where: str, model: Sequence[float]) -> tuple[float, ...]:
    if value is None:
        return tuple(float(v) for v in model)
    return _bounded(value, joints, where)


def _bounded(value: PerJoint, joints: Sequence[str], where: str, positive: bool = False) -> tuple[float, ...]:
    result = per_joint(value, joints, where)
    for joint, number in zip(joints, result, strict=True):
        if number < 0 or (positive and number == 0):
            raise ConfigError(
                f"{where}: must be {'positive' if positive else 'zero or positive'}, got {number:g} for {joint!r}"
            )
    return result
