"""Kinematics of a humanoid with five joints per leg: the leg in closed form, the whole body from its compiled model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray

from sim.robots.robot import Foot, Robot

Array = NDArray[np.float64]
AXES = np.array([[0, 0, 1], [0, -1, 0], [1, 0, 0], [0, -1, 0], [0, -1, 0]], float)  # yaw, pitch, roll, knee, ankle
JOINTS = len(AXES)
STRAIGHT = 1e-9  # m: a target beyond a straight leg by less than this is rounding


class UnreachableError(ValueError):
    """The foot cannot be where it was asked to be."""


@dataclass(frozen=True)
class Leg:
    """A leg with hip yaw, pitch and roll in one point, knee and ankle pitch. Lengths in m, angles in rad, base frame.

    The sole is a line along the foot's x-axis: five joints place the ankle and turn the line, which are five numbers.
    How far the foot is rolled about its line follows from them.

    Attributes:
        hip: (3,) where the three axes of the hip meet.
        thigh: from hip to knee.
        shank: from knee to ankle.
        limits: (5, 2) range of yaw, pitch, roll, knee, ankle.
        ends: (2, 3) centres of the two ends of the sole, foot frame.
        radius: of the ends.
    """

    hip: Array
    thigh: float
    shank: float
    limits: Array
    ends: Array
    radius: float

    @staticmethod
    def from_model(model: mujoco.MjModel, joints: Sequence[str], foot: Foot) -> Leg:
        """Read a leg from a compiled model.

        Raises:
            ValueError: the leg is built otherwise, so that the closed form does not hold for it.
        """
        if len(joints) != JOINTS:
            raise ValueError(f"a leg has {JOINTS} joints (yaw, pitch, roll, knee, ankle), got {list(joints)}")
        ids = [model.joint(name).id for name in joints]
        bodies = [int(model.jnt_bodyid[i]) for i in ids]
        offsets = model.body_pos[bodies]
        off_line = [offsets[1], offsets[2], offsets[3, :2], offsets[4, :2]]
        turned = np.abs(model.body_quat[bodies] - (1, 0, 0, 0)).max()
        if turned > STRAIGHT or np.abs(np.concatenate(off_line)).max() > STRAIGHT or model.jnt_pos[ids].any():
            raise ValueError(f"{joints[0]}...: the hip's axes do not meet, or knee and ankle are not straight below")
        for name, axis, wanted in zip(joints, model.jnt_axis[ids], AXES, strict=True):
            if np.abs(axis - wanted).max() > STRAIGHT:
                raise ValueError(f"{name}: turns about {axis}; the closed form is for {wanted}")
        geoms = [g for g in range(model.ngeom) if model.geom_bodyid[g] == bodies[-1] and model.geom_conaffinity[g]]
        if len(geoms) != 2 or any(model.geom_type[g] != mujoco.mjtGeom.mjGEOM_SPHERE for g in geoms):
            raise ValueError(f"{foot.name}: its sole must be two spheres, one at each end of a line")
        return Leg(
            hip=offsets[0].copy(),
            thigh=-float(offsets[3, 2]),
            shank=-float(offsets[4, 2]),
            limits=model.jnt_range[ids].copy(),
            ends=model.geom_pos[geoms].copy(),
            radius=float(model.geom_size[geoms[0], 0]),
        )

    @property
    def middle(self) -> Array:
        """(3,) the middle of the sole of a level foot, seen from the ankle, foot frame."""
        return self.ends.mean(0) - (0, 0, self.radius)

    def forward(self, angles: Array) -> tuple[Array, Array]:
        """Return where the ankle is and the direction of the foot's x-axis, (3,) each, for (5,) angles."""
        yaw, pitch, roll, knee, ankle = angles
        plane = _hip(yaw, pitch, roll)
        bent = knee + ankle
        below = np.array([self.shank * np.sin(knee), 0.0, -self.thigh - self.shank * np.cos(knee)])
        return self.hip + plane @ below, plane @ np.array([np.cos(bent), 0.0, np.sin(bent)])

    def inverse(self, ankle: ArrayLike, direction: ArrayLike, clamp: bool = False) -> Array:
        """Return the (5,) angles that bring the ankle to a place and the foot's x-axis into a direction.

        Knee and ankle turn about one direction, the normal of the plane in which the leg moves. It is normal to the
        line ``r`` from hip to ankle and to the foot's x-axis, ``n = +-(x cross r) / |x cross r|``, which leaves a
        triangle in the plane and three Euler angles (z, -y, x) at the hip. Of the solutions the one is taken whose knee
        bends backwards, whose plane points to the left (``n_y >= 0``), and whose hip pitch is at most 90 degrees.

        Args:
            ankle: (3,) m, base frame.
            direction: (3,) of any length, base frame.
            clamp: bring what cannot be reached within reach: first the ankle along its line from the hip (to the
                straight leg, or to the most bent knee), then each angle to the end of its range.

        Raises:
            UnreachableError: the place is too far or too near, or an angle leaves its range (unless clamped); the foot
                points along the leg.
        """
        reach, front = np.asarray(ankle, float) - self.hip, np.asarray(direction, float)
        distance = float(np.linalg.norm(reach))
        normal = _cross(front, reach)
        size = float(np.linalg.norm(normal))
        if size < STRAIGHT * float(np.linalg.norm(front)) or size == 0.0:
            raise UnreachableError(f"the foot's direction {front} points along the leg: its plane is undefined")
        normal /= size if normal[1] >= 0 else -size
        near, far = self._distance(self.limits[3, 0]), self.thigh + self.shank
        if not near - STRAIGHT <= distance <= far + STRAIGHT and not clamp:
            raise UnreachableError(f"the ankle is {distance:.4f} m from the hip; reach is {near:.4f} to {far:.4f} m")
        along, length = reach / distance, min(max(distance, near), far)
        product = 2 * self.thigh * self.shank
        knee = -float(np.arccos(np.clip((length**2 - self.thigh**2 - self.shank**2) / product, -1.0, 1.0)))
        below = np.array([self.shank * np.sin(knee), 0.0, -self.thigh - self.shank * np.cos(knee)]) / length
        here = np.array([along, normal, _cross(along, normal)]).T
        there = np.array([below, (0.0, 1.0, 0.0), (-below[2], 0.0, below[0])])
        plane = here @ there
        pitch = float(np.arcsin(np.clip(plane[2, 0], -1.0, 1.0)))
        yaw, roll = np.arctan2(plane[1, 0], plane[0, 0]), np.arctan2(plane[2, 1], plane[2, 2])
        foot = plane.T @ front
        bent = float(np.arctan2(foot[2], foot[0])) - knee
        angles = np.array([yaw, pitch, roll, knee, (bent + np.pi) % (2 * np.pi) - np.pi])
        inside = np.clip(angles, self.limits[:, 0], self.limits[:, 1])
        if not clamp and (bad := np.abs(angles - inside) > STRAIGHT).any():
            raise UnreachableError(f"angles {angles[bad]} (of joints {np.flatnonzero(bad)}) leave their ranges")
        return inside

    def _distance(self, knee: float) -> float:
        return float(np.sqrt(self.thigh**2 + self.shank**2 + 2 * self.thigh * self.shank * np.cos(knee)))


def _cross(a: Array, b: Array) -> Array:
    """Return the cross product of two (3,) vectors; ``np.cross`` is ten times slower for one pair."""
    (a0, a1, a2), (b0, b1, b2) = a.tolist(), b.tolist()
    return np.array([a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0])


def _hip(yaw: float, pitch: float, roll: float) -> Array:
    """Return the rotation (3, 3) of the hip: about z, then -y, then x."""
    (cy, sy), (cp, sp), (cr, sr) = ((np.cos(angle), np.sin(angle)) for angle in (yaw, pitch, roll))
    return np.array(
        [
            [cy * cp, -cy * sp * sr - sy * cr, -cy * sp * cr + sy * sr],
            [sy * cp, -sy * sp * sr + cy * cr, -sy * sp * cr - cy * sr],
            [sp, cp * sr, cp * cr],
        ]
    )


@dataclass(frozen=True)
class Body:
    """What the measured joints and the IMU say about a body, in axes that are level and point as the IMU's world does.

    Places are seen from the base's origin, velocities from the world, with one foot standing still.

    Attributes:
        rotation: (3, 3) base to world.
        com: (3,) m, centre of mass.
        soles: (2, 3) m, of each foot the point of its sole that is to touch the ground.
        headings: (2,) rad, where the feet point.
        base_velocity: (3,) m/s.
        com_velocity: (3,) m/s.
        gravity: (J,) N m that hold the joints of the hanging robot against gravity.
        jacobians: (2, 3, J) of the soles by the joints: a force on a sole turns the joints with its transpose times it.
    """

    rotation: Array
    com: Array
    soles: Array
    headings: Array
    base_velocity: Array
    com_velocity: Array
    gravity: Array
    jacobians: Array


class BodyModel:
    """Computes a ``Body`` from what a robot measures: joints, their speeds, the IMU. It reads no simulator's truth.

    Args:
        robot: a humanoid whose joints are those of the left leg, then those of the right, each from hip to ankle.

    Attributes:
        legs: left and right.
        mass: kg.
    """

    def __init__(self, robot: Robot) -> None:
        self._model = robot.spec().compile()
        self._data = mujoco.MjData(self._model)
        if self._model.nv != 6 + 2 * JOINTS or len(robot.joints) != 2 * JOINTS or len(robot.feet) != 2:
            raise ValueError(f"{robot.name}: needs two legs of {JOINTS} joints and no other joint; lock the others")
        ids = [self._model.joint(name).id for name in robot.joints]
        self._qpos, self._qvel = self._model.jnt_qposadr[ids], self._model.jnt_dofadr[ids]
        halves = (robot.joints[:JOINTS], robot.joints[JOINTS:])
        self.legs = tuple(
            Leg.from_model(self._model, half, foot) for half, foot in zip(halves, robot.feet, strict=True)
        )
        self._feet = [int(self._model.jnt_bodyid[self._model.joint(half[-1]).id]) for half in halves]
        self._root = self._model.body(robot.base).id
        self.mass = float(self._model.body_mass.sum())

    def __call__(self, position: Array, velocity: Array, orientation: Array, spin: Array, stance: int) -> Body:
        """Return the body.

        Args:
            position: (J,) rad.
            velocity: (J,) rad/s.
            orientation: (4,) unit quaternion (w, x, y, z), base to world.
            spin: (3,) rad/s, base frame.
            stance: the foot that stands still, 0 left or 1 right: the base's velocity follows from it.
        """
        model, data = self._model, self._data
        data.qpos[:3], data.qpos[3:7], data.qpos[self._qpos] = 0.0, orientation, position
        data.qvel[:3], data.qvel[3:6], data.qvel[self._qvel] = 0.0, spin, velocity
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        soles, headings, jacobians = np.empty((2, 3)), np.empty(2), np.empty((2, 3, model.nv))
        jacobian = np.empty((3, model.nv))
        for i, (leg, foot) in enumerate(zip(self.legs, self._feet, strict=True)):
            turn = data.xmat[foot].reshape(3, 3)
            # The lowest points of round ends are below their centres: there, nothing slips while the foot rolls over.
            soles[i] = data.xpos[foot] + turn @ leg.ends.mean(0) - (0, 0, leg.radius)
            headings[i] = np.arctan2(turn[1, 0], turn[0, 0])
            mujoco.mj_jac(model, data, jacobians[i], None, soles[i], foot)
        mujoco.mj_jacSubtreeCom(model, data, jacobian, self._root)
        base_velocity = -jacobians[stance] @ data.qvel
        com_velocity = jacobian @ data.qvel + base_velocity
        data.qvel[:] = 0.0
        mujoco.mj_comVel(model, data)
        force = np.empty(model.nv)
        mujoco.mj_rne(model, data, 0, force)
        return Body(
            rotation=data.xmat[self._root].reshape(3, 3).copy(),
            com=data.subtree_com[self._root].copy(),
            soles=soles,
            headings=headings,
            base_velocity=base_velocity,
            com_velocity=com_velocity,
            gravity=force[self._qvel],
            jacobians=jacobians[:, :, self._qvel],
        )
