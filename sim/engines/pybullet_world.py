"""One robot on flat ground in PyBullet: rigid contacts, solved by sweeps over impulses.

Bullet's articulated bodies step like MuJoCo's Euler integrator. An A1 that turns in the air for 0.1 s with joints at up
to 35 rad/s ends 1e-6 m and 2e-5 m/s apart from MuJoCo's at a step of 1 ms, in proportion to the step (Bullet integrates
the base's centre of mass, MuJoCo its origin), and with any armature. What Bullet lacks or does otherwise, and what is
made of it:

- **Armature** has no field in Bullet. Each joint gets a rotor: a wheel of that inertia on a fixed hinge of its own,
  geared one to one to the joint. Its kinetic energy is ``armature dq^2 / 2``, exactly MuJoCo's, also when a contact
  strikes. (More inertia of the link itself would resist turns of the whole robot too.) What is left of the difference
  is the residual of Bullet's iterations.
- **Viscous damping** enters ``force`` explicitly; made implicit, as MuJoCo's Euler integrator makes it, it is
  ``timestep * damping`` of armature more.
- **Dry friction** is Bullet's velocity motor with target 0 and the friction as its largest torque.
- **Friction of contacts**: Bullet multiplies the coefficients of two bodies. The ground has 1, each link what MuJoCo's
  rule gives for it and the ground; the cone is round.
- **Contacts** are rigid, without restitution: MuJoCo's ``solref`` and ``solimp`` have no counterpart.
- **Damping of free bodies**, which Bullet adds by default, and its limit of 100 rad/s on joints are switched off.

Every robot has a Bullet client to itself: eight in one client move just as well, but cost 2.3 times as much each, and
one that diverges would spoil the others.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from robolearn.config import ConfigError
from robolearn.packages import MissingPackageError, missing
from sim.engines.calculator import Array, Contact, ground_plane, sliding_friction
from sim.engines.foreign import WorldError
from sim.robots.urdf_export import Urdf, UrdfLink, export_urdf

try:
    import pybullet as bullet
except ImportError as error:
    raise MissingPackageError(f"engine 'pybullet': {missing('pybullet')}") from error

SWEEPS = 50
"""Iterations of Bullet's solver at most, its default: MuJoCo's few Newton iterations are no measure for them."""
RESIDUAL = 1e-12
"""Squared residual at which it stops earlier. An A1 that stands for 0.6 s is then 2e-9 from where 1000 sweeps without
this would bring it; with Bullet's own 1e-7 it is 4e-7."""
FASTEST = 1e9
"""rad/s: no limit on the speed of joints."""
BASE = -1  # Bullet's number of the first link
_LOAD = bullet.URDF_USE_INERTIA_FROM_FILE | bullet.URDF_USE_IMPLICIT_CYLINDER


class PybulletWorld:
    """See ``sim.engines.foreign.World``.

    Args:
        model: the compiled model.

    Raises:
        ConfigError: the model has a part that a URDF cannot hold, or ground that is not one plane.
    """

    def __init__(self, model: mujoco.MjModel) -> None:
        urdf, ground = export_urdf(model), ground_plane(model)
        client = bullet.connect(bullet.DIRECT)
        if client < 0:
            raise ConfigError("engine 'pybullet': this process can hold no more simulations; use fewer environments")
        self._client = {"physicsClientId": client}
        bullet.setTimeStep(float(model.opt.timestep), **self._client)
        bullet.setGravity(*map(float, model.opt.gravity), **self._client)
        bullet.setPhysicsEngineParameter(
            numSolverIterations=SWEEPS,
            solverResidualThreshold=RESIDUAL,
            enableConeFriction=1,
            deterministicOverlappingPairs=1,
            **self._client,
        )
        plane = bullet.createCollisionShape(bullet.GEOM_PLANE, planeNormal=[0, 0, 1], **self._client)
        self._ground = bullet.createMultiBody(0, plane, **self._client)
        bullet.changeDynamics(self._ground, BASE, lateralFriction=1.0, restitution=0.0, **self._client)
        self._robot = self._load(urdf.text)
        self._links = self._numbers(urdf)
        self._joints = [next(n for n, link in self._links.items() if link.name == j.child) for j in urdf.joints]
        self._qpos, self._dofs = np.array([(j.qpos, j.dof) for j in urdf.joints], int).reshape(-1, 2).T
        for number, link in self._links.items():
            self._set_friction(model, ground, number, link)
        friction = [joint.friction for joint in urdf.joints]
        bullet.setJointMotorControlArray(
            self._robot, self._joints, bullet.VELOCITY_CONTROL, forces=friction, **self._client
        )
        inertia = [joint.armature + model.opt.timestep * joint.damping for joint in urdf.joints]
        self._geared = [joint for joint, value in enumerate(inertia) if value > 0]
        self._rotors = self._add_rotors([inertia[joint] for joint in self._geared]) if self._geared else None
        self._shapes = {geom: Shape(model, geom, link) for link in urdf.links for geom in link.geoms}
        about = bullet.getDynamicsInfo(self._robot, BASE, **self._client)
        # Bullet's base is its centre of mass with the principal axes of its inertia.
        self._com, self._axes = np.array(about[3]), np.roll(about[4], 1)
        self._turn, self._arm = np.eye(3), self._com  # of the base as it stands: its rotation, origin to centre of mass
        self._inverse_axes = self._axes * (1, -1, -1, -1)
        self._base_origin = bullet.invertTransform(about[3], about[4])

    def _load(self, text: str, fixed: bool = False) -> int:
        """Load a URDF without any of the damping and speed limits that Bullet adds; return its number."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.urdf"
            path.write_text(text, encoding="utf-8")
            body = bullet.loadURDF(str(path), useFixedBase=fixed, flags=_LOAD, **self._client)
        joints = range(bullet.getNumJoints(body, **self._client))
        for link in (BASE, *joints):
            bullet.changeDynamics(
                body, link, linearDamping=0, angularDamping=0, jointDamping=0, maxJointVelocity=FASTEST, **self._client
            )
        for joint in joints:  # Bullet starts with motors that brake
            bullet.setJointMotorControl2(body, joint, bullet.VELOCITY_CONTROL, force=0, **self._client)
        return int(body)

    def _numbers(self, urdf: Urdf) -> dict[int, UrdfLink]:
        """Return the robot's links by Bullet's numbers."""
        count = bullet.getNumJoints(self._robot, **self._client)
        names = {bullet.getJointInfo(self._robot, n, **self._client)[12].decode(): n for n in range(count)}
        return {BASE if link is urdf.links[0] else names[link.name]: link for link in urdf.links}

    def _set_friction(self, model: mujoco.MjModel, ground: int, number: int, link: UrdfLink) -> None:
        values = {sliding_friction(model, geom, ground) for geom in link.geoms}
        if len(values) > 1:
            raise ConfigError(
                f"body {link.name!r} has geoms of different friction with the ground, PyBullet one value per link: "
                "give the ground a higher priority, or the geoms one friction"
            )
        for value in values:
            bullet.changeDynamics(
                self._robot, number, lateralFriction=value, spinningFriction=0, rollingFriction=0, restitution=0,
                **self._client,
            )  # fmt: skip

    def _add_rotors(self, inertia: Sequence[float]) -> int:
        """Gear a wheel of each inertia to its joint; return the body whose joints the wheels are."""
        wheels = self._load(_wheels(inertia), fixed=True)
        for wheel, joint in enumerate(self._geared):
            gear = bullet.createConstraint(
                self._robot, self._joints[joint], wheels, wheel, bullet.JOINT_GEAR, [0, 0, 1], [0, 0, 0], [0, 0, 0],
                **self._client,
            )  # fmt: skip
            bullet.changeConstraint(gear, gearRatio=-1, maxForce=FASTEST, erp=0, **self._client)
        return wheels

    def place(self, qpos: Array, qvel: Array) -> None:
        """See ``World.place``."""
        self._turn = turn = _rotation(qpos[3:7])
        self._arm = arm = turn @ self._com
        spin = turn @ qvel[3:6]
        w, x, y, z = _product(qpos[3:7], self._axes).tolist()
        bullet.resetBasePositionAndOrientation(self._robot, (qpos[:3] + arm).tolist(), (x, y, z, w), **self._client)
        velocity = qvel[:3] + _cross(spin, arm)
        bullet.resetBaseVelocity(self._robot, velocity.tolist(), spin.tolist(), **self._client)
        for joint, place, speed in zip(self._joints, qpos[self._qpos], qvel[self._dofs], strict=True):
            bullet.resetJointState(self._robot, joint, float(place), float(speed), **self._client)
        for wheel, joint in enumerate(self._geared):
            bullet.resetJointState(self._rotors, wheel, 0.0, float(qvel[self._dofs[joint]]), **self._client)

    def step(self, force: Array, qpos: Array, qvel: Array) -> None:
        """See ``World.step``."""
        try:
            self._push(force, qpos)
            bullet.setJointMotorControlArray(
                self._robot, self._joints, bullet.TORQUE_CONTROL, forces=force[self._dofs].tolist(), **self._client
            )
            bullet.stepSimulation(**self._client)
        except bullet.error as error:
            raise WorldError(str(error)) from error
        centre, (x, y, z, w) = bullet.getBasePositionAndOrientation(self._robot, **self._client)
        velocity, spin = map(np.array, bullet.getBaseVelocity(self._robot, **self._client))
        qpos[3:7] = _product(np.array((w, x, y, z)), self._inverse_axes)
        self._turn = turn = _rotation(qpos[3:7])
        self._arm = arm = turn @ self._com
        qpos[:3] = centre - arm
        qvel[:3] = velocity - _cross(spin, arm)
        qvel[3:6] = spin @ turn
        if self._joints:
            qpos[self._qpos], qvel[self._dofs], *_ = zip(
                *bullet.getJointStates(self._robot, self._joints, **self._client), strict=True
            )

    def _push(self, force: Array, qpos: Array) -> None:
        """Apply generalised forces on the base: a force at its origin, in the world, and a torque in its own frame."""
        if not force[:6].any():
            return
        torque = self._turn @ force[3:6] - _cross(self._arm, force[:3])
        centre = (qpos[:3] + self._arm).tolist()
        bullet.applyExternalForce(self._robot, BASE, force[:3].tolist(), centre, bullet.WORLD_FRAME, **self._client)
        bullet.applyExternalTorque(self._robot, BASE, torque.tolist(), bullet.WORLD_FRAME, **self._client)

    def contacts(self) -> Sequence[Contact]:
        """See ``World.contacts``."""
        found = []
        for point in bullet.getContactPoints(self._robot, self._ground, **self._client):
            link, place, normal, pressure, (rub, along), (rub2, along2) = (
                point[3], point[5], point[7], point[9], point[10:12], point[12:14]
            )  # fmt: skip
            if pressure > 0:
                total = [pressure * n + rub * a + rub2 * b for n, a, b in zip(normal, along, along2, strict=True)]
                found.append(Contact(self._geom(link, place), np.array(total)))
        return found

    def _geom(self, number: int, place: Sequence[float]) -> int:
        """Return the geom of a link whose surface is nearest to a point in the world: Bullet tells links only."""
        geoms = self._links[number].geoms
        if len(geoms) == 1:
            return geoms[0]
        if number == BASE:
            centre = bullet.getBasePositionAndOrientation(self._robot, **self._client)
            frame = bullet.multiplyTransforms(*centre, *self._base_origin)
        else:
            frame = bullet.getLinkState(self._robot, number, **self._client)[4:6]
        point, _ = bullet.multiplyTransforms(*bullet.invertTransform(*frame), place, (0, 0, 0, 1))
        return min(geoms, key=lambda geom: abs(self._shapes[geom].distance(point)))

    def close(self) -> None:
        """See ``World.close``."""
        bullet.disconnect(**self._client)


class Shape:
    """A geom as a signed distance in the frame of its link."""

    def __init__(self, model: mujoco.MjModel, geom: int, link: UrdfLink) -> None:
        self._kind = int(model.geom_type[geom])
        self._size = model.geom_size[geom].tolist()
        origin = (model.geom_pos[geom] - link.offset).tolist()
        self._inverse = bullet.invertTransform(origin, np.roll(model.geom_quat[geom], -1).tolist())

    def distance(self, point: Sequence[float]) -> float:
        """Return the distance (m) of a point (3,) from the surface, negative inside."""
        (x, y, z), _ = bullet.multiplyTransforms(*self._inverse, point, (0, 0, 0, 1))
        a, b, c = self._size
        if self._kind == mujoco.mjtGeom.mjGEOM_SPHERE:
            return math.hypot(x, y, z) - a
        if self._kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
            return math.hypot(x, y, max(abs(z) - b, 0.0)) - a
        beyond = [abs(x) - a, abs(y) - b, abs(z) - c]
        if self._kind == mujoco.mjtGeom.mjGEOM_CYLINDER:
            beyond = [math.hypot(x, y) - a, abs(z) - b]
        return math.hypot(*(max(d, 0.0) for d in beyond)) + min(max(beyond), 0.0)


def _wheels(inertia: Sequence[float]) -> str:
    """Return the URDF of wheels that turn freely about the z axis of one common base."""
    parts = ['<link name="base"><inertial><mass value="1"/><inertia ixx="1" iyy="1" izz="1" ixy="0" ixz="0" iyz="0"/>',
             "</inertial></link>"]  # fmt: skip
    for number, value in enumerate(inertia):
        parts.append(
            f'<link name="wheel{number}"><inertial><mass value="1"/>'
            f'<inertia ixx="{value!r}" iyy="{value!r}" izz="{value!r}" ixy="0" ixz="0" iyz="0"/></inertial></link>'
            f'<joint name="axle{number}" type="continuous"><parent link="base"/><child link="wheel{number}"/>'
            '<axis xyz="0 0 1"/></joint>'
        )
    return f'<robot name="rotors">{"".join(parts)}</robot>'


def _rotation(quat: Array) -> Array:
    """Return (3, 3) for a quaternion (w, x, y, z)."""
    flat = np.zeros(9)
    mujoco.mju_quat2Mat(flat, quat)
    return flat.reshape(3, 3)


def _cross(one: Array, two: Array) -> Array:
    """Return the cross product of two vectors (3,)."""
    result = np.zeros(3)
    mujoco.mju_cross(result, one, two)
    return result


def _product(one: Array, two: Any) -> Array:
    """Return the product of two quaternions (w, x, y, z)."""
    result = np.zeros(4)
    mujoco.mju_mulQuat(result, one, two)
    return result
