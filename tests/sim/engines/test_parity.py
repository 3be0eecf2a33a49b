"""MuJoCo Warp (float32) against plain MuJoCo (float64): one forward pass, one step, and a roll-out of 0.4 s.

The yardstick is float32 itself. Copies of plain MuJoCo get disturbances of at most half a unit in the last place of
float32 (in the roll-out at every step, because float32 rounds at every step) and spread by some distance; Warp, which
rounds at every operation and not only at the start of a step, may be ``FACTOR`` times that away. Each environment is
judged by its own spread; the last test shows how small a fault is found.
"""

import mujoco
import numpy as np
import pytest

from sim.engines import make_engine

ENVS = 16
COPIES = 8
ULP = 2.0**-24
FACTOR = 32
OUTPUTS = ("qacc", "xpos", "xquat", "cvel", "subtree_com", "sensordata", "actuator_force", "qfrc_actuator")
STATES = {"contact": True, "flight": False}


@pytest.fixture(scope="module")
def warp(quadruped):
    return make_engine("warp", quadruped.model, ENVS, "cpu")


@pytest.fixture(params=STATES)
def states(request, quadruped):
    return quadruped.random_states(ENVS, seed=1, in_contact=STATES[request.param])


def rounded(value, rng):
    """Disturb ``value`` by what rounding to float32 may do to it."""
    return value + ULP * rng.uniform(-1, 1, value.shape) * np.abs(value)


def run(quadruped, states, steps, names, model=None, rng=None):
    """Return the fields of plain MuJoCo, flattened to (N, ...): after ``steps`` steps, or one forward pass for 0."""
    model = model or quadruped.model
    rows = {name: [] for name in names}
    for index in range(ENVS):
        data = quadruped.plain(states, index)
        for step in range(max(steps, 1)):
            for name in ("qpos", "qvel") if step else states:
                if rng is not None:
                    getattr(data, name)[:] = rounded(getattr(data, name), rng)
            (mujoco.mj_step if steps else mujoco.mj_forward)(model, data)
        for name in names:
            rows[name].append(getattr(data, name).ravel().copy())
    return {name: np.stack(values) for name, values in rows.items()}


def tolerance(quadruped, states, steps, names, exact):
    """Return (N, 1) per field: ``FACTOR`` times the spread of disturbed copies and the last place of the result."""
    rng = np.random.default_rng(0)
    copies = [run(quadruped, states, steps, names, rng=rng) for _ in range(COPIES)]
    bounds = {}
    for name in names:
        spread = np.max([np.abs(copy[name] - exact[name]) for copy in copies], axis=(0, 2))
        bounds[name] = FACTOR * (spread + ULP * np.abs(exact[name]).max(1))[:, None]
    return bounds


def assert_within(engine, exact, bounds):
    for name, bound in bounds.items():
        error = np.abs(engine.field(name).numpy().reshape(ENVS, -1) - exact[name])
        assert (error <= bound).all(), f"{name}: {(error / bound).max():.2f} of the tolerance"


def test_forward_from_stored_states(quadruped, warp, states):
    warp.reset()
    quadruped.load(warp, states)
    warp.forward()
    exact = run(quadruped, states, 0, OUTPUTS)
    assert_within(warp, exact, tolerance(quadruped, states, 0, OUTPUTS, exact))


def test_one_step_from_a_batch_of_states(quadruped, warp, states):
    names = ("qpos", "qvel", *OUTPUTS)
    warp.reset()
    quadruped.load(warp, states)
    warp.step()
    exact = run(quadruped, states, 1, names)
    assert_within(warp, exact, tolerance(quadruped, states, 1, names, exact))


def test_open_loop_rollout_stays_within_the_spread_of_float32(quadruped, warp, states):
    names, steps = ("qpos", "qvel"), 80
    warp.reset()
    quadruped.load(warp, states)
    for _ in range(steps):
        warp.step()
    exact = run(quadruped, states, steps, names)
    assert_within(warp, exact, tolerance(quadruped, states, steps, names, exact))


def test_the_states_touch_the_ground_or_do_not(quadruped):
    for kind, expected in STATES.items():
        states = quadruped.random_states(ENVS, seed=1, in_contact=expected)
        contacts = []
        for index in range(ENVS):
            data = quadruped.plain(states, index)
            mujoco.mj_forward(quadruped.model, data)
            contacts.append(data.ncon)
        assert (min(contacts) > 0 and max(contacts) == 4) if expected else max(contacts) == 0, kind


def test_the_yardstick_finds_a_rotor_inertia_that_is_wrong_by_one_part_in_a_thousand(quadruped, states):
    wrong_model = mujoco.MjModel.from_xml_string(quadruped.xml)
    wrong_model.dof_armature[6:] *= 1.001
    for steps, name in ((0, "qacc"), (1, "qvel"), (80, "qvel")):
        exact = run(quadruped, states, steps, (name,))
        wrong = run(quadruped, states, steps, (name,), model=wrong_model)
        found = np.abs(wrong[name] - exact[name]) > tolerance(quadruped, states, steps, (name,), exact)[name]
        assert found.any(1).mean() > 0.7, (steps, found.any(1))
