"""Drake as an engine: what closed forms and MuJoCo say about inertia, free motion, contact and friction."""

import math
import sys
from dataclasses import replace

import mujoco
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robolearn.config import ConfigError
from sim.engines import make_engine
from sim.environment import EnvConfig, TaskEnv
from sim.ground import Plane
from sim.robots import load_robot
from sim.scene import PhysicsConfig, build_scene
from sim.tasks import load_task

pytest.importorskip("pydrake")
from sim.engines.drake_world import DISSIPATION, STIFFNESS, DrakeWorld, to_body, to_world

G, MASS, FEET, FRICTION = 9.81, 4.0, 4, 0.6
SLED = f"""
<mujoco>
  <option timestep="0.001"/>
  <worldbody>
    <geom name="floor" type="plane" size="0 0 1" contype="1" conaffinity="0" friction="{FRICTION}" priority="1"/>
    <body name="sled" pos="0 0 0.05">
      <freejoint/>
      <inertial pos="0 0 0" mass="{MASS}" diaginertia="0.05 0.06 0.08"/>
      <geom name="a" type="sphere" size="0.02" pos="0.3 0.3 -0.03" contype="0"/>
      <geom name="b" type="sphere" size="0.02" pos="0.3 -0.3 -0.03" contype="0"/>
      <geom name="c" type="sphere" size="0.02" pos="-0.3 0.3 -0.03" contype="0"/>
      <geom name="d" type="sphere" size="0.02" pos="-0.3 -0.3 -0.03" contype="0"/>
    </body>
  </worldbody>
</mujoco>"""
ARM = """
<mujoco>
  <option timestep="0.002" gravity="0 0 0"/>
  <worldbody>
    <geom name="floor" type="plane" size="0 0 1" contype="1" conaffinity="0"/>
    <body name="base" pos="0 0 1">
      <freejoint/>
      <inertial pos="0 0 0" mass="1e4" diaginertia="1e4 1e4 1e4"/>
      <body name="arm" pos="0.1 0 0">
        <joint name="hinge" axis="0 0 1" armature="0.03" {joint}/>
        <inertial pos="0 0 0" mass="1" diaginertia="0.02 0.02 0.02"/>
      </body>
    </body>
  </worldbody>
</mujoco>"""


@pytest.fixture(scope="module")
def robot():
    return load_robot("a1")


@pytest.fixture(scope="module")
def model(robot):
    return build_scene(robot, Plane(), PhysicsConfig()).model


def sled(timestep=0.001, gravity=(0, 0, -G), friction=FRICTION):
    compiled = mujoco.MjModel.from_xml_string(SLED)
    compiled.opt.timestep, compiled.opt.gravity[:] = timestep, gravity
    compiled.geom_friction[0, 0] = friction
    return compiled


def simulate(compiled, steps, force=None, qpos=None, qvel=None):
    """Return world, positions and velocities after so many steps under constant generalised forces."""
    world = DrakeWorld(compiled)
    qpos = np.array(compiled.qpos0 if qpos is None else qpos, float)
    qvel = np.zeros(compiled.nv) if qvel is None else np.array(qvel, float)
    world.place(qpos, qvel)
    for _ in range(steps):
        world.step(np.zeros(compiled.nv) if force is None else np.array(force, float), qpos, qvel)
    return world, qpos, qvel


def quaternion(turn):
    """Return (w, x, y, z) of a rotation vector (3,) rad."""
    angle = np.linalg.norm(turn)
    return np.array([np.cos(angle / 2), *np.sin(angle / 2) * np.asarray(turn) / angle])


def matrix(turn):
    """Return the rotation matrix of a rotation vector, by Rodrigues' formula."""
    angle = np.linalg.norm(turn)
    x, y, z = np.asarray(turn) / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def random_state(model, seed, speed=1.0):
    """Draw a state in the air, joints within their limits."""
    rng = np.random.default_rng(seed)
    qpos = model.qpos0.copy()
    qpos[:3] = [*rng.uniform(-1, 1, 2), 5.0]
    qpos[3:7] = quaternion(rng.uniform(-3, 3, 3))
    low, high = model.jnt_range[1:].T
    qpos[7:] = rng.uniform(low + 0.3 * (high - low), high - 0.3 * (high - low))
    return qpos, speed * rng.uniform(-1, 1, model.nv)


# The model


def test_masses_centres_and_inertias_are_mujoco_s(model):
    world = DrakeWorld(model)
    assert world.plant.CalcTotalMass(world.context) == pytest.approx(model.body_mass.sum(), abs=1e-12)
    for body in range(1, model.nbody):
        found = world.plant.GetBodyByName(model.body(body).name).CalcSpatialInertiaInBodyFrame(world.context)
        axes = np.zeros(9)
        mujoco.mju_quat2Mat(axes, model.body_iquat[body])
        central = axes.reshape(3, 3) @ np.diag(model.body_inertia[body]) @ axes.reshape(3, 3).T
        assert found.get_mass() == pytest.approx(model.body_mass[body], abs=1e-12)
        np.testing.assert_allclose(found.get_com(), model.body_ipos[body], atol=1e-12)
        shifted = found.Shift(found.get_com()).CalcRotationalInertia().CopyToFullMatrix3()
        np.testing.assert_allclose(shifted, central, atol=1e-12)


def test_joints_have_mujoco_s_limits_and_armature(model):
    world = DrakeWorld(model)
    for joint in range(1, model.njnt):
        name = model.joint(joint).name
        theirs = world.plant.GetJointByName(name)
        limits = [theirs.position_lower_limits()[0], theirs.position_upper_limits()[0]]
        np.testing.assert_allclose(limits, model.jnt_range[joint], atol=1e-12)
        rotor = world.plant.GetJointActuatorByName(f"{name}_rotor")
        assert rotor.calc_reflected_inertia(world.context) == model.dof_armature[model.jnt_dofadr[joint]]


@pytest.mark.parametrize("seed", range(4))
def test_bodies_stand_where_mujoco_has_them(model, seed):
    world, data = DrakeWorld(model), mujoco.MjData(model)
    data.qpos[:], data.qvel[:] = random_state(model, seed)
    mujoco.mj_forward(model, data)
    world.place(data.qpos, data.qvel)
    for body in range(1, model.nbody):
        theirs = world.plant.GetBodyByName(model.body(body).name)
        pose = world.plant.EvalBodyPoseInWorld(world.context, theirs)
        np.testing.assert_allclose(pose.translation(), data.xpos[body], atol=1e-9)
        np.testing.assert_allclose(pose.rotation().matrix(), data.xmat[body].reshape(3, 3), atol=1e-9)
        speed = world.plant.EvalBodySpatialVelocityInWorld(world.context, theirs)
        velocity = np.zeros(6)
        mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_XBODY, body, velocity, 0)
        np.testing.assert_allclose(np.r_[speed.rotational(), speed.translational()], velocity, atol=1e-9)


# Frames


@given(
    st.lists(st.floats(-3, 3), min_size=3, max_size=3).filter(lambda turn: np.linalg.norm(turn) > 1e-3),
    st.lists(st.floats(-20, 20), min_size=8, max_size=8),
)
@settings(max_examples=50, deadline=None)
def test_only_the_turning_of_the_base_changes_its_frame(turn, values):
    values, quat = np.array(values), quaternion(turn)
    turned = to_world(values, quat)
    np.testing.assert_allclose(turned[3:6], matrix(turn) @ values[3:6], atol=1e-9)
    np.testing.assert_array_equal(turned[[0, 1, 2, 6, 7]], values[[0, 1, 2, 6, 7]])
    np.testing.assert_allclose(to_body(turned, quat), values, atol=1e-9)


def test_a_turned_base_spins_about_its_own_axis():
    """About a principal axis the spin is constant: after 0.1 s the body has turned by 0.1 s of it, in its own frame."""
    start, spin, velocity = quaternion([0.4, -1.1, 2.0]), np.array([0, 2.0, 0]), np.array([0.3, -0.2, 0.1])
    _, qpos, qvel = simulate(sled(gravity=(0, 0, 0)), 100, qpos=[0, 0, 3.0, *start], qvel=[*velocity, *spin])
    np.testing.assert_allclose(qvel, [*velocity, *spin], atol=1e-5)
    np.testing.assert_allclose(qpos[:3], [0.03, -0.02, 3.01], atol=1e-9)
    expected = np.zeros(4)
    mujoco.mju_mulQuat(expected, start, quaternion(0.1 * spin))
    assert abs(expected @ qpos[3:7]) == pytest.approx(1, abs=1e-10)  # the cosine of half the angle between them


# Motion without contact


def free_motion(model, timestep, seconds=0.1):
    """Return the largest difference of positions between Drake and MuJoCo's Euler steps."""
    model.opt.timestep = timestep
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:] = random_state(model, 7)
    data.qfrc_applied[6:] = np.sin(np.arange(model.nv - 6))
    _, qpos, _ = simulate(model, round(seconds / timestep), data.qfrc_applied, data.qpos, data.qvel)
    for _ in range(round(seconds / timestep)):
        mujoco.mj_step(model, data)
    return np.abs(qpos - data.qpos).max()


def test_free_motion_is_mujoco_s_the_more_the_shorter_the_step(robot):
    model = build_scene(robot, Plane(), PhysicsConfig()).model
    errors = [free_motion(model, timestep) for timestep in (0.004, 0.002, 0.001)]
    assert errors[0] < 2e-4  # m, rad
    assert errors[1] < 0.6 * errors[0] and errors[2] < 0.6 * errors[1]


def test_one_step_with_armature_damping_gravity_and_forces_is_mujoco_s(robot):
    spec = robot.spec()
    for joint in robot.joints:
        spec.joint(joint).damping[0], spec.joint(joint).armature = 0.3, 0.02
    Plane().add_to(spec)
    model = spec.compile()
    data = mujoco.MjData(model)
    qpos, qvel = random_state(model, 3)
    data.qpos[:], data.qvel[:] = qpos, qvel
    engine = make_engine("drake", model, 1)
    rng = np.random.default_rng(0)
    for name, size in (("qfrc_applied", 2.0), ("xfrc_applied", 5.0)):
        getattr(data, name)[:] = size * rng.uniform(-1, 1, getattr(data, name).shape)
        engine.field(name)[0] = torch.from_numpy(getattr(data, name))
    engine.field("qpos")[0], engine.field("qvel")[0] = torch.from_numpy(qpos), torch.from_numpy(qvel)
    engine.step()
    mujoco.mj_step(model, data)
    np.testing.assert_allclose(engine.field("qvel")[0], data.qvel, atol=1e-3)  # the frame turns on in the step
    np.testing.assert_allclose(engine.field("qvel")[0, 6:], data.qvel[6:], atol=1e-9)


# Contact and friction, by closed forms


def test_a_robot_in_rest_presses_the_ground_with_its_weight():
    world, qpos, qvel = simulate(sled(), 300)
    forces = {geom: force for geom, force in world.contacts()}
    assert set(forces) == {1, 2, 3, 4}
    for force in forces.values():
        np.testing.assert_allclose(force, [0, 0, MASS * G / FEET], atol=1e-3)
    assert 0.05 - qpos[2] == pytest.approx(MASS * G / FEET / STIFFNESS, rel=1e-3)  # the springs' deflection
    assert np.abs(qvel).max() < 1e-5


def test_what_lands_bounces_as_hunt_and_crossley_have_it():
    """Without gravity, rebound speed ratio e after an impact at v: ln((1 + a) / (1 - a e)) = a (1 + e), a = d v."""
    speed = 0.5
    _, _, qvel = simulate(sled(2e-4, gravity=(0, 0, 0)), 400, qvel=[0, 0, -speed, 0, 0, 0])
    ratio, a = qvel[2] / speed, DISSIPATION * speed
    assert 0 < ratio < 0.5
    assert math.log((1 + a) / (1 - a * ratio)) == pytest.approx(a * (1 + ratio), rel=0.05)


def test_friction_holds_below_its_limit_and_pulls_with_it_above():
    limit = FRICTION * MASS * G
    _, rested, _ = simulate(sled(), 200)
    _, qpos, qvel = simulate(sled(), 500, [0.9 * limit, 0, 0, 0, 0, 0], rested)
    assert 0 <= qvel[0] < 5e-4 and qpos[0] < 1e-3  # what is left is the slip at which friction is full
    world, _, qvel = simulate(sled(), 500, [1.5 * limit, 0, 0, 0, 0, 0], rested)
    assert qvel[0] == pytest.approx(0.5 * (0.5 * limit / MASS), rel=0.01)
    assert sum(force[0] for _, force in world.contacts()) == pytest.approx(-limit, rel=0.01)


def test_every_environment_has_its_own_ground_friction():
    engine = make_engine("drake", sled(0.005), 2, expand=("geom_friction",))
    engine.expand("geom_friction")[:, 0, 0] = torch.tensor([0.3, 0.9], dtype=torch.float64)
    engine.field("xfrc_applied")[:, 1, 0] = 0.6 * MASS * G
    engine.step(100)
    slid, held = engine.field("qvel")[:, 0]
    assert slid == pytest.approx(0.5 * (0.6 - 0.3) * G, rel=0.05)
    assert abs(held) < 1e-3


def test_every_environment_has_its_own_masses_and_forces(robot):
    model = build_scene(robot, Plane(), PhysicsConfig()).model
    names = ("body_mass", "body_ipos", "body_inertia", "dof_armature")
    engine, data = make_engine("drake", model, 2, expand=names), mujoco.MjData(model)
    data.qpos[:], data.qvel[:] = random_state(model, 5)
    for name in ("qpos", "qvel"):
        engine.field(name)[:] = torch.from_numpy(getattr(data, name))
    engine.expand("body_mass")[1, 1] = 8.0
    engine.expand("body_ipos")[1, 3] = torch.tensor([0.02, 0.01, -0.1])
    engine.expand("body_inertia")[1, 1] = torch.tensor([0.04, 0.08, 0.09])
    engine.expand("dof_armature")[1, 6:] = 0.03
    engine.field("xfrc_applied")[1, 4, 1] = 8.0
    engine.set_const(torch.tensor([1]))
    engine.step()
    for row in range(2):
        for name in names:
            getattr(model, name)[:] = engine.expand(name)[row].numpy()
        mujoco.mj_setConst(model, mujoco.MjData(model))
        mujoco.mj_resetData(model, data)
        data.qpos[:], data.qvel[:] = random_state(model, 5)
        data.xfrc_applied[:] = engine.field("xfrc_applied")[row]
        mujoco.mj_step(model, data)
        np.testing.assert_allclose(engine.field("qvel")[row, 6:], data.qvel[6:], atol=1e-9)
    assert (engine.field("qvel")[0] - engine.field("qvel")[1]).abs().max() > 0.01


def test_a_joint_stops_at_its_limit():
    compiled = mujoco.MjModel.from_xml_string(ARM.format(joint='range="-0.5 0.5" limited="true"'))
    compiled.jnt_range[1] = -0.5, 0.5
    _, qpos, qvel = simulate(compiled, 500, [0] * 6 + [1.0])
    assert qpos[7] == pytest.approx(0.5, abs=0.01) and abs(qvel[6]) < 1e-3


def test_dry_friction_holds_a_joint_and_slows_it():
    compiled = mujoco.MjModel.from_xml_string(ARM.format(joint='frictionloss="0.4"'))
    _, qpos, _ = simulate(compiled, 500, [0] * 6 + [0.3])
    assert 0 <= qpos[7] < 0.01  # it creeps by less than SLOWEST
    _, _, qvel = simulate(compiled, 500, [0] * 6 + [0.5])
    assert qvel[6] == pytest.approx((0.5 - 0.4) / (0.02 + 0.03), rel=0.05)  # after one second


# The engine


def test_a_standing_robot_s_feet_carry_it(robot, model):
    engine = make_engine("drake", model, 1)
    target = torch.tensor(robot.default_pose, dtype=torch.float64)
    qpos, qvel, ctrl = (engine.field(name) for name in ("qpos", "qvel", "ctrl"))
    feet = [engine.sensor(f"foot_force_{foot.name}") for foot in robot.feet]
    qpos[:, 7:] = target
    for _ in range(300):
        ctrl[:] = 60 * (target - qpos[:, 7:]) - 2 * qvel[:, 6:]
        engine.step()
    total = -sum(feet)[0]  # a contact sensor tells what the foot exerts
    weight = float(model.body_mass.sum()) * G
    np.testing.assert_allclose(total, [0, 0, weight], atol=0.005 * weight)
    assert qpos[0, 2] > 0.27 and qvel.abs().max() < 0.01


def test_a_run_goes_on_exactly_from_its_state(model):
    runs = []
    for interrupted in (False, True):
        engine = make_engine("drake", model, 1)
        engine.field("ctrl")[:] = 1.0
        engine.step(30)
        if interrupted:
            state = engine.state_dict()
            engine = make_engine("drake", model, 1)
            engine.load_state_dict(state)
        engine.step(30)
        runs.append(torch.cat([engine.field("qpos"), engine.field("qvel")], 1))
    assert torch.equal(*runs)


def test_a_simulation_that_fails_leaves_the_others_alone(model):
    alone, engine = make_engine("drake", model, 1), make_engine("drake", model, 2)
    engine.field("qfrc_applied")[0, 8] = torch.nan
    for run in (alone, engine):
        run.step(5)
    assert engine.finite().tolist() == [False, True]
    assert engine.diagnostics()["nonfinite"] == 1
    assert torch.equal(engine.field("qpos")[1], alone.field("qpos")[0])
    engine.reset(torch.tensor([0]))
    engine.step(5)
    assert engine.finite().all()
    assert torch.equal(engine.field("qpos")[0], alone.field("qpos")[0])


def test_the_task_runs(robot):
    task = load_task("velocity_flat")
    env = TaskEnv(replace(task, randomization={}), robot, EnvConfig(num_envs=2, engine="drake"))
    env.reset()
    for _ in range(10):
        result = env.step(torch.zeros(2, env.num_actions))
    assert result.valid.all() and not result.terminated.any()
    assert env.state.foot_contact.sum() >= 4 and not env.state.termination_contact.any()
    assert all(value.isfinite().all() for value in result.obs.values())
    env.close()


def test_only_flat_ground_is_accepted():
    spec = mujoco.MjSpec.from_string(SLED)
    spec.worldbody.add_geom(name="step", type=mujoco.mjtGeom.mjGEOM_BOX, size=(1, 1, 0.1), contype=1)
    with pytest.raises(ConfigError, match="flat"):
        DrakeWorld(spec.compile())


def test_a_missing_package_is_named_with_what_to_type(monkeypatch):
    monkeypatch.delitem(sys.modules, "sim.engines.drake_world")
    monkeypatch.setitem(sys.modules, "pydrake.geometry", None)
    with pytest.raises(ConfigError, match=r"pip install '.\[sim2sim\]'"):
        make_engine("drake", sled(), 1)
