"""Every reward term on the state of conftest.py; the numbers are worked out by hand beside it."""

from math import exp

import pytest
import torch

from sim.tasks import reward

CASES = {
    # error (0.4, -0.3): 0.25; second robot: (0, 0.5): 0.25
    "track_linear_velocity": [({}, [exp(-1), exp(-1)]), ({"sigma": 0.5}, [exp(-0.5), exp(-0.5)])],
    "track_yaw_rate": [({}, [exp(-0.16 / 0.25), 1.0]), ({"sigma": 1.0}, [exp(-0.16), 1.0])],
    "linear_velocity_error": [({}, [0.5, 0.5])],
    "yaw_rate_error": [({}, [0.4, 0.0])],
    "vertical_velocity": [({}, [0.04, 0.01])],
    "roll_pitch_rate": [({}, [5.0, 0.25])],
    "orientation": [({}, [0.36, 0.0])],
    "joint_acceleration": [({}, [500.0, 1.0])],
    "joint_power": [({}, [55.0, 7.0])],
    "joint_torque": [({}, [25.0, 4.0])],
    "base_height": [({}, [0.01, 0.0025]), ({"target": 0.5}, [0.01, 0.0625])],
    # First robot, heading along y: feet at (0.5, 0, -0.3) and (0, 0, -0.2) in the base frame; velocities of the first
    # (3.6, 0.3, .) - (0.6, 0.3, .) = (3, 0), of the second (0.6, 0.3, .) - (0.6, 0.3, .) = 0.
    # Second robot: heights -0.2 and 0.1; velocities (0, 0.5), (1, 1.5).
    "foot_clearance": [
        ({}, [0.01 * 3.0, 0.09 * (1 + 2.25) ** 0.5]),
        ({"target": -0.3}, [0.0, 0.01 * 0.5 + 0.16 * (1 + 2.25) ** 0.5]),
    ],
    # (0.35 - 0.25) + (0.1 - 0.25); the second is asked to stand
    "foot_air_time": [({}, [-0.05, 0.0]), ({"target": 0.1, "command": -1.0}, [0.25, 0.4])],
    "foot_slip": [({}, [0.09 + 12.96, 2.0])],
    "action_rate": [({}, [5.0, 0.0])],
    "smoothness": [({}, [(1 - 0 + 3) ** 2 + (2 - 8 + 1) ** 2, 0.0])],
    "undesired_contact": [({}, [2.0, 0.0])],
    "default_pose": [({}, [0.09 + 0.25, 0.04 + 2.89])],
    "stand_still": [({}, [0.0, 0.2 + 1.7]), ({"command": 2.0}, [0.3 + 0.5, 1.9])],
    # soft limits +-0.9 and +-0.72
    "joint_limits": [({}, [0.28, 0.48]), ({"soft": 1.0}, [0.2, 0.4])],
    "alive": [({}, [1.0, 1.0])],
    "termination": [({}, [1.0, 0.0])],
}


@pytest.mark.parametrize(("name", "params", "expected"), [(n, p, e) for n, rows in CASES.items() for p, e in rows])
def test_reward(state, name, params, expected):
    value = reward.bind(name, params)(state)
    assert value.dtype == torch.float32
    assert value.tolist() == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_every_reward_is_worked_out_here():
    assert set(CASES) == {name for name in reward if reward.get(name).__module__ == "sim.tasks.rewards"}
