"""The simulated robot: its drives, its IMU, what pushes and holds it, and an A1 that stands behind the driver."""

import mujoco
import numpy as np
import pytest

from hardware.base import JointCommand, Lifecycle, RobotDriver
from hardware.faults import FaultInjector
from hardware.mujoco_robot import Hoist, MujocoRobot
from robolearn.config import ConfigError
from robolearn.deploy.robot import load_robot_file
from sim.robots import load_robot

TWO_ARMS = """
<mujoco>
  <option timestep="0.001" integrator="RK4"/>
  <worldbody>
    <body name="base" pos="0 0 1">
      <freejoint/>
      <geom type="box" size=".2 .15 .1" mass="5"/>
      <body name="left" pos="0 .15 0">
        <joint name="left" axis="1 0 0"/>
        <geom type="capsule" size=".02" fromto="0 0 0 0 .1 -.2" mass="1"/>
      </body>
      <body name="right" pos="0 -.15 0">
        <joint name="right" axis="0 1 0"/>
        <geom type="capsule" size=".02" fromto="0 0 0 .1 0 -.2" mass="1"/>
      </body>
    </body>
  </worldbody>
</mujoco>
"""
JOINTS = ("left", "right")
EFFORT = np.array([8.0, 4.0])
DT = 0.001


def two_arms(gravity=(0.0, 0.0, -9.81)):
    model = mujoco.MjModel.from_xml_string(TWO_ARMS)
    model.opt.gravity[:] = gravity
    return MujocoRobot(model, JOINTS, "base", EFFORT)


def command(position=(0.0, 0.0), velocity=(0.0, 0.0), kp=(0.0, 0.0), kd=(0.0, 0.0), torque=(0.0, 0.0)):
    return JointCommand(*(np.array(values, float) for values in (position, velocity, kp, kd, torque)))


def momentum(robot):
    """Linear momentum of the whole robot, N s, world frame."""
    mujoco.mj_forward(robot.model, robot.data)
    mujoco.mj_subtreeVel(robot.model, robot.data)
    return robot.model.body_mass.sum() * robot.data.subtree_linvel[robot.model.body("base").id]


def energy(robot):
    robot.model.opt.enableflags |= int(mujoco.mjtEnableBit.mjENBL_ENERGY)
    mujoco.mj_forward(robot.model, robot.data)
    return robot.data.energy.sum()


# Time and packets


@pytest.mark.parametrize("slice_s", [0.001, 0.0004, 0.005, 0.0123])
def test_time_passes_in_slices_of_any_length(slice_s):
    robot = two_arms()
    for _ in range(round(0.5 / slice_s)):
        robot.advance(slice_s)
    assert robot.now() == pytest.approx(round(0.5 / slice_s) * slice_s)
    assert robot.now() - 1.001 * DT < robot.data.time <= robot.now() + 1e-5
    state = robot.read()
    assert state.sequence == round(state.stamp / DT)
    assert state.stamp == pytest.approx(robot.data.time)


def test_no_physics_step_is_lost_or_gained_in_an_hour_of_control_ticks():
    robot = two_arms()
    steps = []
    robot._step = lambda: steps.append(1)  # without the physics
    for _ in range(200_000):
        robot.advance(0.005)
    assert len(steps) == 1_000_000


def test_without_a_step_there_is_no_news():
    robot = two_arms()
    assert robot.read() is None
    robot.advance(2 * DT)
    assert robot.read().sequence == 2
    assert robot.read() is None
    robot.advance(0.4 * DT)
    assert robot.read() is None
    robot.wait(0.7 * DT)
    assert robot.read().sequence == 3


# Drives


def test_the_drive_law():
    robot = two_arms(gravity=(0, 0, 0))
    robot.place(np.array([0.2, -0.1]), 1.0)
    robot.send(command((0.5, 0.1), (1.0, -2.0), (3.0, 4.0), (0.1, 0.2), (0.5, -0.25)))
    robot.advance(DT)
    np.testing.assert_allclose(robot.read().torque, [3 * 0.3 + 0.1 * 1 + 0.5, 4 * 0.2 - 0.2 * 2 - 0.25])


def test_torque_is_limited_to_the_effort_of_each_drive():
    robot = two_arms()
    for sign in (1, -1):
        robot.send(command(torque=(sign * 1e3, sign * 1e3)))
        robot.advance(DT)
        np.testing.assert_array_equal(robot.read().torque, sign * EFFORT)


def test_drives_are_free_before_and_keep_the_last_command_after():
    robot = two_arms()
    robot.advance(5 * DT)
    np.testing.assert_array_equal(robot.read().torque, [0, 0])
    robot.send(command(torque=(0.01, 0.02)))
    robot.close()
    robot.advance(20 * DT)
    np.testing.assert_array_equal(robot.read().torque, [0.01, 0.02])


def test_joints_are_read_by_name_and_in_order():
    robot = two_arms(gravity=(0, 0, 0))
    turned = MujocoRobot(robot.model, JOINTS[::-1], "base", EFFORT[::-1])
    for each in (robot, turned):
        each.data.joint("left").qpos[:] = 0.3
        each.data.joint("right").qvel[:] = 2.0
        each.advance(DT)
    straight, reverse = robot.read(), turned.read()
    np.testing.assert_allclose(straight.position, [0.3, 0.002], atol=1e-3)
    np.testing.assert_array_equal(straight.position, reverse.position[::-1])
    np.testing.assert_array_equal(straight.velocity, reverse.velocity[::-1])
    assert [motor.joint for motor in turned.motors] == ["right", "left"]


# The IMU


def test_the_imu_at_rest_feels_gravity_upwards():
    robot = two_arms()
    robot.data.qpos[3:7] = [np.sqrt(0.5), np.sqrt(0.5), 0, 0]  # rolled by 90 degrees: the base's y axis points up
    robot.data.qacc[:] = 0  # held in place
    robot._steps = 1
    state = robot.read()
    np.testing.assert_allclose(state.acceleration, [0, 9.81, 0], atol=1e-9)
    np.testing.assert_allclose(state.orientation, [np.sqrt(0.5), np.sqrt(0.5), 0, 0])


def test_the_imu_in_free_fall_feels_nothing():
    robot = two_arms()
    robot.advance(0.1)
    np.testing.assert_allclose(robot.read().acceleration, 0, atol=1e-6)


def test_the_imu_turns_with_the_base():
    """Angular velocity is in the base's frame and is what turns the quaternion."""
    robot = two_arms(gravity=(0, 0, 0))
    robot.data.qpos[3:7] = np.array([0.5, 0.5, 0.5, 0.5])
    robot.data.qvel[3:6] = [0.4, -0.3, 0.2]
    robot.advance(DT)
    first = robot.read()
    robot.advance(DT)
    second = robot.read()
    conjugate, turn, rate = np.empty(4), np.empty(4), np.empty(3)
    mujoco.mju_negQuat(conjugate, first.orientation)
    mujoco.mju_mulQuat(turn, conjugate, second.orientation)
    mujoco.mju_quat2Vel(rate, turn, DT)
    np.testing.assert_allclose(rate, (first.angular_velocity + second.angular_velocity) / 2, atol=1e-5)
    assert np.linalg.norm(second.orientation) == pytest.approx(1.0, abs=1e-12)


# What acts on the base


@pytest.mark.parametrize("impulse", [(3.0, 0.0, 0.0), (0.0, -2.0, 1.0)])
@pytest.mark.parametrize("duration", [0.0, 0.0301, 0.1])
def test_a_push_changes_the_momentum_by_its_impulse(impulse, duration):
    robot = two_arms(gravity=(0, 0, 0))
    before = momentum(robot)
    robot.push(np.array(impulse), duration)
    robot.advance(0.2)
    np.testing.assert_allclose(momentum(robot) - before, impulse, atol=1e-3)


def test_pushes_add_up():
    robot = two_arms(gravity=(0, 0, 0))
    robot.push(np.array([1.0, 0, 0]), 0.05)
    robot.advance(0.02)
    robot.push(np.array([0, 2.0, 0]), 0.05)
    robot.advance(0.1)
    np.testing.assert_allclose(momentum(robot), [1, 2, 0], atol=1e-3)


def test_a_hoist_carries_the_robot():
    robot = two_arms()
    weight = robot.model.body_mass.sum() * 9.81
    robot.hoist = Hoist(height=1.0, stiffness=2000.0, damping=300.0, max_force=2 * weight)
    robot.send(command(kp=(20, 20), kd=(1, 1)))
    robot.advance(3.0)
    height, rate = robot.data.qpos[2], robot.data.qvel[2]
    assert robot.hoist.pull(height, rate) == pytest.approx(weight, rel=0.05)
    assert 1.0 - height == pytest.approx(weight / 2000.0, rel=0.1)
    robot.hoist = None
    robot.advance(0.5)
    assert robot.data.qpos[2] < 0.0, "let go, it falls"


def test_a_rope_never_pushes():
    hoist = Hoist(height=1.0, stiffness=100.0, damping=50.0, max_force=30.0)
    assert hoist.pull(1.0, 0.0) == 0.0
    assert hoist.pull(1.5, -9.0) == 0.0
    assert hoist.pull(0.9, 0.0) == pytest.approx(10.0)
    assert hoist.pull(0.9, 5.0) == 0.0, "rising quickly: slack"
    assert hoist.pull(-9.0, 0.0) == 30.0
    with pytest.raises(ValueError, match="stiffness > 0"):
        Hoist(height=1.0, stiffness=0.0, damping=0.0, max_force=1.0)


# Energy


def test_free_motion_keeps_its_energy():
    robot = two_arms()
    robot.data.qvel[3:8] = [0.5, -1.0, 0.7, 3.0, -2.0]
    before = energy(robot)
    robot.advance(0.3)
    assert energy(robot) == pytest.approx(before, abs=0.02)


def test_drives_do_the_work_that_appears_as_energy():
    robot = two_arms(gravity=(0, 0, 0))
    robot.send(command((1.0, -0.5), kp=(5, 5), kd=(0.3, 0.3)))
    before, work = energy(robot), 0.0
    for _ in range(100):
        old = robot.data.qvel[robot._qvel].copy()
        robot.advance(DT)
        state = robot.read()
        work += float(state.torque @ (old + state.velocity) / 2) * DT
    assert energy(robot) - before == pytest.approx(work, rel=0.03)
    assert work > 0.1


def test_damping_only_takes_energy():
    robot = two_arms(gravity=(0, 0, 0))
    robot.data.qvel[6:8] = [5.0, -4.0]
    robot.send(JointCommand.damping(np.array([0.2, 0.2])))
    levels = [energy(robot)]
    for _ in range(50):
        robot.advance(10 * DT)
        levels.append(energy(robot))
    assert (np.diff(levels) < 1e-6).all()
    assert levels[-1] < 0.5 * levels[0]


def test_a_diverged_world_is_seen():
    robot = two_arms()
    robot.data.qvel[:] = np.nan
    robot.advance(3 * DT)
    assert np.isnan(robot.read().position).any()


# What is refused


@pytest.mark.parametrize(
    ("joints", "base", "effort", "message"),
    [
        (("left", "rigth"), "base", EFFORT, "no joint 'rigth'. Did you mean 'right'"),
        (JOINTS, "bases", EFFORT, "no body 'bases'. Did you mean 'base'"),
        (JOINTS, "left", EFFORT, "'left' has no free joint"),
        (JOINTS, "world", EFFORT, "'world' has no free joint"),
        (JOINTS, "base", EFFORT[:1], "needs 2 positive values"),
        (JOINTS, "base", np.array([1.0, np.nan]), "needs 2 positive values"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(joints, base, effort, message):
    with pytest.raises(ConfigError, match=message):
        MujocoRobot(mujoco.MjModel.from_xml_string(TWO_ARMS), joints, base, effort)


def test_only_hinges_can_be_driven():
    model = mujoco.MjModel.from_xml_string(TWO_ARMS.replace('name="right" axis', 'name="right" type="slide" axis'))
    with pytest.raises(ConfigError, match="'right' of the model is not a hinge"):
        MujocoRobot(model, JOINTS, "base", EFFORT)


def test_a_model_may_come_from_a_file(tmp_path):
    path = tmp_path / "two_arms.xml"
    path.write_text(TWO_ARMS)
    MujocoRobot(path, JOINTS, "base", EFFORT).advance(DT)
    path.write_text("<mujoco")
    with pytest.raises(ConfigError, match="not a usable MJCF file"):
        MujocoRobot(path, JOINTS, "base", EFFORT)


# An A1 behind the driver

A1 = load_robot_file("a1")


@pytest.fixture(scope="module")
def a1_model():
    spec = load_robot("a1").spec()
    spec.option.timestep = 0.002
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_PLANE, size=[5, 5, 0.1], friction=[1.0, 0.005, 0.0001])
    return spec.compile()


@pytest.fixture
def a1(a1_model):
    robot = MujocoRobot(a1_model, A1.joints, load_robot("a1").base, A1.effort_limit)
    robot.place(A1.default_pose, load_robot("a1").base_height)
    return robot


def stand(torque=0.0):
    zero = np.zeros(len(A1.joints))
    return JointCommand(A1.default_pose, zero, A1.stand_kp, A1.stand_kd, zero + torque)


def hold(driver, robot, seconds):
    """Command the stand pose for a while; return the lowest height of the base."""
    lowest = np.inf
    for _ in range(round(seconds / A1.control_dt)):
        driver.read_state()
        driver.write_command(stand())
        robot.advance(A1.control_dt)
        lowest = min(lowest, robot.data.qpos[2])
    return lowest


def test_it_stands(a1):
    with RobotDriver(a1, A1, a1) as driver:
        driver.activate()
        assert hold(driver, a1, 2.0) > 0.24
        state = driver.read_state()
        assert driver.state is Lifecycle.ACTIVE
    assert abs(state.orientation[0]) > 0.99
    np.testing.assert_allclose(state.position, A1.default_pose, atol=0.2)
    assert np.abs(state.velocity).max() < 0.1
    np.testing.assert_allclose(np.linalg.norm(state.acceleration), 9.81, atol=0.1)
    assert (np.abs(state.torque) < A1.effort_limit).all()


def test_it_bears_a_push(a1):
    with RobotDriver(a1, A1, a1) as driver:
        driver.activate()
        hold(driver, a1, 0.5)
        a1.push(np.array([0.0, 4.0, 0.0]), 0.05)
        assert hold(driver, a1, 1.0) > 0.22


def test_it_sinks_slowly_when_commands_stop(a1):
    """The dead-man, in the physics: the robot comes down damped, not in free fall, and lies still."""
    with RobotDriver(a1, A1, a1) as driver:
        driver.activate()
        hold(driver, a1, 0.5)
        speeds = []
        for _ in range(300):
            driver.cycle()
            a1.advance(A1.control_dt)
            speeds.append(a1.data.qvel[2])
        assert driver.state is Lifecycle.FAULT
        assert min(speeds) > -0.6
        assert a1.data.qpos[2] < 0.2
        assert np.abs(driver.read_state().velocity).max() < 0.3


def test_leaving_the_block_damps_for_several_cycles(a1):
    with RobotDriver(a1, A1, a1) as driver:
        driver.activate()
        hold(driver, a1, 0.2)
        before = a1.now()
    assert a1.now() == pytest.approx(before + 10 * A1.control_dt)
    np.testing.assert_array_equal(a1._command.kp, 0)
    np.testing.assert_array_equal(a1._command.kd, A1.damping_kd)


def test_it_falls_without_power_and_the_hoist_saves_it(a1):
    injector = FaultInjector(a1, a1)
    with RobotDriver(injector, A1, a1) as driver:
        driver.activate()
        hold(driver, a1, 0.3)
        injector.inject("power_loss")
        assert hold(driver, a1, 0.6) < 0.15
        injector.clear()
    a1.place(A1.default_pose, 0.35)
    a1.hoist = Hoist(height=0.4, stiffness=3000.0, damping=300.0, max_force=200.0)
    with RobotDriver(injector, A1, a1) as driver:
        driver.activate()
        injector.inject("power_loss")
        assert hold(driver, a1, 0.6) > 0.3


# Energy


def test_the_energy_counter_is_the_work_of_the_torques():
    """A free joint under a constant torque moves one way: the energy is torque times angle, to the step's order."""
    robot = two_arms(gravity=(0.0, 0.0, 0.0))
    robot.send(command(torque=(0.2, -0.1)))
    begin = robot.read()
    assert begin is None
    robot.advance(0.2)
    state = robot.read()
    assert (state.velocity * [1.0, -1.0] > 0.5).all()
    work = np.abs(state.torque * state.position).sum()
    assert state.energy == pytest.approx(work, rel=2 * DT / 0.2)
    robot.send(command())
    robot.advance(0.1)
    assert robot.read().energy == state.energy  # limp joints that move cost nothing


def test_the_energy_counter_is_the_sum_over_every_physics_step():
    """Against what MuJoCo itself was told and says, with joints that swing to and fro."""
    robot = two_arms()
    robot.send(command(position=(0.5, -0.4), kp=(30.0, 20.0), kd=(0.3, 0.2)))
    truth, signs = 0.0, set()
    for _ in range(500):
        velocity = robot.data.qvel[-2:].copy()
        robot.advance(DT)
        power = robot.data.qfrc_applied[-2:] * velocity
        truth += np.abs(power).sum() * DT
        signs |= set(np.sign(power))
    assert {-1.0, 1.0} <= signs
    assert robot.read().energy == pytest.approx(truth, rel=1e-9)
