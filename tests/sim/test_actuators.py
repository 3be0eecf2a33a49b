"""Torques worked out by hand."""

import dataclasses

import pytest
import torch

from robolearn.config import ConfigError, parse
from sim.actuators import ActuatorConfig, Actuators

EFFORT, SPEED = 30.0, 20.0
STALL = 45.0  # 1.5 times the effort limit


@pytest.fixture
def build(a1):
    robot = dataclasses.replace(
        a1, kp=(50.0,) * 12, kd=(2.0,) * 12, effort_limit=(EFFORT,) * 12, velocity_limit=(SPEED,) * 12
    )

    def _build(num_envs=1, **entries):
        return Actuators(parse(ActuatorConfig, entries), robot, num_envs, torch.device("cpu"), torch.float64)

    return _build


def row(value, num_envs=1):
    return torch.full((num_envs, 12), float(value), dtype=torch.float64)


def test_pd_law(build):
    torque = build().torque(row(0.5), row(0.3), row(1.5))
    assert torch.allclose(torque, row(50 * 0.2 - 2 * 1.5))


@pytest.mark.parametrize(("target", "expected"), [(10, EFFORT), (-10, -EFFORT)])
def test_pd_stops_at_the_effort_limit(build, target, expected):
    assert torch.equal(build().torque(row(target), row(0), row(0)), row(expected))


def test_strength_scales_the_pd_torque_but_not_the_limit(build):
    actuators = build(2)
    actuators.strength[1] = 0.5
    torque = actuators.torque(row(0.4, 2), row(0, 2), row(0, 2))
    assert torch.allclose(torque[:, 0], torch.tensor([20.0, 10.0], dtype=torch.float64))
    torque = actuators.torque(row(10, 2), row(0, 2), row(0, 2))
    assert torch.allclose(torque[:, 0], torch.tensor([EFFORT, EFFORT], dtype=torch.float64))


def test_gains_are_per_environment_and_joint(build):
    actuators = build(2)
    actuators.kp[1, 3] = 10.0
    actuators.kd[0, 4] = 0.0
    torque = actuators.torque(row(0.2, 2), row(0, 2), row(1, 2))
    assert torque[1, 3] == pytest.approx(10 * 0.2 - 2)
    assert torque[0, 3] == pytest.approx(50 * 0.2 - 2)
    assert torque[0, 4] == pytest.approx(50 * 0.2)


@pytest.mark.parametrize(
    ("speed", "highest"),
    [
        (0, EFFORT),  # the line lies at the stall torque: the effort limit holds
        (SPEED / 3, EFFORT),  # 45 (1 - 1/3) = 30: where line and limit meet
        (2 * SPEED / 3, STALL / 3),
        (SPEED, 0),  # no-load speed
        (1.5 * SPEED, 0),  # faster than the motor can turn: it does not pull the other way by itself
        (-SPEED, EFFORT),  # braking
    ],
)
def test_torque_speed_line(build, speed, highest):
    motor = build(type="dc_motor", stall_ratio=1.5)
    assert torch.allclose(motor.torque(row(100), row(0), row(speed)), row(highest))
    assert torch.allclose(motor.torque(row(-100), row(0), row(-speed)), row(-highest))  # same line, other direction


def test_motor_below_its_line_follows_the_pd_law(build):
    arguments = row(0.2), row(0.1), row(1.0)
    assert torch.allclose(build(type="dc_motor").torque(*arguments), row(50 * 0.1 - 2))


def test_motor_brakes_with_full_torque_at_speed(build):
    assert torch.allclose(build(type="dc_motor").torque(row(-100), row(0), row(SPEED)), row(-EFFORT))


def test_dry_friction_opposes_motion_and_saturates(build):
    actuators = build(2)
    actuators.friction[1] = 0.4
    for speed, share in ((0.0, 0.0), (0.1, 0.5), (5.0, 1.0), (-5.0, -1.0)):
        torque = actuators.friction_torque(row(speed, 2))
        assert torch.equal(torque[0], row(0)[0])
        assert torch.allclose(torque[1], row(0.4 * share)[0], atol=1e-5)


def test_inputs_are_left_alone(build):
    target, position, velocity = row(1), row(0.5), row(0.2)
    for kind in ("pd", "dc_motor"):
        build(type=kind).torque(target, position, velocity)
    assert torch.equal(target, row(1))
    assert torch.equal(position, row(0.5))
    assert torch.equal(velocity, row(0.2))


def test_bad_entries_are_refused():
    with pytest.raises(ConfigError, match="stall_ratio must be at least 1"):
        parse(ActuatorConfig, {"stall_ratio": 0.5})
    with pytest.raises(ConfigError, match="Did you mean 'dc_motor'"):
        parse(ActuatorConfig, {"type": "dc_moter"})
