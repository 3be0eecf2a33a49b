"""A state made by hand: two robots with two joints and two feet."""

from types import SimpleNamespace

import pytest
import torch

from sim.robots.robot import MirrorJoint


@pytest.fixture
def state():
    zero = torch.zeros
    return SimpleNamespace(
        robot=SimpleNamespace(
            name="hand-made",
            target_height=0.3,
            mirror=(MirrorJoint(0, -1.0), MirrorJoint(1, 1.0)),  # a joint that turns sideways, and one that does not
        ),
        terrain=SimpleNamespace(heights_at=lambda xy: 0.05 * (xy[..., 1] > 1.0)),
        command=torch.tensor([[1.0, 0.0, 0.5], [0.0, 0.0, 0.0]]),
        base_position=torch.tensor([[1.0, 2.0, 0.4], [0.0, 0.0, 0.4]]),
        base_quat=torch.tensor([[0.8, 0.6, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]]),  # the first one rolls
        base_rotation=torch.tensor(
            [[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], torch.eye(3).tolist()]
        ),  # the first one heads along the world's y axis
        base_linear_velocity=torch.tensor([[0.6, 0.3, 0.2], [0.0, -0.5, -0.1]]),
        base_angular_velocity=torch.tensor([[1.0, -2.0, 0.9], [0.0, 0.5, 0.0]]),
        base_acceleration=torch.tensor([[1.0, -2.0, 2.0, 0.0, 0.0, 0.0], [0.0] * 6]),
        projected_gravity=torch.tensor([[0.6, 0.0, -0.8], [0.0, 0.0, -1.0]]),
        base_height=torch.tensor([0.4, 0.25]),
        joint_position=torch.tensor([[0.5, -1.0], [0.0, 1.2]]),
        joint_velocity=torch.tensor([[2.0, 0.5], [-1.0, 3.0]]),
        joint_acceleration=torch.tensor([[10.0, -20.0], [0.0, 1.0]]),
        default_pose=torch.tensor([0.2, -0.5]),
        position_limit=torch.tensor([[-1.0, 1.0], [-0.8, 0.8]]),
        torque=torch.tensor([[3.0, -4.0], [0.0, 2.0]]),
        power=torch.tensor([55.0, 7.0]),
        torque_square=torch.tensor([21.0, 3.0]),
        foot_position=torch.tensor([[[1.0, 2.5, 0.1], [1.0, 2.0, 0.2]], [[0.0, 0.0, 0.2], [0.0, 0.0, 0.5]]]),
        foot_velocity=torch.tensor([[[-0.3, 3.6, 0.2], [-0.3, 0.6, 5.0]], [[0.0, 0.0, 0.0], [1.0, 1.0, 0.0]]]),
        foot_force=torch.tensor([[80.0, 20.0], [0.0, 5.0]]),
        foot_contact=torch.tensor([[True, False], [True, True]]),
        gait_stance=torch.tensor([[True, False], [True, True]]),
        knee_position=torch.tensor([[[0.0, 0.1, 0.5], [0.3, 0.5, 0.0]], [[0.0, 0.1, 0.2], [0.0, 0.0, 0.2]]]),
        foot_landed=torch.tensor([[True, True], [False, True]]),
        foot_last_air_time=torch.tensor([[0.35, 0.1], [0.9, 0.5]]),
        termination_contact=torch.tensor([True, False]),
        undesired_contact=torch.tensor([[True, False, True], [False, False, False]]),
        action=torch.tensor([[1.0, 2.0], [0.5, 0.0]]),
        previous_action=torch.tensor([[0.0, 4.0], [0.5, 0.0]]),
        earlier_action=torch.tensor([[3.0, 1.0], [0.5, 0.0]]),
        external_force=zero(2, 3),
    )
