"""Worlds with one planted fault, for the tests of the diagnosis."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import torch
from torch import Tensor

import sim.environment
from robolearn.evaluate.sim2sim.simulators import Simulator, find
from robolearn.evaluate.sim2sim.world import World

POLICY = Path(__file__).parents[4] / "policies/a1_velocity_flat/policy.onnx"
ROBOTS = 4
Readings = Callable[[dict[str, Tensor]], dict[str, Tensor]]
Targets = Callable[[Tensor], Tensor]


class Tampered:
    """A world whose readings and targets pass through somebody's hands.

    Args:
        world: the world within.
        readings: changes the signals.
        targets: changes the joint targets.
        late_readings, late_targets: control steps by which they come late.
    """

    def __init__(
        self,
        world: World,
        readings: Readings = lambda signals: signals,
        targets: Targets = lambda targets: targets,
        late_readings: int = 0,
        late_targets: int = 0,
    ) -> None:
        self._world, self._readings, self._targets = world, readings, targets
        self._late_readings, self._late_targets = late_readings, late_targets
        self._past: list[dict[str, Tensor]] = []
        self._asked: list[Tensor] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world, name)

    def reset(self) -> None:
        self._past, self._asked = [], []
        self._world.reset()

    def signals(self) -> dict[str, Tensor]:
        late = self._late_readings
        if 0 < late <= len(self._past):
            return self._past[-late]
        return self._present()

    def _present(self) -> dict[str, Tensor]:
        return self._readings({name: value.clone() for name, value in self._world.signals().items()})

    def act(self, signals: Mapping[str, Tensor]) -> Tensor:
        return self._world.act(signals)

    def step(self, targets: Tensor) -> Any:
        self._past.append(self._present())
        self._asked.append(self._targets(targets.clone()))
        late = self._late_targets
        default = torch.tensor(self._world.env.robot.default_pose).expand_as(targets)
        return self._world.step(self._asked[-1 - late] if len(self._asked) > late else default)


def world(simulator: str | Simulator = "mujoco", change: Callable[[mujoco.MjModel], None] | None = None, **more: Any):
    """Build a world; ``change`` alters its model before the simulator is made."""
    chosen = find(simulator) if isinstance(simulator, str) else simulator
    build = sim.environment.build_scene

    def build_changed(*args: Any) -> Any:
        scene = build(*args)
        if change is not None:
            change(scene.model)
            mujoco.mj_setConst(scene.model, mujoco.MjData(scene.model))
        return scene

    sim.environment.build_scene = build_changed
    try:
        return World(POLICY, chosen, ROBOTS, **more)
    finally:
        sim.environment.build_scene = build


def differing(findings: list) -> list[tuple[str, str]]:
    """Boundary and check of every finding that differs."""
    return [(finding.boundary, finding.check) for finding in findings if finding.verdict == "differs"]


def rng() -> np.random.Generator:
    return np.random.default_rng(0)
