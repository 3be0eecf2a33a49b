import logging

import mujoco
import numpy as np
import pytest

from robolearn.config import ConfigError
from sim.robots import load_robot


def compiled(robot):
    return robot.spec().compile()


def test_only_the_robot_is_left(files):
    robot = load_robot(files.describe())
    model = compiled(robot)
    assert (model.nu, model.nsensor, model.nkey, model.nlight, model.ncam, model.neq) == (0, 0, 0, 0, 0, 0)
    assert [model.body(i).name for i in range(model.nbody)] == ["world", "torso", "left_leg", "right_leg"]
    assert not (model.geom_bodyid == 0).any()
    assert [model.joint(i).name for i in range(1, model.njnt)] == ["left_hip", "right_hip"]
    assert model.jnt_type[0] == mujoco.mjtJoint.mjJNT_FREE
    assert robot.base == "torso"
    assert robot.termination_bodies == ("torso",)


def test_settings_of_the_file_do_not_leak_into_a_scene(files):
    spec = load_robot(files.describe()).spec()
    fresh = mujoco.MjSpec()
    assert spec.option.timestep == fresh.option.timestep
    assert spec.option.cone == fresh.option.cone
    assert spec.nconmax == fresh.nconmax
    floor = spec.worldbody.add_geom(name="ground", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[1, 1, 1])
    assert (floor.condim, floor.margin, floor.density) == (3, 0.0, 1000.0)


def test_figures_come_from_the_model_unless_given(files):
    robot = load_robot(files.describe())
    assert robot.effort_limit == (10.0, 12.0), "gear 4 times 2.5 N m; force range"
    assert robot.position_limit[0] == pytest.approx((-np.pi / 3, np.pi / 3))
    assert robot.armature == (0.03, 0.03)
    assert robot.joint_damping == (0.2, 0.2)
    assert robot.joint_friction == (0.1, 0.1)
    given = load_robot(
        files.describe(effort_limit=7.0, armature={"left_.*": 0.1, "right_hip": 0.2}, action_scale=[0.5, 0.6])
    )
    assert given.effort_limit == (7.0, 7.0)
    assert given.armature == (0.1, 0.2)
    assert given.action_scale == (0.5, 0.6)
    np.testing.assert_allclose(compiled(given).dof_armature[6:], (0.1, 0.2))


def test_an_exact_name_beats_a_pattern_and_a_later_pattern_an_earlier(files):
    robot = load_robot(files.describe(kp={"right_hip": 1.0, ".*": 2.0, ".*_hip": 3.0}))
    assert robot.kp == (3.0, 1.0)


def test_joint_order_is_that_of_the_file(files):
    robot = load_robot(files.describe(joints=["right_hip", "left_hip"], kp=[1.0, 2.0]))
    assert robot.joints == ("right_hip", "left_hip")
    assert robot.effort_limit == (12.0, 10.0)


def test_all_hinges_are_controlled_unless_said_otherwise(files):
    robot = load_robot(files.describe(joints=None, locked_joints=["slider"], effort_limit=5.0))
    assert robot.joints == ("left_hip", "right_hip", "shoulder")


def test_locked_joints_leave_links_where_the_joints_had_put_them(files):
    original = mujoco.MjModel.from_xml_path(str(files.folder / "robot.xml"))
    data = mujoco.MjData(original)
    data.joint("shoulder").qpos, data.joint("slider").qpos = 0.7, 0.05
    data.qpos[:7] = (0, 0, 0, 1, 0, 0, 0)
    mujoco.mj_forward(original, data)
    robot = load_robot(files.describe(locked_joints={"shoulder": 0.7, "slider": 0.05}))
    model = compiled(robot)
    ours = mujoco.MjData(model)
    ours.qpos[:7] = (0, 0, 0, 1, 0, 0, 0)
    mujoco.mj_forward(model, ours)
    np.testing.assert_allclose(ours.geom("hand").xpos, data.geom("hand").xpos, atol=1e-12)
    np.testing.assert_allclose(ours.geom("hand").xmat, data.geom("hand").xmat, atol=1e-12)
    np.testing.assert_allclose(ours.body("torso").subtree_com, data.body("torso").subtree_com, atol=1e-9)
    assert model.body_mass.sum() == pytest.approx(original.body("torso").subtreemass[0])


def test_welding_keeps_the_dynamics(files):
    """The mass matrix of the welded robot is that of the original without the rows of the locked joints."""
    original = mujoco.MjModel.from_xml_path(str(files.folder / "robot.xml"))
    data = mujoco.MjData(original)
    data.joint("shoulder").qpos, data.joint("left_hip").qpos = -0.4, 0.3
    mujoco.mj_forward(original, data)
    expected = np.zeros((original.nv, original.nv))
    mujoco.mj_fullM(original, data, expected)
    keep = [*range(6), int(original.joint("left_hip").dofadr[0]), int(original.joint("right_hip").dofadr[0])]

    model = compiled(load_robot(files.describe(locked_joints={"shoulder": -0.4, "slider": 0.0})))
    ours = mujoco.MjData(model)
    ours.qpos[:7] = data.qpos[:7]
    ours.joint("left_hip").qpos = 0.3
    mujoco.mj_forward(model, ours)
    matrix = np.zeros((model.nv, model.nv))
    mujoco.mj_fullM(model, ours, matrix)
    np.testing.assert_allclose(matrix, expected[np.ix_(keep, keep)], atol=1e-9)


@pytest.mark.parametrize(("mode", "expected"), [("all", 7), ("primitives", 7), ("feet_only", 2)])
def test_collision_modes(files, mode, expected):
    model = compiled(load_robot(files.describe(collision=mode)))
    assert not model.geom_contype.any()
    assert np.count_nonzero(model.geom_conaffinity) == expected
    for foot in ("left_sole", "right_sole"):
        assert model.geom(foot).conaffinity[0] == 1


def test_feet_may_be_bodies_and_sites(files):
    by_body = load_robot(files.describe(feet={"L": {"body": "left_foot"}, "R": {"body": "right_foot"}}))
    assert [foot.kind for foot in by_body.feet] == ["body", "body"]
    assert compiled(by_body).body("left_foot").mass[0] > 0, "a foot stays a body of its own"
    by_geom = load_robot(files.describe())
    assert by_body.base_height == pytest.approx(by_geom.base_height)
    # By hand: legs of 0.3 m tilted by 10 degrees, a sole of radius 0.04 m.
    assert by_geom.base_height == pytest.approx(0.3 * np.cos(np.deg2rad(10)) + 0.04)
    text = (files.folder / "robot.xml").read_text()
    files.write(
        "robot.xml", text.replace('name="left_sole" size=".04"/>', 'name="left_sole" size=".04"/><site name="tip"/>')
    )
    by_site = load_robot(files.describe(feet={"L": {"site": "tip"}}))
    assert by_site.base_height == pytest.approx(0.3 * np.cos(np.deg2rad(10)))
    by_point = load_robot(files.describe(feet={"L": {"geom": "left_sole", "at": [0.0, 0.0, -0.04]}}))
    assert (by_point.feet[0].kind, by_point.feet[0].object) == ("site", "L_foot")
    assert by_point.base_height == pytest.approx(0.34 * np.cos(np.deg2rad(10)))


def test_mirror_is_found_and_can_be_refused(files, caplog):
    robot = load_robot(files.describe())
    assert [joint.index for joint in robot.mirror] == [1, 0]
    assert [joint.sign for joint in robot.mirror] == [1.0, 1.0]
    assert robot.foot_mirror == (1, 0)
    assert load_robot(files.describe(mirror="none")).mirror is None
    with caplog.at_level(logging.WARNING):
        assert load_robot(files.describe(default_pose=[0.1, 0.2])).mirror is None
    assert "without left-right symmetry" in caplog.text


def test_a_package_that_is_installed_is_found():
    pytest.importorskip("gymnasium")
    import sim

    path = sim.__path__[0]
    robot = load_robot(f"{path}/../examples/robots/ant.yaml")
    assert len(robot.joints) == 8


URDF = """
<robot name="leggy">
  <link name="base_link"/>
  <joint name="fix" type="fixed"><parent link="base_link"/><child link="body"/><origin xyz="0 0 0.1"/></joint>
  <link name="body">
    <inertial><mass value="3"/><origin xyz=".01 0 0"/>
      <inertia ixx=".1" iyy=".1" izz=".1" ixy="0" ixz="0" iyz="0"/></inertial>
    <visual><geometry><mesh filename="package://leggy/visual/part.stl"/></geometry></visual>
    <collision><geometry><mesh filename="package://leggy/collision/part.stl"/></geometry></collision>
    <visual><geometry><mesh filename="package://leggy/visual/missing.stl"/></geometry></visual>
    <visual><geometry><mesh filename="package://leggy/visual/part.dae"/></geometry></visual>
    <visual><geometry><box size="0 0 0"/></geometry></visual>
  </link>
  <joint name="knee" type="revolute"><parent link="body"/><child link="shank"/><axis xyz="0 1 0"/>
    <limit lower="-1" upper="1.5" effort="7" velocity="9"/><dynamics damping=".3" friction=".2"/></joint>
  <link name="shank">
    <inertial><mass value="1"/><inertia ixx=".01" iyy=".01" izz=".01" ixy="0" ixz="0" iyz="0"/></inertial>
    <collision><geometry><box size=".02 .02 .4"/></geometry></collision>
  </link>
  <joint name="ankle" type="fixed"><parent link="shank"/><child link="foot"/><origin xyz="0 0 -.3"/></joint>
  <link name="foot">
    <inertial><mass value=".1"/><inertia ixx=".001" iyy=".001" izz=".001" ixy="0" ixz="0" iyz="0"/></inertial>
    <collision><geometry><sphere radius=".03"/></geometry></collision>
  </link>
</robot>
"""
OF_URDF = {
    "model": {"file": "leggy/urdf/leggy.urdf"},
    "joints": None,
    "locked_joints": None,
    "velocity_limit": None,
    "feet": ["foot"],
}


@pytest.fixture
def leggy(files, tetrahedron):
    files.write("leggy/urdf/leggy.urdf", URDF)
    files.write("leggy/visual/part.stl", tetrahedron(1.0))
    files.write("leggy/visual/part.dae", "<COLLADA/>")
    files.write("leggy/collision/part.stl", tetrahedron(0.2))
    return files


def test_a_urdf_floats_and_keeps_its_figures(leggy, caplog):
    with caplog.at_level(logging.WARNING):
        robot = load_robot(leggy.describe(**OF_URDF))
    assert "missing.stl is missing" in caplog.text
    assert "part.dae is not one of .stl" in caplog.text
    assert "1 collision geoms are meshes" in caplog.text
    assert robot.base == "base_link"
    assert robot.joints == ("knee",)
    assert robot.position_limit == ((-1.0, 1.5),)
    assert (robot.effort_limit, robot.velocity_limit) == ((7.0,), (9.0,))
    assert (robot.joint_damping, robot.joint_friction) == ((0.3,), (0.2,))
    assert robot.feet[0].kind == "body"
    # Base to body 0.1 m up, knee there, foot 0.3 m below with radius 0.03 m.
    assert robot.base_height == pytest.approx(0.3 + 0.03 - 0.1)
    model = compiled(robot)
    assert model.body_mass.sum() == pytest.approx(4.1)
    assert model.body("base_link").mass[0] == pytest.approx(3.0), "the fixed body is part of the base"
    assert model.nv == 7
    assert not model.jnt_actfrclimited.any(), "torque is limited by the actuator alone"


def test_meshes_of_equal_name_stay_apart(leggy):
    model = compiled(load_robot(leggy.describe(**OF_URDF)))
    sizes = sorted(float(np.ptp(model.mesh_vert[start : start + 4], axis=0).max()) for start in model.mesh_vertadr)
    assert sizes[1] / sizes[0] == pytest.approx(5.0, rel=1e-3)


def test_mesh_collisions_can_be_left_out(leggy):
    def count(mode):
        return np.count_nonzero(compiled(load_robot(leggy.describe(**OF_URDF, collision=mode))).geom_conaffinity)

    assert (count("all"), count("primitives"), count("feet_only")) == (3, 2, 1)


def test_a_missing_collision_mesh_is_an_error(leggy):
    (leggy.folder / "leggy/collision/part.stl").unlink()
    with pytest.raises(
        ConfigError, match=r"collision mesh 'package://leggy/collision/part.stl' of link 'body' is missing"
    ):
        load_robot(leggy.describe(**OF_URDF))


def test_missing_meshes_of_mjcf(files, caplog):
    text = (files.folder / "robot.xml").read_text()
    asset = '<asset><mesh name="shell" file="shell.stl"/>'
    shell = '<geom type="mesh" mesh="shell" {}/>'
    files.write(
        "robot.xml",
        text.replace("<asset>", asset).replace(
            "<freejoint/>", "<freejoint/>" + shell.format('mass="0" contype="0" conaffinity="0"')
        ),
    )
    with caplog.at_level(logging.WARNING):
        model = compiled(load_robot(files.describe()))
    assert model.nmesh == 0
    assert "shell.stl is missing" in caplog.text
    files.write("robot.xml", text.replace("<asset>", asset).replace("<freejoint/>", "<freejoint/>" + shell.format("")))
    with pytest.raises(ConfigError, match=r"mesh file .*shell.stl is missing"):
        load_robot(files.describe())
