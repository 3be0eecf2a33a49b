"""Rotations with unit quaternions (w, x, y, z), the last axis of every tensor being the vector."""

from __future__ import annotations

import torch
from torch import Tensor


def rotation_matrix(quat: Tensor) -> Tensor:
    """Return the (..., 3, 3) matrices that take body vectors to the world, for unit quaternions (..., 4)."""
    w, x, y, z = quat.unbind(-1)
    xx, yy, zz = x * x, y * y, z * z
    xy, xz, yz, wx, wy, wz = x * y, x * z, y * z, w * x, w * y, w * z
    rows = (
        1 - 2 * (yy + zz), 2 * (xy - wz), 2 * (xz + wy),
        2 * (xy + wz), 1 - 2 * (xx + zz), 2 * (yz - wx),
        2 * (xz - wy), 2 * (yz + wx), 1 - 2 * (xx + yy),
    )  # fmt: skip
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def projected_gravity(quat: Tensor) -> Tensor:
    """Return the direction of gravity in the body frame, (..., 3): the negative last row of the rotation matrix."""
    w, x, y, z = quat.unbind(-1)
    return torch.stack((2 * (w * y - x * z), -2 * (y * z + w * x), 2 * (x * x + y * y) - 1), -1)


def yaw_quaternion(angle: Tensor) -> Tensor:
    """Return the quaternions (..., 4) of rotations about the vertical by ``angle`` rad."""
    half = 0.5 * angle
    zero = torch.zeros_like(half)
    return torch.stack((half.cos(), zero, zero, half.sin()), -1)


def wrap_angle(angle: Tensor) -> Tensor:
    """Return the same angles in [-pi, pi)."""
    return torch.remainder(angle + torch.pi, 2 * torch.pi) - torch.pi
