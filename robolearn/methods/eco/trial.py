"""One walk of the model-based walker in MuJoCo, and what it costs. The truth is read to judge, never to control."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import mujoco
import numpy as np
from numpy.typing import NDArray

from robolearn.methods.eco.walker import Walker
from sim.robots.robot import Robot
from sim.scene import Scene

Array = NDArray[np.float64]
LEAN = math.cos(math.radians(60.0))  # a base that leans further has fallen
KICK_EVERY = 4.0  # s
NOISE = (0.03, 0.6, 0.018, 0.06)  # rad, rad/s, rad, rad/s: joints and base, standard deviations in ECO's training
LOW = 0.3  # m: so has one that is lower


@dataclass(frozen=True)
class Start:
    """How far a start is off from standing still: half-widths of uniform draws.

    Attributes:
        joints: rad.
        joint_speeds: rad/s.
        velocity: m/s of the base, forwards and sideways.
        tilt: rad, roll and pitch.
        yaw: rad.
    """

    joints: float = 0.05
    joint_speeds: float = 0.1
    velocity: float = 0.05
    tilt: float = 0.02
    yaw: float = math.pi


@dataclass(frozen=True)
class Disturbance:
    """What makes walking harder.

    Attributes:
        kick: m/s by which the base's velocity changes every ``KICK_EVERY`` s, in a random level direction.
        noise: share of ``NOISE`` in what the walker is told, drawn anew at every control step. The drives feel none.
    """

    kick: float = 0.0
    noise: float = 0.0


@dataclass
class Walk:
    """What happened, at the physics rate unless said otherwise; the settling time at the start does not count.

    Attributes:
        seconds: s until the fall or the end.
        fallen: whether it fell.
        power: W, mean of the sum of |torque * speed| over the joints.
        power_control_rate: W, the same, looked at once per control step.
        positive_power: W, mean of the sum of the motors' driving power only.
        torque_square: (N m)^2, mean of the sum over the joints.
        velocity: (2,) m/s, mean, forwards and to the left of the heading at the start of the measurement.
        speed_error: m/s, root mean square, over one-second windows, of the forward velocity's error.
        roll_std, pitch_std: rad, of the base.
        peak_force: N, largest vertical force on one foot.
        saturated: share of the physics steps in which a drive was at its limit.
        estimate_error: m/s, root mean square of the estimated base velocity's error, per axis, at the control rate.
        qpos: (nq,) of each control step, when recorded.
        powers: W, mean over each control step, when recorded.
    """

    seconds: float = 0.0
    fallen: bool = False
    power: float = math.nan
    power_control_rate: float = math.nan
    positive_power: float = math.nan
    torque_square: float = math.nan
    velocity: tuple[float, float] = (math.nan, math.nan)
    speed_error: float = math.nan
    roll_std: float = math.nan
    pitch_std: float = math.nan
    peak_force: float = math.nan
    saturated: float = math.nan
    estimate_error: float = math.nan
    qpos: list[Array] = field(default_factory=list, repr=False)
    powers: list[float] = field(default_factory=list, repr=False)


def place(robot: Robot, scene: Scene, start: Start, rng: np.random.Generator) -> mujoco.MjData:
    """Return a world in which the robot stands on its lower foot, off from rest as ``start`` says."""
    data = mujoco.MjData(scene.model)
    count = len(robot.joints)
    tilt = rng.uniform(-start.tilt, start.tilt, 2)
    quaternion = np.empty(4)
    mujoco.mju_euler2Quat(quaternion, np.array([*tilt, rng.uniform(-start.yaw, start.yaw)]), "XYZ")
    data.qpos[:3], data.qpos[3:7] = (0.0, 0.0, robot.base_height), quaternion
    data.qpos[scene.joint_qpos] = np.array(robot.default_pose) + rng.uniform(-start.joints, start.joints, count)
    data.qvel[:2] = rng.uniform(-start.velocity, start.velocity, 2)
    data.qvel[scene.joint_qvel] = rng.uniform(-start.joint_speeds, start.joint_speeds, count)
    mujoco.mj_forward(scene.model, data)
    ends = [i for i in range(scene.model.ngeom) if scene.model.geom_conaffinity[i] and _is_foot(robot, scene.model, i)]
    data.qpos[2] -= min(data.geom_xpos[i, 2] - scene.model.geom_size[i, 0] for i in ends)
    mujoco.mj_forward(scene.model, data)
    return data


def _is_foot(robot: Robot, model: mujoco.MjModel, geom: int) -> bool:
    return model.body(model.geom_bodyid[geom]).name in {foot.object for foot in robot.feet}


def walk(
    robot: Robot,
    scene: Scene,
    walker: Walker,
    data: mujoco.MjData,
    speed: float,
    seconds: float,
    settle: float = 2.0,
    disturbance: Disturbance | None = None,
    rng: np.random.Generator | None = None,
    record: bool = False,
) -> Walk:
    """Walk straight ahead from where ``data`` stands, until the time is over or the robot has fallen.

    Args:
        robot: its torque limits hold.
        scene: robot and floor; control steps of ``walker.config.dt`` must be whole physics steps.
        walker: is reset.
        data: the world, which is moved on.
        speed: m/s.
        seconds: s.
        settle: s at the start that no figure counts.
        disturbance: what makes it harder; nothing when None.
        rng: draws the kicks' directions and the noise.
        record: keep the states.
    """
    model, limit = scene.model, np.array(robot.effort_limit)
    steps = round(walker.config.dt / model.opt.timestep)
    if abs(steps * model.opt.timestep - walker.config.dt) > 1e-9:
        raise ValueError(f"control steps of {walker.config.dt} s are no whole physics steps of {model.opt.timestep} s")
    q, dq = scene.joint_qpos, scene.joint_qvel
    walker.reset()
    result = Walk()
    ticks, settled = round(seconds / walker.config.dt), round(settle / walker.config.dt)
    rows: list[tuple[float, ...]] = []  # per physics step
    slow: list[tuple[float, ...]] = []  # per control step
    disturbance, rng = disturbance or Disturbance(), rng or np.random.default_rng(0)
    for tick in range(ticks):
        if disturbance.kick and tick and tick % round(KICK_EVERY / walker.config.dt) == 0:
            angle = rng.uniform(0.0, 2 * math.pi)
            data.qvel[:2] += disturbance.kick * np.array([math.cos(angle), math.sin(angle)])
        told = walker(*_readings(data, q, dq, disturbance.noise, rng), (speed, 0.0, 0.0))
        assert walker.body is not None
        error = walker.body.base_velocity - data.qvel[:3]
        now: list[tuple[float, ...]] = []
        for _ in range(steps):
            wanted = walker.kp * (told.position - data.qpos[q]) + walker.kd * (told.velocity - data.qvel[dq])
            torque = np.clip(wanted + told.torque, -limit, limit)
            data.ctrl[:] = torque
            power = torque * data.qvel[dq]
            force = np.abs(data.sensordata[scene.foot_force][2::3]).max()
            saturated = bool((np.abs(torque) >= limit).any())
            now.append((np.abs(power).sum(), power.clip(0).sum(), torque @ torque, force, saturated))
            mujoco.mj_step(model, data)
        if record:
            result.qpos.append(data.qpos.copy())
            result.powers.append(sum(values[0] for values in now) / steps)
        if tick >= settled:
            rows += now
            slow.append((*data.qpos[:2], *_roll_pitch(data.qpos[3:7]), now[-1][0], *error))
        result.seconds = (tick + 1) * walker.config.dt
        result.fallen = _has_fallen(data)
        if result.fallen:
            break
    if len(slow) > 1:
        _measure(result, np.array(rows), np.array(slow), speed, walker)
    return result


def _readings(
    data: mujoco.MjData, q: Array, dq: Array, noise: float, rng: np.random.Generator
) -> tuple[Array, Array, Array, Array]:
    """Return what is measured of joints (position, velocity) and base (orientation, angular velocity)."""
    readings = (data.qpos[q], data.qvel[dq], data.qpos[3:7].copy(), data.qvel[3:6].copy())
    if not noise:
        return readings
    position, velocity, orientation, spin = readings
    errors = [noise * width * rng.normal(size=size) for width, size in zip(NOISE, (len(q), len(q), 3, 3), strict=True)]
    tilt, tilted = np.empty(4), np.empty(4)
    angle = float(np.linalg.norm(errors[2]))
    mujoco.mju_axisAngle2Quat(tilt, errors[2] / angle, angle)
    mujoco.mju_mulQuat(tilted, orientation, tilt)
    return position + errors[0], velocity + errors[1], tilted, spin + errors[3]


def _has_fallen(data: mujoco.MjData) -> bool:
    upright = 1.0 - 2.0 * (data.qpos[4] ** 2 + data.qpos[5] ** 2)
    return not (data.qpos[2] > LOW and upright > LEAN)


def _roll_pitch(quaternion: Array) -> tuple[float, float]:
    w, x, y, z = quaternion
    return math.atan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y)), math.asin(min(1.0, max(-1.0, 2 * (w * y - z * x))))


def _measure(result: Walk, rows: Array, slow: Array, speed: float, walker: Walker) -> None:
    assert walker.stepper is not None
    result.power, result.positive_power, result.torque_square = (float(value) for value in rows[:, :3].mean(0))
    result.peak_force, result.saturated = float(rows[:, 3].max()), float(rows[:, 4].mean())
    result.power_control_rate = float(slow[:, 4].mean())
    result.roll_std, result.pitch_std = float(slow[:, 2].std()), float(slow[:, 3].std())
    result.estimate_error = float(np.sqrt((slow[:, 5:8] ** 2).mean()))
    heading = walker.stepper.heading
    turn = np.array([[math.cos(heading), math.sin(heading)], [-math.sin(heading), math.cos(heading)]])
    path = slow[:, :2] @ turn.T
    dt = walker.config.dt
    ahead, aside = (path[-1] - path[0]) / ((len(path) - 1) * dt)
    result.velocity = float(ahead), float(aside)
    window = round(1.0 / dt)
    if len(path) > window:
        speeds = (path[window:, 0] - path[:-window, 0]) / (window * dt)
        result.speed_error = float(np.sqrt(((speeds - speed) ** 2).mean()))
