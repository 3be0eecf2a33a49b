"""What the rest of the simulation knows about a robot. All quantities are SI; angles are radians."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

import mujoco
import numpy as np


@dataclass(frozen=True)
class Foot:
    """One part that is meant to touch the ground.

    Attributes:
        name: short name, used in observations and logs.
        kind: what ``object`` names in the model; a body stands for all its collision geoms.
        object: name of the geom, body or site in the model.
    """

    name: str
    kind: Literal["geom", "body", "site"]
    object: str


@dataclass(frozen=True)
class MirrorJoint:
    """Where left-right mirroring takes a joint's value from: ``mirrored[i] = sign * original[index]``."""

    index: int
    sign: float


class ModelSource(Protocol):
    """Anything that can build the bare robot again and again."""

    def build(self) -> mujoco.MjSpec:
        """Return a fresh specification: floating base, links, no floor, lights, actuators, sensors or keyframes."""


@dataclass(frozen=True)
class Robot:
    """A legged robot: its model and the J joints that a policy controls, in policy order.

    Attributes:
        name: name of the robot.
        base: name of the floating base body.
        joints: (J,) names of the controlled hinge joints.
        default_pose: (J,) rad, the pose around which actions act.
        kp: (J,) N m/rad.
        kd: (J,) N m s/rad.
        effort_limit: (J,) N m.
        velocity_limit: (J,) rad/s, no-load speed.
        position_limit: (J,) pairs (lower, upper), rad.
        action_scale: (J,) rad per unit action.
        armature: (J,) kg m^2, rotor inertia seen at the joint.
        joint_friction: (J,) N m, dry friction.
        joint_damping: (J,) N m s/rad, viscous friction.
        feet: the parts meant to touch the ground.
        base_height: m, height of the base origin above the ground at the start pose.
        target_height: m, nominal height of the base when standing and walking.
        termination_bodies: bodies whose contact with the ground ends the episode.
        undesired_contact_bodies: bodies whose contact with the ground is penalised.
        mirror: (J,) left-right mirroring of joints; None when the robot has none.
        foot_mirror: index of each foot's mirror image; None when the robot has none.
        provenance: where the figures come from and under which licence.
        source: builds the bare model.
    """

    name: str
    base: str
    joints: tuple[str, ...]
    default_pose: tuple[float, ...]
    kp: tuple[float, ...]
    kd: tuple[float, ...]
    effort_limit: tuple[float, ...]
    velocity_limit: tuple[float, ...]
    position_limit: tuple[tuple[float, float], ...]
    action_scale: tuple[float, ...]
    armature: tuple[float, ...]
    joint_friction: tuple[float, ...]
    joint_damping: tuple[float, ...]
    feet: tuple[Foot, ...]
    base_height: float
    target_height: float
    termination_bodies: tuple[str, ...]
    undesired_contact_bodies: tuple[str, ...]
    mirror: tuple[MirrorJoint, ...] | None
    foot_mirror: tuple[int, ...] | None
    source: ModelSource = field(repr=False)
    provenance: dict[str, str] = field(default_factory=dict, hash=False)

    def spec(self) -> mujoco.MjSpec:
        """Return a fresh specification of the robot alone, ready to be attached to or extended into a scene.

        It has one floating base with a free joint and the joint properties given in the robot's file. Collision geoms
        have contype 0 and conaffinity 1: they meet the ground (contype 1) but never each other. The base starts at
        ``base_height``. Set ``compiler.discardvisual`` to compile without what is only seen.
        """
        spec = self.source.build()
        spec.body(self.base).pos = (0, 0, self.base_height)
        for i, name in enumerate(self.joints):
            joint = spec.joint(name)
            joint.armature = self.armature[i]
            joint.frictionloss = self.joint_friction[i]
            joint.damping[0] = self.joint_damping[i]
        return spec

    def compile_summary(self) -> dict[str, float | int | str]:
        """Compile the robot and return its name, mass (kg), joints, feet, heights (m) and collision geoms."""
        model = self.spec().compile()
        return {
            "name": self.name,
            "mass": float(model.body_mass.sum()),
            "joints": len(self.joints),
            "feet": len(self.feet),
            "base_height": self.base_height,
            "target_height": self.target_height,
            "collision_geoms": int(np.count_nonzero(model.geom_conaffinity)),
        }

    def describe(self) -> str:
        """Return one line for lists of robots."""
        facts = self.compile_summary()
        return (
            f"{self.name}: {facts['mass']:.2f} kg, {facts['joints']} joints, {facts['feet']} feet, "
            f"stands {self.target_height:.2f} m high, {facts['collision_geoms']} collision geoms"
        )


def foot_geoms(spec: mujoco.MjSpec, foot: Foot) -> list[mujoco.MjsGeom]:
    """Return the collision geoms of a foot; a site has none of its own and answers with those of its body."""
    if foot.kind == "geom":
        return [spec.geom(foot.object)]
    body = spec.body(foot.object) if foot.kind == "body" else spec.site(foot.object).parent
    return [geom for geom in body.geoms if geom.conaffinity]
