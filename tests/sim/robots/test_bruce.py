"""BRUCE against the published figures, a leg in closed form, and its own mirror image."""

from pathlib import Path

import mujoco
import numpy as np
import pytest

from sim.ground import Plane
from sim.robots import load_robot
from sim.scene import PhysicsConfig, build_scene

EXAMPLES = Path(__file__).parents[3] / "examples" / "robots"
LEG = ("hip_yaw", "hip_pitch", "hip_roll", "knee", "ankle")
HIP = np.array([0.0292, 0.0759, -0.0398])
THIGH, SHANK = 0.20495, 0.19988
SOLE = 0.0265
FLIP = np.array([1.0, -1.0, 1.0])
MASSES = {"torso": 1.3169, "hip": 0.6375, "hip_cross": 0.05, "thigh": 0.7246, "shank": 0.0955, "foot": 0.0276,
          "shoulder": 0.0493, "upper_arm": 0.0277, "forearm": 0.0524}  # fmt: skip


@pytest.fixture(scope="module")
def robot():
    return load_robot("bruce")


@pytest.fixture(scope="module")
def free_arms():
    return load_robot(EXAMPLES / "bruce_arms_free.yaml")


@pytest.fixture(scope="module")
def scene(robot):
    return build_scene(robot, Plane(), PhysicsConfig(timestep=0.001)).model


def posed(robot, **angles):
    """The robot alone, its base upright at the origin, all joints at zero but those given (rad)."""
    model = robot.spec().compile()
    data = mujoco.MjData(model)
    data.qpos[:7] = 0, 0, 0, 1, 0, 0, 0
    for name, angle in angles.items():
        data.qpos[model.joint(name).qposadr[0]] = angle
    mujoco.mj_forward(model, data)
    return model, data


def default(robot):
    return dict(zip(robot.joints, robot.default_pose, strict=True))


def turn(axis, angle):
    """Rotation (3, 3) about a coordinate axis."""
    c, s = np.cos(angle), np.sin(angle)
    i, j = [(1, 2), (2, 0), (0, 1)][axis]
    matrix = np.eye(3)
    matrix[i, i], matrix[i, j], matrix[j, i], matrix[j, j] = c, -s, s, c
    return matrix


def leg(side, yaw, pitch, roll, knee, ankle):
    """Ankle (3,) m and orientation of the foot (3, 3) in the base frame, from the published axes and lengths."""
    thigh = turn(2, yaw) @ turn(1, -pitch) @ turn(0, roll)
    shank = thigh @ turn(1, -knee)
    hip = HIP * (1, side, 1)
    return hip - THIGH * thigh[:, 2] - SHANK * shank[:, 2], shank @ turn(1, -ankle)


def test_every_link_has_its_published_mass_whether_the_arms_are_held_or_free(robot, free_arms):
    for each in (robot, free_arms):
        assert each.spec().compile().body_mass.sum() == pytest.approx(4.646, abs=5e-4)
    model = free_arms.spec().compile()
    for i in range(1, model.nbody):
        name = model.body(i).name.removeprefix("left_").removeprefix("right_")
        assert model.body_mass[i] == MASSES[name]


def test_the_order_of_joints_is_the_published_one(robot, free_arms):
    assert robot.joints == tuple(f"{side}_{joint}" for side in ("left", "right") for joint in LEG)
    assert free_arms.joints[:10] == robot.joints
    for name in ("default_pose", "kp", "kd", "effort_limit", "velocity_limit", "position_limit", "armature"):
        assert getattr(free_arms, name)[:10] == getattr(robot, name)


def test_left_and_right_differ_by_the_signs_of_yaw_and_roll(robot):
    signs = np.array([-1, 1, -1, 1, 1] * 2)
    assert [image.sign for image in robot.mirror] == signs.tolist()
    assert [image.index for image in robot.mirror] == [5, 6, 7, 8, 9, 0, 1, 2, 3, 4]
    assert robot.foot_mirror == (1, 0)


def test_the_ranges_are_mirror_images_and_the_published_ones(robot):
    low, high = np.array(robot.position_limit).T
    for i, image in enumerate(robot.mirror):
        expected = sorted(image.sign * np.array([low[image.index], high[image.index]]))
        assert [low[i], high[i]] == expected
    assert low[:5].tolist() == [-0.785, -0.4, -0.36, -2.5, -0.5]
    assert high[:5].tolist() == [0.785, 2.5, 0.785, 0.25, 0.5]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(
    ("joint", "part", "axis"),
    [
        ("hip_yaw", "toe", 1),  # toes to the left
        ("hip_pitch", "heel", 0),  # leg forward
        ("hip_roll", "heel", 1),  # leg to the left
        ("knee", "heel", 0),  # extended; where it is flexed, at negative angles, the foot goes back
        ("ankle", "toe", 2),  # toe up
    ],
)
def test_each_joint_turns_the_published_way(robot, side, joint, part, axis):
    before, after = (
        posed(robot, **{f"{side}_{joint}": angle})[1].geom(f"{side}_{part}").xpos for angle in (-0.01, 0.01)
    )
    moved = after - before
    assert moved[axis] == np.abs(moved).max() > 5e-4


@pytest.mark.parametrize(("side", "sign"), [("left", 1), ("right", -1)])
def test_the_leg_is_the_published_chain(robot, side, sign):
    rng = np.random.default_rng(0)
    for _ in range(20):
        angles = rng.uniform(*np.array(robot.position_limit).T)[:5]
        _, data = posed(robot, **{f"{side}_{joint}": angle for joint, angle in zip(LEG, angles, strict=True)})
        ankle, foot = leg(sign, *angles)
        np.testing.assert_allclose(data.body(f"{side}_foot").xpos, ankle, atol=1e-12)
        np.testing.assert_allclose(data.body(f"{side}_foot").xmat.reshape(3, 3), foot, atol=1e-12)


def test_it_stands_at_the_published_height(robot):
    _, data = posed(robot, **default(robot))
    for side in ("left", "right"):
        foot = data.body(f"{side}_foot")
        sole = foot.xpos - SOLE * foot.xmat.reshape(3, 3)[:, 2]
        assert sole[2] == pytest.approx(-0.450, abs=1e-3)
    # The default pose lifts the toes by 0.05 rad, so the heels touch first: 1 mm lower.
    assert robot.base_height == pytest.approx(0.4513, abs=1e-4)
    assert sum(default(robot)[f"left_{joint}"] for joint in ("hip_pitch", "knee", "ankle")) == pytest.approx(0.05)


def test_the_centre_of_mass_is_the_published_one_with_the_arms_sideways(robot, free_arms):
    _, data = posed(free_arms, **default(robot))  # the arms stay at zero
    np.testing.assert_allclose(data.subtree_com[0], (0.045, 0.0, -0.056), atol=5e-4)
    held, free = posed(robot, **default(robot))[1], posed(free_arms, **default(free_arms))[1]
    np.testing.assert_allclose(held.subtree_com[0], free.subtree_com[0], atol=1e-12)
    assert held.subtree_com[0][1] == pytest.approx(0, abs=1e-12)
    right = np.array([-0.7, 1.3, 2.0])  # what the robot holds when it walks; the release trained with arms sideways
    assert free_arms.default_pose[10:] == (*-right, *right)


def test_a_foot_touches_the_ground_along_a_line(robot, scene):
    data = mujoco.MjData(scene)
    data.qpos[:7] = 0, 0, robot.base_height, 1, 0, 0, 0
    flat = np.array(robot.default_pose)
    flat[[4, 9]] -= 0.05
    data.qpos[7:] = flat
    data.qpos[2] -= 0.002
    mujoco.mj_forward(scene, data)
    for side in ("left", "right"):
        foot = data.body(f"{side}_foot")
        body = scene.body(f"{side}_foot").id
        points = [c.pos - foot.xpos for c in data.contact if body in scene.geom_bodyid[list(c.geom)]]
        along, across, _ = np.array(sorted(points, key=lambda p: p[0])).T
        np.testing.assert_allclose(along, (-0.035, 0.05), atol=1e-9)
        np.testing.assert_allclose(across, 0, atol=1e-9)


def stands_for(robot, model, kp, kd, push=0.0, limit=4.0):
    """Seconds until the base has tilted by 0.5 rad under PD in the default pose; ``push``: m/s to the left."""
    data = mujoco.MjData(model)
    target = np.array(robot.default_pose)
    data.qpos[:7] = 0, 0, robot.base_height, 1, 0, 0, 0
    data.qpos[7:], data.qvel[1] = target, push
    mujoco.mj_forward(model, data)
    while data.time < limit and data.body(robot.base).xmat[8] > np.cos(0.5):
        data.ctrl = np.clip(kp * (target - data.qpos[7:]) - kd * data.qvel[6:], -8.5, 8.5)
        mujoco.mj_step(model, data)
    return data.time


def test_the_gains_of_the_policy_do_not_hold_it_up_and_stiff_ones_do_until_it_is_pushed(robot, scene):
    """3 N m/rad in two ankles are less than gravity's m g h = 4.6 * 9.8 * 0.4 N m/rad: only steps balance it."""
    assert 0.5 < stands_for(robot, scene, np.array(robot.kp), np.array(robot.kd)) < 1.5
    kp, kd = np.array([60, 60, 60, 60, 30] * 2), np.array([1, 1, 1, 1, 0.4] * 2)
    assert stands_for(robot, scene, kp, kd) >= 4.0
    assert stands_for(robot, scene, kp, kd, push=0.5) < 2.0


def mirrored(robot, qpos, qvel, torque):
    """The mirror image at the plane y = 0 of a state and of torques."""
    index = [image.index for image in robot.mirror]
    sign = np.array([image.sign for image in robot.mirror])
    joints = lambda values: sign * values[index]  # noqa: E731
    return (
        np.concatenate([FLIP * qpos[:3], (1, -1, 1, -1) * qpos[3:7], joints(qpos[7:])]),
        np.concatenate([FLIP * qvel[:3], -FLIP * qvel[3:6], joints(qvel[6:])]),
        joints(torque),
    )


@pytest.mark.parametrize("arms", ["held", "free"])
@pytest.mark.parametrize("height", [0.42, 1.5])
def test_the_mirror_image_of_a_motion_is_a_motion(robot, free_arms, arms, height):
    """On the ground and in the air: from mirrored states, mirrored torques give mirrored trajectories."""
    robot = robot if arms == "held" else free_arms
    model = build_scene(robot, Plane(), PhysicsConfig(timestep=0.001)).model
    model.opt.iterations, model.opt.ls_iterations, model.opt.tolerance = 100, 100, 1e-14
    rng = np.random.default_rng(int(10 * height))
    low, high = np.array(robot.position_limit).T
    one, other = mujoco.MjData(model), mujoco.MjData(model)
    turned = np.array([1.0, *rng.uniform(-0.1, 0.1, 3)])
    one.qpos = [0.1, 0.2, height, *turned / np.linalg.norm(turned), *np.clip(
        robot.default_pose + rng.uniform(-0.2, 0.2, len(low)), low, high)]  # fmt: skip
    one.qvel = rng.uniform(-1, 1, model.nv)
    other.qpos, other.qvel, _ = mirrored(robot, one.qpos, one.qvel, np.zeros(len(low)))
    touched = 0
    for _ in range(50):
        torque = rng.uniform(-3, 3, len(low))
        one.ctrl, other.ctrl = torque, mirrored(robot, one.qpos, one.qvel, torque)[2]
        mujoco.mj_step(model, one)
        mujoco.mj_step(model, other)
        touched += one.ncon
        qpos, qvel, _ = mirrored(robot, one.qpos, one.qvel, torque)
        np.testing.assert_allclose(other.qpos, qpos, atol=1e-9)
        np.testing.assert_allclose(other.qvel, qvel, atol=1e-9)
    assert (touched > 0) == (height < 1.0)
