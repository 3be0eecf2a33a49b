"""What the operator of a policy may set: numbers that the policy reads, one value per episode in training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from robolearn.config import ConfigError, unknown

Range = tuple[float, float]
_ROUNDING = 1e-6
"""Share of a range by which a value may lie outside: as float32, 0.7 is 0.699999988."""


@dataclass(frozen=True)
class SettingConfig:
    """One setting: drawn uniformly from its range at the start of each episode, given by the operator on the robot.

    Attributes:
        range: lowest and highest value.
        default: value on the robot where the operator gives none.
        unit: its unit.
        meaning: a line for the operator.
    """

    range: Range
    default: float
    unit: str
    meaning: str

    def __post_init__(self) -> None:
        low, high = self.range
        if not low < high:
            raise ValueError(f"range must be an ordered pair, got [{low}, {high}]")
        if not low <= self.default <= high:
            raise ValueError(f"default must be within [{low}, {high}], got {self.default}")
        if not self.meaning:
            raise ValueError("meaning must say what the setting does")


class Settings:
    """Keeps the settings of N robots.

    Args:
        config: settings by name.
        num_envs: N.
        device: where the values live.
        generator: of the draws.

    Attributes:
        values: (N, 1) by name, what observation terms, rewards and costs read.
    """

    def __init__(
        self,
        config: Mapping[str, SettingConfig],
        num_envs: int,
        device: torch.device | str,
        generator: torch.Generator,
    ) -> None:
        self.config, self._generator = config, generator
        self.values = {
            name: torch.full((num_envs, 1), setting.default, device=device) for name, setting in config.items()
        }
        self._fixed: dict[str, Tensor] = {}

    def complete(self, given: Mapping[str, float]) -> dict[str, float]:
        """Return a value for every setting: the given ones, and the defaults of the others.

        Raises:
            ConfigError: an unknown name.
        """
        for name in given:
            self._known(name)
        return {name: given.get(name, setting.default) for name, setting in self.config.items()}

    def fix(self, values: Mapping[str, float | Tensor] | None) -> None:
        """Hold given values from now on, numbers or (N,) or (N, 1), instead of drawing; None draws all again.

        Settings that are not named are drawn.

        Raises:
            ConfigError: an unknown name, or a value out of its range.
        """
        fixed = {}
        for name, value in (values or {}).items():
            low, high = self._known(name).range
            mine = self.values[name]
            held = torch.as_tensor(value, dtype=mine.dtype, device=mine.device)
            held = (held.unsqueeze(1) if held.ndim == 1 else held).expand_as(mine).clone()
            least, most, slack = float(held.min()), float(held.max()), _ROUNDING * (high - low)
            if not (low - slack <= least and most <= high + slack):
                got = f"{least:g}" if least == most else f"{least:g} to {most:g}"
                raise ConfigError(f"setting {name!r}: must be from {low:g} to {high:g}, got {got}")
            fixed[name] = held
        self._fixed = fixed
        for name, held in fixed.items():
            self.values[name].copy_(held)

    def sample(self, ids: Tensor) -> None:
        """Draw new values for environments (M,), except those that are held."""
        for name, setting in self.config.items():
            low, high = setting.range
            drawn = torch.rand(len(ids), 1, generator=self._generator, device=ids.device) * (high - low) + low
            self.values[name][ids] = self._fixed[name][ids] if name in self._fixed else drawn

    def state_dict(self) -> dict[str, Tensor]:
        """The values of the episodes that go on."""
        return dict(self.values)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore ``state_dict()``.

        Raises:
            ValueError: it was saved with other settings.
        """
        if state.keys() != self.values.keys():
            raise ValueError(f"settings: the state has {sorted(state)}, the task {sorted(self.values)}")
        for name, value in state.items():
            self.values[name].copy_(value)

    def _known(self, name: str) -> SettingConfig:
        if not self.config:
            raise ConfigError(f"unknown setting {name!r}: the task has none")
        if name not in self.config:
            raise unknown("setting", name, self.config)
        return self.config[name]
