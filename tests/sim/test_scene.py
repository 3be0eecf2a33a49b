import dataclasses

import mujoco
import numpy as np
import pytest

from robolearn.config import ConfigError, parse
from sim.robots.robot import Foot
from sim.scene import PhysicsConfig, build_scene
from sim.terrain import Terrain, TerrainConfig

SINK = 0.04  # m, deep enough for all four feet: in the start pose the front ones are lower


@pytest.fixture(scope="module")
def scene(a1):
    return build_scene(a1, Terrain(TerrainConfig()), PhysicsConfig())


def test_one_plain_torque_motor_per_joint_in_policy_order(scene, a1):
    model = scene.model
    assert [model.joint(model.actuator_trnid[i, 0]).name for i in range(model.nu)] == list(a1.joints)
    assert np.array_equal(model.actuator_gear[:, 0], np.ones(12))
    assert not model.actuator_ctrllimited.any()
    assert not model.actuator_forcelimited.any()
    data = mujoco.MjData(model)
    data.ctrl[:] = np.linspace(-30, 30, 12)
    mujoco.mj_forward(model, data)
    assert np.allclose(data.qfrc_actuator[scene.joint_qvel], data.ctrl)


def test_addresses_follow_the_robot_s_own_order_of_joints(a1):
    order = tuple(reversed(range(12)))
    shuffled = dataclasses.replace(
        a1, **{name: tuple(getattr(a1, name)[i] for i in order) for name in ("joints", "armature", "joint_friction")},
        joint_damping=a1.joint_damping,
    )  # fmt: skip
    scene = build_scene(shuffled, Terrain(TerrainConfig()), PhysicsConfig())
    names = [scene.model.joint(scene.model.dof_jntid[dof]).name for dof in scene.joint_qvel]
    assert names == list(shuffled.joints)
    assert [scene.model.jnt_qposadr[scene.model.joint(name).id] for name in names] == scene.joint_qpos.tolist()


def test_physics_entries_reach_the_model(a1):
    config = PhysicsConfig(0.004, 5, "implicitfast", 7, 9, "elliptic")
    option = build_scene(a1, Terrain(TerrainConfig()), config).model.opt
    assert option.timestep == 0.004
    assert option.integrator == mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    assert (option.iterations, option.ls_iterations) == (7, 9)
    assert option.cone == mujoco.mjtCone.mjCONE_ELLIPTIC
    assert option.disableflags & mujoco.mjtDisableBit.mjDSBL_AUTORESET


@pytest.mark.parametrize("kind", ["flat", "rough"])
def test_the_ground_s_friction_decides_in_every_contact(a1, kind):
    terrain = Terrain(TerrainConfig(kind=kind, levels=1, columns=1, border=1.0))
    scene = build_scene(a1, terrain, PhysicsConfig())
    model = scene.model
    model.geom_friction[:, 0] = 0.9
    model.geom_friction[scene.ground_geom, 0] = 0.123
    data = mujoco.MjData(model)
    data.qpos[:3] = terrain.origins[0, 0].numpy()
    data.qpos[2] += a1.base_height - SINK
    data.qpos[scene.joint_qpos] = a1.default_pose
    mujoco.mj_forward(model, data)
    assert data.ncon >= 4
    for contact in data.contact[: data.ncon]:
        assert scene.ground_geom in contact.geom
        assert contact.friction[0] == pytest.approx(0.123)
        assert contact.dim == 3


def columns(data, where):
    return data.sensordata[where].reshape(-1, 3)


def test_sensors_are_where_the_scene_says(scene, a1):
    model, data = scene.model, mujoco.MjData(scene.model)
    data.qpos[2] = a1.base_height - SINK
    data.qpos[scene.joint_qpos] = a1.default_pose
    data.qvel[:] = np.random.default_rng(0).normal(size=model.nv)
    mujoco.mj_forward(model, data)
    feet = columns(data, scene.foot_position)
    for i, foot in enumerate(a1.feet):
        geom = model.geom(foot.object)
        assert np.allclose(feet[i], data.geom_xpos[geom.id])
        velocity = np.zeros(6)
        mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_GEOM, geom.id, velocity, 0)
        assert np.allclose(columns(data, scene.foot_velocity)[i], velocity[3:])
        force = np.zeros(6)
        total = np.zeros(3)
        for k, contact in enumerate(data.contact[: data.ncon]):
            if geom.id in contact.geom:
                mujoco.mj_contactForce(model, data, k, force)
                total += contact.frame.reshape(3, 3).T @ force[:3]
        assert np.linalg.norm(total) > 1.0
        assert np.allclose(np.abs(columns(data, scene.foot_force)[i]), np.abs(total), atol=1e-6)
    widths = [scene.termination_force, scene.undesired_force]
    assert [where.stop - where.start for where in widths] == [3, 3 * len(a1.undesired_contact_bodies)]
    assert not columns(data, scene.termination_force).any()
    assert scene.undesired_force.stop == len(data.sensordata)


def test_contact_of_other_bodies_is_told_apart(scene, a1):
    model, data = scene.model, mujoco.MjData(scene.model)
    data.qpos[2:7] = 0.05, 0, 1, 0, 0  # on its back, legs up
    data.qpos[scene.joint_qpos] = a1.default_pose
    mujoco.mj_forward(model, data)
    assert np.linalg.norm(columns(data, scene.termination_force)[0]) > 1.0
    assert not columns(data, scene.foot_force).any()


def test_a_foot_may_be_a_geom_a_body_or_a_site(a1):
    spec = a1.spec()
    assert {foot.kind for foot in a1.feet} == {"geom"}

    class WithSite:
        def build(self):
            model = a1.source.build()
            model.body("FR_calf").add_site(name="sole", pos=(0.01, 0, -0.2))
            return model

    feet = (Foot("FL", "body", "FL_calf"), Foot("FR", "site", "sole"), *a1.feet[2:])
    scene = build_scene(
        dataclasses.replace(a1, feet=feet, source=WithSite()), Terrain(TerrainConfig()), PhysicsConfig()
    )
    model, data = scene.model, mujoco.MjData(scene.model)
    data.qpos[2] = a1.base_height - SINK
    data.qpos[scene.joint_qpos] = a1.default_pose
    mujoco.mj_forward(model, data)
    assert np.allclose(columns(data, scene.foot_position)[0], data.body("FL_calf").xpos)
    assert np.allclose(columns(data, scene.foot_position)[1], data.site("sole").xpos)
    assert (np.linalg.norm(columns(data, scene.foot_force), axis=1) > 1.0).all()
    assert spec.body("FL_calf") is not None


@pytest.mark.parametrize("thick", [False, True])
def test_a_foot_s_own_contact_is_not_one_of_the_body_it_belongs_to(a1, thick):
    """The calf should not touch the ground, its foot must. Shanks thicker than the feet do touch it."""

    class Legs:
        def build(self):
            model = a1.source.build()
            for geom in model.geoms:
                if thick and geom.name.endswith("_calf"):
                    geom.size[0] = 0.08
            return model

    scene = build_scene(dataclasses.replace(a1, source=Legs()), Terrain(TerrainConfig()), PhysicsConfig())
    model, data = scene.model, mujoco.MjData(scene.model)
    data.qpos[2] = a1.base_height - SINK
    data.qpos[scene.joint_qpos] = a1.default_pose
    mujoco.mj_forward(model, data)
    assert columns(data, scene.foot_force).any(1).tolist() == [not thick] * 4
    assert columns(data, scene.undesired_force).any(1).tolist() == [False, thick] * 4  # thigh and calf of each leg


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"timestep": 0.0}, r"timestep must be in \(0, 0.02\]"),
        ({"decimation": 0}, "at least 1"),
        ({"integrator": "RK4"}, "integrator: 'RK4' is not one of the choices"),
    ],
)
def test_mistakes_are_named(entries, message):
    with pytest.raises(ConfigError, match=message):
        parse(PhysicsConfig, entries)
