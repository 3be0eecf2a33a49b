"""What is changed about a robot, its ground or its signals, one at a time or all at once.

A perturbation is one function that writes the values of N episodes into a world: episodes are vectorised, each has its
own value. Its docstring says exactly what is changed. Directions, times and noise are drawn from the experiment, never
from the value or the simulator: runs are paired along a curve and between simulators.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robolearn.config import ConfigError, unknown
from robolearn.evaluate.sim2sim.draws import stream
from robolearn.evaluate.sim2sim.late import LateActuators, LateSensing
from robolearn.evaluate.sim2sim.results import JOINT, NOMINAL, Experiment
from robolearn.evaluate.sim2sim.simulators import Simulator
from robolearn.evaluate.sim2sim.stage import Signals, Stage, normal, product, quaternion, shift
from sim.environment import TaskEnv
from sim.robots.robot import Robot
from sim.tasks import TaskConfig
from sim.terrain import TerrainConfig

Array = NDArray[np.float64]
TICK_MS = 5.0
"""Latencies drawn for ``joint`` are multiples of it: whole physics steps in every simulator."""
PUSH_S, PUSH_FROM, PUSH_TO = 0.1, 0.3, 0.7
"""How long a push lasts, s, and between which shares of the episode it begins."""
NOISE = {"joint_position": 0.005, "joint_velocity": 0.5, "base_angular_velocity": 0.1, "base_orientation": 0.02}
"""Standard deviations of white noise with factor 1: rad, rad/s, rad/s, rad."""
BIAS = {"joint_position": 0.02, "joint_velocity": 0.1, "base_angular_velocity": 0.05, "base_orientation": 0.02}
"""Standard deviations of constant offsets with factor 1, in the same units."""
MUJOCO = ("mujoco", "warp")


Likeness = Literal["", "mass", "torque"]


@dataclass(frozen=True)
class Size:
    """How a robot compares with the A1 (12.45 kg, drives of 33.5 N·m), for which all values are listed.

    Three kg are a quarter of that robot and two thirds of a small humanoid: what depends on size is scaled, so that the
    same test asks the same of every robot.

    Attributes:
        mass: of the robot, in that of the A1.
        torque: mean limit of its drives, in that of the A1's.
    """

    mass: float = 1.0
    torque: float = 1.0

    def factor(self, grows_with: Likeness) -> float:
        """Return what a listed value is multiplied by."""
        return {"": 1.0, "mass": self.mass, "torque": self.torque}[grows_with]


def size_of(robot: Robot) -> Size:
    """Return the size of a robot, to two digits after the point."""
    limits = robot.effort_limit
    mass = float(robot.compile_summary()["mass"])
    return Size(round(mass / 12.45, 2), round(sum(limits) / len(limits) / 33.5, 2))


class Unsupported(ConfigError):
    """A simulator that cannot apply a perturbation. The case is shown as such, not left out."""


Apply = Callable[[Stage, Tensor], None]


@dataclass(frozen=True)
class Perturbation:
    """One thing that can be changed.

    Attributes:
        name: what users write.
        label: what people read.
        unit: of its values.
        nominal: the value that changes nothing.
        quick: values of the quick suite, for the A1.
        full: values of the full suite, to failure, likewise.
        limits: smallest and largest value that make sense.
        joint: range that ``joint`` draws from, for the A1; None where it takes no part.
        randomization: entries of the task's randomisation that give its model fields per-environment values.
        engines: engines that it can be applied in; empty for all.
        grows_with: what of a robot's size its values grow with.
        apply: writes values (N,) float64 into a stage.
    """

    name: str
    label: str
    unit: str
    nominal: float
    quick: tuple[float, ...]
    full: tuple[float, ...]
    limits: tuple[float, float]
    joint: tuple[float, float] | None
    randomization: Mapping[str, dict[str, list[float]]]
    engines: tuple[str, ...]
    grows_with: Likeness
    apply: Apply

    def scaled(self, value: float, size: Size) -> float:
        """Return a value that is listed for the A1 as it is for a robot of a size, to two digits."""
        factor = size.factor(self.grows_with)
        return value if factor == 1.0 else float(f"{value * factor:.2g}")

    @property
    def description(self) -> str:
        """What is changed, exactly."""
        return " ".join((inspect.getdoc(self.apply) or "").split())


PERTURBATIONS: dict[str, Perturbation] = {}
"""Every perturbation by name, in the order of reports."""


def _perturbation(
    label: str,
    unit: str,
    nominal: float,
    quick: tuple[float, ...],
    full: tuple[float, ...],
    limits: tuple[float, float] = (0.0, math.inf),
    joint: tuple[float, float] | None = None,
    randomization: Mapping[str, dict[str, list[float]]] | None = None,
    engines: tuple[str, ...] = (),
    grows_with: Likeness = "",
) -> Callable[[Apply], Apply]:
    """Enter a function into ``PERTURBATIONS`` under its own name."""

    def enter(apply: Apply) -> Apply:
        name = apply.__name__
        PERTURBATIONS[name] = Perturbation(
            name, label, unit, nominal, quick, full, limits, joint, randomization or {}, engines, grows_with, apply
        )
        return apply

    return enter


def find(name: str) -> Perturbation:
    """Return a perturbation by name.

    Raises:
        ConfigError: there is none; the message gives the nearest name.
    """
    if name not in PERTURBATIONS:
        raise unknown("perturbation", name, (*PERTURBATIONS, NOMINAL, JOINT))
    return PERTURBATIONS[name]


def strengths(name: str, value: float, experiments: Sequence[Experiment], size: Size | None = None) -> dict[str, Array]:
    """Return what a case applies: perturbations by name, with a value for each experiment, (N,).

    ``none`` applies nothing. ``joint`` draws everything that takes part in it, uniformly and independently, in
    proportion to the robot's ``size``; the A1's when None. A given value is applied as it is.

    Raises:
        ConfigError: unknown name, or a value outside of its limits.
    """
    if name == NOMINAL:
        return {}
    if name == JOINT:
        size = size or Size()
        return {
            other: _draw(p, experiments) * size.factor(p.grows_with) for other, p in PERTURBATIONS.items() if p.joint
        }
    low, high = find(name).limits
    if not (low <= value <= high and math.isfinite(value)):
        raise ConfigError(f"perturbation {name!r}: value {value:g} is outside of [{low:g}, {high:g}]")
    return {name: np.full(len(experiments), float(value))}


def _draw(perturbation: Perturbation, experiments: Sequence[Experiment]) -> Array:
    assert perturbation.joint is not None
    values = np.array([stream(*one, f"joint {perturbation.name}").uniform(*perturbation.joint) for one in experiments])
    return np.round(values / TICK_MS) * TICK_MS if perturbation.unit == "ms" else values


def prepare(task: TaskConfig, values: Mapping[str, Array], simulator: Simulator) -> TaskConfig:
    """Return the task that a world must be built with so that ``apply`` can apply ``strengths`` to it.

    Raises:
        Unsupported: the simulator cannot apply one of them; names both.
    """
    for name in values:
        engines = find(name).engines
        if engines and simulator.engine not in engines:
            raise Unsupported(f"perturbation {name!r}: simulator {simulator.name!r} has no height fields")
    entries = {entry: params for name in values for entry, params in find(name).randomization.items()}
    task = replace(task, randomization={**task.randomization, **entries})
    return replace(task, terrain=_stairs(float(values["steps"][0]))) if "steps" in values else task


def apply(
    values: Mapping[str, Array], env: TaskEnv, simulator: Simulator, experiments: Sequence[Experiment], steps: int
) -> Stage:
    """Write what a case applies into an environment that was built with ``prepare`` and was just reset.

    Args:
        values: from ``strengths``.
        env: the environment.
        simulator: where it is.
        experiments: (N,) of which everything is drawn.
        steps: control steps in an episode.

    Raises:
        Unsupported: the simulator cannot apply one of them; names both.
        ConfigError: a value that is not possible in this simulator.
    """
    stage = Stage(env, experiments, steps)
    for name, value in values.items():
        perturbation = find(name)
        try:
            perturbation.apply(stage, torch.as_tensor(value, dtype=torch.float64))
        except KeyError as error:
            raise refusal([name], simulator, error) from error
        except ConfigError as error:
            raise ConfigError(f"perturbation {name!r} in simulator {simulator.name!r}: {error}") from error
    return stage


def refusal(names: Iterable[str], simulator: Simulator, error: KeyError) -> Unsupported:
    """Return the error for an engine that has no per-environment values of a field that perturbations need."""
    which = ", ".join(names)
    return Unsupported(f"perturbation {which!r}: simulator {simulator.name!r} cannot apply it: {error.args[0]}")


@_perturbation(
    "ground friction", "", 1.0, (0.2,), (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.25, 1.5), joint=(0.4, 1.25),
    randomization={"friction": {"range": [1.0, 1.0]}},
)  # fmt: skip
def friction(stage: Stage, values: Tensor) -> None:
    """Sliding friction coefficient of the ground, which holds for every contact with it."""
    env = stage.env
    env.engine.expand("geom_friction")[:, env.scene.ground_geom, 0] = _like(values, env)


@_perturbation(
    "payload", "kg", 0.0, (6.0,), (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0, 12.0), limits=(0.0, math.inf), joint=(0.0, 3.0),
    randomization={"payload": {"range": [0.0, 0.0]}}, grows_with="mass",
)  # fmt: skip
def payload(stage: Stage, values: Tensor) -> None:
    """Mass added to the base at its centre of mass; the base's inertia grows in proportion."""
    env, body = stage.env, stage.env.scene.base_body
    factor = 1 + _like(values, env) / float(env.scene.model.body_mass[body])
    env.engine.expand("body_mass")[:, body] = factor * float(env.scene.model.body_mass[body])
    inertia = torch.as_tensor(env.scene.model.body_inertia[body]).to(factor)
    env.engine.expand("body_inertia")[:, body] = factor.unsqueeze(1) * inertia
    env.engine.set_const()


@_perturbation(
    "shift of the centre of mass", "m", 0.0, (0.1,),
    (-0.25, -0.2, -0.15, -0.1, -0.05, 0.05, 0.1, 0.15, 0.2, 0.25),
    limits=(-math.inf, math.inf), joint=(-0.04, 0.04), randomization={"center_of_mass": {"range": [0.0, 0.0]}},
)  # fmt: skip
def center_of_mass(stage: Stage, values: Tensor) -> None:
    """Shift of the base's centre of mass along its x axis, forward."""
    env, body = stage.env, stage.env.scene.base_body
    env.engine.expand("body_ipos")[:, body, 0] = float(env.scene.model.body_ipos[body, 0]) + _like(values, env)
    env.engine.set_const()


@_perturbation(
    "motor strength", "×", 1.0, (0.25,), (0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.8), joint=(0.6, 1.0),
)  # fmt: skip
def motor_strength(stage: Stage, values: Tensor) -> None:
    """Factor on the torque limit of every drive. (A factor on the torque itself is one on both gains.)"""
    actuators = stage.env.actuators
    actuators.effort_limit = actuators.effort_limit * _like(values, stage.env).unsqueeze(1)


@_perturbation(
    "gains of the drives", "×", 1.0, (0.5, 2.0), (0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1.2, 1.4, 1.7, 2.0, 3.0, 4.0, 6.0),
    joint=(0.85, 1.15),
)  # fmt: skip
def gains(stage: Stage, values: Tensor) -> None:
    """Factor on stiffness and damping of every drive."""
    actuators, factor = stage.env.actuators, _like(values, stage.env).unsqueeze(1)
    actuators.kp[:] = actuators.nominal_kp * factor
    actuators.kd[:] = actuators.nominal_kd * factor


@_perturbation(
    "observation latency", "ms", 0.0, (40.0,), (5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 80.0), joint=(0.0, 15.0),
)  # fmt: skip
def observation_latency(stage: Stage, values: Tensor) -> None:
    """Age of what the policy reads of joints and IMU, in whole physics steps. The command is not delayed."""
    stage.env.sensing = LateSensing(stage.env, _physics_steps(values, stage.env))


@_perturbation(
    "action latency", "ms", 0.0, (40.0,), (5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 80.0), joint=(0.0, 15.0),
)  # fmt: skip
def action_latency(stage: Stage, values: Tensor) -> None:
    """Time from the policy's output until the drives follow it, in whole physics steps."""
    stage.env.actuators = LateActuators(stage.env, _physics_steps(values, stage.env))


@_perturbation("sensor noise", "×", 0.0, (4.0,), (1.0, 2.0, 4.0, 6.0, 8.0, 12.0, 16.0), joint=(0.0, 1.5))
def sensor_noise(stage: Stage, values: Tensor) -> None:
    """White Gaussian noise on joints, gyroscope and orientation (a small turn about each axis), at every control step.

    Factor on 0.005 rad, 0.5 rad/s, 0.1 rad/s and 0.02 rad of standard deviation: about what training adds.
    """
    streams = {name: stage.streams(f"noise {name}") for name in NOISE}

    def change(signals: Signals) -> Signals:
        return {
            name: shift(name, signal, normal(streams[name], _width(stage, name)) * values[:, None] * NOISE[name])
            if name in NOISE
            else signal
            for name, signal in signals.items()
        }

    stage.filters.append(change)


@_perturbation("sensor bias", "×", 0.0, (3.0,), (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0), joint=(0.0, 1.0))
def sensor_bias(stage: Stage, values: Tensor) -> None:
    """Constant Gaussian offset of each joint's position and velocity, each axis of gyroscope and orientation.

    Factor on 0.02 rad, 0.1 rad/s, 0.05 rad/s and 0.02 rad of standard deviation.
    """
    offsets = {
        name: normal(stage.streams(f"bias {name}"), _width(stage, name)) * values[:, None] * std
        for name, std in BIAS.items()
    }

    def change(signals: Signals) -> Signals:
        return {
            name: shift(name, signal, offsets[name]) if name in offsets else signal for name, signal in signals.items()
        }

    stage.filters.append(change)


@_perturbation(
    "joint friction", "N·m", 0.0, (2.0,), (0.2, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0), joint=(0.0, 0.3),
    randomization={"joint_friction": {"range": [0.0, 0.0]}}, grows_with="torque",
)  # fmt: skip
def joint_friction(stage: Stage, values: Tensor) -> None:
    """Dry friction of every joint, added to the model's own; full size from 0.2 rad/s."""
    stage.env.actuators.friction[:] = _like(values, stage.env).unsqueeze(1)


@_perturbation(
    "push", "N·s", 0.0, (15.0,), (2.5, 5.0, 7.5, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0), joint=(0.0, 8.0),
    grows_with="mass",
)  # fmt: skip
def push(stage: Stage, values: Tensor) -> None:
    """Impulse on the base's centre of mass over 0.1 s, horizontal, at a drawn time and in a drawn direction.

    It begins between 30 and 70 % of the episode.
    """
    dt = stage.env.step_dt
    length = max(1, round(PUSH_S / dt))
    start = (stage.draw("push time", PUSH_FROM, PUSH_TO) * stage.steps).long()
    angle = stage.draw("push direction", 0.0, 2 * math.pi)
    direction = torch.stack((angle.cos(), angle.sin(), torch.zeros_like(angle)), 1)
    force = (direction * (values / (length * dt)).unsqueeze(1)).float()
    stage.forces.append(lambda step: force * ((start <= step) & (step < start + length)).unsqueeze(1))


@_perturbation(
    "slope", "°", 0.0, (10.0,), (5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0), limits=(0.0, 60.0), joint=(0.0, 6.0)
)
def slope(stage: Stage, values: Tensor) -> None:
    """Inclination of the ground, uphill in a drawn direction.

    The plane stays where it is and gravity leans: each body is pulled at its centre of mass by ``m (g' - g)``, which is
    exact and needs no support by the simulator. The orientation that the policy reads is that against true vertical.
    """
    env = stage.env
    model = env.scene.model
    uphill, lean = stage.draw("slope direction", 0.0, 2 * math.pi), values.deg2rad()
    # Uphill lies at an angle from x: gravity gains a component that points downhill, along the plane.
    horizontal = -lean.sin()
    direction = torch.stack((horizontal * uphill.cos(), horizontal * uphill.sin(), 1 - lean.cos()), 1)
    expanded = "body_mass" in env.engine.expanded
    mass = env.engine.expand("body_mass") if expanded else torch.as_tensor(model.body_mass).expand(env.num_envs, -1)
    pull = mass.to(direction).unsqueeze(2) * (direction * float(np.linalg.norm(model.opt.gravity))).unsqueeze(1)
    env.engine.field("xfrc_applied")[..., :3] = _like(pull, env)
    base = pull[:, env.scene.base_body].float()
    stage.forces.append(lambda step: base)
    axis = torch.stack((uphill.sin(), -uphill.cos(), torch.zeros_like(uphill)), 1)
    turn = quaternion(axis * lean.unsqueeze(1))

    def change(signals: Signals) -> Signals:
        if "base_orientation" not in signals:
            return signals
        return {**signals, "base_orientation": product(turn, signals["base_orientation"])}

    stage.filters.insert(0, change)


@_perturbation(
    "height of steps", "cm", 0.0, (4.0,), (2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 15.0), limits=(0.0, 40.0), engines=MUJOCO
)
def steps(stage: Stage, values: Tensor) -> None:
    """Stairs that go up on all four sides of a square of 2 m, where the robot starts; treads are 0.3 m deep.

    The ground is a height field that the world was built with. Only engines that have height fields can do it.
    """
    if stage.env.terrain.is_flat or len(values.unique()) > 1:
        raise ConfigError("needs a world that was built with these stairs, of one height for all episodes")


def _stairs(centimetres: float) -> TerrainConfig:
    height = centimetres / 100
    return TerrainConfig(
        kind="rough", tile_size=23.0, levels=1, columns=1, border=2.0, proportions={"stairs_up": 1.0},
        step_height=(height, height), curriculum=False,
    )  # fmt: skip


def _like(values: Tensor, env: TaskEnv) -> Tensor:
    return values.to(env.device, env.engine.dtype)


def _physics_steps(milliseconds: Tensor, env: TaskEnv) -> Tensor:
    """(N,) int64.

    Raises:
        ConfigError: a latency is no multiple of the time step.
    """
    count = milliseconds / (1000 * env.engine.timestep)
    if bool(((count - count.round()).abs() > 1e-6).any()):
        wrong = float(milliseconds[(count - count.round()).abs().argmax()])
        raise ConfigError(f"{wrong:g} ms is no multiple of its time step of {1000 * env.engine.timestep:g} ms")
    return count.round().long().to(env.device)


def _width(stage: Stage, signal: str) -> int:
    return len(stage.env.robot.joints) if signal.startswith("joint") else 3
