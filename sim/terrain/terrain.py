"""The ground as the physics, the robot's eyes and the spawn points see it: one height map, three readers."""

from __future__ import annotations

import mujoco
import numpy as np
import torch
from torch import Tensor

from sim.ground import Plane, add_checkered
from sim.terrain.tiles import TerrainConfig, generate


class Terrain:
    """Flat ground or a height field.

    Attributes:
        config: what it was made from.
        heights: (rows, cols) float32 height map, m; rows run along y, columns along x, centred on the world's origin.
            (2, 2) zeros for flat ground.
        origins: (levels, columns, 3) float32 on the device: the middle of each tile's platform, m. (1, 1, 3) zeros for
            flat ground.
        is_flat: True for an endless plane.
        geom_name: name of the geom that ``add_to`` adds, ``"floor"`` or ``"terrain"``.
    """

    def __init__(self, config: TerrainConfig, device: torch.device | str = "cpu") -> None:
        """Generate the heights (0.1 s for the default 1.8 million samples) and put them on ``device``."""
        self.config = config
        self.device = torch.device(device)
        self.is_flat = config.kind == "flat"
        self.geom_name = Plane.geom_name if self.is_flat else "terrain"
        self.heights = np.zeros((2, 2), np.float32) if self.is_flat else generate(config)
        self.origins = torch.from_numpy(self._tile_origins()).to(self.device)
        self._zero = torch.zeros((), device=self.device)
        self._table = torch.from_numpy(self.heights.reshape(-1)).to(self.device)

    @property
    def half_extent(self) -> tuple[float, float]:
        """Half of the side of the height field along x and y, m; infinite for flat ground."""
        if self.is_flat:
            return float("inf"), float("inf")
        rows, cols = self.heights.shape
        return (cols - 1) / 2 * self.config.resolution, (rows - 1) / 2 * self.config.resolution

    def _tile_origins(self) -> np.ndarray:
        if self.is_flat:
            return np.zeros((1, 1, 3), np.float32)
        config = self.config
        x = (np.arange(config.levels) - (config.levels - 1) / 2) * config.tile_size
        y = (np.arange(config.columns) - (config.columns - 1) / 2) * config.tile_size
        origins = np.stack([*np.meshgrid(x, y, indexing="ij"), np.zeros((len(x), len(y)))], axis=-1)
        rows, cols = self.heights.shape
        col = np.rint(x / config.resolution + (cols - 1) / 2).astype(int)
        row = np.rint(y / config.resolution + (rows - 1) / 2).astype(int)
        origins[..., 2] = self.heights[np.ix_(row, col)].T
        return origins.astype(np.float32)

    def heights_at(self, xy: Tensor) -> Tensor:
        """Return the height of the ground below points, on the very triangles that MuJoCo collides with.

        MuJoCo cuts each cell along the diagonal from its (-x, -y) corner to its (+x, +y) corner. With (u, v) the place
        in the cell, a = max(u, v), b = min(u, v), and m the corner on the point's side of the diagonal, the height is
        ``(1 - a) h00 + (a - b) h_m + b h11``: three look-ups.

        Args:
            xy: (..., 2) world positions, m. Points outside the map get the height of the nearest edge point; NaN gives
                NaN.

        Returns:
            (...) float32, m. For flat ground a read-only view of one zero.
        """
        if self.is_flat:
            return self._zero.expand(xy.shape[:-1])
        rows, cols = self.heights.shape
        x, y = (xy.to(torch.float32) / self.config.resolution).unbind(-1)
        u, v = (x + (cols - 1) / 2).clamp_(0, cols - 1), (y + (rows - 1) / 2).clamp_(0, rows - 1)
        # 32-bit indices and index_select: a scan of every robot at every control step makes this worth 2.5 times
        col = u.to(torch.int32).clamp_(0, cols - 2)  # the clamp also tames the integers that NaN turns into
        row = v.to(torch.int32).clamp_(0, rows - 2)
        u, v = u.sub_(col), v.sub_(row)
        corner = (row * cols + col).reshape(-1)
        m = torch.sub(corner + cols, (u > v).to(torch.int32).reshape(-1), alpha=cols - 1)
        h00, h_m, h11 = (self._table.index_select(0, i) for i in (corner, m, corner + (cols + 1)))
        a, b = torch.maximum(u, v).reshape(-1), torch.minimum(u, v).reshape(-1)
        return (h00 + a * (h_m - h00) + b * (h11 - h_m)).reshape(u.shape)

    def outside(self, xy: Tensor, margin: float = 0.5) -> Tensor:
        """Return (...) bool: True where points (..., 2) are beyond the map or within ``margin`` metres of its rim."""
        x, y = self.half_extent
        return (xy[..., 0].abs() > x - margin) | (xy[..., 1].abs() > y - margin)

    def add_to(self, spec: mujoco.MjSpec) -> mujoco.MjsGeom:
        """Add the ground to a model's world body, with its material, and return the geom; see ``add_checkered``."""
        if self.is_flat:
            return Plane().add_to(spec)
        geom, texture, material = add_checkered(spec, self.geom_name)
        texture.rgb1, texture.rgb2 = (0.66, 0.64, 0.60), (0.61, 0.59, 0.55)
        low, high = float(self.heights.min()), float(self.heights.max())
        rows, cols = self.heights.shape
        x, y = self.half_extent
        material.texrepeat = (x, y)  # squares of 1 m: two in a repeat
        # The compiler maps the data to [0, 1]; size and position of the geom bring the metres back. The field is solid
        # down to 1 m below its lowest point, so that nothing pressed into it comes out at the bottom.
        spec.add_hfield(
            name=self.geom_name,
            nrow=rows,
            ncol=cols,
            size=(x, y, max(high - low, 1e-3), 1.0),
            userdata=self.heights.ravel(),
        )
        geom.type, geom.hfieldname, geom.pos = mujoco.mjtGeom.mjGEOM_HFIELD, self.geom_name, (0.0, 0.0, low)
        return geom


def scan_points(length: float = 1.6, width: float = 1.0, spacing: float = 0.1) -> Tensor:
    """Return the points of a height scan around the robot: a grid centred on it, x forward, y left.

    The defaults give the usual 17 x 11 = 187 points.

    Args:
        length: extent along x, m.
        width: extent along y, m.
        spacing: distance of neighbours, m; the extents are rounded to whole multiples of it.

    Returns:
        (P, 2) float32, m, ordered from the rear to the front, and from right to left within a row.

    Raises:
        ValueError: ``spacing`` is not positive or an extent is negative.
    """
    if spacing <= 0 or length < 0 or width < 0:
        raise ValueError(f"scan needs spacing > 0 and extents >= 0, got {length} x {width} every {spacing} m")
    x, y = (
        (torch.arange(round(extent / spacing) + 1) - round(extent / spacing) / 2) * spacing
        for extent in (length, width)
    )
    return torch.cartesian_prod(x, y).reshape(-1, 2)
