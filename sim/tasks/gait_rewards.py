"""Reward terms of walking by a clock: posture, timing of the feet, and smoothness of the base.

The walking tasks of BRUCE use them with the weights of ECO (Huang, Zhang et al., IEEE T-ASE 2026), whose terms go back
to Humanoid-Gym (Gu et al., 2024). Heights count from the ground; ``sole`` is the height of a foot's reference point
above its sole. The feet that *should* stand come from the task's gait.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sim.rotations import roll_pitch
from sim.state import RobotState
from sim.tasks.terms import reward


def _within(distance: Tensor, low: float, high: float, sigma: float) -> Tensor:
    """Mean of exp(-(low - d)+ / sigma) and exp(-(d - high)+ / sigma): 1 inside the band, at least 0.5 outside."""
    below, above = (low - distance).clamp(min=0), (distance - high).clamp(min=0)
    return 0.5 * (torch.exp(below / -sigma) + torch.exp(above / -sigma))


def _spread(points: Tensor) -> Tensor:
    """(N,) horizontal distance of the first and the last of (N, P, 3) points."""
    return (points[:, 0, :2] - points[:, -1, :2]).norm(dim=1)


@reward
def tracking_hard(s: RobotState, *, sigma: float = 0.1, slope: float = 0.2) -> Tensor:
    """Mean of exp(-|e_v| / sigma) and exp(-|e_w| / sigma), minus slope (|e_v| + |e_w|); planar and yaw errors."""
    planar = (s.command[:, :2] - s.base_linear_velocity[:, :2]).norm(dim=1)
    yaw = (s.command[:, 2] - s.base_angular_velocity[:, 2]).abs()
    return 0.5 * (torch.exp(planar / -sigma) + torch.exp(yaw / -sigma)) - slope * (planar + yaw)


@reward
def forward_speed(
    s: RobotState,
    *,
    slowest: float = 0.5,
    fastest: float = 1.2,
    good: float = 1.2,
    slow: float = -1.0,
    wrong: float = -2.0,
    command: float = 0.05,
) -> Tensor:
    """Forward speed in steps: ``slow`` below ``slowest`` of the commanded, ``good`` up to ``fastest`` of it, 0 above.

    ``wrong`` against the commanded direction; 0 while asked for less than ``command`` m/s. It is what makes standing
    still costly at small commands, where exponentials of the error hardly tell the difference.
    """
    asked, speed = s.command[:, 0], s.base_linear_velocity[:, 0]
    share = speed.abs() / asked.abs().clamp(min=1e-6)
    value = torch.where(share < slowest, slow, torch.where(share > fastest, 0.0, good))
    value = torch.where(speed * asked < 0, wrong, value)
    return torch.where(asked.abs() > command, value, 0.0)


@reward
def quiet_base(s: RobotState, *, vertical: float = 0.1, rotation: float = 0.2) -> Tensor:
    """Mean of exp(-v_z^2 / vertical) and exp(-|w_xy| / rotation), base frame; in m^2/s^2 and rad/s."""
    lift = torch.exp(s.base_linear_velocity[:, 2].square() / -vertical)
    return 0.5 * (lift + torch.exp(s.base_angular_velocity[:, :2].norm(dim=1) / -rotation))


@reward
def upright(s: RobotState, *, angle: float = 0.1, gravity: float = 0.05) -> Tensor:
    """Mean of exp(-(|roll| + |pitch|) / angle) and exp(-|g_xy| / gravity); angle in rad, g the unit gravity."""
    angles = roll_pitch(s.base_quat).abs().sum(1)
    return 0.5 * (torch.exp(angles / -angle) + torch.exp(s.projected_gravity[:, :2].norm(dim=1) / -gravity))


@reward
def stance_height(s: RobotState, *, target: float | None = None, sole: float = 0.0, sigma: float = 0.01) -> Tensor:
    """exp(-|h - target| / sigma), h the base's height in m above the mean sole of the feet that should stand.

    Without ``target``, the robot's own. Unlike the height above the ground it counts the ground under the feet.
    """
    stands = s.gait_stance.float()
    ground = (s.foot_position[..., 2] * stands).sum(1) / stands.sum(1).clamp(min=1) - sole
    wanted = s.robot.target_height if target is None else target
    return torch.exp((s.base_position[:, 2] - ground - wanted).abs() / -sigma)


@reward
def steady_base(s: RobotState, *, sigma: float = 33.3) -> Tensor:
    """exp(-|a| / sigma), a the base's six accelerations (m/s^2, rad/s^2) over the control step."""
    return torch.exp(s.base_acceleration.norm(dim=1) / -sigma)


@reward
def contact_schedule(s: RobotState, *, miss: float = -0.3) -> Tensor:
    """Mean over feet of 1 where contact is as the gait asks, ``miss`` where not."""
    return torch.where(s.foot_contact == s.gait_stance, 1.0, miss).mean(1)


@reward
def swing_height(s: RobotState, *, target: float = 0.03, tolerance: float = 0.01, sole: float = 0.0) -> Tensor:
    """Number of feet that should swing and whose sole is within ``tolerance`` m of ``target`` m above the ground."""
    height = s.foot_position[..., 2] - s.terrain.heights_at(s.foot_position[..., :2]) - sole
    return (((height - target).abs() < tolerance) & ~s.gait_stance).sum(1).float()


@reward
def landing_air_time(s: RobotState, *, limit: float = 0.5) -> Tensor:
    """Sum over landing feet of their swing time, s, at most ``limit``."""
    return (s.foot_last_air_time.clamp(max=limit) * s.foot_landed).sum(1)


@reward
def foot_slip_root(s: RobotState) -> Tensor:
    """Sum over touching feet of the square root of horizontal speed, (m/s)^0.5: steep at small slips."""
    return (s.foot_velocity[..., :2].norm(dim=-1).sqrt() * s.foot_contact).sum(1)


@reward
def foot_distance(s: RobotState, *, low: float, high: float, sigma: float = 0.01) -> Tensor:
    """1 while the horizontal distance of the first and last foot is in [low, high] m, falling to 0.5 outside."""
    return _within(_spread(s.foot_position), low, high, sigma)


@reward
def knee_distance(s: RobotState, *, low: float, high: float, sigma: float = 0.01) -> Tensor:
    """1 while the horizontal distance of the first and last knee is in [low, high] m, falling to 0.5 outside."""
    return _within(_spread(s.knee_position), low, high, sigma)


@reward
def foot_impact(s: RobotState, *, limit: float = 50.0, cap: float = 400.0) -> Tensor:
    """Sum over feet of the net contact force above ``limit`` N, each at most ``cap`` N."""
    return (s.foot_force - limit).clamp(0.0, cap).sum(1)


@reward
def lateral_pose(s: RobotState, *, slack: float = 0.1, sigma: float = 0.01, slope: float = 0.01) -> Tensor:
    """exp(-(|l_L| + |l_R| - slack)+ / sigma) - slope |q - q0|, l the yaw and roll joints' offsets of each side, rad.

    Yaw and roll joints are those whose sign changes in the mirror. Joints without a mirror image count as left.
    """
    mirror = s.robot.mirror
    if mirror is None:
        raise ValueError(f"lateral_pose: robot {s.robot.name!r} declares no mirror symmetry; leave the term out")
    lateral = [i for i, joint in enumerate(mirror) if joint.sign < 0]
    right = [i for i in lateral if mirror[i].index < i]
    left = [i for i in lateral if mirror[i].index >= i]
    offset = s.joint_position - s.default_pose
    sides = offset[:, left].norm(dim=1) + offset[:, right].norm(dim=1)
    return torch.exp((sides - slack).clamp(min=0) / -sigma) - slope * offset.norm(dim=1)


@reward
def action_size(s: RobotState) -> Tensor:
    """Sum of the actions' absolute values."""
    return s.action.abs().sum(1)
