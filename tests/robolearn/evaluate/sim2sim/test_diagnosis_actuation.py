import dataclasses

import numpy as np
import pytest
from tampered import Tampered, differing, rng, world

from robolearn.evaluate.sim2sim.diagnosis import actuation, contract
from robolearn.evaluate.sim2sim.simulators import find
from sim.actuators import ActuatorConfig


@pytest.fixture(scope="module")
def reference():
    return world()


def check(reference, candidate):
    """The actuation's findings that differ; the contract has none."""
    assert differing(contract.check(reference, candidate, rng())) == []
    return [f for f in actuation.check(reference, candidate, rng()) if f.verdict == "differs"]


@pytest.mark.parametrize("simulator", ["mujoco", "mujoco-fine", "mujoco-implicit"])
def test_another_step_or_integrator_is_not_another_drive(reference, simulator):
    assert check(reference, world(simulator)) == []


@pytest.mark.parametrize(
    ("field", "meaning"), [("kp", "kp (stiffness) of every joint"), ("kd", "kd (damping) of every joint")]
)
def test_gains(reference, field, meaning):
    candidate = world()
    getattr(candidate.env.actuators, field).mul_(1.5)
    (found,) = check(reference, candidate)
    assert found.check == field
    assert found.measured == pytest.approx(1.5, abs=1e-4)
    assert found.what == f"{meaning} is 1.5 times the contract's"


def test_the_gain_of_one_joint(reference):
    candidate = world()
    candidate.env.actuators.kp[:, 4] *= 0.8
    (found,) = check(reference, candidate)
    assert found.what == "kp (stiffness) of FR_thigh_joint is 0.8 times the contract's"


def test_strength(reference):
    candidate = world()
    candidate.env.actuators.strength.mul_(0.8)
    found = check(reference, candidate)
    assert [f.check for f in found] == ["kp", "kd"]
    assert "0.8 times the contract's, kp and kd alike (motor strength)" in found[0].what


@pytest.mark.parametrize("steps", [1, 3])
def test_late_targets(reference, steps):
    (found,) = check(reference, Tampered(world(), late_targets=steps))
    assert found.check == "delay"
    assert found.measured == pytest.approx(20 * steps)
    assert found.what == f"targets act {20 * steps} ms late (action delay)"


def test_a_delay_within_a_control_step_is_found_to_the_physics_step(reference):
    """The environment's own delay, of 2 physics steps."""

    def late(task):
        return dataclasses.replace(task, actions=dataclasses.replace(task.actions, delay=(2, 2)))

    (found,) = check(reference, world(adapt=late))
    assert found.check == "delay" and found.measured == pytest.approx(10)


def test_a_delay_and_a_gain_are_told_apart(reference):
    candidate = Tampered(world(), late_targets=1)
    candidate.env.actuators.kp *= 1.5
    found = check(reference, candidate)
    assert [f.check for f in found] == ["delay", "kp"]
    assert [f.measured for f in found] == [pytest.approx(20), pytest.approx(1.5, abs=1e-4)]


def test_effort_limit(reference):
    candidate = world()
    candidate.env.actuators.effort_limit.mul_(0.5)
    (found,) = check(reference, candidate)
    assert found.check == "effort limit"
    assert found.measured == pytest.approx(0.5)
    assert "is 16.8 N m instead of 33.5 N m" in found.what


def test_velocity_limit():
    """Only a motor with a torque-speed line has one."""
    motor = dataclasses.replace(find("mujoco"), actuators=ActuatorConfig("dc_motor"))
    candidate = world(motor)
    candidate.env.actuators.velocity_limit.mul_(0.5)
    (found,) = check(world(motor), candidate)
    assert found.check == "velocity limit"
    assert "no-load speed 26.2 instead of 52.4 rad/s" in found.what


def test_a_torque_speed_line_that_the_reference_does_not_have(reference):
    (found,) = check(reference, world("mujoco-motor"))
    assert found.check == "velocity limit"
    assert "instead of inf rad/s" in found.what


def test_joint_friction(reference):
    def rub(task):
        return dataclasses.replace(task, randomization={"joint_friction": {"range": [0.2, 0.2]}})

    (found,) = check(reference, world(adapt=rub))
    assert found.check == "joint friction"
    assert found.measured == pytest.approx(0.2, abs=1e-4)


def test_a_drive_of_another_kind(reference):
    candidate = world()
    law = candidate.env.actuators.torque
    candidate.env.actuators.torque = lambda target, q, dq: 40 * (law(target, q, dq) / 10) ** 3
    assert "PD law" in [f.check for f in check(reference, candidate)]


def test_the_fit_is_exact_on_a_law_of_its_own_kind():
    random = np.random.default_rng(1)
    error, velocity = random.normal(size=(50, 3)), random.normal(size=(50, 3))
    kp, kd, friction = np.array([20.0, 30, 40]), np.array([0.5, 1, 2]), np.array([0.0, 0.1, 0.3])
    torque = kp * error - kd * velocity - friction * np.clip(velocity / 0.2, -1, 1)
    fit = actuation._Fit(error, velocity, torque)
    np.testing.assert_allclose([fit.kp, fit.kd, fit.friction], [kp, kd, friction], atol=1e-9)
    assert fit.unexplained < 1e-20


def test_no_load_speed_of_a_line():
    speed = np.linspace(-0.5, 1.1, 17)
    torque = np.minimum(30.0, 45 * (1 - speed / 0.8)).clip(0)
    assert actuation._no_load(speed, torque, 30.0) == pytest.approx(0.8)
    assert actuation._no_load(speed, np.full(17, 30.0), 30.0) == float("inf")
