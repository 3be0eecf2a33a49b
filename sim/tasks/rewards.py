"""Reward terms of legged locomotion. Each is a quantity in SI units; sign and size come from the task's weight.

The velocity-task terms follow Rudin et al. (CoRL 2021) and Long et al., Hybrid Internal Model (ICLR 2024).
"""

from __future__ import annotations

import torch
from torch import Tensor

from sim.state import RobotState
from sim.tasks.terms import reward


@reward
def track_linear_velocity(s: RobotState, *, sigma: float = 0.25) -> Tensor:
    """exp(-|v_cmd,xy - v_xy|^2 / sigma), base frame, sigma in m^2/s^2."""
    error = (s.command[:, :2] - s.base_linear_velocity[:, :2]).square().sum(1)
    return torch.exp(error / -sigma)


@reward
def track_yaw_rate(s: RobotState, *, sigma: float = 0.25) -> Tensor:
    """exp(-(w_cmd - w_z)^2 / sigma), sigma in rad^2/s^2."""
    return torch.exp((s.command[:, 2] - s.base_angular_velocity[:, 2]).square() / -sigma)


@reward
def linear_velocity_error(s: RobotState) -> Tensor:
    """Planar velocity error |v_cmd,xy - v_xy|, m/s; its slope does not fade far away, as an exponential's does."""
    return (s.command[:, :2] - s.base_linear_velocity[:, :2]).norm(dim=1)


@reward
def yaw_rate_error(s: RobotState) -> Tensor:
    """Yaw-rate error |w_cmd - w_z|, rad/s; likewise."""
    return (s.command[:, 2] - s.base_angular_velocity[:, 2]).abs()


@reward
def vertical_velocity(s: RobotState) -> Tensor:
    """Square of the base's vertical velocity, m^2/s^2."""
    return s.base_linear_velocity[:, 2].square()


@reward
def roll_pitch_rate(s: RobotState) -> Tensor:
    """Square of the base's roll and pitch rates, rad^2/s^2."""
    return s.base_angular_velocity[:, :2].square().sum(1)


@reward
def orientation(s: RobotState) -> Tensor:
    """Square of the horizontal part of projected gravity: 0 when level, 1 on the side."""
    return s.projected_gravity[:, :2].square().sum(1)


@reward
def joint_acceleration(s: RobotState) -> Tensor:
    """Sum of squared joint accelerations over the control step, rad^2/s^4."""
    return s.joint_acceleration.square().sum(1)


@reward
def joint_power(s: RobotState) -> Tensor:
    """Mechanical power sum |tau dq|, W, mean over the physics steps."""
    return s.power


@reward
def joint_torque(s: RobotState) -> Tensor:
    """Sum of squared joint torques, N^2 m^2."""
    return s.torque.square().sum(1)


@reward
def base_height(s: RobotState, *, target: float | None = None) -> Tensor:
    """Square of the base's height error above the local ground, m^2; without ``target``, the robot's own."""
    return (s.base_height - (s.robot.target_height if target is None else target)).square()


@reward
def foot_clearance(s: RobotState, *, target: float = -0.2) -> Tensor:
    """Sum over feet of (height below the base - target)^2 times horizontal speed, both in the base frame, m^3/s."""
    rotation, base = s.base_rotation.transpose(1, 2).unsqueeze(-1), s.base_position  # axis, coordinate: (N, 3, 3, 1)
    position, velocity = s.foot_position.transpose(1, 2), s.foot_velocity.transpose(1, 2)  # (N, 3, F)

    def along(axis: int, vectors: Tensor) -> Tensor:
        """(N, F) components along an axis of the base; by hand, since sums over three entries are slow."""
        x, y, z = rotation[:, axis].unbind(1)
        return torch.addcmul(torch.addcmul(x * vectors[:, 0], y, vectors[:, 1]), z, vectors[:, 2])

    height = along(2, position - base.unsqueeze(-1))
    forward, left = (along(axis, velocity) - s.base_linear_velocity[:, axis : axis + 1] for axis in (0, 1))
    return ((height - target).square() * torch.hypot(forward, left)).sum(1)


@reward
def foot_air_time(s: RobotState, *, target: float = 0.25, command: float = 0.1) -> Tensor:
    """Sum over landing feet of (swing time - target), s, while asked to move faster than ``command`` m/s."""
    moving = s.command[:, :2].norm(dim=1) + s.command[:, 2].abs() > command
    return ((s.foot_last_air_time - target) * s.foot_landed).sum(1) * moving


@reward
def foot_slip(s: RobotState) -> Tensor:
    """Sum over touching feet of squared horizontal speed, m^2/s^2."""
    return (s.foot_velocity[..., :2].square().sum(-1) * s.foot_contact).sum(1)


@reward
def action_rate(s: RobotState) -> Tensor:
    """Squared change of the action, |a - a_prev|^2."""
    return (s.action - s.previous_action).square().sum(1)


@reward
def smoothness(s: RobotState) -> Tensor:
    """Squared second difference of the action, |a - 2 a_prev + a_prev2|^2."""
    return (s.action - 2 * s.previous_action + s.earlier_action).square().sum(1)


@reward
def undesired_contact(s: RobotState) -> Tensor:
    """Number of parts that touch the ground and should not (feet excepted)."""
    return s.undesired_contact.sum(1).float()


@reward
def default_pose(s: RobotState) -> Tensor:
    """Sum of squared distances to the default pose, rad^2."""
    return (s.joint_position - s.default_pose).square().sum(1)


@reward
def stand_still(s: RobotState, *, command: float = 0.1) -> Tensor:
    """Distance to the default pose (sum of absolute values, rad) while asked to stand."""
    standing = s.command[:, :2].norm(dim=1) + s.command[:, 2].abs() < command
    return (s.joint_position - s.default_pose).abs().sum(1) * standing


@reward
def joint_limits(s: RobotState, *, soft: float = 0.9) -> Tensor:
    """Sum of violations of the soft position limits (a share ``soft`` of the range), rad."""
    center = s.position_limit.mean(1)
    half = (s.position_limit[:, 1] - s.position_limit[:, 0]) * (0.5 * soft)
    return ((s.joint_position - center).abs() - half).clamp(min=0).sum(1)


@reward
def alive(s: RobotState) -> Tensor:
    """1 in every step."""
    return torch.ones_like(s.base_height)


@reward
def termination(s: RobotState) -> Tensor:
    """1 in the step in which a forbidden body touches the ground."""
    return s.termination_contact.float()
