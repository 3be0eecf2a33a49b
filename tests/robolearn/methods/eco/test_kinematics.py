"""The leg in closed form, and the body from measurements, against MuJoCo."""

import mujoco
import numpy as np
import pytest

from robolearn.methods.eco.kinematics import BodyModel, Leg, UnreachableError
from sim.robots import load_robot

ROBOT = load_robot("bruce")
MODEL = BodyModel(ROBOT)
SIDES = (0, 1)


@pytest.fixture(scope="module")
def plain():
    """The compiled robot, and where its ten joints stand in qpos and qvel."""
    model = ROBOT.spec().compile()
    ids = [model.joint(name).id for name in ROBOT.joints]
    return model, model.jnt_qposadr[ids], model.jnt_dofadr[ids]


def reachable(leg, rng):
    """Angles inside the ranges with a knee that bends backwards and a thigh below the horizontal."""
    low, high = leg.limits.T
    return rng.uniform(low, np.minimum(high, (np.inf, 1.5, np.inf, -1e-3, np.inf)))


@pytest.mark.parametrize("side", SIDES)
def test_inverse_finds_the_angles_whose_pose_mujoco_computes(plain, side):
    model, qpos, _ = plain
    data, leg, rng = mujoco.MjData(model), MODEL.legs[side], np.random.default_rng(side)
    foot = model.body(ROBOT.feet[side].object).id
    for _ in range(200):
        angles = reachable(leg, rng)
        data.qpos[:7] = 0, 0, 0, 1, 0, 0, 0
        data.qpos[qpos[5 * side : 5 * side + 5]] = angles
        mujoco.mj_kinematics(model, data)
        ankle, direction = data.xpos[foot], data.xmat[foot].reshape(3, 3)[:, 0]
        assert np.allclose(leg.forward(angles), (ankle, direction), atol=1e-12)
        found = leg.inverse(ankle, 3.0 * direction)
        assert np.allclose(found, angles, atol=1e-9)
        assert np.allclose(leg.forward(found), (ankle, direction), atol=1e-9)


def test_legs_are_mirror_images():
    left, right = MODEL.legs
    flip = np.array([1.0, -1.0, 1.0])
    angles = left.inverse(left.hip + np.array([0.02, 0.03, -0.37]), (1.0, 0.1, 0.0))
    mirrored = right.inverse(right.hip + np.array([0.02, -0.03, -0.37]), (1.0, -0.1, 0.0))
    assert np.allclose(left.hip * flip, right.hip) and np.allclose(angles * (-1, 1, -1, 1, 1), mirrored)


def test_what_is_too_far_is_refused_or_becomes_the_straight_leg():
    leg, way = MODEL.legs[0], np.array([0.1, 0.05, -0.6])
    with pytest.raises(UnreachableError, match=r"ankle is 0\.6\d+ m from the hip; reach is 0\.\d+ to 0\.4048 m"):
        leg.inverse(leg.hip + way, (1.0, 0.0, 0.0))
    angles = leg.inverse(leg.hip + way, (1.0, 0.0, 0.0), clamp=True)
    ankle, _ = leg.forward(angles)
    assert angles[3] == 0.0
    assert np.allclose(ankle - leg.hip, way / np.linalg.norm(way) * (leg.thigh + leg.shank), atol=1e-9)


def test_what_is_too_near_is_refused_or_becomes_the_most_bent_knee():
    leg, way = MODEL.legs[0], np.array([0.0, 0.0, -0.05])
    with pytest.raises(UnreachableError, match=r"reach is"):
        leg.inverse(leg.hip + way, (1.0, 0.0, 0.0))
    assert leg.inverse(leg.hip + way, (1.0, 0.0, 0.0), clamp=True)[3] == pytest.approx(leg.limits[3, 0])


def test_angles_outside_their_range_are_refused_or_end_at_it():
    leg = MODEL.legs[0]
    place, direction = leg.hip + np.array([0.0, -0.2, -0.3]), (1.0, 0.0, 0.0)  # inwards, beyond the hip's range
    with pytest.raises(UnreachableError, match=r"of joints \[2\]\) leave their ranges"):
        leg.inverse(place, direction)
    assert leg.inverse(place, direction, clamp=True)[2] == leg.limits[2, 0]


@pytest.mark.parametrize("clamp", [False, True])
def test_a_foot_that_points_along_the_leg_has_no_answer(clamp):
    leg = MODEL.legs[0]
    for ankle, direction in ((leg.hip - np.array([0.0, 0.0, 0.3]), (0.0, 0.0, -1.0)), (leg.hip, (1.0, 0.0, 0.0))):
        with pytest.raises(UnreachableError, match="points along the leg"):
            leg.inverse(ankle, direction, clamp)


def test_other_legs_are_refused():
    spec = ROBOT.spec()
    spec.joint("left_knee").axis = [0.0, 1.0, 0.0]
    with pytest.raises(ValueError, match=r"left_knee: turns about .* the closed form is for"):
        Leg.from_model(spec.compile(), ROBOT.joints[:5], ROBOT.feet[0])
    spec = ROBOT.spec()
    spec.body("left_shank").pos = [0.01, 0.0, -0.2]
    with pytest.raises(ValueError, match="knee and ankle are not straight below"):
        Leg.from_model(spec.compile(), ROBOT.joints[:5], ROBOT.feet[0])
    with pytest.raises(ValueError, match="a leg has 5 joints"):
        Leg.from_model(spec.compile(), ROBOT.joints[:4], ROBOT.feet[0])
    spec = ROBOT.spec()
    spec.delete(spec.geom("left_toe"))
    with pytest.raises(ValueError, match="left: its sole must be two spheres"):
        Leg.from_model(spec.compile(), ROBOT.joints[:5], ROBOT.feet[0])


def test_quadrupeds_are_refused():
    with pytest.raises(ValueError, match="a1: needs two legs of 5 joints and no other joint"):
        BodyModel(load_robot("a1"))


@pytest.mark.parametrize("stance", SIDES)
def test_body_is_what_mujoco_knows_when_one_foot_stands_still(plain, stance):
    """The true world: a base somewhere, in motion such that the foot's lowest point is at rest."""
    model, qpos, qvel = plain
    data, rng = mujoco.MjData(model), np.random.default_rng(stance)
    foot = model.body(ROBOT.feet[stance].object).id
    for _ in range(5):
        orientation = rng.normal(size=4) * 0.1 + (1, 0, 0, 0)
        orientation /= np.linalg.norm(orientation)
        angles = np.concatenate([reachable(leg, rng) for leg in MODEL.legs])
        speeds, spin = rng.normal(size=10), np.array([1.0, 2.0, 3.0])
        data.qpos[:3], data.qpos[3:7], data.qpos[qpos] = (3.0, -2.0, 1.0), orientation, angles
        data.qvel[:3], data.qvel[3:6], data.qvel[qvel] = 0.0, spin, speeds
        mujoco.mj_forward(model, data)
        side = ROBOT.feet[stance].name
        lowest = np.mean([data.geom(f"{side}_{end}").xpos for end in ("toe", "heel")], 0) - (0, 0, 0.008)
        jacobian = np.zeros((3, model.nv))
        mujoco.mj_jac(model, data, jacobian, None, lowest, foot)
        data.qvel[:3] = -jacobian @ data.qvel
        mujoco.mj_forward(model, data)
        mujoco.mj_subtreeVel(model, data)
        body = MODEL(angles, speeds, orientation, spin, stance)
        root = model.body(ROBOT.base).id
        assert np.allclose(body.base_velocity, data.qvel[:3], atol=1e-12)
        assert np.allclose(body.com, data.subtree_com[root] - data.qpos[:3], atol=1e-12)
        assert np.allclose(body.com_velocity, data.subtree_linvel[root], atol=1e-12)
        assert np.allclose(body.soles[stance], lowest - data.qpos[:3], atol=1e-12)
        assert np.allclose(body.rotation, data.xmat[root].reshape(3, 3), atol=1e-12)
        assert np.allclose(body.jacobians[stance], jacobian[:, qvel], atol=1e-12)
        data.qvel[:] = 0.0
        mujoco.mj_forward(model, data)
        assert np.allclose(body.gravity, data.qfrc_bias[qvel], atol=1e-12)
