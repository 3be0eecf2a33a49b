"""What the ground can look like: the configuration, the kinds of tiles, and the height map that they make together.

A tile kind is one small function ``Tile -> heights``. Difficulties follow the usual terrain curriculum of learned
legged locomotion (Rudin et al., Learning to Walk in Minutes Using Massively Parallel Deep RL, CoRL 2021).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from robolearn.config import unknown

Heights = NDArray[np.float32]
Span = tuple[float, float]
"""A quantity at difficulty 0 and at difficulty 1; between them it is linear."""


def _default_proportions() -> dict[str, float]:
    return {"slope": 0.1, "rough_slope": 0.2, "stairs_up": 0.3, "stairs_down": 0.3, "discrete": 0.1}


@dataclass(frozen=True)
class TerrainConfig:
    """The ground of a task. Lengths in metres; a ``Span`` gives the values at difficulty 0 and 1.

    Level ``l`` of ``levels`` has difficulty ``l / levels``. Levels lie along x, columns along y; a column has one kind.

    Attributes:
        kind: ``flat`` is an endless plane, ``rough`` a height field of ``levels x columns`` tiles, to which the rest
            applies.
        tile_size: side of one tile; a whole multiple of ``resolution``.
        levels: number of difficulties.
        columns: number of tiles of each difficulty.
        resolution: distance of height samples. Finer ones make too many contacts for large geoms: docs/terrain.md.
        border: width of the flat rim around all tiles; a whole multiple of ``resolution``.
        platform: side of the flat square in the middle of each tile, where robots start.
        proportions: share of the columns for each tile kind; normalised to sum 1.
        slope: rise over run of slopes.
        roughness: largest height of the noise on rough slopes.
        step_height: rise of one stair.
        step_width: run of one stair.
        obstacle_height: height (and depth) of discrete obstacles.
        curriculum: move robots between levels by how far they get; without it, levels are drawn uniformly once.
        initial_max_level: with the curriculum, robots start on levels ``0 .. initial_max_level``.
        seed: of the generated heights.
    """

    kind: Literal["flat", "rough"] = "flat"
    tile_size: float = 8.0
    levels: int = 10
    columns: int = 20
    resolution: float = 0.1
    border: float = 10.0
    platform: float = 2.0
    proportions: dict[str, float] = field(default_factory=_default_proportions)
    slope: Span = (0.0, 0.4)
    roughness: Span = (0.01, 0.08)
    step_height: Span = (0.05, 0.23)
    step_width: float = 0.3
    obstacle_height: Span = (0.05, 0.15)
    curriculum: bool = True
    initial_max_level: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        """Check what the types cannot.

        Raises:
            ValueError: an entry is out of range, or names an unknown tile kind.
        """
        for name in ("tile_size", "resolution", "step_width", "platform"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("levels", "columns"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("tile_size", "border"):
            samples = getattr(self, name) / self.resolution
            if samples < 0 or abs(samples - round(samples)) > 1e-6:
                raise ValueError(
                    f"{name} must be a whole multiple of resolution {self.resolution}, got {getattr(self, name)}"
                )
        if self.platform >= self.tile_size:
            raise ValueError(f"platform {self.platform} must be smaller than tile_size {self.tile_size}")
        if self.step_width < self.resolution:
            raise ValueError(f"step_width {self.step_width} must not be smaller than resolution {self.resolution}")
        if self.initial_max_level < 0:
            raise ValueError(f"initial_max_level must not be negative, got {self.initial_max_level}")
        for kind, share in self.proportions.items():
            if kind not in TILES:
                raise unknown("tile kind", kind, TILES, where="terrain.proportions")
            if share < 0:
                raise ValueError(f"proportions.{kind} must not be negative, got {share}")
        if not sum(self.proportions.values()) > 0:
            raise ValueError("proportions must name at least one tile kind with a positive share")


@dataclass(frozen=True)
class Tile:
    """What a tile function is given.

    Attributes:
        config: of the whole terrain.
        difficulty: in [0, 1).
        rng: this tile's own random numbers.
        x: (n, n) metres from the middle of the tile, along the levels; constant down a row's column.
        y: (n, n) metres from the middle of the tile, along the columns.
    """

    config: TerrainConfig
    difficulty: float
    rng: np.random.Generator
    x: NDArray[np.float64]
    y: NDArray[np.float64]

    def at(self, span: Span) -> float:
        """Return the value of a span at this tile's difficulty."""
        low, high = span
        return low + (high - low) * self.difficulty

    @property
    def radius(self) -> NDArray[np.float64]:
        """(n, n) distance from the middle of the tile, m, in the maximum norm: its level lines are squares."""
        return np.maximum(np.abs(self.x), np.abs(self.y))

    @property
    def fade(self) -> NDArray[np.float64]:
        """(n, n) in [0, 1]: 0 on the platform and on the tile's edge, 1 from 0.2 m away from both."""
        inside = self.radius - self.config.platform / 2
        return np.clip(np.minimum(inside, self.config.tile_size / 2 - self.radius) / 0.2, 0.0, 1.0)


TileFunction = Callable[[Tile], np.ndarray]
"""From a tile to its (n, n) heights in metres: level on the platform, and 0 on the edge so that tiles join."""
TILES: dict[str, TileFunction] = {}
"""All tile kinds by name; ``@tile_kind`` adds to it."""


def tile_kind(function: TileFunction) -> TileFunction:
    """Register a tile function under its own name, for use in ``TerrainConfig.proportions``."""
    TILES[function.__name__] = function
    return function


@tile_kind
def slope(tile: Tile) -> np.ndarray:
    """Four planes that rise or fall (drawn at random) from the edge to the platform."""
    half = tile.config.tile_size / 2
    run = half - np.clip(tile.radius, tile.config.platform / 2, half)
    return tile.rng.choice((-1.0, 1.0)) * tile.at(tile.config.slope) * run


@tile_kind
def rough_slope(tile: Tile) -> np.ndarray:
    """A slope under uniform noise that is drawn every 0.2 m and linear in between."""
    knots = round(tile.config.tile_size / 0.2) + 1
    position = np.linspace(0, knots - 1, len(tile.x))
    hat = np.clip(1 - np.abs(position[:, None] - np.arange(knots)), 0, 1)  # (n, knots) weights of linear interpolation
    noise = hat @ tile.rng.uniform(-1, 1, (knots, knots)) @ hat.T
    return slope(tile) + tile.at(tile.config.roughness) * noise * tile.fade


@tile_kind
def stairs_up(tile: Tile) -> np.ndarray:
    """A stepped pit: from the platform, every way out goes up the stairs."""
    return -stairs_down(tile)


@tile_kind
def stairs_down(tile: Tile) -> np.ndarray:
    """A stepped pyramid: from the platform, every way out goes down the stairs."""
    config = tile.config
    half, width = round(config.tile_size / 2 / config.resolution), round(config.step_width / config.resolution)
    stairs = (half - round(config.platform / 2 / config.resolution)) // width
    from_edge = half - np.rint(tile.radius / config.resolution).astype(int)  # in samples: exact where metres are not
    return tile.at(config.step_height) * np.minimum(from_edge // width, stairs)


@tile_kind
def discrete(tile: Tile) -> np.ndarray:
    """Twenty rectangular blocks and hollows, 1 to 2 m long and wide, at random places."""
    heights, half = np.zeros_like(tile.x), tile.config.tile_size / 2
    for _ in range(20):
        size = tile.rng.uniform(1.0, 2.0, 2)
        centre = tile.rng.uniform(-1.0, 1.0, 2) * (half - size / 2)
        covered = (np.abs(tile.x - centre[0]) < size[0] / 2) & (np.abs(tile.y - centre[1]) < size[1] / 2)
        heights[covered] = tile.rng.choice((-1.0, -0.5, 0.5, 1.0)) * tile.at(tile.config.obstacle_height)
    heights[tile.radius <= tile.config.platform / 2] = 0.0
    return heights


def column_kinds(config: TerrainConfig) -> list[str]:
    """Return the tile kind of each column: the columns are shared out in the order of ``proportions``."""
    ends = np.cumsum(list(config.proportions.values()))
    middles = (np.arange(config.columns) + 0.5) / config.columns
    return [list(config.proportions)[i] for i in np.searchsorted(ends / ends[-1], middles)]


def generate(config: TerrainConfig) -> Heights:
    """Make the height map of a rough terrain. The same configuration gives the same map, bit for bit.

    Returns:
        (rows, cols) float32, m: rows run along y and columns along x, as in a MuJoCo height field; the middle of the
        array is the origin of the world, the flat border has height 0.

    Raises:
        ValueError: a tile function returned the wrong shape or a non-finite height.
    """
    tile_samples, border = round(config.tile_size / config.resolution), round(config.border / config.resolution)
    rows, cols = (n * tile_samples + 2 * border + 1 for n in (config.columns, config.levels))
    heights = np.zeros((rows, cols), np.float32)
    axis = (np.arange(tile_samples + 1) - tile_samples / 2) * config.resolution
    x, y = np.meshgrid(axis, axis)
    for column, kind in enumerate(column_kinds(config)):
        for level in range(config.levels):
            tile = Tile(config, level / config.levels, np.random.default_rng([config.seed, level, column]), x, y)
            values = TILES[kind](tile)
            if np.shape(values) != x.shape or not np.isfinite(values).all():
                raise ValueError(f"tile kind {kind!r} must return finite heights of shape {x.shape}, like tile.x")
            row, col = border + column * tile_samples, border + level * tile_samples
            heights[row : row + tile_samples + 1, col : col + tile_samples + 1] = values
    return heights
