import math
import pickle

import mujoco
import numpy as np
import pytest

from robolearn.config import ConfigError, parse
from sim.robots import Robot, list_robots, load_robot
from sim.robots.quadruped import LEGS, Link, Quadruped

QUADRUPEDS = ("a1", "go1", "go2", "aliengo")


def figures(robot: Robot) -> Quadruped:
    assert isinstance(robot.source, Quadruped)
    return robot.source


def stand(robot: Robot, kp: float, kd: float, seconds: float) -> tuple[float, float, float]:
    """Let the robot stand under explicit PD; return its height (m), peak torque (N m) in the last step, up-vector z."""
    spec = robot.spec()
    spec.option.timestep = 0.005
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_PLANE, size=[5, 5, 0.1], friction=[1, 0.02, 0.01])
    for joint in robot.joints:
        spec.add_actuator(target=joint, trntype=mujoco.mjtTrn.mjTRN_JOINT)
    model = spec.compile()
    data = mujoco.MjData(model)
    target = np.array(robot.default_pose)
    data.qpos[7:] = target
    for _ in range(int(seconds / 0.005)):
        data.ctrl = np.clip(kp * (target - data.qpos[7:]) - kd * data.qvel[6:], -33.5, 33.5)
        mujoco.mj_step(model, data)
    return float(data.qpos[2]), float(np.abs(data.ctrl).max()), float(data.body(robot.base).xmat[8])


def full_inertia(model: mujoco.MjModel, body: str) -> np.ndarray:
    """Return (3, 3) kg m^2 about the centre of mass, in the body's axes."""
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, model.body(body).iquat)
    rotation = rotation.reshape(3, 3)
    return rotation @ np.diag(model.body(body).inertia) @ rotation.T


def test_the_family_is_listed():
    assert set(QUADRUPEDS) <= set(list_robots())


@pytest.mark.parametrize(("name", "mass"), [("a1", 12.45), ("go1", 11.31), ("go2", 15.2), ("aliengo", 24.94)])
def test_total_mass_is_the_published_one(name, mass):
    model = load_robot(name).spec().compile()
    assert model.body_mass.sum() == pytest.approx(mass, abs=0.01)
    assert model.nv == 6 + 12


def test_calf_and_foot_are_lumped_as_published():
    model = load_robot("a1").spec().compile()
    calf = model.body("FL_calf")
    assert calf.mass[0] == pytest.approx(0.226, abs=1e-9)
    # By hand: (0.166 * 0.1074 + 0.06 * 0.2) / 0.226, and the parallel-axis theorem about that point.
    assert calf.ipos[2] == pytest.approx(-0.13198, abs=1e-4)
    inertia = full_inertia(model, "FL_calf")
    expected = 3.0e-3 + 0.166 * (0.1074 - 0.13198) ** 2 + 0.06 * (0.2 - 0.13198) ** 2 + 0.4 * 0.06 * 0.02**2
    assert inertia[0, 0] == pytest.approx(expected, rel=1e-3)
    assert inertia[0, 0] == pytest.approx(3.4e-3, rel=0.01)


@pytest.mark.parametrize("name", QUADRUPEDS)
def test_forward_kinematics_agree_with_the_closed_form(name):
    robot = load_robot(name)
    model = robot.spec().compile()
    data = mujoco.MjData(model)
    data.qpos[:7] = (0, 0, 0, 1, 0, 0, 0)
    rng = np.random.default_rng(0)
    low, high = np.array(robot.position_limit).T
    for _ in range(20):
        angles = rng.uniform(low, high)
        data.qpos[7:] = angles
        mujoco.mj_kinematics(model, data)
        for i, leg in enumerate(LEGS):
            expected = figures(robot).foot_position(leg, *angles[3 * i : 3 * i + 3])
            np.testing.assert_allclose(data.geom(f"{leg}_foot").xpos, expected, atol=1e-12)


def test_front_leg_reaches_the_published_height():
    robot = load_robot("a1")
    bottom = figures(robot).foot_position("FL", 0.0, 0.8, -1.5)[2] - figures(robot).foot_radius
    assert bottom == pytest.approx(-0.312, abs=5e-4)
    assert bottom == pytest.approx(-(0.2 * math.cos(0.8) + 0.2 * math.cos(0.7) + 0.02), abs=1e-12)


def test_base_height_lets_the_lowest_foot_touch_the_ground():
    # Front legs are the longer ones: 0.2 cos 0.8 + 0.2 cos 0.7 turned outwards by 0.1 rad.
    leg = 0.2 * math.cos(0.8) + 0.2 * math.cos(0.7)
    expected = leg * math.cos(0.1) - 0.0851 * math.sin(0.1) + 0.02
    assert load_robot("a1").base_height == pytest.approx(expected, abs=1e-9)
    assert load_robot("a1").spec().compile().qpos0[2] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", QUADRUPEDS)
def test_links_are_mirror_images(name):
    model = load_robot(name).spec().compile()
    reflect = np.diag([1.0, -1.0, 1.0])
    for front in "FR":
        for link in ("hip", "thigh", "calf"):
            left, right = model.body(f"{front}L_{link}"), model.body(f"{front}R_{link}")
            assert left.mass[0] == right.mass[0]
            np.testing.assert_allclose(reflect @ left.ipos, right.ipos, atol=1e-12)
            np.testing.assert_allclose(reflect @ left.pos, right.pos, atol=1e-12)
            image = reflect @ full_inertia(model, f"{front}L_{link}") @ reflect
            np.testing.assert_allclose(image, full_inertia(model, f"{front}R_{link}"), atol=1e-9)


def test_limits_are_those_of_the_table():
    a1, go2, aliengo = (load_robot(name).position_limit for name in ("a1", "go2", "aliengo"))
    assert a1[0] == pytest.approx((-0.803, 0.803))
    assert a1[1] == pytest.approx((-1.047, 4.189))
    assert a1[2] == pytest.approx((-2.697, -0.916))
    assert go2[1] == pytest.approx((-1.571, 3.491))
    assert go2[7] == pytest.approx((-0.524, 4.538))
    assert aliengo[0] == pytest.approx((-0.873, 1.047))
    assert aliengo[3] == pytest.approx((-1.047, 0.873)), "the right hip is the mirror image of the left"
    assert load_robot("go1").effort_limit[:3] == (23.7, 23.7, 35.55)
    assert set(load_robot("a1").effort_limit) == {33.5}


@pytest.mark.parametrize(("kp", "kd", "height"), [(20.0, 0.5, 0.256), (40.0, 1.0, 0.277)])
def test_a1_stands_at_the_reference_height(kp, kd, height):
    z, torque, up = stand(load_robot("a1"), kp, kd, 4.0)
    assert z == pytest.approx(height, abs=0.01)
    assert torque == pytest.approx(4.7, abs=0.3)
    assert up > 0.999


@pytest.mark.parametrize("name", ["go1", "go2", "aliengo"])
def test_the_family_stands(name):
    robot = load_robot(name)
    z, torque, up = stand(robot, robot.kp[0], robot.kd[0], 2.0)
    assert 0.7 * robot.base_height < z < robot.base_height
    assert up > 0.97
    assert torque < min(robot.effort_limit)


def test_robot_geoms_meet_the_ground_but_not_each_other():
    robot = load_robot("a1")
    model = robot.spec().compile()
    assert not model.geom_contype.any()
    assert np.count_nonzero(model.geom_conaffinity) == 1 + 4 * 3
    data = mujoco.MjData(model)
    data.qpos[7:] = np.tile([0.0, 0.0, -2.69], 4)
    data.qpos[7::6], data.qpos[10::6] = -0.8, 0.8  # legs crossed under the trunk
    mujoco.mj_forward(model, data)
    assert data.ncon == 0


def test_spec_is_fresh_every_time():
    robot = load_robot("a1")
    first = robot.spec()
    first.body("trunk").mass = 100.0
    assert robot.spec().compile().body("trunk").mass[0] == pytest.approx(4.713)
    assert robot.spec().to_xml() == robot.spec().to_xml()


def test_what_is_only_seen_has_no_part_in_the_physics():
    full, bare = load_robot("a1").spec(), load_robot("a1").spec()
    bare.compiler.discardvisual = True
    full, bare = full.compile(), bare.compile()
    assert bare.ngeom == 13 < full.ngeom
    for field in ("body_mass", "body_inertia", "body_ipos", "body_iquat", "dof_M0"):
        np.testing.assert_array_equal(getattr(full, field), getattr(bare, field))


def test_joint_properties_reach_the_model():
    robot = load_robot("a1")
    changed = Robot(
        **{**vars(robot), "armature": (0.02,) * 12, "joint_friction": (0.1,) * 12, "joint_damping": (0.3,) * 12}
    )
    model = changed.spec().compile()
    assert (model.dof_armature[6:] == 0.02).all()
    assert (model.dof_frictionloss[6:] == 0.1).all()
    assert (model.dof_damping[6:] == 0.3).all()
    assert not model.dof_armature[:6].any()


def test_robot_survives_pickling_and_describes_itself():
    robot = pickle.loads(pickle.dumps(load_robot("go1")))
    assert robot == load_robot("go1")
    assert robot.describe() == "go1: 11.31 kg, 12 joints, 4 feet, stands 0.30 m high, 13 collision geoms"


@pytest.mark.parametrize(
    ("link", "message"),
    [
        ({"mass": 0.0, "com": [0, 0, 0], "inertia": [1, 1, 1]}, "link: mass must be positive"),
        ({"mass": 1.0, "com": [0, 0, 0], "inertia": [1, 1, 3]}, "triangle inequality"),
    ],
)
def test_impossible_links_are_refused(link, message):
    with pytest.raises(ConfigError, match=message):
        parse(Link, link, "link")
