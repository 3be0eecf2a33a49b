import mujoco
import numpy as np
import pytest

from robolearn.config import ConfigError
from sim.robots import load_robot
from sim.robots.description import MirrorEntry
from sim.robots.mirror import derive, mirrored_name
from sim.robots.robot import Foot, MirrorJoint

BIPED = """
<mujoco><worldbody><body name="base"><freejoint/><geom size=".1"/>
  <body name="waist"><joint name="waist_yaw" axis="0 0 1"/><geom size=".1"/></body>
  <body name="l" pos="0 .1 0"><joint name="left_roll" axis="1 0 0"/><geom size=".05"/>
    <body name="l2" pos="0 0 -.3"><joint name="left_knee" axis="0 1 0"/>
      <geom name="left_foot" size=".05" pos=".1 .02 -.3"/></body></body>
  <body name="r" pos="0 -.1 0"><joint name="right_roll" axis="-1 0 0"/><geom size=".05"/>
    <body name="r2" pos="0 0 -.3"><joint name="right_knee" axis="0 1 0"/>
      <geom name="right_foot" size=".05" pos=".1 -.02 -.3"/></body></body>
</body></worldbody></mujoco>
"""
JOINTS = ("waist_yaw", "left_roll", "left_knee", "right_roll", "right_knee")
FEET = (Foot("left", "geom", "left_foot"), Foot("right", "geom", "right_foot"))


@pytest.fixture(scope="module")
def biped():
    return mujoco.MjModel.from_xml_string(BIPED)


@pytest.mark.parametrize(
    ("name", "image"),
    [("FL_hip", "FR_hip"), ("RR_calf", "RL_calf"), ("left_knee", "right_knee"), ("leg_l", "leg_r"), ("L_HIP", "R_HIP")],
)
def test_names_of_the_other_side(name, image):
    names = [name, image, "waist"]
    assert mirrored_name(name, names) == image
    assert mirrored_name(image, names) == name
    assert mirrored_name("waist", names) == "waist"


def test_letters_inside_words_are_not_sides():
    assert mirrored_name("Lever", ["Lever", "Rever"]) == "Lever"


def test_signs_follow_the_reflection_of_pseudo_vectors(biped):
    joints, feet = derive(biped, "base", JOINTS, (0.0,) * 5, FEET, None)
    # Yaw flips. Both rolls have axes that are mirror images already, knees turn about y: they keep their sign.
    assert joints == (
        MirrorJoint(0, -1.0),
        MirrorJoint(3, 1.0),
        MirrorJoint(4, 1.0),
        MirrorJoint(1, 1.0),
        MirrorJoint(2, 1.0),
    )
    assert feet == (1, 0)


@pytest.mark.parametrize("name", ["a1", "go1", "go2", "aliengo"])
def test_mirrored_angles_put_the_feet_at_mirrored_places(name):
    robot = load_robot(name)
    model = robot.spec().compile()
    data = mujoco.MjData(model)
    rng = np.random.default_rng(1)
    index = [joint.index for joint in robot.mirror]
    sign = np.array([joint.sign for joint in robot.mirror])
    low, high = np.array(robot.position_limit).T

    def feet(angles):
        data.qpos[:7] = (0, 0, 0, 1, 0, 0, 0)
        data.qpos[7:] = angles
        mujoco.mj_kinematics(model, data)
        return np.array([data.geom(foot.object).xpos for foot in robot.feet])

    for _ in range(10):
        angles = rng.uniform(low, high)
        image = feet(sign * angles[index])
        np.testing.assert_allclose(image, feet(angles)[list(robot.foot_mirror)] * [1, -1, 1], atol=1e-12)


def test_pairs_by_hand_need_no_telling_names(biped):
    entry = MirrorEntry(joints={"left_roll": "right_roll", "left_knee": "right_knee"}, feet={"left": "right"})
    assert derive(biped, "base", JOINTS, (0.0,) * 5, FEET, entry) == derive(
        biped, "base", JOINTS, (0.0,) * 5, FEET, None
    )


@pytest.mark.parametrize(
    ("entry", "pose", "message"),
    [
        (MirrorEntry({"left_roll": "right_knee"}), (0.0,) * 5, "lies 0.300 m from the mirror image"),
        (MirrorEntry({"left_rol": "right_roll"}), (0.0,) * 5, "unknown joint 'left_rol'. Did you mean 'left_roll'"),
        (
            MirrorEntry({"left_roll": "right_roll", "left_knee": "right_roll"}),
            (0.0,) * 5,
            "'right_roll' is in two pairs",
        ),
        (MirrorEntry({}, signs={"waist_yaw": 2.0}), (0.0,) * 5, "must be 1 or -1"),
        (None, (0.0, 0.1, 0.0, -0.1, 0.0), "default_pose is not symmetric"),
    ],
)
def test_impossible_symmetries_are_refused(biped, entry, pose, message):
    with pytest.raises(ConfigError, match=message):
        derive(biped, "base", JOINTS, pose, FEET, entry)
