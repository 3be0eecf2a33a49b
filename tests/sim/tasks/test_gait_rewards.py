"""Rewards of walking by a clock: worked out by hand on the state of conftest.py, and the same in the mirror."""

import copy
from math import asin, exp, hypot, sqrt
from types import SimpleNamespace

import pytest
import torch

from sim.robots.robot import MirrorJoint
from sim.rotations import rotation_matrix
from sim.tasks import reward

ROLL = 2 * asin(0.6)  # of the first robot
CASES = {
    # errors: planar 0.5 and 0.5, yaw -0.4 and 0
    "tracking_hard": [
        ({"sigma": 0.5}, [(exp(-1) + exp(-0.8)) / 2 - 0.2 * 0.9, (exp(-1) + 1) / 2 - 0.2 * 0.5]),
        ({"sigma": 0.5, "slope": 0.0}, [(exp(-1) + exp(-0.8)) / 2, (exp(-1) + 1) / 2]),
    ],
    # 0.6 of the commanded speed; the second is asked to stand
    "forward_speed": [({}, [1.2, 0.0]), ({"slowest": 0.7}, [-1.0, 0.0]), ({"fastest": 0.55}, [0.0, 0.0])],
    "quiet_base": [
        ({}, [(exp(-0.04 / 0.1) + exp(-sqrt(5) / 0.2)) / 2, (exp(-0.01 / 0.1) + exp(-0.5 / 0.2)) / 2]),
        ({"vertical": 0.04, "rotation": 0.5}, [(exp(-1) + exp(-sqrt(5) / 0.5)) / 2, (exp(-0.25) + exp(-1)) / 2]),
    ],
    "upright": [({"angle": 1.0, "gravity": 0.6}, [(exp(-ROLL) + exp(-1)) / 2, 1.0])],
    # the first stands on its first foot at 0.1: 0.3 above it, as its target height; the second on both: 0.35
    "stance_height": [
        ({"sigma": 0.1}, [1.0, exp(-0.25 / 0.1)]),
        ({"sigma": 0.1, "target": 0.35, "sole": 0.05}, [1.0, exp(-0.25 / 0.1)]),
    ],
    "steady_base": [({"sigma": 3.0}, [exp(-1), 1.0])],
    # contacts are those of the gait
    "contact_schedule": [({}, [1.0, 1.0])],
    # the only foot that should swing is 0.2 high, over ground of 0.05
    "swing_height": [
        ({"target": 0.15}, [1.0, 0.0]),
        ({"target": 0.1, "sole": 0.05}, [1.0, 0.0]),
        ({"target": 0.13}, [0.0, 0.0]),
        ({"target": 0.13, "tolerance": 0.03}, [1.0, 0.0]),
    ],
    "landing_air_time": [({}, [0.45, 0.5]), ({"limit": 0.2}, [0.3, 0.2])],
    # horizontal speeds of touching feet: hypot(0.3, 3.6); 0 and sqrt 2
    "foot_slip_root": [({}, [sqrt(hypot(0.3, 3.6)), 2**0.25])],
    # feet are 0.5 and 0 apart
    "foot_distance": [
        ({"low": 0.1, "high": 0.5}, [1.0, (1 + exp(-10)) / 2]),
        ({"low": 0.0, "high": 0.4, "sigma": 0.1}, [(1 + exp(-1)) / 2, 1.0]),
    ],
    # knees are 0.5 (the height does not count) and 0.1 apart
    "knee_distance": [({"low": 0.2, "high": 0.4, "sigma": 0.1}, [(1 + exp(-1)) / 2] * 2)],
    "foot_impact": [({}, [30.0, 0.0]), ({"limit": 10.0, "cap": 60.0}, [70.0, 0.0])],
    # offsets (0.3, -0.5), (-0.2, 1.7), the first of them sideways
    "lateral_pose": [
        ({"sigma": 0.2}, [exp(-1) - 0.01 * hypot(0.3, 0.5), exp(-0.5) - 0.01 * hypot(0.2, 1.7)]),
        ({"slack": 0.3, "slope": 0.0}, [1.0, 1.0]),
    ],
    "action_size": [({}, [3.0, 0.5])],
}


@pytest.mark.parametrize(("name", "params", "expected"), [(n, p, e) for n, rows in CASES.items() for p, e in rows])
def test_reward(state, name, params, expected):
    value = reward.bind(name, params)(state)
    assert value.dtype == torch.float32
    assert value.tolist() == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_every_reward_is_worked_out_here():
    assert set(CASES) == {name for name in reward if reward.get(name).__module__ == "sim.tasks.gait_rewards"}


SPEEDS = [
    (0.1, 0.0, -1.0), (0.1, 0.04, -1.0), (0.1, 0.06, 1.2), (0.1, 0.11, 1.2), (0.1, 0.13, 0.0), (0.1, -0.01, -2.0),
    (-0.1, -0.1, 1.2), (-0.1, 0.1, -2.0), (0.04, 0.04, 0.0),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "speed", "expected"), SPEEDS)
def test_forward_speed_in_steps(state, asked, speed, expected):
    state.command[:, 0], state.base_linear_velocity[:, 0] = asked, speed
    assert reward.bind("forward_speed", {})(state).tolist() == pytest.approx([expected] * 2)


@pytest.mark.parametrize(("contact", "expected"), [([1, 0], 1.0), ([0, 0], 0.35), ([1, 1], 0.35), ([0, 1], -0.3)])
def test_contacts_against_the_schedule(state, contact, expected):
    state.foot_contact[0] = torch.tensor(contact, dtype=torch.bool)
    assert float(reward.bind("contact_schedule", {})(state)[0]) == pytest.approx(expected)


def test_in_the_air_the_height_counts_from_the_world(state):
    """No foot should stand, which no gait of two feet asks for: nothing is divided by zero."""
    state.gait_stance[:] = False
    assert reward.bind("stance_height", {"target": 0.4})(state).tolist() == pytest.approx([1.0, 1.0])


def test_sides_count_one_by_one(state):
    """Two joints per side that turn sideways: |(0.3, 0.4)| left and |(0, 0.2)| right."""
    state.robot.mirror = tuple(MirrorJoint((i + 2) % 4, -1.0) for i in range(4))
    state.joint_position, state.default_pose = torch.tensor([[0.3, 0.4, 0.0, 0.2]]), torch.zeros(4)
    value = reward.bind("lateral_pose", {"slack": 0.2, "sigma": 1.0, "slope": 0.0})(state)
    assert value.tolist() == pytest.approx([exp(-0.5)])


def test_without_a_mirror_there_is_no_lateral_joint(state):
    state.robot.mirror = None
    with pytest.raises(ValueError, match="'hand-made' declares no mirror symmetry; leave the term out"):
        reward.bind("lateral_pose", {})(state)


# in the mirror


def biped(seed=0, n=64):
    """Random states of a biped with three joints per leg (sideways, forward, forward), and their mirror images."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(n, *shape, generator=generator)

    def chance(*shape):
        return torch.rand(n, *shape, generator=generator) < 0.5

    mirror = tuple(MirrorJoint((i + 3) % 6, sign) for i, sign in enumerate([-1.0, 1.0, 1.0] * 2))
    index, sign = [joint.index for joint in mirror], torch.tensor([joint.sign for joint in mirror])
    vector, pseudo, feet = torch.tensor([1.0, -1, 1]), torch.tensor([-1.0, 1, -1]), [1, 0]

    def joints(value):
        return value[:, index] * sign

    quat = torch.nn.functional.normalize(draw(4) * 0.3 + torch.tensor([1.0, 0, 0, 0]), dim=1)
    rotation = rotation_matrix(quat)
    limit = torch.tensor([[-0.5, 0.4], [-1.0, 2.0], [-2.0, 0.1]])
    one = SimpleNamespace(
        robot=SimpleNamespace(name="biped", target_height=0.45, mirror=mirror),
        terrain=SimpleNamespace(heights_at=lambda xy: 0.02 * xy[..., 0]),
        default_pose=torch.tensor([0.0, 0.4, -0.6] * 2),
        position_limit=torch.cat((limit, torch.stack((-limit[0].flip(0), limit[1], limit[2])))),
        command=0.2 * draw(3),
        base_position=0.2 * draw(3),
        base_quat=quat,
        base_rotation=rotation,
        base_height=draw().abs(),
        base_linear_velocity=0.1 * draw(3),
        base_angular_velocity=0.3 * draw(3),
        base_acceleration=10 * draw(6),
        projected_gravity=-rotation[:, 2],
        joint_position=draw(6),
        joint_velocity=draw(6),
        joint_acceleration=draw(6),
        torque=draw(6),
        power=draw().abs(),
        foot_position=0.1 * draw(2, 3),
        foot_velocity=draw(2, 3),
        foot_force=100 * draw(2).abs(),
        foot_contact=chance(2),
        foot_landed=chance(2),
        foot_last_air_time=draw(2).abs(),
        gait_stance=chance(2),
        knee_position=0.1 * draw(2, 3),
        termination_contact=chance(),
        undesired_contact=chance(2),
        action=draw(6),
        previous_action=draw(6),
        earlier_action=draw(6),
    )
    two = copy.copy(one)
    two.command = one.command * torch.tensor([1.0, -1, -1])
    two.base_position, two.base_linear_velocity = one.base_position * vector, one.base_linear_velocity * vector
    two.base_angular_velocity, two.projected_gravity = (
        one.base_angular_velocity * pseudo,
        one.projected_gravity * vector,
    )
    two.base_quat = quat * torch.tensor([1.0, -1, 1, -1])
    two.base_rotation = rotation * vector * vector.unsqueeze(1)
    two.base_acceleration = one.base_acceleration * torch.cat((vector, pseudo))
    for name in ("joint_position", "joint_velocity", "joint_acceleration", "torque"):
        setattr(two, name, joints(getattr(one, name)))
    for name in ("action", "previous_action", "earlier_action"):
        setattr(two, name, joints(getattr(one, name)))
    for name in ("foot_position", "foot_velocity", "knee_position"):
        setattr(two, name, getattr(one, name)[:, feet] * vector)
    for name in ("foot_force", "foot_contact", "foot_landed", "foot_last_air_time", "gait_stance", "undesired_contact"):
        setattr(two, name, getattr(one, name)[:, feet])
    return one, two


PARAMETERS = {"foot_distance": {"low": 0.1, "high": 0.2}, "knee_distance": {"low": 0.1, "high": 0.2}}


@pytest.mark.parametrize("name", [name for name in reward if reward.get(name).__module__.startswith("sim.")])
def test_the_mirrored_state_has_the_same_reward(name):
    one, two = biped()
    term = reward.bind(name, PARAMETERS.get(name, {}))
    value = term(one)
    assert torch.allclose(term(two), value, rtol=1e-4, atol=1e-5)
    assert name == "alive" or value.unique().numel() > 1  # the term tells these states apart
