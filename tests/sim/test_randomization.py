"""Each randomisation: only the given environments change, within range, and the physics follows."""

import dataclasses

import mujoco
import numpy as np
import pytest
import torch

from sim.actuators import FRICTION_SPEED
from sim.randomization import randomization

N, IDS = 64, torch.arange(0, 64, 2)
OTHERS = torch.arange(1, 64, 2)


@pytest.fixture
def draw(make_env):
    """Draw a randomisation for all, then again for ``IDS``; return the environment and what ``read`` gives."""

    def _draw(name, read, **params):
        env = make_env({"randomization": {name: params}}, num_envs=N)
        first = read(env).clone()
        env._restart(IDS)
        second = read(env)
        assert torch.equal(first[OTHERS], second[OTHERS])
        assert not torch.equal(first[IDS], second[IDS])
        return env, second

    return _draw


def assert_spans(values, low, high):
    """Whether values fill the interval [low, high] about uniformly."""
    width = high - low
    assert values.min() >= low - 1e-9
    assert values.max() <= high + 1e-9
    assert values.min() < low + 0.1 * width
    assert values.max() > high - 0.1 * width
    assert float(values.mean()) == pytest.approx((low + high) / 2, abs=0.12 * width)


def model_of(env, i, **fields):
    """The scene's model with the given fields of environment ``i``, its constants recomputed by plain MuJoCo."""
    model = mujoco.MjSpec.compile(_spec_of(env))
    for name in fields:
        getattr(model, name)[:] = env.engine.expand(name)[i].numpy().reshape(getattr(model, name).shape)
    mujoco.mj_setConst(model, mujoco.MjData(model))
    return model


def _spec_of(env):
    spec = env.robot.spec()
    env.terrain.add_to(spec)
    return spec


def test_friction(draw):
    env, values = draw("friction", lambda e: e.engine.expand("geom_friction")[:, e.scene.ground_geom], range=[0.2, 1.2])
    assert_spans(values[:, 0], 0.2, 1.2)
    nominal = torch.tensor(env.scene.model.geom_friction[env.scene.ground_geom])
    assert torch.equal(values[:, 1:], nominal[1:].expand(N, 2))  # torsion and rolling stay
    everything = env.engine.expand("geom_friction").clone()
    everything[:, env.scene.ground_geom] = nominal
    assert torch.equal(everything, torch.tensor(env.scene.model.geom_friction).expand(N, -1, 3))


def test_friction_decides_whether_the_robot_slides(make_env, a1):
    """A horizontal pull of half the weight: more than a friction of 0.2 holds, less than one of 1.0."""
    stiff = dataclasses.replace(a1, kp=(300.0,) * 12, kd=(5.0,) * 12)
    env = make_env({"randomization": {"friction": {"range": [0.5, 0.5]}}}, robot=stiff)
    env.engine.expand("geom_friction")[:, env.scene.ground_geom, 0] = torch.tensor([0.2, 1.0], dtype=torch.float64)
    for _ in range(20):
        env.step(torch.zeros(2, 12))
    weight = env.scene.model.body_subtreemass[0] * 9.81
    start = env.state.base_position[:, 0].clone()
    env.disturbances.external[:, 0] = 0.5 * weight
    for _ in range(20):
        env.step(torch.zeros(2, 12))
    moved = env.state.base_position[:, 0] - start
    # 0.5 (0.5 - 0.2) g t^2 with t = 0.4 s is 0.24 m; feet that hold leave only the legs' give
    assert 0.2 < moved[0] < 0.3
    assert moved[1] < 0.06


def test_payload(draw):
    env, mass = draw("payload", lambda e: e.engine.expand("body_mass")[:, e.scene.base_body], range=[-1.0, 2.0])
    model, base = env.scene.model, env.scene.base_body
    assert_spans(mass - model.body_mass[base], -1.0, 2.0)
    inertia = env.engine.expand("body_inertia")[:, base]
    ratio = (mass / model.body_mass[base]).unsqueeze(1)
    assert torch.allclose(inertia, torch.tensor(model.body_inertia[base]) * ratio)
    legs = [i for i in range(model.nbody) if i != base]
    assert torch.equal(env.engine.expand("body_mass")[:, legs], torch.tensor(model.body_mass[legs]).expand(N, -1))


def test_payload_never_makes_the_base_weightless(draw):
    env, mass = draw("payload", lambda e: e.engine.expand("body_mass")[:, e.scene.base_body], range=[-9.0, 1.0])
    assert mass.min() == pytest.approx(0.1 * env.scene.model.body_mass[env.scene.base_body])


def test_link_mass(draw):
    env, mass = draw("link_mass", lambda e: e.engine.expand("body_mass"), range=[0.9, 1.1])
    model, base = env.scene.model, env.scene.base_body
    links = [i for i in range(1, model.nbody) if i != base]
    factor = mass[:, links] / torch.tensor(model.body_mass[links])
    assert_spans(factor, 0.9, 1.1)
    assert (factor.std(1) > 0.01).all()  # each link has its own
    inertia = env.engine.expand("body_inertia")
    assert torch.allclose(inertia[:, links], torch.tensor(model.body_inertia[links]) * factor.unsqueeze(2))
    assert torch.equal(mass[:, base], torch.full((N,), model.body_mass[base], dtype=mass.dtype))


def test_constants_derived_from_masses_follow(make_env):
    ranges = {
        "payload": {"range": [-1.0, 2.0]},
        "center_of_mass": {"range": [-0.05, 0.05]},
        "armature": {"range": [0.5, 2]},
    }
    env = make_env({"randomization": ranges}, num_envs=3)
    env._restart(torch.tensor([0, 2]))
    for i in range(3):
        model = model_of(env, i, body_mass=0, body_inertia=0, body_ipos=0, dof_armature=0)
        for constant in ("body_subtreemass", "dof_invweight0", "body_invweight0"):
            expected = torch.tensor(getattr(model, constant))
            actual = env.engine.expand(constant)[i].reshape(expected.shape)
            assert torch.allclose(actual, expected, rtol=1e-6), (constant, i)
    assert env.engine.expand("body_subtreemass")[:, 0].unique().numel() == 3


def test_payload_weighs_on_the_feet(make_env):
    env = make_env({"randomization": {"payload": {"range": [3.0, 3.0]}}})
    env.engine.expand("body_mass")[1, env.scene.base_body] -= 3.0
    env.engine.set_const()
    force = torch.zeros(2)
    for k in range(250):
        env.step(torch.zeros(2, 12))
        force += env.state.foot_force.sum(1) / 50 if k >= 200 else 0
    assert float(force[0] - force[1]) == pytest.approx(3.0 * 9.81, rel=0.03)


def test_center_of_mass(draw):
    env, place = draw(
        "center_of_mass", lambda e: e.engine.expand("body_ipos")[:, e.scene.base_body], range=[-0.05, 0.05]
    )
    shift = place - torch.tensor(env.scene.model.body_ipos[env.scene.base_body])
    for axis in range(3):
        assert_spans(shift[:, axis], -0.05, 0.05)


def test_armature(draw):
    env, values = draw("armature", lambda e: e.engine.expand("dof_armature"), range=[0.8, 1.2])
    joints = env.scene.joint_qvel
    assert_spans(values[:, joints] / torch.tensor(env.scene.model.dof_armature[joints]), 0.8, 1.2)
    assert (values[:, :6] == 0).all()  # the free base has none


def test_joint_friction(draw):
    _, values = draw("joint_friction", lambda e: e.actuators.friction, range=[0.0, 0.4])
    assert_spans(values, 0.0, 0.4)


def test_joint_friction_slows_a_joint_down_by_its_torque(make_env):
    """In free fall, with motors off, 0.3 N m against 0.5 N m of friction only creeps; without it the leg swings."""
    env = make_env(
        {"randomization": {"joint_friction": {"range": [0.5, 0.5]}, "initial_base": {"height": [5.0, 5.0]}}}, num_envs=2
    )
    env.actuators.friction[1] = 0
    env.actuators.kp[:] = 0
    env.actuators.kd[:] = 0
    env.engine.field("qfrc_applied")[:, env.scene.joint_qvel] = 0.3
    for _ in range(5):
        env.step(torch.zeros(2, 12))
    speed = env.state.joint_velocity.abs().amax(1)
    assert speed[0] < FRICTION_SPEED
    assert speed[1] > 1.0


def test_motor_strength(draw):
    _, values = draw("motor_strength", lambda e: e.actuators.strength, range=[0.9, 1.1])
    assert_spans(values, 0.9, 1.1)


def test_gains(draw):
    env, values = draw(
        "gains", lambda e: torch.stack((e.actuators.kp, e.actuators.kd), 1), kp=[0.9, 1.1], kd=[0.5, 0.7]
    )
    assert_spans(values[:, 0] / env.actuators.nominal_kp, 0.9, 1.1)
    assert_spans(values[:, 1] / env.actuators.nominal_kd, 0.5, 0.7)


def test_gains_do_not_wander_from_draw_to_draw(make_env):
    """Factors apply to the nominal values, not to those of the last episode."""
    ranges = {"gains": {"kp": [2.0, 2.0]}, "payload": {"range": [1.0, 1.0]}, "armature": {"range": [2.0, 2.0]}}
    env = make_env({"randomization": ranges})
    mass = env.engine.expand("body_mass").clone()
    for _ in range(3):
        env.reset()
    assert torch.equal(env.actuators.kp, 2 * env.actuators.nominal_kp.expand(2, -1))
    assert torch.equal(env.engine.expand("body_mass"), mass)
    assert torch.allclose(env.engine.expand("dof_armature")[:, 6:], torch.full((2, 12), 0.02, dtype=torch.float64))


def test_initial_joints(draw):
    env, values = draw(
        "initial_joints",
        lambda e: torch.cat((e.state.joint_position, e.state.joint_velocity), 1),
        scale=[0.5, 1.5],
        velocity=[-0.3, 0.3],
    )
    assert_spans(values[:, :12] / env.state.default_pose, 0.5, 1.5)
    assert_spans(values[:, 12:], -0.3, 0.3)


def test_initial_joints_with_an_offset(draw):
    env, values = draw("initial_joints", lambda e: e.state.joint_position, offset=[-0.1, 0.1])
    assert_spans(values - env.state.default_pose, -0.1, 0.1)


def test_initial_joints_stay_within_the_limits(draw, a1):
    env, values = draw("initial_joints", lambda e: e.state.joint_position, scale=[0.0, 3.0])
    limit = env.state.position_limit
    assert (values >= limit[:, 0] - 1e-6).all()
    assert (values <= limit[:, 1] + 1e-6).all()
    assert (values[:, 2] == limit[2, 1]).any()  # the calf cannot straighten


def test_initial_base(draw):
    env, _ = draw(
        "initial_base",
        lambda e: torch.cat((e.engine.field("qpos")[:, :7], e.engine.field("qvel")[:, :6]), 1),
        xy=[-0.5, 0.5],
        height=[0.1, 0.3],
        yaw=[-1.0, 1.0],
        linear_velocity=[-0.4, 0.4],
        angular_velocity=[-0.6, 0.6],
    )
    s = env.state
    assert_spans(s.base_position[:, :2], -0.5, 0.5)
    assert_spans(s.base_position[:, 2] - env.robot.base_height, 0.1, 0.3)
    assert_spans(s.heading, -1.0, 1.0)
    qvel = env.engine.field("qvel")
    assert_spans(qvel[:, :3], -0.4, 0.4)
    assert_spans(qvel[:, 3:6], -0.6, 0.6)
    assert torch.allclose(s.projected_gravity, torch.tensor([0.0, 0, -1]).expand(N, 3), atol=1e-6)  # level


def test_every_randomisation_has_a_test_here():
    tested = {
        "friction", "payload", "link_mass", "center_of_mass", "armature", "joint_friction", "motor_strength", "gains",
        "initial_joints", "initial_base",
    }  # fmt: skip
    assert set(randomization) == tested


def test_without_randomisation_every_environment_is_the_model(make_env):
    env = make_env(num_envs=3)
    assert env._terms.model_fields == ()
    qpos = env.engine.field("qpos")
    assert np.allclose(qpos[:, :7], [0, 0, env.robot.base_height, 1, 0, 0, 0])
    assert torch.allclose(qpos[:, 7:], env._default_pose.expand(3, -1))
    assert (env.engine.field("qvel") == 0).all()
