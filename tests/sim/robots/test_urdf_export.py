"""The exported URDF against the model it came from, read back by MuJoCo's own URDF parser and from its XML."""

import importlib.metadata
from pathlib import Path
from xml.etree import ElementTree

import mujoco
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robolearn.config import ConfigError
from sim.ground import Plane
from sim.robots import load_robot
from sim.robots.urdf_export import UNLIMITED, export_urdf, roll_pitch_yaw
from sim.scene import PhysicsConfig, build_scene

EXAMPLES = Path(__file__).parents[3] / "examples" / "robots"
KEEP = '<mujoco><compiler fusestatic="false" discardvisual="false"/></mujoco>'
AWKWARD = """
<mujoco>
  <compiler angle="radian"/>
  <default><geom contype="0" conaffinity="1"/></default>
  <worldbody>
    <geom name="floor" type="plane" size="0 0 1" contype="1" conaffinity="0"/>
    <body name="base" pos="0 0 1" quat="0.8 0.2 -0.4 0.4">
      <freejoint name="root"/>
      <inertial pos="0.1 0.02 -0.03" quat="0.5 -0.5 0.1 0.7" mass="3" diaginertia="0.03 0.04 0.05"/>
      <geom name="box" type="box" size=".1 .2 .3" pos=".1 .2 .3" quat=".9 .1 .2 .3"/>
      <geom name="decoration" type="ellipsoid" size=".1 .2 .3" conaffinity="0"/>
      <body name="swing" pos="0.3 0.1 0" quat="0.7 0.1 0.3 -0.6">
        <joint name="anchored" axis="1 2 -1" pos="0.05 -0.1 0.2" range="-0.5 1.5" ref="0.4" damping="0.3"
               armature="0.02" frictionloss="0.7" actuatorfrcrange="-12 12"/>
        <inertial pos="0 0.1 0" quat="1 0.3 0 0.2" mass="1" diaginertia="0.01 0.02 0.025"/>
        <geom name="capsule" type="capsule" size=".02" fromto="0 0 0 .1 .2 .1"/>
        <body name="tip" pos="0 0.4 0.1" quat="0.6 0 0.8 0">
          <inertial pos="0 0 0.02" mass="0.2" diaginertia="0.001 0.002 0.002"/>
          <geom name="ball" size=".03" pos="0 0 .1"/>
          <body name="wheel" pos="0.1 0 0">
            <joint name="endless" axis="0 1 0" pos="0 0.03 0.01"/>
            <inertial pos="0 0 0" mass="0.4" diaginertia="0.001 0.002 0.001"/>
            <geom name="cylinder" type="cylinder" size=".05 .02" quat="0.7071 0.7071 0 0"/>
          </body>
        </body>
      </body>
      <body name="slider" pos="0 -0.2 0" quat="0.9 0 0.3 0.1">
        <joint name="slide" type="slide" axis="0 1 1" pos="0.3 0.3 0.3" range="-0.1 0.2" ref="0.05"/>
        <inertial pos="0 0 0" mass="0.6" diaginertia="0.002 0.002 0.001"/>
      </body>
    </body>
  </worldbody>
</mujoco>"""


def scene(name):
    return build_scene(load_robot(name), Plane(), PhysicsConfig()).model


@pytest.fixture(scope="module", params=["awkward", "a1", "go2", "bruce", "upkie"])
def model(request):
    if request.param == "awkward":
        return mujoco.MjModel.from_xml_string(AWKWARD)
    if request.param == "upkie":
        try:
            importlib.metadata.distribution("upkie_description")
        except importlib.metadata.PackageNotFoundError:
            pytest.skip("upkie_description is not installed")
        return scene(EXAMPLES / "upkie.yaml")
    return scene(request.param)


def read_back(urdf):
    """MuJoCo's model of the URDF; the base is welded to the world, and every link is a body."""
    start = urdf.text.index(">") + 1
    return mujoco.MjModel.from_xml_string(urdf.text[:start] + KEEP + urdf.text[start:])


def in_base(model, data, base, name, offset):
    """Pose (4, 4) of a body in the frame of the base, shifted by ``offset`` in the body's own frame."""
    pose = np.eye(4)
    turn = data.body(base).xmat.reshape(3, 3).T
    pose[:3, :3] = turn @ data.body(name).xmat.reshape(3, 3)
    place = data.body(name).xpos + data.body(name).xmat.reshape(3, 3) @ np.asarray(offset)
    pose[:3, 3] = turn @ (place - data.body(base).xpos)
    return pose


def inertia(model, body):
    """Mass, centre of mass (3,) and inertia (3, 3) about it, both along the axes of the body's frame."""
    turn = np.zeros(9)
    mujoco.mju_quat2Mat(turn, model.body_iquat[body])
    axes = turn.reshape(3, 3)
    return model.body_mass[body], model.body_ipos[body], axes @ np.diag(model.body_inertia[body]) @ axes.T


def test_every_link_has_its_mass_centre_and_inertia(model):
    urdf = export_urdf(model)
    other = read_back(urdf)
    assert [link.body for link in urdf.links] == list(range(1, model.nbody))
    for link in urdf.links:
        mass, com, tensor = inertia(model, link.body)
        got_mass, got_com, got_tensor = inertia(other, other.body(link.name).id)
        assert got_mass == mass
        assert got_com == pytest.approx(com - link.offset, abs=1e-12)
        assert got_tensor == pytest.approx(tensor, abs=1e-9)
    assert other.body_mass.sum() == pytest.approx(model.body_mass.sum(), abs=1e-12)


def test_random_poses_agree_for_every_link(model):
    urdf, rng = export_urdf(model), np.random.default_rng(1)
    other = read_back(urdf)
    mine, theirs, base = mujoco.MjData(model), mujoco.MjData(other), urdf.links[0].name
    for _ in range(20):
        mine.qpos[:7] = rng.normal(size=7)
        for joint in urdf.joints:
            angle = rng.uniform(-2, 2)
            mine.qpos[joint.qpos] = angle
            theirs.qpos[other.joint(joint.name).qposadr] = angle
        mujoco.mj_kinematics(model, mine)
        mujoco.mj_kinematics(other, theirs)
        for link in urdf.links:
            expected = in_base(model, mine, base, link.name, link.offset)
            assert in_base(other, theirs, base, link.name, (0, 0, 0)) == pytest.approx(expected, abs=1e-9), link.name


def test_joints_keep_names_order_limits_and_what_a_urdf_cannot_hold(model):
    urdf = export_urdf(model)
    other = read_back(urdf)
    names = [model.joint(index).name for index in range(1, model.njnt)]
    assert [joint.name for joint in urdf.joints] == names
    assert [other.joint(index).name for index in range(other.njnt)] == names
    for joint in urdf.joints:
        source = model.joint(joint.name)
        assert (joint.qpos, joint.dof) == (source.qposadr[0], source.dofadr[0])
        assert (joint.armature, joint.damping, joint.friction) == (
            source.armature[0], source.damping[0], source.frictionloss[0]
        )  # fmt: skip
        assert joint.child == model.body(source.bodyid[0]).name
        if model.jnt_limited[source.id]:
            assert joint.limits == tuple(source.range)
            assert tuple(other.joint(joint.name).range) == joint.limits
        else:
            assert joint.limits is None


def test_collision_shapes_are_the_geoms_that_meet_the_ground(model):
    urdf = export_urdf(model)
    other = read_back(urdf)
    exported = [geom for link in urdf.links for geom in link.geoms]
    on_robot = model.geom_bodyid > 0
    assert exported == [g for g in range(model.ngeom) if on_robot[g] and model.geom_conaffinity[g]]
    assert other.ngeom == len(exported)
    shifts = {link.body: np.array(link.offset) for link in urdf.links}
    for got, geom in enumerate(exported):
        assert other.geom_type[got] == model.geom_type[geom]
        used = {mujoco.mjtGeom.mjGEOM_SPHERE: 1, mujoco.mjtGeom.mjGEOM_BOX: 3}.get(model.geom_type[geom], 2)
        assert other.geom_size[got, :used] == pytest.approx(model.geom_size[geom, :used], abs=1e-12)
        shift = shifts[model.geom_bodyid[geom]]
        assert other.geom_pos[got] == pytest.approx(model.geom_pos[geom] - shift, abs=1e-12)
        cosine = abs(other.geom_quat[got] @ model.geom_quat[geom])
        assert cosine == pytest.approx(1, abs=1e-12)


def test_fixed_bodies_endless_joints_and_efforts_by_hand():
    urdf = export_urdf(mujoco.MjModel.from_xml_string(AWKWARD))
    kinds = {e.get("name"): e for e in ElementTree.fromstring(urdf.text).findall("joint")}
    assert {name: element.get("type") for name, element in kinds.items()} == {
        "anchored": "revolute", "tip_fixed": "fixed", "endless": "continuous", "slide": "prismatic"
    }  # fmt: skip
    assert float(kinds["anchored"].find("limit").get("effort")) == 12
    assert float(kinds["endless"].find("limit").get("effort")) == UNLIMITED
    assert urdf.links[1].offset == (0.05, -0.1, 0.2)
    assert urdf.links[0].offset == urdf.links[4].offset == (0.0, 0.0, 0.0)


@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4))
def test_angles_turn_back_into_the_rotation(numbers):
    quat = np.array(numbers)
    if np.linalg.norm(quat) < 1e-3:
        return
    quat /= np.linalg.norm(quat)
    check_angles(quat)


@pytest.mark.parametrize("roll", [0.0, 0.4])
@pytest.mark.parametrize("pitch", [np.pi / 2, -np.pi / 2])
def test_angles_of_an_upright_axis(pitch, roll):
    quat = np.zeros(4)
    mujoco.mju_euler2Quat(quat, np.array([roll, pitch, 0.3]), "XYZ")
    check_angles(quat)


def check_angles(quat):
    expected, turned = np.zeros(9), np.zeros(9)
    mujoco.mju_quat2Mat(expected, quat)
    back = np.zeros(4)
    mujoco.mju_euler2Quat(back, roll_pitch_yaw(quat), "XYZ")
    mujoco.mju_quat2Mat(turned, back)
    assert turned == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('<joint name="endless" axis="0 1 0" ', '<joint name="socket" type="ball" ', "'socket' has the type ball"),
        ('<joint name="endless"', '<joint name="second" axis="1 0 0"/><joint name="endless"', "'wheel' has 2 joints"),
        ('<freejoint name="root"/>', "", "'base' has no free joint"),
        ('<geom name="ball" size=".03"', '<geom name="ball" type="ellipsoid" size=".1 .2 .3"', "'ball'.*ellipsoid"),
        ('<geom name="ball"', '<geom name="ball" contype="1"', "'ball' has contype 1"),
        ('<joint name="slide"', '<joint name="tip_fixed"', "'tip_fixed'"),
        (
            "</mujoco>",
            '<equality><joint name="tie" joint1="endless" joint2="slide"/></equality></mujoco>',
            "equality 'tie'",
        ),
        (
            "</mujoco>",
            '<tendon><fixed name="rope"><joint joint="slide" coef="1"/></fixed></tendon></mujoco>',
            "tendon 'rope'",
        ),
        ("</worldbody>", '<body name="stone"><freejoint/><geom size=".1"/></body></worldbody>', "found base, stone"),
    ],
)  # fmt: skip
def test_what_a_urdf_cannot_hold_is_named(old, new, message):
    assert old in AWKWARD
    model = mujoco.MjModel.from_xml_string(AWKWARD.replace(old, new, 1))
    with pytest.raises(ConfigError, match=message):
        export_urdf(model)
