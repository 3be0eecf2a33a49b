"""Every rotation against MuJoCo's own functions."""

import math

import mujoco
import numpy as np
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from sim import rotations

component = st.floats(-1, 1)


@st.composite
def quaternions(draw):
    values = np.array([draw(component) for _ in range(4)])
    norm = np.linalg.norm(values)
    assume(norm > 0.1)
    return values / norm


def rotated(quat, vector):
    result = np.zeros(3)
    mujoco.mju_rotVecQuat(result, np.asarray(vector, float), quat)
    return result


@given(quaternions())
def test_rotation_matrix(quat):
    expected = np.zeros(9)
    mujoco.mju_quat2Mat(expected, quat)
    assert np.allclose(rotations.rotation_matrix(torch.tensor(quat)).numpy(), expected.reshape(3, 3), atol=1e-12)


@given(quaternions())
def test_projected_gravity_is_the_world_s_down_in_the_body_frame(quat):
    inverse = quat * [1, -1, -1, -1]
    assert np.allclose(rotations.projected_gravity(torch.tensor(quat)), rotated(inverse, (0, 0, -1)), atol=1e-12)


@given(st.floats(-10, 10))
def test_yaw_quaternion(angle):
    expected = np.zeros(4)
    mujoco.mju_axisAngle2Quat(expected, np.array([0.0, 0, 1]), angle)
    assert np.allclose(rotations.yaw_quaternion(torch.tensor(angle, dtype=torch.float64)), expected, atol=1e-12)


@given(st.floats(-100, 100))
def test_wrap_angle_keeps_the_direction_and_bounds_the_value(angle):
    wrapped = float(rotations.wrap_angle(torch.tensor(angle, dtype=torch.float64)))
    assert -math.pi <= wrapped < math.pi
    assert math.isclose(math.cos(wrapped), math.cos(angle), abs_tol=1e-9)
    assert math.isclose(math.sin(wrapped), math.sin(angle), abs_tol=1e-9)


def test_wrap_angle_at_its_edges():
    angles = torch.tensor([math.pi, -math.pi, 3 * math.pi], dtype=torch.float64)
    assert torch.allclose(rotations.wrap_angle(angles), torch.full((3,), -math.pi, dtype=torch.float64))


def test_batches_of_any_shape():
    quats = torch.nn.functional.normalize(torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)), dim=-1)
    assert rotations.rotation_matrix(quats).shape == (2, 3, 3, 3)
    one_by_one = torch.stack([rotations.rotation_matrix(q) for q in quats.flatten(0, 1)]).view(2, 3, 3, 3)
    assert torch.allclose(rotations.rotation_matrix(quats), one_by_one, rtol=0, atol=1e-6)


@given(quaternions())
def test_roll_and_pitch_rebuild_the_rotation_but_for_its_yaw(quat):
    roll, pitch = rotations.roll_pitch(torch.tensor(quat)).tolist()
    roll_quat = np.array([math.cos(roll / 2), math.sin(roll / 2), 0, 0])
    pitch_quat = np.array([math.cos(pitch / 2), 0, math.sin(pitch / 2), 0])
    product = np.zeros(4)
    mujoco.mju_mulQuat(product, pitch_quat, roll_quat)
    inverse, given_inverse = product * [1, -1, -1, -1], quat * [1, -1, -1, -1]
    assert np.allclose(rotated(inverse, (0, 0, 1)), rotated(given_inverse, (0, 0, 1)), atol=1e-6)
