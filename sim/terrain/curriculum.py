"""Which tile each environment stands on: robots that get far move to harder ground, those that fail to easier."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sim.terrain.terrain import Terrain


class TerrainCurriculum:
    """Level and column of every environment (rules: Rudin et al., CoRL 2021).

    Columns are spread evenly over the environments and never change, so every tile kind keeps its share of robots. On
    flat ground, and with ``curriculum: false``, ``update`` changes nothing.

    Attributes:
        level: (N,) int64, the present difficulty level.
        column: (N,) int64.
    """

    def __init__(self, terrain: Terrain, num_envs: int, generator: torch.Generator) -> None:
        """Place ``num_envs`` environments.

        Args:
            terrain: the ground; its device is used for every tensor.
            num_envs: N.
            generator: random numbers for the first levels and for robots that pass the last level. It must live on the
                terrain's device; its owner saves its state.
        """
        self._origins = terrain.origins
        self._generator = generator
        self._levels, columns = terrain.origins.shape[:2]
        self._adaptive = terrain.config.curriculum and not terrain.is_flat
        self._half_tile = terrain.config.tile_size / 2
        start = min(terrain.config.initial_max_level + 1, self._levels) if self._adaptive else self._levels
        self.level = self._random_levels(num_envs, start)
        self.column = torch.arange(num_envs, device=terrain.device) * columns // num_envs

    def _random_levels(self, count: int, levels: int) -> Tensor:
        return torch.randint(levels, (count,), generator=self._generator, device=self._origins.device)

    def update(self, ids: Tensor, walked_distance: Tensor, commanded_distance: Tensor) -> None:
        """Move environments whose episode ended to the level that they earned.

        One level up when the robot left its tile (walked more than half a tile), one down when it did not and covered
        less than half the commanded distance. Who passes the last level goes on at a random one, so that none is
        forgotten.

        Args:
            ids: (M,) int64, without repetition.
            walked_distance: (M,) distance between start and end of the episode, m.
            commanded_distance: (M,) distance that the commands asked for, m.
        """
        if not self._adaptive:
            return
        up = walked_distance > self._half_tile
        down = ~up & (walked_distance < 0.5 * commanded_distance)
        level = (self.level[ids] + up.long() - down.long()).clamp(min=0)
        self.level[ids] = torch.where(level < self._levels, level, self._random_levels(len(ids), self._levels))

    def origins(self, ids: Tensor | None = None) -> Tensor:
        """Return where environments (M,) start (all N when None): (M, 3) float32, m, on the ground."""
        if ids is None:
            return self._origins[self.level, self.column]
        return self._origins[self.level[ids], self.column[ids]]

    @property
    def mean_level(self) -> Tensor:
        """Mean level over all environments, a 0-dimensional float32 tensor: the progress of the curriculum."""
        return self.level.to(torch.float32).mean()

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of level and column."""
        return {"level": self.level.clone(), "column": self.column.clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from ``state_dict()``.

        Raises:
            ValueError: the state is of another number of environments, or of a terrain with more levels or columns.
        """
        for name, limit in (("level", self._origins.shape[0]), ("column", self._origins.shape[1])):
            value, target = state[name], getattr(self, name)
            if value.shape != target.shape:
                raise ValueError(
                    f"terrain state has {len(value)} environments, this run has {len(target)}: use the same number"
                )
            if len(value) and not 0 <= int(value.min()) <= int(value.max()) < limit:
                raise ValueError(f"terrain state has a {name} beyond this terrain's {limit}: use the same terrain")
        self.level.copy_(state["level"])
        self.column.copy_(state["column"])
