"""The ground: flat or rough, its heights on the device, and the curriculum over its levels."""

from sim.terrain.curriculum import TerrainCurriculum
from sim.terrain.terrain import Terrain, scan_points
from sim.terrain.tiles import TILES, TerrainConfig, Tile, tile_kind

__all__ = ["TILES", "Terrain", "TerrainConfig", "TerrainCurriculum", "Tile", "scan_points", "tile_kind"]
