"""MuJoCo as a calculator beside a foreign simulator: forces that go in, quantities that come out, for one robot.

Everything that depends on a state alone (body poses, velocities, sensors, forces of actuators and dampers) is computed
here, with contacts and constraints switched off, so there is one definition of it whatever simulator moves the robot.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

from robolearn.config import ConfigError

Array = NDArray[np.float64]
_NET_FORCE = [1 << int(mujoco.mjtConDataField.mjCONDATA_FORCE), 3, 1]
_SWITCHED_OFF = (
    int(mujoco.mjtDisableBit.mjDSBL_CONTACT)
    | int(mujoco.mjtDisableBit.mjDSBL_CONSTRAINT)
    | int(mujoco.mjtDisableBit.mjDSBL_AUTORESET)
)


class Contact(NamedTuple):
    """What the ground does to one geom.

    Attributes:
        geom: id of the robot's geom.
        force: (3,) N, on the geom, in the world frame: normal force and friction, mean over the last period.
    """

    geom: int
    force: Array


class Calculator:
    """The quantities of one robot.

    Args:
        model: the compiled model, with the values of this robot; a copy is kept.

    Attributes:
        data: every quantity of the present state. Contact sensors hold the forces given to ``sense``; ``qacc`` and
            sensors of accelerations are not computed. Who writes ``qpos`` or ``qvel`` calls ``update``.
    """

    def __init__(self, model: mujoco.MjModel) -> None:
        self._model = copy.copy(model)
        self._model.opt.disableflags |= _SWITCHED_OFF
        self.data = mujoco.MjData(self._model)
        sensors = contact_sensors(model)[0]
        self._contacts = np.array([columns.start + i for columns, _ in sensors for i in range(3)], int)
        self._sensors_of = {
            geom: [columns for columns, geoms in sensors if geom in geoms] for geom in range(self._model.ngeom)
        }

    def place(self, qpos: Array, qvel: Array) -> None:
        """Compute a state (nq,), (nv,) without contacts."""
        self.data.qpos[:], self.data.qvel[:] = qpos, qvel
        mujoco.mju_normalize4(self.data.qpos[3:7])
        self.update()
        self.sense(())

    def update(self) -> None:
        """Compute what follows from ``data.qpos`` and ``data.qvel``; contact sensors stay as they are."""
        mujoco.mj_step1(self._model, self.data)

    def sense(self, contacts: Sequence[Contact]) -> None:
        """Set the contact sensors: each to the sum of the forces that its geom or body *exerts*, as in MuJoCo."""
        sensordata = self.data.sensordata
        sensordata[self._contacts] = 0
        for geom, force in contacts:
            for columns in self._sensors_of[geom]:
                sensordata[columns] -= force

    def actuate(self, ctrl: Array) -> None:
        """Compute the forces of the actuators in the present state for controls (nu,)."""
        self.data.ctrl[:] = ctrl
        mujoco.mj_fwdActuation(self._model, self.data)

    def force(self, applied: Array, wrenches: Array) -> Array:
        """Return (nv,) generalised forces: of actuators, springs and dampers, and what is applied from outside.

        Args:
            applied: (nv,) generalised forces.
            wrenches: (nbody, 6) force and torque at each body's centre of mass, in the world frame.
        """
        data = self.data
        data.qfrc_applied[:], data.xfrc_applied[:] = applied, wrenches
        data.qfrc_bias[:] = 0  # gravity and the like are the world's
        mujoco.mj_fwdAcceleration(self._model, data)
        return np.array(data.qfrc_smooth)


def contact_sensors(model: mujoco.MjModel) -> tuple[list[tuple[slice, frozenset[int]]], dict[str, str]]:
    """Return columns and geoms of the contact sensors, and why other sensors cannot be filled, by name."""
    contacts: list[tuple[slice, frozenset[int]]] = []
    missing: dict[str, str] = {}
    for index in range(model.nsensor):
        if model.sensor_needstage[index] != mujoco.mjtStage.mjSTAGE_ACC:
            continue
        name = model.sensor(index).name
        kind, thing = int(model.sensor_objtype[index]), int(model.sensor_objid[index])
        if model.sensor_type[index] != mujoco.mjtSensor.mjSENS_CONTACT:
            missing[name] = "it reads MuJoCo's own accelerations or constraint forces"
        elif list(model.sensor_intprm[index][:3]) != _NET_FORCE or model.sensor_refid[index] >= 0:
            missing[name] = "it reads something else than the net force of all contacts"
        elif kind not in (mujoco.mjtObj.mjOBJ_GEOM, mujoco.mjtObj.mjOBJ_BODY):
            missing[name] = "it reads the contacts of neither a geom nor a body"
        else:
            of_body = kind == mujoco.mjtObj.mjOBJ_BODY
            geoms = np.flatnonzero(model.geom_bodyid == thing).tolist() if of_body else [thing]
            start = int(model.sensor_adr[index])
            contacts.append((slice(start, start + 3), frozenset(geoms)))
    return contacts, missing


def ground_plane(model: mujoco.MjModel) -> int:
    """Return the geom id of the ground: the one level plane through the world's origin.

    Raises:
        ConfigError: there is other ground, or none.
    """
    ground = [g for g in range(model.ngeom) if model.geom_bodyid[g] == 0 and model.geom_contype[g]]
    for geom in ground:
        level = abs(model.geom_quat[geom, 0]) > 1 - 1e-12 and model.geom_pos[geom, 2] == 0
        if len(ground) > 1 or model.geom_type[geom] != mujoco.mjtGeom.mjGEOM_PLANE or not level:
            name = model.geom(geom).name or f"geom{geom}"
            raise ConfigError(
                f"ground {name!r} is not one level plane at height 0, the only ground that foreign simulators have: "
                "use terrain {kind: flat}"
            )
    if not ground:
        raise ConfigError("the model has no ground: add a plane with contype 1 to the world")
    return ground[0]


def sliding_friction(model: mujoco.MjModel, geom: int, other: int) -> float:
    """Return MuJoCo's sliding friction coefficient between two geoms: of the higher priority, else the larger one."""
    one, two = float(model.geom_friction[geom, 0]), float(model.geom_friction[other, 0])
    ahead = int(model.geom_priority[geom]) - int(model.geom_priority[other])
    if ahead:
        return one if ahead > 0 else two
    return max(one, two)
