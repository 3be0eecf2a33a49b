"""What every foreign simulator shares, with MuJoCo itself as the foreign simulator: it must give MuJoCo's results."""

import copy
import sys

import mujoco
import numpy as np
import pytest
import torch

from robolearn.config import ConfigError
from sim.engines import make_engine
from sim.engines.base import DERIVED_FIELDS, STATE_FIELDS
from sim.engines.calculator import Contact
from sim.engines.foreign import ForeignEngine, WorldError

ENVS = 3


class Twin:
    """MuJoCo as a world; it writes down what is asked of it. ``fault`` spoils the next step."""

    built: list["Twin"]
    fault: str = ""

    def __init__(self, model):
        self.model = copy.copy(model)
        self.model.dof_damping[:] = 0  # comes with the forces
        self.data = mujoco.MjData(self.model)
        self.placed, self.asked, self.closed = 0, 0, False
        Twin.built.append(self)

    def place(self, qpos, qvel):
        self.placed += 1
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[:], self.data.qvel[:] = qpos, qvel

    def step(self, force, qpos, qvel):
        if self.fault == "raise":
            raise WorldError("no solution")
        self.data.qfrc_applied[:] = force
        mujoco.mj_step(self.model, self.data)
        qpos[:], qvel[:] = self.data.qpos, self.data.qvel
        if self.fault == "nan":
            qvel[3] = np.nan

    def contacts(self):
        self.asked += 1
        found = []
        for index, contact in enumerate(self.data.contact):
            force = np.zeros(6)
            mujoco.mj_contactForce(self.model, self.data, index, force)
            assert self.model.geom_bodyid[contact.geom1] == 0
            found.append(Contact(contact.geom2, force[:3] @ contact.frame.reshape(3, 3)))
        return found

    def close(self):
        self.closed = True


@pytest.fixture(autouse=True)
def _fresh_list():
    Twin.built = []


@pytest.fixture
def model(quadruped):
    """Without damping, which MuJoCo treats implicitly and a world as a force."""
    model = copy.copy(quadruped.model)
    model.dof_damping[:] = 0
    return model


@pytest.fixture
def engine(model, quadruped):
    engine = ForeignEngine(model, ENVS, Twin)
    quadruped.load(engine, quadruped.random_states(ENVS, seed=3, in_contact=True))
    return engine


def test_it_gives_mujoco_s_results(model, quadruped):
    """States, contact forces and accelerations of 12 steps in which everything acts that can."""
    states = quadruped.random_states(ENVS, seed=4, in_contact=True)
    engine, plain = ForeignEngine(model, ENVS, Twin), make_engine("mujoco", model, ENVS, threads=1)
    for each in (engine, plain):
        quadruped.load(each, states)
    touched = 0
    for _ in range(12):
        for each in (engine, plain):
            each.sensor("foot_contact"), each.field("qacc")
            each.step()
        touched += int(plain.sensor("foot_contact").any(1).sum())
        for name in ("qpos", "qvel"):
            assert torch.allclose(engine.field(name), plain.field(name), rtol=0, atol=1e-8)
        assert torch.allclose(engine.sensor("foot_contact"), plain.sensor("foot_contact"), rtol=1e-6, atol=1e-5)
        assert torch.allclose(engine.field("qacc"), plain.field("qacc"), rtol=1e-6, atol=1e-4)
    assert 0 < touched < 12 * ENVS


def test_several_steps_at_once_are_the_same_as_one_by_one(engine, model, quadruped):
    other = ForeignEngine(model, ENVS, Twin)
    quadruped.load(other, quadruped.random_states(ENVS, seed=3, in_contact=True))
    engine.step(4)
    for _ in range(4):
        other.step()
    assert torch.equal(engine.field("qpos"), other.field("qpos"))


def test_contacts_are_asked_for_only_where_derived_fields_are_told(engine, model, quadruped):
    other = ForeignEngine(model, ENVS, Twin)
    quadruped.load(other, quadruped.random_states(ENVS, seed=3, in_contact=True))
    fields = [(engine.field(name), other.field(name)) for name in STATE_FIELDS + DERIVED_FIELDS]
    before = engine.field("xpos").clone()
    for _ in range(3):
        engine.step(derived=False)
        other.step()
    assert [world.asked for world in Twin.built] == [0] * ENVS + [3] * ENVS
    assert torch.equal(engine.field("xpos"), before) and torch.equal(engine.field("qpos"), other.field("qpos"))
    engine.step()
    other.step()
    assert engine.sensor("foot_contact").any()
    assert all(torch.equal(one, two) for one, two in fields)


def test_derived_fields_describe_the_state_reached(engine, model):
    position, velocity = engine.field("xpos"), engine.sensor("foot_velocity")
    engine.step(2)
    for row in range(ENVS):
        data = mujoco.MjData(model)
        data.qpos[:], data.qvel[:] = engine.field("qpos")[row], engine.field("qvel")[row]
        mujoco.mj_forward(model, data)
        assert position[row].numpy() == pytest.approx(data.xpos, abs=1e-12)
        assert velocity[row].numpy() == pytest.approx(data.sensor("foot_velocity").data, abs=1e-12)


def test_worlds_are_placed_only_where_the_caller_wrote(engine):
    engine.step()
    assert [world.placed for world in Twin.built] == [1, 1, 1]
    engine.step()
    engine.forward()
    assert [world.placed for world in Twin.built] == [1, 1, 1]
    engine.field("qvel")[1, 0] = 1
    engine.step()
    engine.reset(torch.tensor([2]))
    engine.forward(torch.tensor([2]))
    assert [world.placed for world in Twin.built] == [1, 2, 2]


def test_a_new_state_has_no_contact_forces_yet(engine):
    force, acceleration = engine.sensor("foot_contact"), engine.field("qacc")
    engine.step(3)
    assert force[0].any() and acceleration[0].any()
    engine.field("qpos")[0, 0] += 1
    before = force.clone()
    engine.forward()
    assert not force[0].any() and not acceleration[0].any()
    assert torch.equal(force[1:], before[1:])


def test_orientations_are_normalised(engine):
    engine.field("qpos")[0, 3:7] = torch.tensor([2.0, 0, 0, 0])
    quat = engine.field("xquat")
    engine.forward()
    assert quat[0, 1].tolist() == [1, 0, 0, 0]
    assert Twin.built[0].data.qpos[3:7].tolist() == [1, 0, 0, 0]


def test_fields_stay_the_same_memory_and_unknown_ones_are_named(engine):
    fields = {name: engine.field(name) for name in STATE_FIELDS + DERIVED_FIELDS}
    engine.step()
    engine.load_state_dict(engine.state_dict())
    engine.reset()
    for name, tensor in fields.items():
        assert engine.field(name).data_ptr() == tensor.data_ptr()
        assert tensor.dtype == torch.float64
    with pytest.raises(KeyError, match="Did you mean 'qpos'"):
        engine.field("qposs")


def test_sensors_of_accelerations_are_refused(engine):
    with pytest.raises(KeyError, match=r"'accelerometer' cannot be filled.*accelerations"):
        engine.sensor("accelerometer")
    with pytest.raises(KeyError, match="no sensor 'gyroo'"):
        engine.sensor("gyroo")
    assert engine.sensor("gyro").shape == (ENVS, 3)


@pytest.mark.parametrize(("fault", "raised"), [("nan", 0), ("raise", 1)])
def test_a_world_that_fails_is_seen_and_spoils_no_other(engine, quadruped, model, fault, raised):
    healthy = ForeignEngine(model, ENVS, Twin)
    quadruped.load(healthy, quadruped.random_states(ENVS, seed=3, in_contact=True))
    broken = Twin.built[1]
    broken.fault = fault
    for _ in range(3):
        engine.step()
        healthy.step()
    assert engine.finite().tolist() == [True, False, True]
    assert engine.diagnostics() == {"nonfinite": 1, "overflow": 0, "raised": raised}
    assert broken.closed
    for row in (0, 2):
        assert torch.equal(engine.field("qpos")[row], healthy.field("qpos")[row])
    engine.reset(torch.tensor([1]))
    engine.step()
    assert engine.finite().all()
    assert Twin.built[-1].placed == 1, "the robot goes on in a new world"


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e7])
def test_states_that_are_not_sane_are_never_placed(engine, value):
    engine.field("qvel")[0, 2] = value
    engine.step()
    assert Twin.built[0].placed == 0
    assert engine.finite().tolist() == [False, True, True]


def test_model_fields_act_in_their_own_environment(model, quadruped):
    names = ("body_mass", "geom_friction", "dof_armature")
    engine = ForeignEngine(model, ENVS, Twin, names)
    states = quadruped.random_states(ENVS, seed=5, in_contact=True)
    quadruped.load(engine, states)
    assert engine.expanded == names
    com = engine.field("subtree_com")
    trunk = model.body("trunk").id
    engine.expand("body_mass")[1, trunk] *= 3
    engine.expand("dof_armature")[2, 6:] = 0.05
    engine.set_const()
    engine.step()
    for row in range(ENVS):
        own = copy.copy(model)
        for name in names:
            getattr(own, name)[:] = engine.expand(name)[row].numpy()
        mujoco.mj_setConst(own, mujoco.MjData(own))
        data = mujoco.MjData(own)
        for name in STATE_FIELDS:
            getattr(data, name)[:] = states[name][row]
        mujoco.mj_step(own, data)
        assert engine.field("qpos")[row].numpy() == pytest.approx(data.qpos, abs=1e-12)
        mujoco.mj_kinematics(own, data)
        mujoco.mj_comPos(own, data)
        assert com[row].numpy() == pytest.approx(data.subtree_com, abs=1e-12)
    count = len(Twin.built)
    assert count == ENVS + 2, "a new world for each environment that changed, and only for those"
    engine.step()
    engine.set_const()
    assert len(Twin.built) == count


def test_only_fields_that_a_world_reads_can_be_expanded(model):
    with pytest.raises(KeyError, match="Did you mean 'body_mass'"):
        ForeignEngine(model, 1, Twin, ("body_masss",))
    with pytest.raises(KeyError, match=r"geom_solref.*foreign simulator"):
        ForeignEngine(model, 1, Twin, ("geom_solref",))


def test_state_dict_continues_in_a_new_engine(model, quadruped):
    names = ("body_mass",)
    engine, other = (ForeignEngine(model, ENVS, Twin, names) for _ in range(2))
    quadruped.load(engine, quadruped.random_states(ENVS, seed=7, in_contact=True))
    engine.expand("body_mass")[2] *= 1.5
    engine.step(6)
    saved = engine.state_dict()
    other.load_state_dict(saved)
    for each in (engine, other):
        each.step(5)
    assert torch.allclose(engine.field("qpos"), other.field("qpos"), rtol=0, atol=1e-7)  # the solver's warm start
    assert not torch.equal(saved["state"]["qpos"], engine.field("qpos")), "a copy, not the live state"


def test_state_of_another_size_or_other_fields_is_refused(model):
    saved = ForeignEngine(model, 2, Twin).state_dict()
    with pytest.raises(ValueError, match=r"qpos has shape \(2, 19\)"):
        ForeignEngine(model, 3, Twin).load_state_dict(saved)
    with pytest.raises(ValueError, match="body_mass"):
        ForeignEngine(model, 2, Twin, ("body_mass",)).load_state_dict(saved)


def test_close_closes_every_world(engine):
    engine.close()
    assert all(world.closed for world in Twin.built)


@pytest.mark.parametrize("kind", ["pybullet", "drake"])
def test_foreign_engines_run_on_the_cpu_only(model, kind):
    with pytest.raises(ConfigError, match=f"'{kind}' runs on the CPU"):
        make_engine(kind, model, 1, "cuda:0")


def test_a_missing_package_is_said_with_the_remedy(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "pybullet", None)  # what an import of a missing package finds
    monkeypatch.delitem(sys.modules, "sim.engines.pybullet_world", raising=False)
    with pytest.raises(ConfigError, match=r"pip install '.\[sim2sim\]'"):
        make_engine("pybullet", model, 1)
