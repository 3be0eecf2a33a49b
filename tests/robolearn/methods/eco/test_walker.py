"""The model-based walker walks in MuJoCo, and the trial that judges it sees falls."""

from dataclasses import replace

import mujoco
import numpy as np
import pytest

from robolearn.methods.eco import trial
from robolearn.methods.eco.lipm import GRAVITY
from robolearn.methods.eco.trial import Disturbance, Start, place, walk
from robolearn.methods.eco.walker import Walker, WalkerConfig
from sim.ground import Plane
from sim.robots import load_robot
from sim.scene import PhysicsConfig, build_scene

ROBOT = load_robot("bruce")
SCENE = build_scene(ROBOT, Plane(), PhysicsConfig(timestep=0.001, decimation=10))


def start(seed=0, **widths):
    return place(ROBOT, SCENE, Start(**widths), np.random.default_rng(seed))


def test_it_walks():
    walker = Walker(ROBOT)
    found = walk(ROBOT, SCENE, walker, start(), speed=0.1, seconds=3.5, settle=1.0, record=True)
    assert not found.fallen and found.seconds == 3.5 and len(found.qpos) == 350
    assert walker.stepper.steps == int((3.5 - 0.5 - 0.09) / 0.275) + 1
    assert found.velocity == pytest.approx((0.1, 0.0), abs=0.04) and found.speed_error < 0.05
    assert found.roll_std < 0.03 and found.pitch_std < 0.05
    assert 2.0 < found.power < 20.0 and found.positive_power < found.power
    assert 0.6 * 4.646 * GRAVITY < found.peak_force < 3 * 4.646 * GRAVITY
    assert found.estimate_error < 0.05  # it walks by what it estimates
    # Both feet really leave the ground, in turn.
    data, heights = mujoco.MjData(SCENE.model), []
    for qpos in found.qpos[100:]:
        data.qpos[:] = qpos
        mujoco.mj_kinematics(SCENE.model, data)
        heights.append([data.body(foot.object).xpos[2] for foot in ROBOT.feet])
    assert (np.ptp(heights, axis=0) > 0.02).all() and np.min(heights, axis=1).max() < 0.03


def test_it_turns_with_the_commanded_rate():
    walker, data, model = Walker(ROBOT), start(yaw=0.0), SCENE.model
    q, dq = SCENE.joint_qpos, SCENE.joint_qvel
    for _ in range(250):
        told = walker(data.qpos[q], data.qvel[dq], data.qpos[3:7], data.qvel[3:6], (0.0, 0.0, 0.3))
        for _ in range(10):
            wanted = walker.kp * (told.position - data.qpos[q]) + walker.kd * (told.velocity - data.qvel[dq])
            data.ctrl[:] = np.clip(wanted + told.torque, -8.5, 8.5)
            mujoco.mj_step(model, data)
    w, x, y, z = data.qpos[3:7]
    assert np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)) == pytest.approx(0.3 * 2.0, abs=0.1)
    assert data.qpos[2] == pytest.approx(walker.config.gait.height, abs=0.02)


def test_weak_drives_fall_and_it_is_seen():
    weak = WalkerConfig(kp=(1.0,) * 5, kd=(0.01,) * 5)
    found = walk(ROBOT, SCENE, Walker(ROBOT, weak), start(), speed=0.1, seconds=3.0, settle=1.0)
    assert found.fallen and found.seconds < 3.0


def test_power_is_that_of_every_physics_step_and_heat_that_of_the_torques():
    """Constant torques set joints in motion: at the end of a control step there is more power than on average."""

    class Constant(Walker):
        def __call__(self, position, velocity, orientation, spin, command):
            told = super().__call__(true_q, np.zeros(10), upright, np.zeros(3), command)
            return replace(told, torque=np.full(10, 0.02))

    world = start(joints=0.0, joint_speeds=0.0, velocity=0.0, tilt=0.0, yaw=0.0)
    world.qpos[2] += 10.0
    true_q, upright = np.array(ROBOT.default_pose), np.array([1.0, 0.0, 0.0, 0.0])
    walker = Constant(ROBOT)
    walker.kp = walker.kd = np.zeros(10)
    found = walk(ROBOT, SCENE, walker, world, 0.0, 0.05, 0.0, record=True)
    assert found.torque_square == pytest.approx(10 * 0.02**2) and found.saturated == 0.0
    assert found.power == pytest.approx(np.mean(found.powers))
    assert found.power_control_rate > 1.05 * found.power > 0.0


def test_a_walk_can_be_repeated():
    walker = Walker(ROBOT)
    first, second = (walk(ROBOT, SCENE, walker, start(3), 0.1, 1.0, settle=0.5, record=True) for _ in range(2))
    assert np.array_equal(first.qpos, second.qpos) and first.power == second.power


def test_standing_torques_carry_the_weight():
    """Half the weight under each sole and the feed-forward together hold every joint against gravity."""
    walker, data = Walker(ROBOT), start(joints=0.0, joint_speeds=0.0, velocity=0.0, tilt=0.0, yaw=0.0)
    q, dq = SCENE.joint_qpos, SCENE.joint_qvel
    told = walker(data.qpos[q], data.qvel[dq], data.qpos[3:7], data.qvel[3:6], (0.0, 0.0, 0.0))
    body, weight = walker.body, data.qfrc_bias[2]
    carried = told.torque + sum(body.jacobians[i].T @ (0.0, 0.0, weight / 2) for i in range(2))
    assert np.allclose(carried, data.qfrc_bias[dq], atol=1e-9)
    assert weight == pytest.approx(4.646 * GRAVITY, rel=1e-3)


def test_starts_stand_on_the_ground_and_differ():
    first, same, other = start(1), start(1), start(2)
    assert np.array_equal(first.qpos, same.qpos) and not np.allclose(first.qpos, other.qpos)
    ends = [first.geom(f"{side}_{end}").xpos[2] for side in ("left", "right") for end in ("toe", "heel")]
    assert min(ends) == pytest.approx(0.008, abs=1e-9)


def test_control_steps_must_be_whole_physics_steps():
    walker = Walker(ROBOT, replace(WalkerConfig(), dt=0.0105))
    with pytest.raises(ValueError, match=r"0\.0105 s are no whole physics steps of 0\.001 s"):
        walk(ROBOT, SCENE, walker, start(), 0.1, 1.0)


def test_kicks_come_when_they_should(monkeypatch):
    monkeypatch.setattr(trial, "KICK_EVERY", 0.8)
    runs = [
        walk(
            ROBOT,
            SCENE,
            Walker(ROBOT),
            start(),
            0.1,
            0.9,
            0.5,
            Disturbance(kick),
            np.random.default_rng(0),
            record=True,
        )
        for kick in (0.0, 0.2)
    ]
    calm, kicked = (np.array(run.qpos)[:, :2] for run in runs)
    assert np.array_equal(calm[:80], kicked[:80])
    assert 0.001 < np.linalg.norm(kicked[80] - calm[80]) < 0.2 * 0.01 + 1e-3  # one control step later


def test_noise_reaches_the_walker_alone():
    """What the walker is told has the noise's spread; the world that it is told of stays the same."""

    class Listener(Walker):
        def __call__(self, position, velocity, orientation, spin, command):
            told.append(np.concatenate((position, velocity, spin)))
            tilts.append(2 * np.arccos(min(1.0, abs(float(orientation @ upright)))))
            still = super().__call__(true_q, np.zeros(10), upright, np.zeros(3), command)
            return replace(still, position=true_q, velocity=np.zeros(10), torque=np.zeros(10))

    told, tilts, world = [], [], start(joints=0.0, joint_speeds=0.0, velocity=0.0, tilt=0.0, yaw=0.0)
    world.qpos[2] += 1e3  # falls freely, so that nothing but noise moves the joints' readings
    true_q, upright = np.array(ROBOT.default_pose), np.array([1.0, 0.0, 0.0, 0.0])
    walk(ROBOT, SCENE, Listener(ROBOT), world, 0.0, 2.0, 1.0, Disturbance(noise=0.5), np.random.default_rng(0))
    spread = np.std(told, axis=0)
    assert np.allclose(spread[:10], 0.015, rtol=0.25) and np.allclose(spread[10:20], 0.3, rtol=0.25)
    assert np.allclose(spread[20:], 0.03, rtol=0.25)
    assert np.sqrt(np.mean(np.square(tilts))) == pytest.approx(0.009 * np.sqrt(3), rel=0.15)
