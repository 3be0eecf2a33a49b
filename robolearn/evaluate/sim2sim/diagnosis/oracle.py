"""The reference's equations of motion in the air: which forces a motion needs."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import mujoco
import numpy as np

from robolearn.evaluate.sim2sim.diagnosis.probe import Array, States
from robolearn.evaluate.sim2sim.world import World


class Oracle:
    """MuJoCo's inverse dynamics of a world's model.

    Attributes:
        model: a copy of the world's, without contacts and joint stops.
        base: id of the base body.
        dofs: (J,) columns of the controlled joints in ``qvel``.
        joints: (J,) their names.
    """

    def __init__(self, world: World) -> None:
        self.model = copy.copy(world.env.engine.model)
        self.model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_CONTACT | mujoco.mjtDisableBit.mjDSBL_LIMIT)
        self.base = world.env.scene.base_body
        self.dofs = world.env.scene.joint_qvel
        self.joints = world.env.robot.joints

    def needed(self, states: States, accelerations: Array, model: mujoco.MjModel | None = None) -> Array:
        """Return the generalised forces (M, nv) that accelerations (M, nv) need in states (M)."""
        model = model or self.model
        data, forces = mujoco.MjData(model), []
        for qpos, qvel, qacc in zip(states.qpos, states.qvel, accelerations, strict=True):
            data.qpos, data.qvel, data.qacc = qpos, qvel, qacc
            mujoco.mj_inverse(model, data)
            forces.append(data.qfrc_inverse.copy())
        return np.array(forces)

    def forces(self, states: States, torques: Array, wrenches: Array, model: mujoco.MjModel | None = None) -> Array:
        """Turn joint torques (M, J) and wrenches (M, 6) at the base's centre of mass into forces (M, nv)."""
        model = model or self.model
        result = np.zeros((len(torques), model.nv))
        result[:, self.dofs] = torques
        data = mujoco.MjData(model)
        for row, qpos, wrench in zip(result, states.qpos, wrenches, strict=True):
            data.qpos = qpos
            mujoco.mj_kinematics(model, data)
            mujoco.mj_comPos(model, data)
            mujoco.mj_applyFT(model, data, wrench[:3], wrench[3:], data.xipos[self.base], self.base, row)
        return result

    def weights(self, states: States) -> Array:
        """Return ``L^-1`` (M, nv, nv) with the mass matrix ``M = L L'``, so that ``|L^-1 f|^2 = f' M^-1 f``.

        So weighed, forces in N and torques in N m can be added up: each counts by the acceleration that it gives.
        """
        data, result = mujoco.MjData(self.model), []
        mass = np.zeros((self.model.nv, self.model.nv))
        for qpos in states.qpos:
            data.qpos = qpos
            mujoco.mj_forward(self.model, data)
            mujoco.mj_fullM(self.model, data, mass)
            result.append(np.linalg.inv(np.linalg.cholesky(mass)))
        return np.array(result)


def weigh(weights: Array, forces: Array) -> Array:
    """Apply matrices (M, nv, nv) to forces (M, nv)."""
    return np.asarray(np.einsum("mij,mj->mi", weights, forces))


@dataclass(frozen=True)
class Motion:
    """M steps of a simulator from known states under known forces.

    Attributes:
        states: at the start of each step.
        accelerations: (M, nv) velocity gained over the step, per second.
        torques: (M, J) N m, applied at the joints.
        wrenches: (M, 6) N and N m, applied at the base's centre of mass, in the world frame.
        dt: s, the step.
    """

    states: States
    accelerations: Array
    torques: Array
    wrenches: Array
    dt: float

    def __add__(self, gravity: Array) -> Motion:
        """Return the same motion with ``gravity`` (3,) m/s^2 more."""
        accelerations = self.accelerations.copy()
        accelerations[:, :3] += gravity
        return replace(self, accelerations=accelerations)

    @property
    def final_velocity(self) -> Array:
        """(M, nv) at the end of each step."""
        return np.asarray(self.states.qvel + self.dt * self.accelerations)

    def push(self, oracle: Oracle, model: mujoco.MjModel | None = None) -> Array:
        """Return what was applied as generalised forces (M, nv)."""
        return oracle.forces(self.states, self.torques, self.wrenches, model)

    def missing(self, oracle: Oracle, model: mujoco.MjModel | None = None) -> Array:
        """Return the forces (M, nv) that were applied and, if the robot is like ``model``, did not show."""
        return self.push(oracle, model) - oracle.needed(self.states, self.accelerations, model)

    def ruler(self, oracle: Oracle) -> Array:
        """Return matrices (M, nv, nv) that make forces relative to the push, or to the forces of motion without one."""
        weights = oracle.weights(self.states)
        fall = np.zeros_like(self.accelerations)
        fall[:, :3] = oracle.model.opt.gravity
        push = self.push(oracle)
        scale = push if push.any() else oracle.needed(self.states, fall)
        return np.asarray(weights / np.linalg.norm(weigh(weights, scale), axis=1)[:, None, None])

    def deviation(self, oracle: Oracle) -> Array:
        """Return how much of each push, or of the forces of motion, did not show, (M,)."""
        return np.asarray(np.linalg.norm(weigh(self.ruler(oracle), self.missing(oracle)), axis=1))
