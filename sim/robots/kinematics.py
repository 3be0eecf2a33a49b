"""Poses of a robot at rest: where the feet are, and how high the base must be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import mujoco
import numpy as np

from sim.robots.robot import Foot


def pose(model: mujoco.MjModel, base: str, joints: Mapping[str, float]) -> mujoco.MjData:
    """Return data with the kinematics of an upright base at the origin and the joints at the given angles (rad)."""
    data = mujoco.MjData(model)
    address = model.jnt_qposadr[model.body(base).jntadr[0]]
    data.qpos[address : address + 7] = (0, 0, 0, 1, 0, 0, 0)
    for name, angle in joints.items():
        data.qpos[model.joint(name).qposadr[0]] = angle
    mujoco.mj_kinematics(model, data)
    return data


def lowest_point(model: mujoco.MjModel, data: mujoco.MjData, geom: int) -> float:
    """Return the height (m) of the lowest point of a geom: the support function of its shape in direction -z."""
    kind, size = model.geom_type[geom], model.geom_size[geom]
    down = -data.geom_xmat[geom].reshape(3, 3)[2]  # world -z in the geom's frame
    across = float(np.hypot(down[0], down[1]))
    if kind == mujoco.mjtGeom.mjGEOM_SPHERE:
        reach = size[0]
    elif kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
        reach = size[0] + size[1] * abs(down[2])
    elif kind == mujoco.mjtGeom.mjGEOM_CYLINDER:
        reach = size[0] * across + size[1] * abs(down[2])
    elif kind == mujoco.mjtGeom.mjGEOM_ELLIPSOID:
        reach = float(np.linalg.norm(size * down))
    elif kind == mujoco.mjtGeom.mjGEOM_MESH:
        mesh = model.geom_dataid[geom]
        start = model.mesh_vertadr[mesh]
        reach = float((model.mesh_vert[start : start + model.mesh_vertnum[mesh]] @ down).max())
    else:
        reach = float(np.abs(down) @ size)
    return float(data.geom_xpos[geom, 2] - reach)


def foot_bottom(model: mujoco.MjModel, data: mujoco.MjData, foot: Foot) -> float:
    """Return the height (m) of the lowest point of a foot; a site, or a body without collision geoms, is a point."""
    if foot.kind == "geom":
        return lowest_point(model, data, model.geom(foot.object).id)
    if foot.kind == "site":
        return float(data.site(foot.object).xpos[2])
    body = model.body(foot.object).id
    geoms = [geom for geom in range(model.ngeom) if model.geom_bodyid[geom] == body and model.geom_conaffinity[geom]]
    return min((lowest_point(model, data, geom) for geom in geoms), default=float(data.xpos[body, 2]))


def standing_height(model: mujoco.MjModel, base: str, joints: Mapping[str, float], feet: Sequence[Foot]) -> float:
    """Return the height (m) of an upright base at which the lowest foot just touches the ground in the given pose."""
    data = pose(model, base, joints)
    return -min(foot_bottom(model, data, foot) for foot in feet)
