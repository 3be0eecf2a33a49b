"""The simulators of the benchmark by name: which engine, and with which physics."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from robolearn import packages
from robolearn.config import unknown
from sim.actuators import ActuatorConfig
from sim.scene import PhysicsConfig

REFERENCE = "mujoco"
"""The simulator that policies are trained in."""
PACKAGES = ("robolearn", "mujoco", "mujoco-warp", "pybullet", "drake", "onnxruntime", "torch", "numpy")
"""What results depend on."""


@dataclass(frozen=True)
class Simulator:
    """One simulator.

    Attributes:
        name: what users write.
        label: what differs from the reference, for people.
        engine: of ``sim.engines``.
        physics: time step and solver; the control period follows from the policy.
        actuators: how joint targets become torques.
        package: Python package that it needs besides MuJoCo; empty for none.
    """

    name: str
    label: str
    engine: Literal["mujoco", "warp", "pybullet", "drake"] = "mujoco"
    physics: PhysicsConfig = field(default_factory=PhysicsConfig)
    actuators: ActuatorConfig = field(default_factory=ActuatorConfig)
    package: str = ""

    @property
    def foreign(self) -> bool:
        """Whether it is an engine of other make, with contacts of its own."""
        return self.engine in ("pybullet", "drake")


_TRAINED = PhysicsConfig()
_FINE = replace(_TRAINED, timestep=0.001)
# A shorter step than in training: what differs in an engine of other make shall be its contacts, not its step. With
# 2 ms the released policy walks in Drake as with 1 ms (0.518 and 0.521 m/s) at twice the speed; latencies of 5 ms must
# be whole steps.
_FOREIGN = replace(_TRAINED, timestep=0.0025)
SIMULATORS: Mapping[str, Simulator] = {
    simulator.name: simulator
    for simulator in (
        Simulator(REFERENCE, "MuJoCo as in training"),
        Simulator("mujoco-fine", "MuJoCo, 1 ms time step", physics=_FINE),
        Simulator(
            "mujoco-implicit", "MuJoCo, implicit integrator", physics=replace(_TRAINED, integrator="implicitfast")
        ),
        Simulator("mujoco-elliptic", "MuJoCo, elliptic friction cone", physics=replace(_TRAINED, cone="elliptic")),
        Simulator("mujoco-cg", "MuJoCo, conjugate gradient solver", physics=replace(_TRAINED, solver="cg")),
        Simulator("mujoco-soft", "MuJoCo, contacts of 60 ms", physics=replace(_TRAINED, contact_time=0.06)),
        Simulator("mujoco-stiff", "MuJoCo, contacts of 4 ms", physics=replace(_FINE, contact_time=0.004)),
        Simulator("mujoco-motor", "MuJoCo, motors with a torque-speed line", actuators=ActuatorConfig("dc_motor")),
        Simulator("warp", "MuJoCo Warp, float32", engine="warp", package="mujoco_warp"),
        Simulator("pybullet", "PyBullet", engine="pybullet", physics=_FOREIGN, package="pybullet"),
        Simulator("drake", "Drake", engine="drake", physics=_FOREIGN, package="pydrake"),
    )
}


def find(name: str) -> Simulator:
    """Return a simulator by name.

    Raises:
        ConfigError: there is none; the message gives the nearest name.
    """
    if name not in SIMULATORS:
        raise unknown("simulator", name, SIMULATORS)
    return SIMULATORS[name]


def missing(simulator: Simulator) -> str:
    """Return why a simulator cannot run on this machine, in one line; empty when it can."""
    absent = simulator.package and not packages.is_installed(simulator.package)
    return packages.missing(simulator.package) if absent else ""


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on, as far as they are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
