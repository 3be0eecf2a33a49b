"""PyBullet against MuJoCo where both must agree (model, free motion), and against mechanics in contact."""

import importlib.metadata
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch

pybullet = pytest.importorskip("pybullet")

from robolearn.config import ConfigError  # noqa: E402
from sim.engines import make_engine  # noqa: E402
from sim.engines.pybullet_world import BASE, PybulletWorld, Shape, _wheels  # noqa: E402
from sim.environment import EnvConfig, TaskEnv  # noqa: E402
from sim.ground import Plane  # noqa: E402
from sim.robots import load_robot  # noqa: E402
from sim.robots.urdf_export import export_urdf  # noqa: E402
from sim.scene import PhysicsConfig, build_scene  # noqa: E402
from sim.tasks import load_task  # noqa: E402

torch.set_num_threads(1)
EXAMPLES = Path(__file__).parents[3] / "examples" / "robots"
STAND = torch.tensor(load_robot("a1").default_pose, dtype=torch.float64)
WEIGHT = 12.453 * 9.81


def scene(name="a1", timestep=0.001):
    return build_scene(load_robot(name), Plane(), PhysicsConfig(timestep=timestep)).model


@pytest.fixture(scope="module", params=["a1", "go2", "bruce", "upkie"])
def model(request):
    if request.param != "upkie":
        return scene(request.param)
    try:
        importlib.metadata.distribution("upkie_description")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("upkie_description is not installed")
    return scene(EXAMPLES / "upkie.yaml")


@pytest.fixture
def world(model):
    made = PybulletWorld(model)
    yield made
    made.close()


def random_state(model, seed, speed=1.0):
    """A tilted robot in the air with its joints within their limits."""
    rng, data = np.random.default_rng(seed), mujoco.MjData(model)
    data.qpos[:3] = rng.uniform((-1, -1, 2), (1, 1, 4))
    data.qpos[3:7] = rng.normal(size=4)
    mujoco.mju_normalize4(data.qpos[3:7])
    low, high = np.where(model.jnt_limited[1:, None], model.jnt_range[1:], [-1, 1]).T
    data.qpos[7:] = low + (high - low) * rng.uniform(0.4, 0.6, len(low))
    data.qvel[:] = rng.uniform(-speed, speed, model.nv)
    return data


def test_every_link_has_its_mass_centre_inertia_and_friction(model, world):
    total = 0.0
    for number, link in world._links.items():
        about = pybullet.getDynamicsInfo(world._robot, number, **world._client)
        body = link.body
        total += about[0]
        assert about[0] == model.body_mass[body]
        assert about[2] == pytest.approx(model.body_inertia[body], rel=1e-12)
        assert about[3] == pytest.approx(model.body_ipos[body] - link.offset, abs=1e-12)
        assert abs(np.roll(about[4], 1) @ model.body_iquat[body]) == pytest.approx(1, abs=1e-9)
        if link.geoms:
            assert about[1] == model.geom("floor").friction[0]
        assert about[5] == 0
    assert total == pytest.approx(model.body_mass.sum(), abs=1e-12)


def test_joints_keep_names_and_limits(model, world):
    urdf = export_urdf(model)
    assert len(world._joints) == len(urdf.joints)
    for number, joint in zip(world._joints, urdf.joints, strict=True):
        about = pybullet.getJointInfo(world._robot, number, **world._client)
        assert about[1].decode() == joint.name
        assert about[12].decode() == joint.child
        if joint.limits is not None:
            assert about[8:10] == joint.limits


def test_random_poses_agree_for_every_body(model, world):
    for seed in range(10):
        data = random_state(model, seed)
        mujoco.mj_forward(model, data)
        world.place(data.qpos, data.qvel)
        for number, link in world._links.items():
            body = link.body
            if number == BASE:
                place, axes = pybullet.getBasePositionAndOrientation(world._robot, **world._client)
                speed = pybullet.getBaseVelocity(world._robot, **world._client)
            else:
                state = pybullet.getLinkState(world._robot, number, 1, 1, **world._client)
                place, axes, speed = state[0], state[1], state[6:8]
            turned = np.zeros(9)
            mujoco.mju_quat2Mat(turned, np.roll(axes, 1))
            assert place == pytest.approx(data.xipos[body], abs=1e-6)
            assert turned == pytest.approx(data.ximat[body], abs=1e-6)
            expected = np.zeros(6)
            inertial = mujoco.mjtObj.mjOBJ_BODY
            mujoco.mj_objectVelocity(model, data, inertial, body, expected, 0)
            assert speed[1] == pytest.approx(expected[:3], abs=1e-6)
            assert speed[0] == pytest.approx(expected[3:], abs=1e-6)


def run_free(timestep, duration=0.1, **changes):
    """Largest difference to MuJoCo in positions and velocities after a flight in which everything pushes."""
    model = scene(timestep=timestep)
    model.jnt_limited[:] = 0
    for name, value in changes.items():
        getattr(model, name)[6:] = value
    mujoco.mj_setConst(model, mujoco.MjData(model))
    data, rng = random_state(model, 0, speed=2.0), np.random.default_rng(1)
    data.ctrl[:] = rng.uniform(-1, 1, model.nu)
    data.qfrc_applied[:] = rng.uniform(-1, 1, model.nv)
    data.xfrc_applied[1:] = rng.uniform(-3, 3, (model.nbody - 1, 6))
    engine = make_engine("pybullet", model, 1)
    for name in ("qpos", "qvel", "ctrl", "qfrc_applied", "xfrc_applied"):
        engine.field(name)[0] = torch.from_numpy(getattr(data, name))
    steps = round(duration / timestep)
    engine.step(steps)
    for _ in range(steps):
        mujoco.mj_step(model, data)
    engine.close()
    return [float(np.abs(engine.field(n)[0].numpy() - getattr(data, n)).max()) for n in ("qpos", "qvel")]


@pytest.mark.parametrize("changes", [{}, {"dof_armature": 0.0}, {"dof_armature": 0.05}, {"dof_damping": 0.5}])
def test_free_motion_is_mujoco_s(changes):
    """Armature by rotors, damping by larger rotors and a force; joints reach more than 10 rad/s."""
    position, velocity = run_free(0.001, **changes)
    assert position < 1e-5
    assert velocity < 5e-4


def test_free_motion_converges_with_the_time_step():
    coarse, fine = run_free(0.004), run_free(0.0005)
    assert fine[0] < coarse[0] / 4
    assert fine[1] < coarse[1] / 4


def test_armature_matters():
    """Planted fault: a world whose rotors are not geared to its joints is far away, so the tests above do see them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PybulletWorld, "_add_rotors", lambda self, inertia: self._load(_wheels(inertia), fixed=True))
        assert run_free(0.001)[1] > 0.1


def test_dry_friction_holds_a_joint_up_to_its_size_and_slows_it():
    """A wheel of inertia I on a heavy base: no motion below the friction; above, (torque - friction) / I."""
    model = mujoco.MjModel.from_xml_string(
        """<mujoco><option gravity="0 0 0" timestep="0.001"/><worldbody><geom type="plane" size="1 1 1"/>
        <body pos="0 0 1"><freejoint/><inertial pos="0 0 0" mass="1e4" diaginertia="1e4 1e4 1e4"/>
        <body name="wheel"><joint name="axle" axis="0 0 1" frictionloss="0.5"/>
        <inertial pos="0 0 0" mass="1" diaginertia="0.1 0.1 0.1"/></body></body></worldbody>
        <actuator><motor joint="axle"/></actuator></mujoco>"""
    )
    engine = make_engine("pybullet", model, 2)
    engine.field("ctrl")[:, 0] = torch.tensor([0.49, 0.8])
    engine.step(200)
    assert engine.field("qvel")[0, 6].abs() < 1e-9
    assert engine.field("qvel")[1, 6].item() == pytest.approx((0.8 - 0.5) / 0.1 * 0.2, rel=1e-3)
    engine.close()


def test_limits_hold_a_joint():
    model = scene()
    engine = make_engine("pybullet", model, 1)
    engine.field("qpos")[0, 2] = 5
    engine.field("qpos")[0, 7:] = STAND
    engine.field("ctrl")[0, 2] = 5
    engine.step(300)
    assert engine.field("qpos")[0, 9].item() == pytest.approx(model.joint("FL_calf_joint").range[1], abs=0.01)
    engine.close()


def test_a_falling_robot_accelerates_by_g_and_a_pushed_one_by_force_over_mass():
    engine = make_engine("pybullet", scene(), 3)
    engine.field("qpos")[:, 2] = 5
    engine.field("qpos")[:, 7:] = STAND
    engine.field("qpos")[2, 3:7] = torch.tensor([0.5, 0.5, 0.5, 0.5])
    engine.field("xfrc_applied")[1:, 1, 1] = 30.0
    com, acceleration = engine.field("subtree_com"), engine.field("qacc")
    engine.forward()
    start = com[:, 0].clone()
    engine.step(100)
    moved = (com[:, 0] - start) / (0.1 * 0.101 / 2)  # semi-implicit Euler: h^2 n (n + 1) / 2
    assert moved[0].tolist() == pytest.approx([0, 0, -9.81], abs=1e-6)
    for row in (1, 2):
        assert moved[row].tolist() == pytest.approx([0, 30 * 9.81 / WEIGHT, -9.81], abs=1e-4)
    assert acceleration[0, 2].item() == pytest.approx(-9.81, abs=1e-6)
    engine.close()


def standing(friction=1.0, count=1, seconds=0.5):
    """An A1 that has stood for a while on stiff joints, and a function that lets it stand on."""
    model = scene(timestep=0.002)
    model.geom("floor").friction[0] = friction
    engine = make_engine("pybullet", model, count)
    qpos, qvel, ctrl = (engine.field(name) for name in ("qpos", "qvel", "ctrl"))
    qpos[:, 2] = load_robot("a1").base_height
    qpos[:, 7:] = STAND
    engine.field("sensordata")

    def stand(time):
        for _ in range(round(time / 0.002)):
            ctrl[:] = 60 * (STAND - qpos[:, 7:]) - 1.5 * qvel[:, 6:]
            engine.step()

    stand(seconds)
    return engine, stand


def feet(engine, kind):
    return torch.stack([engine.sensor(f"foot_{kind}_{leg}")[0] for leg in ("FL", "FR", "RL", "RR")])


def test_a_standing_robot_presses_its_weight_on_the_ground_with_its_feet():
    engine, stand = standing()
    forces = []
    for _ in range(50):
        stand(0.002)
        forces.append(feet(engine, "force"))
    mean = torch.stack(forces).mean(0)
    assert mean[:, 2].sum().item() == pytest.approx(-WEIGHT, rel=0.03)  # as MuJoCo: what the foot does to the ground
    assert (mean[:, 2] < -20).all()
    assert engine.field("qpos")[0, 2] > 0.28
    others = ["termination_force_trunk", "undesired_force_FL_calf", "undesired_force_FL_thigh"]
    assert not any(engine.sensor(name).any() for name in others)
    engine.close()


@pytest.mark.parametrize("direction", [(1.0, 0.0), (0.6, 0.8)])
def test_friction_holds_below_its_cone_and_slides_at_it(direction):
    """Held: the ground returns the push. Sliding: friction is ``mu`` times the normal force, in every direction."""
    push = 20 * torch.tensor(direction, dtype=torch.float64)
    for friction, slides in ((1.0, False), (0.1, True), (0.0, True)):
        engine, stand = standing(friction)
        engine.field("xfrc_applied")[0, 1, :2] = push
        stand(0.1)
        start = feet(engine, "position").clone()
        stand(0.1)
        moved = (feet(engine, "position") - start)[:, :2] @ torch.tensor(direction, dtype=torch.float64)
        force = feet(engine, "force")
        ratio = force[:, :2].norm(dim=1) / -force[:, 2]
        if slides:
            assert (moved > 0.005).all()
            assert ratio.tolist() == pytest.approx([friction] * 4, abs=1e-6)
        else:
            assert (moved < 0.004).all()
            assert (ratio < 0.9).all()
        engine.close()


def test_friction_of_one_environment_is_its_own():
    model = scene()
    engine = make_engine("pybullet", model, 2, expand=("geom_friction", "body_mass"))
    engine.expand("geom_friction")[1, model.geom("floor").id, 0] = 0.3
    engine.expand("body_mass")[1, 1] += 2
    engine.forward()
    for row, friction, mass in ((0, 1.0, 4.713), (1, 0.3, 6.713)):
        world = engine._worlds[row]
        about = pybullet.getDynamicsInfo(world._robot, BASE, **world._client)
        assert (about[0], about[1]) == (pytest.approx(mass), friction)
    engine.close()


@pytest.mark.parametrize("place", ["base", "child"])
def test_contacts_belong_to_the_nearest_geom(place):
    """A shank lies on its foot and its other end: each carries half of the weight, which is in the middle."""
    lying = """<inertial pos="0.1 0 0" mass="1" diaginertia="1e-3 2e-3 2e-3"/>
      <geom name="shank" type="capsule" size=".01" fromto="0 0 0 .17 0 0" contype="0"/>
      <geom name="foot" size=".02" pos=".2 0 0" contype="0"/>"""
    if place == "child":
        lying = f"""<inertial pos="0.1 0 0" mass="1e-3" diaginertia="1e-6 1e-6 1e-6"/>
          <body name="child" pos="0 0 0">{lying}</body>"""
    model = mujoco.MjModel.from_xml_string(
        f"""<mujoco><option timestep="0.002"/><worldbody><geom type="plane" size="1 1 1"/>
        <body pos="0.3 0.2 0.03" quat="1 0 0 1"><freejoint/>{lying}</body></worldbody>
        <sensor><contact name="shank" geom1="shank" data="force" reduce="netforce" num="1"/>
        <contact name="foot" geom1="foot" data="force" reduce="netforce" num="1"/></sensor></mujoco>"""
    )
    engine = make_engine("pybullet", model, 1)
    engine.field("sensordata")
    engine.step(500)
    forces = torch.cat([engine.sensor(name) for name in ("shank", "foot")])
    weight = -9.81 * model.body_mass.sum()
    assert forces[:, 2].tolist() == pytest.approx([weight / 2] * 2, rel=0.03)
    engine.close()


@pytest.mark.parametrize(
    ("geom", "inside", "outside"),
    [
        ('type="sphere" size="1"', (0, 0, 0.5, -0.5), (0, 3, 4, 4)),
        ('type="capsule" size="1 2"', (0.5, 0, 1, -0.5), (3, 0, 6, 4)),
        ('type="cylinder" size="1 2"', (0.9, 0, 0, -0.1), (4, 0, 6, 5)),
        ('type="box" size="1 2 3"', (0, 0, 2.8, -0.2), (1, 5, 7, 5)),
    ],
)
def test_signed_distances_by_hand(geom, inside, outside):
    """Points in the geom's own frame, which is turned by 90 degrees about x and moved along y of its link."""
    model = mujoco.MjModel.from_xml_string(
        f"""<mujoco><worldbody><body name="b"><freejoint/>
        <geom {geom} pos="0 1 0" quat="1 1 0 0" contype="0"/></body></worldbody></mujoco>"""
    )
    shape = Shape(model, 0, export_urdf(model).links[0])
    for x, y, z, distance in (inside, outside):
        assert shape.distance((x, 1 - z, y)) == pytest.approx(distance, abs=1e-6)  # Bullet's transforms: float32


def test_a_task_runs_on_it_and_the_robot_stands():
    task = load_task("velocity_nominal")
    env = TaskEnv(task, load_robot("a1"), EnvConfig(num_envs=2, engine="pybullet"), seed=0)
    env.commands.fix(torch.zeros(3))
    env.reset()
    for _ in range(25):
        result = env.step(torch.zeros(2, 12))
        assert result.valid.all()
        assert not result.terminated.any()
    assert (env.state.base_height > 0.2).all()
    assert (env.state.projected_gravity[:, 2] < -0.95).all()
    assert env.state.foot_contact.float().mean() > 0.7
    assert env.engine.diagnostics() == {"nonfinite": 0, "overflow": 0, "raised": 0}
    env.close()


def test_the_whole_randomisation_of_a_task_runs_on_it():
    """Friction, payload, centre of mass and armature of each robot are drawn, pushes and forces act."""
    env = TaskEnv(load_task("velocity_flat"), load_robot("a1"), EnvConfig(num_envs=3, engine="pybullet"), seed=1)
    env.reset()
    for _ in range(5):
        assert env.step(torch.zeros(3, 12)).valid.all()
    masses = set()
    for row, world in enumerate(env.engine._worlds):
        about = pybullet.getDynamicsInfo(world._robot, BASE, **world._client)
        assert about[0] == pytest.approx(env.engine.expand("body_mass")[row, 1].item())
        assert about[3] == pytest.approx(env.engine.expand("body_ipos")[row, 1].tolist(), abs=1e-9)
        masses.add(about[0])
        inertia = pybullet.getDynamicsInfo(world._rotors, 4, **world._client)[2]
        assert inertia == pytest.approx([env.engine.expand("dof_armature")[row, 10].item()] * 3)
    assert len(masses) == 3
    env.close()


def test_a_robot_that_diverged_begins_anew_in_a_new_world():
    engine = make_engine("pybullet", scene(), 2)
    engine.field("qpos")[:, 2] = 2
    engine.field("ctrl")[0, 0] = 1e9
    engine.step(50)
    assert engine.finite().tolist() == [False, True]
    engine.reset(torch.tensor([0]))
    engine.field("qpos")[0, 2] = 2
    engine.step(10)
    assert engine.finite().all()
    assert engine.diagnostics()["nonfinite"] == 1
    engine.close()


def test_it_goes_on_from_a_saved_state():
    """What is lost are the memory of contacts and the last residual of the solver."""
    engine, stand = standing()
    saved = engine.state_dict()
    stand(0.1)
    there = engine.field("qpos").clone()
    engine.load_state_dict(saved)
    assert not torch.allclose(engine.field("qpos"), there, atol=1e-5)
    stand(0.1)
    assert torch.allclose(engine.field("qpos"), there, rtol=0, atol=1e-5)
    engine.close()


def test_unlike_frictions_on_one_link_are_refused():
    model = scene()
    model.geom_priority[:] = 0
    model.geom("FL_calf").friction[0] = 1.7
    with pytest.raises(ConfigError, match=r"'FL_calf' has geoms of different friction.*priority"):
        PybulletWorld(model)


def test_rough_ground_is_refused():
    model = scene()
    model.geom_type[model.geom("floor").id] = mujoco.mjtGeom.mjGEOM_HFIELD
    with pytest.raises(ConfigError, match="'floor' is not one level plane"):
        make_engine("pybullet", model, 1)
