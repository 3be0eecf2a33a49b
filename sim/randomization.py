"""Domain randomisation: what is drawn anew for an environment at the start of each episode.

A randomisation is one function. ``model_fields`` names the model fields that it gives per-environment values;
``derived`` says that constants derived from them must be recomputed afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor

from sim.actuators import Actuators
from sim.engines import Engine
from sim.registry import Registry
from sim.robots.robot import Robot
from sim.rotations import yaw_quaternion
from sim.scene import Scene

Range = tuple[float, float]
F = TypeVar("F", bound=Callable[..., None])


@dataclass
class Randomizable:
    """What randomisations may change.

    Attributes:
        engine, scene, robot, actuators: of the environment.
        nominal: undisturbed values of the expanded model fields.
        qpos, qvel: start state of the environments being reset, (M, nq), (M, nv); written to the engine afterwards.
        generator: source of randomness.
    """

    engine: Engine
    scene: Scene
    robot: Robot
    actuators: Actuators
    nominal: dict[str, Tensor]
    generator: torch.Generator
    qpos: Tensor
    qvel: Tensor

    def uniform(self, bounds: Range, *shape: int) -> Tensor:
        """Draw from U(low, high)."""
        sample = torch.rand(*shape, generator=self.generator, device=self.engine.device, dtype=self.engine.dtype)
        return sample.mul_(bounds[1] - bounds[0]).add_(bounds[0])

    @cached_property
    def joint_velocity_index(self) -> Tensor:
        """(J,) columns of the controlled joints in ``qvel``."""
        return torch.as_tensor(self.scene.joint_qvel, device=self.engine.device, dtype=torch.int64)

    @cached_property
    def joint_position_index(self) -> Tensor:
        """(J,) columns of the controlled joints in ``qpos``."""
        return torch.as_tensor(self.scene.joint_qpos, device=self.engine.device, dtype=torch.int64)

    @cached_property
    def default_pose(self) -> Tensor:
        """(J,) rad, of the controlled joints."""
        return torch.tensor(self.robot.default_pose, device=self.engine.device, dtype=self.engine.dtype)

    @cached_property
    def position_limit(self) -> Tensor:
        """(J, 2) rad, of the controlled joints."""
        return torch.tensor(self.robot.position_limit, device=self.engine.device, dtype=self.engine.dtype)


randomization: Registry[Callable[..., None]] = Registry("randomization")


def changes(*model_fields: str, derived: bool = False) -> Callable[[F], F]:
    """Declare the model fields that a randomisation writes."""

    def mark(term: F) -> F:
        vars(term)["model_fields"] = model_fields
        vars(term)["derived"] = derived
        return term

    return mark


@randomization
@changes("geom_friction")
def friction(r: Randomizable, ids: Tensor, *, range: Range) -> None:
    """Sliding friction of the ground."""
    r.engine.expand("geom_friction")[ids, r.scene.ground_geom, 0] = r.uniform(range, len(ids))


@randomization
@changes("body_mass", "body_inertia", derived=True)
def payload(r: Randomizable, ids: Tensor, *, range: Range) -> None:
    """Mass in kg added to the base; its inertia grows in proportion."""
    body, nominal = r.scene.base_body, r.nominal["body_mass"][r.scene.base_body]
    mass = (nominal + r.uniform(range, len(ids))).maximum(0.1 * nominal)
    r.engine.expand("body_mass")[ids, body] = mass
    r.engine.expand("body_inertia")[ids, body] = r.nominal["body_inertia"][body] * (mass / nominal).unsqueeze(1)


@randomization
@changes("body_mass", "body_inertia", derived=True)
def link_mass(r: Randomizable, ids: Tensor, *, range: Range) -> None:
    """Factor on mass and inertia of every body but the base."""
    mass, inertia = r.nominal["body_mass"], r.nominal["body_inertia"]
    links = torch.arange(1, len(mass), device=ids.device)
    links = links[links != r.scene.base_body]
    factor = r.uniform(range, len(ids), len(links))
    r.engine.expand("body_mass")[ids[:, None], links] = mass[links] * factor
    r.engine.expand("body_inertia")[ids[:, None], links] = inertia[links] * factor.unsqueeze(2)


@randomization
@changes("body_ipos", derived=True)
def center_of_mass(r: Randomizable, ids: Tensor, *, range: Range) -> None:
    """Shift of the base's centre of mass in m, along each axis."""
    body = r.scene.base_body
    r.engine.expand("body_ipos")[ids, body] = r.nominal["body_ipos"][body] + r.uniform(range, len(ids), 3)


@randomization
@changes("dof_armature", derived=True)
def armature(r: Randomizable, ids: Tensor, *, range: Range) -> None:
    """Factor on the rotor inertia of each joint."""
    columns = r.joint_velocity_index
    factor = r.uniform(range, len(ids), len(columns))
    r.engine.expand("dof_armature")[ids[:, None], columns] = r.nominal["dof_armature"][columns] * factor


@randomization
def joint_friction(r: Randomizable, ids: Tensor, *, range: Range) -> None:
    """Dry friction of each joint in N m, added to the model's own."""
    r.actuators.friction[ids] = r.uniform(range, len(ids), r.actuators.friction.shape[1])


@randomization
def motor_strength(r: Randomizable, ids: Tensor, *, range: Range) -> None:
    """Factor on each motor's torque, before its limits."""
    r.actuators.strength[ids] = r.uniform(range, len(ids), r.actuators.strength.shape[1])


@randomization
def gains(r: Randomizable, ids: Tensor, *, kp: Range = (1.0, 1.0), kd: Range = (1.0, 1.0)) -> None:
    """Factors on stiffness and damping of each joint."""
    shape = (len(ids), r.actuators.kp.shape[1])
    r.actuators.kp[ids] = r.actuators.nominal_kp * r.uniform(kp, *shape)
    r.actuators.kd[ids] = r.actuators.nominal_kd * r.uniform(kd, *shape)


@randomization
def initial_joints(
    r: Randomizable,
    ids: Tensor,
    *,
    scale: Range = (1.0, 1.0),
    offset: Range = (0.0, 0.0),
    velocity: Range = (0.0, 0.0),
) -> None:
    """Start pose (within the limits): a factor on each default angle, an offset in rad; start velocity in rad/s."""
    shape = (len(ids), len(r.robot.joints))
    low, high = r.position_limit.unbind(1)
    pose = r.default_pose * r.uniform(scale, *shape)
    if offset != (0.0, 0.0):
        pose += r.uniform(offset, *shape)
    r.qpos[:, r.joint_position_index] = pose.clamp(low, high)
    r.qvel[:, r.joint_velocity_index] = r.uniform(velocity, *shape)


@randomization
def initial_base(
    r: Randomizable,
    ids: Tensor,
    *,
    xy: Range = (0.0, 0.0),
    height: Range = (0.0, 0.0),
    yaw: Range = (0.0, 0.0),
    linear_velocity: Range = (0.0, 0.0),
    angular_velocity: Range = (0.0, 0.0),
) -> None:
    """Start of the base: offsets in m, heading in rad, velocities in m/s and rad/s."""
    m = len(ids)
    r.qpos[:, 0:2] += r.uniform(xy, m, 2)
    r.qpos[:, 2] += r.uniform(height, m)
    r.qpos[:, 3:7] = yaw_quaternion(r.uniform(yaw, m))
    r.qvel[:, 0:3] = r.uniform(linear_velocity, m, 3)
    r.qvel[:, 3:6] = r.uniform(angular_velocity, m, 3)
