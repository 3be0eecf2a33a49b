"""What every engine must do, whatever it runs on. Each test runs on plain MuJoCo and on Warp's CPU device."""

import mujoco
import numpy as np
import pytest
import torch

from robolearn.config import ConfigError
from sim.engines import make_engine
from sim.engines.base import DERIVED_FIELDS, STATE_FIELDS

ENVS = 4
TURNED = [[1.0, 0, 0, 0], [0.5**0.5, 0, 0, 0.5**0.5], [0.5**0.5, 0.5**0.5, 0, 0], [0, 0, 1.0, 0]]
"""Orientations of a trunk, (w, x, y, z)."""


@pytest.fixture
def engine(build, quadruped):
    engine = build(quadruped.model, ENVS)
    quadruped.load(engine, quadruped.random_states(ENVS, seed=3, in_contact=True))
    return engine


def close(tensor, array, rtol=1e-4):
    """Whether the values agree to float32 accuracy, in units of the largest."""
    array = np.asarray(array)
    return bool(np.abs(tensor.double().numpy() - array).max() <= rtol * max(1.0, np.abs(array).max()))


def test_fields_have_the_model_s_shapes_and_stay_the_same_memory(engine, quadruped):
    data = mujoco.MjData(quadruped.model)
    fields = {name: engine.field(name) for name in STATE_FIELDS + DERIVED_FIELDS}
    addresses = {name: tensor.data_ptr() for name, tensor in fields.items()}
    for _ in range(3):
        engine.step(2)
    engine.forward()
    engine.load_state_dict(engine.state_dict())
    engine.reset(torch.tensor([1]))
    for name, tensor in fields.items():
        assert tuple(tensor.shape) == (ENVS, *getattr(data, name).shape)
        assert tensor.dtype == engine.dtype and tensor.device == engine.device
        assert engine.field(name) is tensor and tensor.data_ptr() == addresses[name]


def test_unknown_names_are_answered_with_the_nearest_valid_one(engine):
    with pytest.raises(KeyError, match="qpos"):
        engine.field("qposs")
    with pytest.raises(KeyError, match="no sensor 'gyros'"):
        engine.sensor("gyros")


def test_sensor_is_the_named_columns(engine, quadruped):
    orientation, gyro, contact = (engine.sensor(name) for name in ("orientation", "gyro", "foot_contact"))
    engine.forward()
    assert contact.shape == (ENVS, 3) and contact.abs().max() > 1
    torch.testing.assert_close(orientation, engine.field("qpos")[:, 3:7])
    torch.testing.assert_close(gyro, engine.field("qvel")[:, 3:6])  # the site is aligned with the trunk


def test_derived_fields_describe_the_state_before_the_last_physics_step(engine):
    before = engine.field("qpos")[:, :3].clone()
    trunk = engine.field("xpos")[:, 1]
    engine.step()
    torch.testing.assert_close(trunk, before)
    assert (trunk - engine.field("qpos")[:, :3]).abs().max() > 1e-4


def test_several_substeps_are_that_many_steps(build, quadruped):
    one, many = build(quadruped.model, ENVS), build(quadruped.model, ENVS)
    for engine in (one, many):
        quadruped.load(engine, quadruped.random_states(ENVS, seed=3, in_contact=True))
    for _ in range(3):
        many.step(4)
    for _ in range(12):
        one.step()
    for name in ("qpos", "qvel", "qacc", "sensordata"):
        assert torch.equal(one.field(name), many.field(name))


def test_reset_touches_only_the_given_environments_and_forgets_the_past(build, quadruped):
    engine, fresh = build(quadruped.model, ENVS), build(quadruped.model, ENVS)
    quadruped.load(engine, quadruped.random_states(ENVS, seed=3, in_contact=True))
    engine.step(5)
    before = {name: engine.field(name).clone() for name in STATE_FIELDS}
    engine.reset(torch.tensor([1, 3]))
    for name in STATE_FIELDS:
        value = engine.field(name)
        default = torch.as_tensor(quadruped.model.qpos0, dtype=value.dtype) if name == "qpos" else 0 * value[1]
        assert torch.equal(value[[0, 2]], before[name][[0, 2]])
        assert torch.equal(value[[1, 3]], default.expand_as(value[[1, 3]]))
        assert not torch.equal(before[name][1], default)
    engine.step(5)
    fresh.step(5)
    assert torch.equal(engine.field("qvel")[[1, 3]], fresh.field("qvel")[[1, 3]])
    engine.reset()
    assert torch.equal(engine.field("qpos")[0], fresh.field("qpos")[0] * 0 + engine.field("qpos")[1])
    assert not engine.field("qvel").any()
    engine.reset(torch.tensor([], dtype=torch.int64))


def test_forward_of_some_changes_nothing_in_the_others(engine):
    derived = {name: engine.field(name) for name in DERIVED_FIELDS}
    engine.forward()
    old = {name: value.clone() for name, value in derived.items()}
    engine.field("qpos")[:, 0] += 1
    state = {name: engine.field(name).clone() for name in STATE_FIELDS}
    engine.forward(torch.tensor([2]))
    engine.forward(torch.tensor([], dtype=torch.int64))
    for name, value in derived.items():
        assert torch.equal(value[[0, 1, 3]], old[name][[0, 1, 3]]), name
    torch.testing.assert_close(derived["xpos"][2, 1:, 0], old["xpos"][2, 1:, 0] + 1)
    assert all(torch.equal(engine.field(name), value) for name, value in state.items())


def test_controls_are_clamped_forces_of_the_motors(engine):
    force, joint_force = engine.field("actuator_force"), engine.field("qfrc_actuator")
    engine.field("ctrl")[0] = 5
    engine.field("ctrl")[1] = 100
    engine.forward()
    assert torch.equal(force[0], torch.full((12,), 5, dtype=engine.dtype))
    assert torch.equal(force[1], torch.full((12,), 33, dtype=engine.dtype))
    assert torch.equal(joint_force[:, 6:], force) and not joint_force[:, :6].any()


def test_wrenches_act_in_the_world_frame_until_they_are_changed(build, quadruped):
    """Newton: the momentum of a robot in the air changes by force times time, however the trunk is turned."""
    engine, model, steps = build(quadruped.model, ENVS), quadruped.model, 10
    engine.field("qpos")[:, 2] = 5
    engine.field("qpos")[:, 3:7] = torch.tensor(TURNED).to(engine.dtype)
    engine.field("xfrc_applied")[:, 1, 0] = 30
    push = 30 * steps * model.opt.timestep
    for expected in (push, 2 * push):
        for _ in range(steps):
            engine.step()
        assert close(_momenta(engine, model)[0][:, :2], np.tile([expected, 0], (ENVS, 1)))
    engine.field("xfrc_applied").zero_()
    engine.step(steps)
    assert close(_momenta(engine, model)[0][:, 0], np.full(ENVS, 2 * push))


def test_wrench_torques_act_in_the_world_frame(build, quadruped):
    """Euler: the angular momentum of a robot in the air changes by torque times time, however the trunk is turned."""
    engine, steps = build(quadruped.model, ENVS), 4
    engine.field("qpos")[:, 2] = 5
    engine.field("qpos")[:, 3:7] = torch.tensor(TURNED).to(engine.dtype)
    engine.field("xfrc_applied")[:, 1, 3] = 2
    engine.step(steps)
    expected = np.tile([2 * steps * quadruped.model.opt.timestep, 0, 0], (ENVS, 1))
    assert close(_momenta(engine, quadruped.model)[1], expected, rtol=3e-4)


def test_generalised_forces_persist(build, quadruped):
    engine = build(quadruped.model, 1)
    engine.field("qpos")[:, 2] = 5
    engine.field("qfrc_applied")[0, 1] = 11
    engine.step(4)
    engine.step(4)
    assert close(_momenta(engine, quadruped.model)[0][:, 1], [11 * 8 * quadruped.model.opt.timestep])


def test_expanded_fields_act_in_their_own_environment(build, quadruped):
    """Each environment must do what plain MuJoCo does with a model that has this environment's values."""
    model, names = quadruped.model, ("body_mass", "body_inertia", "body_ipos", "dof_armature", "geom_friction")
    engine = build(model, ENVS, expand=names)
    states = quadruped.random_states(ENVS, seed=5, in_contact=True)
    states["qvel"][:, 0] = 2  # the feet slide, so friction matters
    quadruped.load(engine, states)
    trunk, floor = model.body("trunk").id, model.geom("floor").id
    fields, acceleration = {name: engine.expand(name) for name in names}, engine.field("qacc")
    for name, value in fields.items():
        assert tuple(value.shape) == (ENVS, *getattr(model, name).shape)
        assert close(value[3], getattr(model, name), rtol=1e-6)
    fields["body_mass"][1, trunk] *= 3
    fields["body_inertia"][1, trunk] *= 3
    fields["body_ipos"][1, trunk, 0] += 0.05
    fields["geom_friction"][2, :, 0] = 0.1
    fields["geom_friction"][2, floor, 0] = 0.05
    fields["dof_armature"][3, 6:] = 0.05
    engine.set_const(torch.arange(ENVS))
    for _ in range(3):  # so that Warp compiles, records and replays
        engine.forward()
    results = []
    for index in range(ENVS):
        own = mujoco.MjModel.from_xml_string(quadruped.xml)
        for name, value in fields.items():
            getattr(own, name)[:] = value[index].numpy()
        mujoco.mj_setConst(own, mujoco.MjData(own))
        data = quadruped.plain(states, index)
        mujoco.mj_forward(own, data)
        results.append(data.qacc.copy())
        assert close(acceleration[index], data.qacc), index
        mujoco.mj_forward(model, data)
        changed = np.abs(data.qacc - results[-1]).max() > 1e-2 * np.abs(results[-1]).max()
        assert changed == (index > 0), f"environment {index}: the values must matter"


def test_derived_constants_follow_only_after_set_const(build, quadruped):
    """The contact solver scales with inverse weights, which a new mass changes through ``set_const`` alone."""
    engine = build(quadruped.model, 2, expand=("body_mass",))
    states = quadruped.random_states(1, seed=6, in_contact=True)
    quadruped.load(engine, {name: np.repeat(value, 2, axis=0) for name, value in states.items()})
    engine.expand("body_mass")[:, 1:] *= 4
    acceleration, position = engine.field("qacc"), engine.field("xpos")
    engine.forward()
    stale, before = acceleration.clone(), position.clone()
    engine.set_const(torch.tensor([1]))
    assert torch.equal(position, before)
    engine.forward(torch.tensor([1]))
    assert torch.equal(acceleration[0], stale[0])
    assert (acceleration[1] - stale[1]).abs().max() > 1e-3 * stale[1].abs().max()


def test_only_model_fields_can_be_expanded(build, quadruped):
    with pytest.raises(KeyError, match="body_masss"):
        build(quadruped.model, 1, expand=("body_masss",))


@pytest.mark.parametrize("steps", [1, 7])
def test_state_dict_continues_exactly_in_a_new_engine(build, quadruped, steps):
    names = ("body_mass", "geom_friction")
    engine, other = (build(quadruped.model, ENVS, expand=names) for _ in range(2))
    quadruped.load(engine, quadruped.random_states(ENVS, seed=7, in_contact=True))
    engine.expand("body_mass")[2] *= 1.5
    engine.expand("geom_friction")[1, :, 0] = 0.3
    engine.set_const()
    fields = [(engine.field(name), other.field(name)) for name in STATE_FIELDS + DERIVED_FIELDS]
    engine.step(6)
    saved = engine.state_dict()
    engine.step(steps)
    other.load_state_dict(saved)
    assert not torch.equal(engine.field("qpos"), other.field("qpos"))
    other.step(steps)
    assert all(torch.equal(here, there) for here, there in fields)


def test_state_of_another_size_or_other_expanded_fields_is_refused(build, quadruped):
    saved = build(quadruped.model, 3).state_dict()
    with pytest.raises(ValueError, match=r"shape \(3"):
        build(quadruped.model, 2).load_state_dict(saved)
    with pytest.raises(ValueError, match="body_mass"):
        build(quadruped.model, 3, expand=("body_mass",)).load_state_dict(saved)


def test_a_non_finite_environment_is_seen_and_spoils_no_other(build, quadruped):
    engine, healthy = build(quadruped.model, ENVS), build(quadruped.model, ENVS)
    for each in (engine, healthy):
        quadruped.load(each, quadruped.random_states(ENVS, seed=8, in_contact=True))
    assert engine.finite().tolist() == [True] * ENVS
    engine.field("qpos")[1, 8] = torch.nan
    engine.field("qvel")[2, 0] = torch.inf
    engine.field("qvel")[3, 0] = 1e7
    assert engine.finite().tolist() == [True, False, False, False]
    assert engine.diagnostics()["nonfinite"] == 3
    for _ in range(3):
        engine.step()
        healthy.step()
    assert torch.equal(engine.field("qpos")[0], healthy.field("qpos")[0])
    assert not engine.finite()[1]
    engine.reset(torch.tensor([1, 2, 3]))
    engine.step()
    assert engine.finite().all()


def test_a_run_that_diverges_is_not_restarted_silently(build, beads_xml):
    model = mujoco.MjModel.from_xml_string(beads_xml)
    model.body_mass[2] = 0.001
    mujoco.mj_setConst(model, mujoco.MjData(model))
    engine = build(model, 2)
    engine.field("qpos")[0, 1] = 0.1
    for _ in range(20):
        engine.step()
    assert engine.finite().tolist() == [False, True]


def test_unknown_engine_and_wrong_device(quadruped):
    with pytest.raises(ConfigError, match="Did you mean 'warp'"):
        make_engine("wrap", quadruped.model, 1)
    with pytest.raises(ConfigError, match="'mujoco' runs on the CPU"):
        make_engine("mujoco", quadruped.model, 1, "cuda")
    with pytest.raises(ConfigError, match="'cudda' is not a device"):
        make_engine("warp", quadruped.model, 1, "cudda")
    with pytest.raises(ConfigError, match="CUDA devices or the CPU"):
        make_engine("warp", quadruped.model, 1, "meta")


def _momenta(engine, model):
    """(N, 3) kg m/s and (N, 3) N m s, the robot's linear and angular momentum (about its centre of mass), by MuJoCo."""
    rows = []
    for qpos, qvel in zip(engine.field("qpos"), engine.field("qvel"), strict=True):
        data = mujoco.MjData(model)
        data.qpos[:], data.qvel[:] = qpos, qvel
        mujoco.mj_forward(model, data)
        mujoco.mj_subtreeVel(model, data)
        rows.append((data.subtree_linvel[1] * model.body_subtreemass[1], data.subtree_angmom[1].copy()))
    return [torch.as_tensor(np.stack(part)) for part in zip(*rows, strict=True)]
