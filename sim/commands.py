"""What is asked of the robot: commands drawn anew from time to time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sim.rotations import wrap_angle
from sim.state import RobotState

Range = tuple[float, float]


@dataclass(frozen=True)
class VelocityCommandConfig:
    """Velocity of the base in its own heading frame.

    Attributes:
        vx, vy: ranges in m/s.
        yaw_rate: range in rad/s; with ``heading_gain`` it limits the yaw rate that the heading error asks for.
        heading_gain: 1/s; a heading is drawn and ``yaw_rate = gain * error``; 0 draws the yaw rate itself.
        resample_s: seconds between draws: shortest and longest; each time is drawn too.
        standing: share of draws that ask to stand still.
        deadband: planar commands below this speed (m/s) become zero.
    """

    vx: Range = (-1.0, 1.0)
    vy: Range = (-1.0, 1.0)
    yaw_rate: Range = (-2.0, 2.0)
    heading_gain: float = 0.0
    resample_s: Range = (10.0, 10.0)
    standing: float = 0.05
    deadband: float = 0.2

    def __post_init__(self) -> None:
        for name in ("vx", "vy", "yaw_rate"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} must be an ordered pair, got [{low}, {high}]")
        if not 0 < self.resample_s[0] <= self.resample_s[1]:
            raise ValueError(f"resample_s must be an ordered pair above 0, got {list(self.resample_s)}")
        if not 0 <= self.standing <= 1:
            raise ValueError(f"standing must be between 0 and 1, got {self.standing}")


class VelocityCommand:
    """Keeps ``state.command`` = (vx m/s, vy m/s, yaw rate rad/s), in the base's heading frame."""

    names = ("vx", "vy", "yaw_rate")
    mirror = (1.0, -1.0, -1.0)

    def __init__(self, config: VelocityCommandConfig, state: RobotState, generator: torch.Generator) -> None:
        self.config, self._state, self._generator = config, state, generator
        n, device = state.num_envs, state.device
        self._shortest, self._longest = (max(1, round(seconds / state.step_dt)) for seconds in config.resample_s)
        self._left = torch.zeros(n, dtype=torch.int64, device=device)
        self._heading = torch.zeros(n, device=device)
        self._standing = torch.zeros(n, dtype=torch.bool, device=device)
        ranges = torch.tensor([config.vx, config.vy, config.yaw_rate], device=device)
        self._low, self._span = ranges[:, 0], ranges[:, 1] - ranges[:, 0]
        self.fixed: Tensor | None = None

    def fix(self, command: Tensor | None) -> None:
        """Hold a given command, (3,) or (N, 3), instead of drawing; None draws again."""
        self.fixed = None if command is None else command.to(self._state.command).expand_as(self._state.command).clone()
        if self.fixed is not None:
            self._state.command.copy_(self.fixed)

    def sample(self, ids: Tensor) -> None:
        """Draw new commands for environments (M,)."""
        config, m = self.config, len(ids)
        u = torch.rand(m, 4, generator=self._generator, device=ids.device)
        command = self._low + u[:, :3] * self._span
        command[:, :2] *= (command[:, :2].norm(dim=1, keepdim=True) >= config.deadband).float()
        self._standing[ids] = u[:, 3] < config.standing
        command[self._standing[ids]] = 0
        self._heading[ids] = (2 * torch.rand(m, generator=self._generator, device=ids.device) - 1) * torch.pi
        self._state.command[ids] = command
        self._left[ids] = torch.randint(
            self._shortest, self._longest + 1, (m,), generator=self._generator, device=ids.device
        )
        if self.fixed is not None:
            self._state.command[ids] = self.fixed[ids]

    def update(self) -> None:
        """One control step: count down, draw where due, follow headings."""
        self._left -= 1
        due = (self._left <= 0).nonzero().squeeze(1)
        if len(due):
            self.sample(due)
        self.follow_heading()

    def follow_heading(self) -> None:
        """Set the yaw rate that turns the robot to its commanded heading."""
        config = self.config
        if config.heading_gain > 0 and self.fixed is None:
            rate = config.heading_gain * wrap_angle(self._heading - self._state.heading)
            rate = rate.clamp(*config.yaw_rate).masked_fill(self._standing, 0.0)
            self._state.command[:, 2] = rate

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that spans steps."""
        return {
            "left": self._left,
            "heading": self._heading,
            "standing": self._standing,
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore ``state_dict()``."""
        self._left.copy_(state["left"])
        self._heading.copy_(state["heading"])
        self._standing.copy_(state["standing"])
