"""A robot in MuJoCo behind the same link as a real one. Its clock is its own simulated time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np

from hardware.hoist import LOWERING, Hoist
from hardware.joints import Motor
from robolearn.config import ConfigError, nearest
from robolearn.deploy.types import Array, JointCommand, RobotState

AMBIENT = 25.0  # degrees Celsius


class MujocoRobot:
    """A link to a simulated robot with J torque motors, and the clock of its world.

    At every physics step each drive computes ``tau = kp (position - q) + kd (velocity - dq) + torque``, limited to its
    effort. Before the first command the joints are free; afterwards the drives keep the last one, as real ones do. The
    explicit law needs ``kd * timestep`` below the inertia that a joint sees: choose a physics step of 1 to 2 ms.

    Time passes only in ``advance``. Each physics step is one reading; ``read`` gives the newest.

    Args:
        model: a compiled model, whose automatic reset is switched off here, or the path of an MJCF file.
        joints: (J,) names of the driven hinge joints, which are also the names of the motors.
        base: name of the body that carries the IMU; it has a free joint.
        effort_limit: (J,) N m.

    Attributes:
        model: the compiled model.
        data: the world; read what you like, as ground truth.
        battery: state of charge that is reported, 0 to 1.
        energy: J, mechanical energy ``sum |tau dq|`` of all drives since the beginning, summed at every physics step.
        hoist: holds the base while it is set.

    Raises:
        ConfigError: the model lacks a joint or the base, or the base is not free.
    """

    def __init__(
        self, model: mujoco.MjModel | str | Path, joints: Sequence[str], base: str, effort_limit: Array
    ) -> None:
        self.model = _load(model)
        # A diverging simulation must be seen by those who monitor it, not silently restarted.
        self.model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_AUTORESET)
        self.data = mujoco.MjData(self.model)
        self._motors = tuple(Motor(name) for name in joints)
        self._effort = np.array(effort_limit, np.float64)
        if self._effort.shape != (len(joints),) or not (self._effort > 0).all():
            raise ConfigError(f"effort_limit: needs {len(joints)} positive values, got {effort_limit}")
        self._qpos, self._qvel = _joint_addresses(self.model, joints)
        self._base, self._base_qpos, self._base_qvel = _free_body(self.model, base)
        self._command = JointCommand.zero(len(joints))
        self._torque = np.zeros(len(joints))
        self._pushes: list[tuple[int, Array]] = []  # physics steps left, force in the world frame
        self._time = 0.0
        self._steps = self._read_steps = 0
        self.battery, self.energy = 1.0, 0.0
        self.hoist: Hoist | None = None
        mujoco.mj_forward(self.model, self.data)

    def place(self, pose: Array, height: float) -> None:
        """Put the robot upright and at rest, with joints ``pose`` (J,) rad, base ``height`` m up; time goes on."""
        time = self.data.time
        mujoco.mj_resetData(self.model, self.data)
        self.data.time = time
        self.data.qpos[self._qpos] = pose
        self.data.qpos[self._base_qpos : self._base_qpos + 7] = 0, 0, height, 1, 0, 0, 0
        self._pushes.clear()
        mujoco.mj_forward(self.model, self.data)

    def push(self, impulse: Array, duration: float = 0.0) -> None:
        """Push the base at its centre of mass from the next physics step on.

        Args:
            impulse: (3,) N s, world frame; the robot's momentum changes by exactly so much.
            duration: s, rounded to physics steps; at least one.
        """
        steps = max(1, round(duration / self.model.opt.timestep))
        self._pushes.append((steps, np.asarray(impulse, np.float64) / (steps * self.model.opt.timestep)))

    def lower(self, speed: float = LOWERING) -> None:
        """Let the hoist's rope out at ``speed`` m/s until it is slack; ``hoist`` is None from then on."""
        if self.hoist is not None:
            self.hoist = replace(self.hoist, lowering=speed)

    def advance(self, seconds: float) -> None:
        """Let simulated time pass; what is left of a physics step counts for the next call."""
        self._time += seconds
        step = self.model.opt.timestep
        while (self._steps + 1) * step <= self._time + 1e-3 * step:  # the margin absorbs rounding, over hours
            self._step()
            self._steps += 1

    def now(self) -> float:
        """Return the simulated time in s."""
        return self._time

    def wait(self, seconds: float) -> None:
        """Advance: waiting for a simulated robot is simulating it."""
        self.advance(seconds)

    @property
    def motors(self) -> tuple[Motor, ...]:
        """One motor per joint, with the joint's own sign and zero."""
        return self._motors

    def open(self) -> None:
        """Nothing to connect."""

    def close(self) -> None:
        """Nothing to disconnect; the drives keep their last command."""

    def send(self, command: JointCommand) -> None:
        """Give the drives a command for all physics steps to come."""
        self._command = command

    def read(self) -> RobotState | None:
        """Return the reading after the newest physics step, or None when there was no step since the last call."""
        if self._steps == self._read_steps:
            return None
        self._read_steps = self._steps
        data, base = self.data, self._base_qvel
        orientation = data.qpos[self._base_qpos + 3 : self._base_qpos + 7].copy()
        orientation /= np.linalg.norm(orientation)
        matrix = np.empty(9)
        mujoco.mju_quat2Mat(matrix, orientation)
        # An accelerometer feels what keeps it from falling freely.
        specific_force = data.qacc[base : base + 3] - self.model.opt.gravity
        return RobotState(
            position=data.qpos[self._qpos],
            velocity=data.qvel[self._qvel],
            torque=self._torque.copy(),
            orientation=orientation,
            angular_velocity=data.qvel[base + 3 : base + 6].copy(),
            sequence=self._steps,
            stamp=self._steps * self.model.opt.timestep,
            acceleration=matrix.reshape(3, 3).T @ specific_force,
            temperature=np.full(len(self._motors), AMBIENT),
            battery=self.battery,
            energy=self.energy,
        )

    def _step(self) -> None:
        data, command = self.data, self._command
        np.clip(
            command.kp * (command.position - data.qpos[self._qpos])
            + command.kd * (command.velocity - data.qvel[self._qvel])
            + command.torque,
            -self._effort,
            self._effort,
            out=self._torque,
        )
        self.energy += float(np.abs(self._torque * data.qvel[self._qvel]).sum()) * self.model.opt.timestep
        data.qfrc_applied[self._qvel] = self._torque
        data.xfrc_applied[self._base] = self._external_wrench()
        mujoco.mj_step(self.model, data)

    def _external_wrench(self) -> Array:
        """Return force and torque (6,) on the base at its centre of mass, in the world frame."""
        wrench = np.zeros(6)
        if self.hoist is not None:
            height, rate = self.data.qpos[self._base_qpos + 2], self.data.qvel[self._base_qvel + 2]
            turn = self.data.xmat[self._base].reshape(3, 3)
            spin = turn @ self.data.qvel[self._base_qvel + 3 : self._base_qvel + 6]
            wrench[2] = self.hoist.pull(height, rate)
            wrench[3:] = self.hoist.torque(wrench[2], turn[:, 2], spin)
            self.hoist = self.hoist.after(self.model.opt.timestep, wrench[2])
        for _, push in self._pushes:
            wrench[:3] += push
        self._pushes = [(steps - 1, push) for steps, push in self._pushes if steps > 1]
        return wrench


def _load(model: mujoco.MjModel | str | Path) -> mujoco.MjModel:
    if isinstance(model, mujoco.MjModel):
        return model
    try:
        return mujoco.MjModel.from_xml_path(str(model))
    except ValueError as error:
        raise ConfigError(f"{model}: not a usable MJCF file: {error}") from error


def _joint_addresses(model: mujoco.MjModel, joints: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return where each hinge joint stands in ``qpos`` and ``qvel``."""
    names = [model.joint(i).name for i in range(model.njnt)]
    for name in joints:
        if name not in names:
            raise ConfigError(f"the model has no joint {name!r}.{nearest(name, names)}")
        if model.joint(name).type[0] != mujoco.mjtJoint.mjJNT_HINGE:
            raise ConfigError(f"joint {name!r} of the model is not a hinge; only hinge joints can be driven")
    ids = [model.joint(name).id for name in joints]
    return model.jnt_qposadr[ids], model.jnt_dofadr[ids]


def _free_body(model: mujoco.MjModel, base: str) -> tuple[int, int, int]:
    """Return a body's id and where its free joint stands in ``qpos`` and ``qvel``."""
    names = [model.body(i).name for i in range(model.nbody)]
    if base not in names:
        raise ConfigError(f"the model has no body {base!r}.{nearest(base, names)}")
    body = model.body(base).id
    joint = int(model.body_jntadr[body])
    if joint < 0 or model.jnt_type[joint] != mujoco.mjtJoint.mjJNT_FREE:
        raise ConfigError(f"body {base!r} has no free joint; the simulated robot needs a floating base for its IMU")
    return body, int(model.jnt_qposadr[joint]), int(model.jnt_dofadr[joint])
