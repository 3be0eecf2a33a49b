"""One parametric quadruped: a trunk and four legs of hip (abduction, x), thigh (y) and calf (y) with a spherical foot.

Frames: x forward, y left, z up. At zero joint angles the legs hang straight down. Figures are given for the front left
leg; the other legs are its mirror images (y for the right side, x of the hip and of its centre of mass for the rear).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

Vec3 = tuple[float, float, float]
Range = tuple[float, float]
Array = NDArray[np.float64]

LEGS = ("FL", "FR", "RL", "RR")
VISUAL_GROUP = 2
COLLISION_GROUP = 3
DARK = (0.13, 0.14, 0.16, 1.0)
LIGHT = (0.74, 0.76, 0.79, 1.0)
ACCENT = (0.93, 0.52, 0.14, 1.0)
RUBBER = (0.05, 0.05, 0.06, 1.0)


@dataclass(frozen=True)
class Link:
    """Inertial figures of a rigid link.

    Attributes:
        mass: kg.
        com: m, centre of mass in the link's frame.
        inertia: kg m^2, diagonal about the centre of mass, in axes parallel to the link's.
    """

    mass: float
    com: Vec3
    inertia: Vec3

    def __post_init__(self) -> None:
        """Refuse what no rigid body can have."""
        if self.mass <= 0:
            raise ValueError(f"mass must be positive, got {self.mass}")
        xx, yy, zz = sorted(self.inertia)
        if xx <= 0 or zz > xx + yy:
            raise ValueError(f"inertia {self.inertia} breaks the triangle inequality of rigid bodies")


@dataclass(frozen=True)
class Quadruped:
    """The figures of a quadruped; lengths in m, masses in kg, angles in rad.

    Attributes:
        trunk: floating base.
        hip, thigh, calf: links of the front left leg; the calf without its foot unless ``foot_mass`` is 0.
        foot_mass: mass lumped at the foot's centre.
        foot_radius: radius of the foot sphere.
        trunk_box: full size of the trunk's collision box.
        hip_offset: (x, y) of the hip joint from the trunk's origin.
        thigh_offset: y from the hip to the thigh joint.
        thigh_length, calf_length: joint to joint, and joint to the foot's centre.
        hip_range: limits of the left hips; those of the right hips are mirrored.
        front_thigh_range, rear_thigh_range, calf_range: limits.
    """

    trunk: Link
    hip: Link
    thigh: Link
    calf: Link
    foot_mass: float
    foot_radius: float
    trunk_box: Vec3
    hip_offset: Range
    thigh_offset: float
    thigh_length: float
    calf_length: float
    hip_range: Range
    front_thigh_range: Range
    rear_thigh_range: Range
    calf_range: Range

    def build(self) -> mujoco.MjSpec:
        """Return a fresh specification: bodies ``trunk``, ``FL_hip``, ``FL_thigh``, ``FL_calf``; geoms ``FL_foot``."""
        spec = mujoco.MjSpec()
        for name, rgba, shine in (
            ("dark", DARK, 0.5),
            ("light", LIGHT, 0.4),
            ("accent", ACCENT, 0.3),
            ("rubber", RUBBER, 0.1),
        ):
            spec.add_material(name=name, rgba=rgba, shininess=shine, specular=shine)
        trunk = spec.worldbody.add_body(name="trunk")
        trunk.add_freejoint(name="root")
        _set_inertia(trunk, [self.trunk])
        half = np.array(self.trunk_box) / 2
        _collide(trunk, "trunk", mujoco.mjtGeom.mjGEOM_BOX, size=half)
        self._dress_trunk(trunk, half)
        for leg in LEGS:
            self._add_leg(trunk, leg)
        return spec

    def foot_position(self, leg: str, hip: float, thigh: float, calf: float) -> Array:
        """Return (3,) m, the foot's centre in the trunk frame, in closed form.

        In the leg's plane the foot lies at x = -l1 sin(thigh) - l2 sin(thigh + calf) and
        z = -l1 cos(thigh) - l2 cos(thigh + calf); the hip then turns (side * thigh_offset, z) about x.
        """
        front, side = _signs(leg)
        x = -self.thigh_length * np.sin(thigh) - self.calf_length * np.sin(thigh + calf)
        z = -self.thigh_length * np.cos(thigh) - self.calf_length * np.cos(thigh + calf)
        y = side * self.thigh_offset
        return np.array(
            [
                front * self.hip_offset[0] + x,
                side * self.hip_offset[1] + y * np.cos(hip) - z * np.sin(hip),
                y * np.sin(hip) + z * np.cos(hip),
            ]
        )

    def _add_leg(self, trunk: mujoco.MjsBody, leg: str) -> None:
        front, side = _signs(leg)
        low, high = self.hip_range if side > 0 else (-self.hip_range[1], -self.hip_range[0])
        hip = trunk.add_body(name=f"{leg}_hip", pos=[front * self.hip_offset[0], side * self.hip_offset[1], 0])
        _hinge(hip, f"{leg}_hip_joint", (1, 0, 0), (low, high))
        _set_inertia(hip, [_mirrored(self.hip, front, side)])

        thigh = hip.add_body(name=f"{leg}_thigh", pos=[0, side * self.thigh_offset, 0])
        _hinge(thigh, f"{leg}_thigh_joint", (0, 1, 0), self.front_thigh_range if front > 0 else self.rear_thigh_range)
        _set_inertia(thigh, [_mirrored(self.thigh, 1, side)])
        length, radius = self.thigh_length, self.foot_radius
        _collide(
            thigh, f"{leg}_thigh", mujoco.mjtGeom.mjGEOM_CAPSULE, size=[radius, 0, 0], fromto=[0, 0, 0, 0, 0, -length]
        )

        calf = thigh.add_body(name=f"{leg}_calf", pos=[0, 0, -length])
        _hinge(calf, f"{leg}_calf_joint", (0, 1, 0), self.calf_range)
        foot_inertia = 0.4 * self.foot_mass * radius**2  # a solid sphere
        foot = [Link(self.foot_mass, (0, 0, -self.calf_length), (foot_inertia,) * 3)] if self.foot_mass else []
        _set_inertia(calf, [_mirrored(self.calf, 1, side), *foot])
        # The shank ends well above the foot so that only the foot touches the ground in normal steps.
        shank = -self.calf_length + 1.5 * radius
        _collide(
            calf, f"{leg}_calf", mujoco.mjtGeom.mjGEOM_CAPSULE, size=[0.5 * radius, 0, 0], fromto=[0, 0, 0, 0, 0, shank]
        )
        _collide(
            calf,
            f"{leg}_foot",
            mujoco.mjtGeom.mjGEOM_SPHERE,
            size=[radius, 0, 0],
            pos=[0, 0, -self.calf_length],
            visible=True,
        )
        self._dress_leg(hip, thigh, calf, front, side)

    def _dress_trunk(self, trunk: mujoco.MjsBody, half: Array) -> None:
        """Add what people see of the trunk; it takes no part in the physics."""
        capsule, ellipsoid = mujoco.mjtGeom.mjGEOM_CAPSULE, mujoco.mjtGeom.mjGEOM_ELLIPSOID
        reach = self.hip_offset[0]
        radius = 0.42 * half[2] * 2
        for side in (-1, 1):
            y = side * max(half[1] - radius, 0.02)
            _show(trunk, capsule, "dark", size=[radius, 0, 0], fromto=[-reach, y, 0, reach, y, 0])
        _show(
            trunk, ellipsoid, "light", size=[0.85 * reach, 0.75 * half[1], 0.35 * half[2]], pos=[0, 0, 0.72 * half[2]]
        )
        _show(
            trunk,
            ellipsoid,
            "accent",
            size=[0.03, 0.6 * half[1], 0.2 * half[2]],
            pos=[reach + 0.8 * radius, 0, 0.1 * half[2]],
        )

    def _dress_leg(
        self, hip: mujoco.MjsBody, thigh: mujoco.MjsBody, calf: mujoco.MjsBody, front: int, side: int
    ) -> None:
        """Add what people see of a leg; it takes no part in the physics."""
        capsule, cylinder = mujoco.mjtGeom.mjGEOM_CAPSULE, mujoco.mjtGeom.mjGEOM_CYLINDER
        motor, y = 0.044, side * self.thigh_offset
        _show(hip, cylinder, "light", size=[motor, 0, 0], fromto=[-0.03 * front, 0, 0, 0.035 * front, 0, 0])
        _show(hip, cylinder, "dark", size=[motor, 0, 0], fromto=[0, 0.25 * y, 0, 0, 0.62 * y, 0])
        _show(thigh, cylinder, "light", size=[0.95 * motor, 0, 0], fromto=[0, -0.3 * y, 0, 0, 0.25 * y, 0])
        _show(thigh, capsule, "light", size=[0.023, 0, 0], fromto=[0, 0, -0.02, 0, 0, -0.9 * self.thigh_length])
        _show(
            thigh,
            capsule,
            "accent",
            size=[0.0235, 0, 0],
            fromto=[0, 0, -0.52 * self.thigh_length, 0, 0, -0.56 * self.thigh_length],
        )
        _show(calf, cylinder, "dark", size=[0.022, 0, 0], fromto=[0, -0.017, 0, 0, 0.017, 0])
        _show(calf, capsule, "dark", size=[0.011, 0, 0], fromto=[0, 0, 0, 0, 0, -self.calf_length + 0.01])


def _signs(leg: str) -> tuple[int, int]:
    """Return (front, side): +1 for front and left, -1 for rear and right."""
    return (1 if leg[0] == "F" else -1), (1 if leg[1] == "L" else -1)


def _mirrored(link: Link, front: int, side: int) -> Link:
    return Link(link.mass, (front * link.com[0], side * link.com[1], link.com[2]), link.inertia)


def _set_inertia(body: mujoco.MjsBody, links: Sequence[Link]) -> None:
    """Give a body the joint inertia of rigidly connected links, by the parallel-axis theorem."""
    mass = sum(link.mass for link in links)
    com = sum((link.mass * np.array(link.com) for link in links), np.zeros(3)) / mass
    inertia = np.zeros((3, 3))
    for link in links:
        d = np.array(link.com) - com
        inertia += np.diag(link.inertia) + link.mass * (d @ d * np.eye(3) - np.outer(d, d))
    body.mass, body.ipos, body.explicitinertial = mass, com, True
    if len(links) == 1:
        body.inertia = np.diag(inertia)
    else:
        body.fullinertia = inertia[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]


def _hinge(body: mujoco.MjsBody, name: str, axis: Vec3, limits: Range) -> None:
    body.add_joint(name=name, type=mujoco.mjtJoint.mjJNT_HINGE, axis=axis, range=np.rad2deg(limits), limited=True)


def _collide(body: mujoco.MjsBody, name: str, kind: mujoco.mjtGeom, visible: bool = False, **shape: object) -> None:
    """Add a geom that meets the ground (conaffinity 1) and never another geom of the robot (contype 0)."""
    body.add_geom(
        name=name,
        type=kind,
        contype=0,
        conaffinity=1,
        condim=3,
        friction=[0.8, 0.02, 0.01],
        group=VISUAL_GROUP if visible else COLLISION_GROUP,
        material="rubber" if visible else "",
        **shape,
    )


def _show(body: mujoco.MjsBody, kind: mujoco.mjtGeom, material: str, **shape: object) -> None:
    body.add_geom(type=kind, contype=0, conaffinity=0, group=VISUAL_GROUP, material=material, mass=0, **shape)
