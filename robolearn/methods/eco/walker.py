"""A model-based walker for humanoids with line feet: pendulum, steps, inverse kinematics, joint drives.

It stands where ECO's authors compare with model predictive control: a policy's interface, no learning.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robolearn.methods.eco.kinematics import JOINTS, Body, BodyModel
from robolearn.methods.eco.lipm import GRAVITY, RIGHT, Gait, Stepper, divergent, natural_rate, pendulum, smooth
from sim.robots.robot import Robot

Array = NDArray[np.float64]
CORRECTION = 0.2  # m/s, the most that is added to the command


@dataclass(frozen=True)
class WalkerConfig:
    """How to walk, and how stiffly.

    Attributes:
        gait: steps.
        dt: s, period of control.
        kp: N m/rad of yaw, pitch, roll, knee, ankle.
        kd: N m s/rad.
        trust: share of the difference between measured and predicted velocity that is taken over per period of control.
        integral: share of the difference between commanded and walked velocity that later steps add, per step.
        stand: s at the start in which both feet stand while the base is brought to its height.
    """

    gait: Gait = field(default_factory=Gait)
    dt: float = 0.01
    kp: tuple[float, ...] = (40.0, 120.0, 120.0, 120.0, 30.0)
    kd: tuple[float, ...] = (2.0, 5.0, 5.0, 3.7, 1.0)
    trust: float = 0.3
    integral: float = 0.2
    stand: float = 0.5


@dataclass(frozen=True)
class Targets:
    """What J drives are told: ``tau = kp (position - q) + kd (velocity - dq) + torque``.

    Attributes:
        position: (J,) rad.
        velocity: (J,) rad/s.
        torque: (J,) N m.
    """

    position: Array
    velocity: Array
    torque: Array


class Walker:
    """Walks with a commanded velocity. Everything that it knows about the robot's motion, joints and IMU have measured.

    Args:
        robot: a humanoid as ``BodyModel`` needs it.
        config: how to walk.

    Attributes:
        kp: (J,) N m/rad, for the drives.
        kd: (J,) N m s/rad, for the drives.
        stepper: its steps; None before the first call.
        body: what it last knew about the robot's motion; None before the first call.
    """

    def __init__(self, robot: Robot, config: WalkerConfig | None = None) -> None:
        self.config = config or WalkerConfig()
        self._model = BodyModel(robot)
        self.kp, self.kd = np.tile(self.config.kp, 2), np.tile(self.config.kd, 2)
        self.stepper: Stepper | None = None
        self.body: Body | None = None
        self._standing = self._start_height = 0.0  # s stood so far; m, height of the base before it
        self._velocity = np.zeros(2)  # m/s, of the centre of mass
        self._correction = np.zeros(2)  # m/s, added to the command
        self._last_step = np.zeros(3)  # m, from foot to foot

    def reset(self) -> None:
        """Forget the steps; the next call begins to walk from standing."""
        self.stepper = self.body = None
        self._standing = self._start_height = 0.0
        self._velocity, self._correction, self._last_step = np.zeros(2), np.zeros(2), np.zeros(3)

    @property
    def _stance(self) -> int:
        return RIGHT if self.stepper is None else self.stepper.stance

    def __call__(
        self, position: Array, velocity: Array, orientation: Array, spin: Array, command: ArrayLike
    ) -> Targets:
        """Return targets for the drives.

        Args:
            position: (J,) rad, measured.
            velocity: (J,) rad/s, measured.
            orientation: (4,) unit quaternion (w, x, y, z) of the base, from the IMU.
            spin: (3,) rad/s, base frame, from the IMU.
            command: (3,) forward and left velocity in m/s, yaw rate in rad/s.
        """
        *wanted, yaw_rate = np.asarray(command, float)
        gait, dt = self.config.gait, self.config.dt
        body = self.body = self._model(position, velocity, orientation, spin, self._stance)
        if self.stepper is None:
            heading = float(np.arctan2(body.rotation[1, 0], body.rotation[0, 0]))
            omega = natural_rate(gait.height + float(body.com[2]))
            self.stepper = Stepper(gait, omega, heading)
            self._start_height = -float(body.soles[:, 2].mean())
        stepper = self.stepper
        if self._standing < self.config.stand:
            now, then = self._stand(body, self._standing), self._stand(body, self._standing + dt)
            self._standing += dt
            self._velocity = self._follow(body.com_velocity[:2])
            force = np.array([0.0, 0.0, self._model.mass * GRAVITY / 2])
            torque = body.gravity - body.jacobians.sum(0).T @ force
            return Targets((now + then) / 2, (then - now) / dt, torque)
        stand, swing = stepper.stance, 1 - stepper.stance
        seen = body.com - body.soles[stand]
        self._velocity = self._follow(body.com_velocity[:2])
        xi = divergent(seen[:2], self._velocity, stepper.omega)
        stepper.plan(xi, wanted + self._correction, body.soles[swing] - body.soles[stand], float(body.headings[swing]))
        now, then = self._angles(body, 0.0), self._angles(body, dt)
        targets = Targets((now + then) / 2, (then - now) / dt, self._feed_forward(body, seen))
        self._velocity = pendulum(seen[:2], self._velocity, 0.0, stepper.omega, dt)[1]
        if stepper.advance(dt, yaw_rate):
            self._correct(np.array(wanted), body.soles[swing] - body.soles[stand])
        return targets

    def _correct(self, wanted: Array, step: Array) -> None:
        """Make up for what two steps in a row, from foot to foot, lacked of the wanted velocity or had too much."""
        assert self.stepper is not None
        walked = (_about_z(-self.stepper.heading) @ (self._last_step + step))[:2] / (2 * self.config.gait.step_time)
        if self.stepper.steps > 2:
            change = self.config.integral * (wanted - walked)
            self._correction = np.clip(self._correction + change, -CORRECTION, CORRECTION)
        self._last_step = step

    def _follow(self, measured: Array) -> Array:
        """Return the velocity of the centre of mass: the pendulum's, corrected by what the standing leg says.

        A foot that slips, rolls over or lands tells nonsense for a moment, which the pendulum does not follow.
        """
        return self._velocity + self.config.trust * (measured - self._velocity)

    def _stand(self, body: Body, time: float) -> Array:
        """Return the (J,) angles with which the robot stands on both feet, its mass above their middle."""
        assert self.stepper is not None
        level, off = _about_z(self.stepper.heading), body.com - body.soles.mean(0)
        height = self._start_height + (self.config.gait.height - self._start_height) * smooth(time / self.config.stand)
        soles = body.soles + off
        soles[:, 2] = -height
        return np.concatenate([self._leg(i, soles[i], float(body.headings[i]), level) for i in range(2)])

    def _angles(self, body: Body, ahead: float) -> Array:
        """Return the (J,) angles that are right ``ahead`` s from now."""
        assert self.stepper is not None
        stepper, gait = self.stepper, self.config.gait
        stand, swing = stepper.stance, 1 - stepper.stance
        moved = (body.base_velocity[:2] - body.com_velocity[:2] + self._velocity) * ahead
        angles = np.empty((2, JOINTS))
        # The standing leg makes the base level and brings it to its height; where it goes is the pendulum's business.
        sole = body.soles[stand].copy()
        sole[:2] -= moved
        sole[2] = -gait.height
        level = _about_z(stepper.heading)
        angles[stand] = self._leg(stand, sole, float(body.headings[stand]), level)
        # The swinging foot's way is fixed to the ground, however the base is tilted.
        place, heading = stepper.swing(ahead)
        place += body.soles[stand]
        place[:2] -= moved
        angles[swing] = self._leg(swing, place, heading, body.rotation)
        return angles.reshape(-1)

    def _leg(self, index: int, sole: Array, heading: float, rotation: Array) -> Array:
        """Return the (5,) angles with which a level foot has its sole at (3,) m, for a base of some orientation."""
        leg, foot = self._model.legs[index], _about_z(heading)
        return leg.inverse(rotation.T @ (sole - foot @ leg.middle), rotation.T @ foot[:, 0], clamp=True)

    def _feed_forward(self, body: Body, seen: Array) -> Array:
        """Return the (J,) N m with which the standing foot's force carries the body, pointing at its centre of mass."""
        assert self.stepper is not None
        force = self._model.mass * GRAVITY * seen / seen[2]
        return body.gravity - body.jacobians[self.stepper.stance].T @ force


def _about_z(angle: float) -> Array:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
