"""The CPU engine is plain MuJoCo, bit for bit, for any number of threads."""

import mujoco
import numpy as np
import torch

from sim.engines import make_engine
from sim.engines.base import DERIVED_FIELDS, STATE_FIELDS

ENVS = 5


def drive(engine, quadruped, steps=30):
    """Step with controls that change, resetting an environment on the way; return all fields."""
    fields = {name: engine.field(name) for name in STATE_FIELDS + DERIVED_FIELDS}
    quadruped.load(engine, quadruped.random_states(ENVS, seed=21, in_contact=True))
    controls = np.random.default_rng(0).uniform(-10, 10, (steps, ENVS, quadruped.model.nu))
    for step in range(steps):
        fields["ctrl"].copy_(torch.as_tensor(controls[step]))
        engine.step(2)
        if step == steps // 2:
            engine.reset(torch.tensor([3]))
    return fields, controls


def test_any_number_of_threads_gives_the_same_bits(quadruped):
    results = [drive(make_engine("mujoco", quadruped.model, ENVS, threads=n), quadruped)[0] for n in (1, 2)]
    for name, value in results[0].items():
        assert torch.equal(value, results[1][name]), name


def test_stepping_is_a_loop_over_mj_step_bit_for_bit(quadruped):
    fields, controls = drive(make_engine("mujoco", quadruped.model, ENVS, threads=2), quadruped)
    states = quadruped.random_states(ENVS, seed=21, in_contact=True)
    for index in range(ENVS):
        data = quadruped.plain(states, index)
        for step, control in enumerate(controls[:, index]):
            data.ctrl[:] = control
            for _ in range(2):
                mujoco.mj_step(quadruped.model, data)
            if index == 3 and step == len(controls) // 2:
                mujoco.mj_resetData(quadruped.model, data)
        for name, value in fields.items():
            assert np.array_equal(value[index].numpy(), getattr(data, name)), (index, name)


def test_the_number_of_threads_is_the_one_asked_for(quadruped):
    assert make_engine("mujoco", quadruped.model, ENVS, threads=2).threads == 2
