"""Costs: physical quantities reported beside the reward, each in its own column. Constrained methods bound them."""

from __future__ import annotations

from torch import Tensor

from sim.state import RobotState
from sim.tasks.terms import cost


@cost
def mechanical_power(s: RobotState) -> Tensor:
    """Mechanical power sum |tau dq|, W, mean over the physics steps of the control step."""
    return s.power


@cost
def mechanical_power_control_rate(s: RobotState) -> Tensor:
    """Mechanical power sum |tau dq|, W, at the end of the control step only: what a log at the control rate shows.

    It misses what happens between two samples, impacts above all; compare it with ``mechanical_power``.
    """
    return (s.torque * s.joint_velocity).abs().sum(1)


@cost
def torque_square(s: RobotState) -> Tensor:
    """Sum of squared joint torques, N^2 m^2, mean over the physics steps (proportional to heat in the windings)."""
    return s.torque_square


@cost
def velocity_error(s: RobotState) -> Tensor:
    """Planar velocity error |v_cmd,xy - v_xy|, m/s."""
    return (s.command[:, :2] - s.base_linear_velocity[:, :2]).norm(dim=1)


@cost
def joint_limit_violation(s: RobotState) -> Tensor:
    """Largest distance of a joint beyond its position limit, rad."""
    below = s.position_limit[:, 0] - s.joint_position
    above = s.joint_position - s.position_limit[:, 1]
    return below.maximum(above).amax(1).clamp(min=0)


@cost
def peak_foot_force(s: RobotState) -> Tensor:
    """Largest net contact force on a foot, N."""
    return s.foot_force.amax(1)
