import dataclasses

import numpy as np
import pytest
from tampered import differing, rng, world

from robolearn.evaluate.sim2sim.diagnosis import actuation, contract, inertia
from robolearn.evaluate.sim2sim.diagnosis.oracle import Motion, Oracle, weigh
from robolearn.evaluate.sim2sim.diagnosis.probe import in_the_air
from robolearn.evaluate.sim2sim.simulators import find


@pytest.fixture(scope="module")
def reference():
    return world()


def check(reference, candidate):
    """Findings of the inertia by check; no boundary before it blames the masses on itself."""
    assert differing(contract.check(reference, candidate, rng())) == []
    assert differing(actuation.check(reference, candidate, rng())) == []
    return {f.check: f for f in inertia.check(reference, candidate, rng())}


@pytest.mark.parametrize(("field", "rows"), [("body_mass", 1), ("body_inertia", 3), ("dof_armature", slice(6, None))])
def test_no_boundary_before_is_blamed_for_a_mass(reference, field, rows):
    def change(model):
        getattr(model, field)[rows] *= 1.5

    candidate = world(change=change)
    assert differing(contract.check(reference, candidate, rng())) == []
    assert differing(actuation.check(reference, candidate, rng())) == []


@pytest.mark.parametrize("simulator", ["mujoco", "mujoco-fine", "mujoco-implicit", "mujoco-soft"])
def test_another_step_integrator_or_ground_is_not_another_mass(reference, simulator):
    findings = check(reference, world(simulator))
    assert {f.verdict for f in findings.values()} == {"ok"}
    assert findings["answer to pushes"].measured < 1e-9


def test_a_coarse_step_is_not_another_mass(reference):
    coarse = find("mujoco")
    coarse = dataclasses.replace(coarse, physics=dataclasses.replace(coarse.physics, timestep=0.01))
    assert {f.verdict for f in check(reference, world(coarse)).values()} == {"ok"}


def test_tilted_gravity_is_named_and_nothing_else(reference):
    def tilt(model):
        model.opt.gravity[:] = 9.81 * np.array([np.sin(0.03), 0, -np.cos(0.03)])

    findings = check(reference, world(change=tilt))
    assert [f.check for f in findings.values() if f.verdict == "differs"] == ["gravity"]
    assert findings["gravity"].what.startswith("gravity is (0.294, ")
    assert findings["gravity"].what.endswith("9.810 m/s^2, tilted by 1.72 degrees")


def test_weaker_gravity_is_not_a_tilt(reference):
    def weaken(model):
        model.opt.gravity[2] = -9.0

    assert "9.000 m/s^2, tilted by 0.00 degrees" in check(reference, world(change=weaken))["gravity"].what


def test_weights_measure_forces_by_what_they_accelerate(reference):
    """|L^-1 f|^2 = f' M^-1 f: a force on a free body of mass m counts f^2 / m."""
    oracle = Oracle(reference)
    states = in_the_air(reference, 3, rng(), 1.0)
    acceleration = rng().normal(size=(3, oracle.model.nv))
    at_rest = dataclasses.replace(states, qvel=np.zeros_like(states.qvel))
    fall = np.zeros_like(acceleration)
    fall[:, :3] = oracle.model.opt.gravity
    force = oracle.needed(at_rest, acceleration + fall) - oracle.needed(at_rest, fall)  # M a
    squares = (weigh(oracle.weights(states), force) ** 2).sum(1)
    np.testing.assert_allclose(squares, (force * acceleration).sum(1), rtol=1e-9)


def test_the_oracle_needs_no_force_for_a_free_fall_from_rest(reference):
    oracle = Oracle(reference)
    states = in_the_air(reference, 3, rng(), 0.0)
    fall = np.zeros((3, oracle.model.nv))
    fall[:, :3] = oracle.model.opt.gravity
    nothing = np.zeros((3, 12)), np.zeros((3, 6))
    np.testing.assert_allclose(Motion(states, fall, *nothing, 0.005).missing(oracle), 0, atol=1e-12)
