"""A simulator of another make behind the engine's interface: it moves the robot, MuJoCo says where everything then is.

A foreign simulator has to do little: take a state, advance it by one period under generalised forces, and tell the
state and the contact forces. That is a ``World``. What tasks read beyond that, MuJoCo computes from positions and
velocities (``calculator``), and it turns controls and wrenches into generalised forces, which mean the same in every
simulator that agrees on positions and velocities.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import mujoco
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robolearn.config import nearest
from sim.engines.base import DERIVED_FIELDS, STATE_FIELDS, Engine
from sim.engines.calculator import Array, Calculator, Contact, contact_sensors
from sim.engines.mujoco_cpu import SANE_STATE

EXPANDABLE = (
    "body_mass", "body_inertia", "body_ipos", "dof_armature", "dof_damping", "dof_frictionloss", "geom_friction"
)  # fmt: skip
"""Model fields that may have per-environment values: what every world reads from the model that it is built from."""


class WorldError(RuntimeError):
    """The foreign simulator gave up on a step."""


class World(Protocol):
    """One robot on the ground in a foreign simulator, built from one compiled model."""

    def place(self, qpos: Array, qvel: Array) -> None:
        """Put the robot into a state (nq,), (nv,) in MuJoCo's layout, as if it had no past."""

    def step(self, force: Array, qpos: Array, qvel: Array) -> None:
        """Advance by one period of the model.

        Args:
            force: (nv,) generalised forces, constant over the period: actuators, external wrenches, springs and viscous
                damping, all at the present state. Gravity, armature, dry friction, limits and contacts are the world's.
            qpos: (nq,) where the robot is, to the last bit what ``place`` or the last step gave; becomes where it gets.
            qvel: (nv,) its velocities; become those reached.

        Raises:
            WorldError: the simulator cannot go on from here.
        """

    def contacts(self) -> Sequence[Contact]:
        """Return the contacts of the last step."""

    def close(self) -> None:
        """Release the simulator."""


class ForeignEngine(Engine):
    """N worlds, one after the other on the CPU, in float64.

    Derived fields describe the state that a step *reached*, where MuJoCo's describe the one before; contact forces and
    ``qacc`` are means over the last physics period. After ``forward`` on a new state these are zero.

    A world is asked for its contacts only by steps that tell derived fields: to collect them takes time.

    A world whose model fields change is built anew. One whose state is not sane stands still until it is given another.

    Args:
        model: the compiled model.
        num_envs: number of worlds.
        build: makes a world from a model.
        expand: names of model fields that get per-environment values.

    Raises:
        ConfigError: the foreign simulator cannot hold the model.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        num_envs: int,
        build: Callable[[mujoco.MjModel], World],
        expand: Sequence[str] = (),
    ) -> None:
        self.model, self.num_envs = model, num_envs
        self.device, self.dtype = torch.device("cpu"), torch.float64
        self._timestep = self.timestep  # MuJoCo's options are slow to read
        self._build = build
        self._models = [model] * num_envs  # a copy for every environment with values of its own
        self._worlds: list[World | None] = [build(model) for _ in range(num_envs)]
        self._calculators = [Calculator(model) for _ in range(num_envs)]
        self._missing = contact_sensors(model)[1]
        # Arrays here, tensors for the caller: two views of the same memory.
        self._state = {name: self._zeros(name) for name in STATE_FIELDS}
        self._derived: dict[str, Array] = {}
        self._tensors = {name: torch.from_numpy(array) for name, array in self._state.items()}
        self._expanded: dict[str, Tensor] = {}
        # What worlds and models hold: where the live values differ, the caller has written.
        self._held = {name: np.full_like(self._state[name], np.nan) for name in ("qpos", "qvel")}
        self._built: dict[str, Tensor] = {}
        self._nonfinite = self._raised = 0
        for name in expand:
            self.expand(name)
        self.reset()

    def _zeros(self, name: str) -> Array:
        return np.zeros((self.num_envs, *getattr(self._calculators[0].data, name).shape))

    def field(self, name: str) -> Tensor:
        """See ``Engine.field``. Columns of ``sensordata`` that ``sensor`` refuses stay zero."""
        if name not in STATE_FIELDS + DERIVED_FIELDS:
            raise KeyError(f"unknown field {name!r}.{nearest(name, STATE_FIELDS + DERIVED_FIELDS)}")
        if name not in self._tensors:
            self._derived[name] = self._zeros(name)
            self._tensors[name] = torch.from_numpy(self._derived[name])
        return self._tensors[name]

    def sensor(self, name: str) -> Tensor:
        """See ``Engine.sensor``.

        Raises:
            KeyError: no such sensor, or one that a foreign simulator cannot fill.
        """
        if name in self._missing:
            raise KeyError(f"sensor {name!r} cannot be filled by a foreign simulator: {self._missing[name]}")
        return super().sensor(name)

    def expand(self, name: str) -> Tensor:
        """See ``Engine.expand``. A write takes effect at the next ``step`` or ``forward``, ``set_const`` or not."""
        if name not in EXPANDABLE:
            raise KeyError(
                f"model field {name!r} cannot have per-environment values in a foreign simulator."
                f"{nearest(name, EXPANDABLE)}"
            )
        if name not in self._expanded:
            value = torch.from_numpy(np.array(getattr(self.model, name), dtype=np.float64))
            self._expanded[name] = value.repeat(self.num_envs, *[1] * value.ndim)
            self._built[name] = self._expanded[name].clone()
        return self._expanded[name]

    @property
    def expanded(self) -> tuple[str, ...]:
        """See ``Engine.expanded``."""
        return tuple(self._expanded)

    def set_const(self, ids: Tensor | None = None) -> None:
        """See ``Engine.set_const``."""
        self._rebuild(self._rows(ids))

    def _rows(self, ids: Tensor | None) -> list[int]:
        return list(range(self.num_envs)) if ids is None else ids.tolist()

    def _rebuild(self, rows: Iterable[int]) -> None:
        """Give the environments whose model fields were written a model and, at its next step, a world of their own."""
        written = [name for name, value in self._expanded.items() if not torch.equal(value, self._built[name])]
        for row in rows if written else ():
            if all(torch.equal(self._expanded[name][row], self._built[name][row]) for name in written):
                continue
            model = self._models[row] = copy.copy(self.model)
            for name, value in self._expanded.items():
                getattr(model, name)[:] = value[row].numpy()
                self._built[name][row] = value[row]
            mujoco.mj_setConst(model, mujoco.MjData(model))
            self._calculators[row] = Calculator(model)
            self._discard(row)

    def _discard(self, row: int) -> None:
        """Drop a world; the next one starts from the state fields."""
        world, self._worlds[row] = self._worlds[row], None
        if world is not None:
            world.close()
        for held in self._held.values():
            held[row] = np.nan

    def step(self, substeps: int = 1, derived: bool = True) -> None:
        """See ``Engine.step``."""
        rows = going = self._ready(range(self.num_envs))
        for _ in range(substeps):
            going = self._advance(going)
        if derived:
            for row in going:
                world = self._worlds[row]
                assert world is not None
                self._calculators[row].sense(world.contacts())
            for row in rows:
                self._tell(row)

    def forward(self, ids: Tensor | None = None) -> None:
        """See ``Engine.forward``. Contact forces and accelerations come from steps: a new state has none yet."""
        for row in self._ready(self._rows(ids)):
            self._calculators[row].actuate(self._state["ctrl"][row])
            self._tell(row)

    def _ready(self, rows: Sequence[int]) -> list[int]:
        """Put worlds into the states that the caller wrote; return the environments whose state is sane."""
        self._rebuild(rows)
        qpos, qvel = self._state["qpos"], self._state["qvel"]
        same = (qpos == self._held["qpos"]).all(1) & (qvel == self._held["qvel"]).all(1)
        if same.all():  # as in all but the first physics step of a control step; what a world holds is sane
            return list(rows)
        sane = self._sane()
        ready = [row for row in rows if sane[row]]
        for row in ready:
            if same[row]:
                continue
            world = self._worlds[row]
            if world is None:
                world = self._worlds[row] = self._build(self._models[row])
            calculator = self._calculators[row]
            calculator.place(qpos[row], qvel[row])
            calculator.data.qacc[:] = 0
            world.place(calculator.data.qpos, calculator.data.qvel)
            self._held["qpos"][row], self._held["qvel"][row] = qpos[row], qvel[row]
        return ready

    def _advance(self, rows: Sequence[int]) -> list[int]:
        """Advance environments by one period; return those that can go on."""
        qpos, qvel, ctrl, applied, wrenches = (self._state[name] for name in STATE_FIELDS)
        for row in rows:
            calculator, world = self._calculators[row], self._worlds[row]
            assert world is not None
            data = calculator.data
            calculator.actuate(ctrl[row])
            try:
                world.step(calculator.force(applied[row], wrenches[row]), data.qpos, data.qvel)
            except WorldError:
                self._raised += 1
                data.qvel[:] = np.nan
            qpos[row], qvel[row] = data.qpos, data.qvel
        sane = self._sane()
        for row in rows:
            if not sane[row]:
                self._discard(row)  # what is inside it may be spoilt for ever
                continue
            calculator = self._calculators[row]
            calculator.data.qacc[:] = (qvel[row] - self._held["qvel"][row]) / self._timestep
            self._held["qpos"][row], self._held["qvel"][row] = qpos[row], qvel[row]
            calculator.update()
        return [row for row in rows if sane[row]]

    def _tell(self, row: int) -> None:
        """Copy the derived fields that somebody asked for."""
        for name, value in self._derived.items():
            value[row] = getattr(self._calculators[row].data, name)

    def reset(self, ids: Tensor | None = None) -> None:
        """See ``Engine.reset``."""
        for name, value in self._state.items():
            value[self._rows(ids)] = self.model.qpos0 if name == "qpos" else 0.0

    def _sane(self) -> NDArray[np.bool_]:
        """(N,) bool; a NaN compares as False."""
        positions, velocities = (np.abs(self._state[name]).max(1) for name in ("qpos", "qvel"))
        return np.asarray((positions < SANE_STATE) & (velocities < SANE_STATE))

    def finite(self) -> Tensor:
        """See ``Engine.finite``."""
        good = torch.from_numpy(self._sane())
        self._nonfinite += int(self.num_envs - good.sum())
        return good

    def diagnostics(self) -> dict[str, int]:
        """See ``Engine.diagnostics``. ``raised`` counts steps in which the simulator itself reported an error."""
        return {"nonfinite": self._nonfinite, "overflow": 0, "raised": self._raised}

    def state_dict(self) -> dict[str, Any]:
        """See ``Engine.state_dict``. What simulators remember of past contacts is not in it."""
        return {
            "state": {name: self._tensors[name].clone() for name in STATE_FIELDS},
            "expanded": {name: value.clone() for name, value in self._expanded.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``; the worlds begin without a past.

        Raises:
            ValueError: the state belongs to another model, another number of environments, or other expanded fields.
        """
        for name, value in self._state.items():
            shape = tuple(state["state"][name].shape)
            if shape != tuple(value.shape):
                raise ValueError(f"saved {name} has shape {shape}, this model needs {tuple(value.shape)}")
        if set(state["expanded"]) != set(self._expanded):
            raise ValueError(
                f"per-environment model fields differ: saved {sorted(state['expanded'])}, here {sorted(self._expanded)}"
            )
        for name in STATE_FIELDS:
            self._tensors[name].copy_(state["state"][name])
        for name, tensor in self._expanded.items():
            tensor.copy_(state["expanded"][name])
        for held in self._held.values():
            held.fill(np.nan)
        self.forward()

    def close(self) -> None:
        """See ``Engine.close``."""
        for row in range(self.num_envs):
            self._discard(row)
