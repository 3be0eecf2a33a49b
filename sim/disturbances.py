"""What pushes the robot about during an episode: velocity kicks and forces on the base."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sim.engines import Engine
from sim.scene import Scene
from sim.state import RobotState


@dataclass(frozen=True)
class PushConfig:
    """Sudden change of the base's horizontal velocity.

    Attributes:
        interval_s: seconds between pushes; each environment has its own phase.
        velocity: m/s; each horizontal component is overwritten with U(-velocity, velocity).
        angular_velocity: rad/s; each component of the angular velocity likewise; 0 leaves it as it is.
    """

    interval_s: float = 16.0
    velocity: float = 1.0
    angular_velocity: float = 0.0

    def __post_init__(self) -> None:
        if self.interval_s <= 0 or min(self.velocity, self.angular_velocity) < 0:
            raise ValueError("interval_s must be > 0, velocity and angular_velocity >= 0")


@dataclass(frozen=True)
class ForceConfig:
    """Random force on the base's centre of mass, constant over ``duration_s`` (the impulse is their product).

    Attributes:
        interval_s: seconds between the starts of two forces.
        duration_s: how long each lasts.
        magnitude: N; each component is U(-magnitude, magnitude), in the world frame.
        vertical: whether the vertical component acts too.
    """

    interval_s: float = 2.0
    duration_s: float = 0.1
    magnitude: float = 30.0
    vertical: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.duration_s <= self.interval_s or self.magnitude < 0:
            raise ValueError("needs 0 < duration_s <= interval_s and magnitude >= 0")


@dataclass(frozen=True)
class DisturbanceConfig:
    """Disturbances of a task; each is off when null."""

    push: PushConfig | None = None
    force: ForceConfig | None = None


class Disturbances:
    """Applies pushes and forces. Times are counted in control steps since the episode began, with a random phase."""

    def __init__(
        self, config: DisturbanceConfig, engine: Engine, scene: Scene, state: RobotState, generator: torch.Generator
    ) -> None:
        self.config, self._state, self._generator = config, state, generator
        self._qvel = engine.field("qvel")
        self._wrench = engine.field("xfrc_applied")[:, scene.base_body]
        n, device = state.num_envs, state.device
        self._push_left = torch.zeros(n, dtype=torch.int64, device=device)
        self._force_left = torch.zeros(n, dtype=torch.int64, device=device)
        self._force = torch.zeros(n, 3, device=device)
        self.external = torch.zeros(n, 3, device=device)
        """(N, 3) N, world frame: a force added by somebody else (a disturber, a test), on top of the random one."""

    def _steps(self, seconds: float) -> int:
        return max(1, round(seconds / self._state.step_dt))

    def reset(self, ids: Tensor) -> None:
        """Draw the phases of environments (M,) whose episode begins."""
        phase = torch.rand(len(ids), 2, generator=self._generator, device=ids.device)
        timers = ((self._push_left, self.config.push), (self._force_left, self.config.force))
        for column, (left, part) in enumerate(timers):
            if part is not None:
                left[ids] = (phase[:, column] * self._steps(part.interval_s)).long() + 1
        self._force[ids] = 0
        self.external[ids] = 0
        self._wrench[ids, :3] = 0

    def update(self) -> None:
        """Before the physics of a control step: start what is due, end what is over."""
        if self.config.push is not None:
            self._push_left -= 1
            due = (self._push_left <= 0).nonzero().squeeze(1)
            if len(due):
                kick = torch.rand(len(due), 2, generator=self._generator, device=due.device, dtype=self._qvel.dtype)
                horizontal = torch.arange(2, device=due.device)
                self._qvel[due[:, None], horizontal] = (2 * kick - 1) * self.config.push.velocity
                if self.config.push.angular_velocity > 0:
                    spin = torch.rand(len(due), 3, generator=self._generator, device=due.device, dtype=self._qvel.dtype)
                    self._qvel[due, 3:6] = (2 * spin - 1) * self.config.push.angular_velocity
                self._push_left[due] = self._steps(self.config.push.interval_s)
        force = self.config.force
        if force is not None:
            self._force_left -= 1
            ended = self._force_left == self._steps(force.interval_s) - self._steps(force.duration_s)
            due = (self._force_left <= 0).nonzero().squeeze(1)
            self._force.masked_fill_(ended.unsqueeze(1), 0.0)
            if len(due):
                unit = 2 * torch.rand(len(due), 3, generator=self._generator, device=due.device) - 1
                drawn = unit * force.magnitude
                drawn[:, 2] *= float(force.vertical)
                self._force[due] = drawn
                self._force_left[due] = self._steps(force.interval_s)
        total = self._state.external_force = self._force + self.external
        self._wrench[:, :3] = total

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that spans steps."""
        return {
            "push_left": self._push_left,
            "force_left": self._force_left,
            "force": self._force,
            "external": self.external,
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore ``state_dict()``."""
        self._push_left.copy_(state["push_left"])
        self._force_left.copy_(state["force_left"])
        self._force.copy_(state["force"])
        self.external.copy_(state["external"])
