"""Draw a terrain: ``python -m sim.terrain --picture terrain.png`` (without a display: with ``MUJOCO_GL=egl``)."""

from __future__ import annotations

import argparse
from pathlib import Path

import mujoco
import numpy as np
from matplotlib import image

from sim.terrain.terrain import Terrain
from sim.terrain.tiles import TILES, TerrainConfig


def draw(terrain: Terrain, width: int = 1280, height: int = 640) -> np.ndarray:
    """Return a bird's-eye picture of a rough terrain, (height, width, 3) uint8, the easy levels in front."""
    spec = mujoco.MjSpec()
    terrain.add_to(spec)
    spec.stat.extent = 10.0  # sets the clipping planes; from the map's own size they would cut off all that is near
    spec.visual.global_.offwidth, spec.visual.global_.offheight = width, height
    spec.visual.global_.fovy = 30.0
    spec.visual.headlight.ambient, spec.visual.headlight.diffuse = (0.3,) * 3, (0.1,) * 3
    spec.worldbody.add_light(
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        castshadow=False,
        dir=(0.5, -0.75, -0.45),
        diffuse=(1.0, 0.97, 0.94),
    )
    sky = spec.add_texture(name="sky", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, width=64, height=384)
    sky.builtin, sky.rgb1, sky.rgb2 = mujoco.mjtBuiltin.mjBUILTIN_FLAT, (0.93, 0.95, 0.97), (0.93, 0.95, 0.97)
    camera = mujoco.MjvCamera()
    camera.azimuth, camera.elevation = 0.0, -35.0
    camera.distance = 2.5 * max(terrain.half_extent)
    camera.lookat = (-0.17 * terrain.half_extent[0], 0.0, 0.0)
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    with mujoco.Renderer(model, height, width) as renderer:
        renderer.update_scene(data, camera)
        return renderer.render()


def main() -> None:
    """Write a picture with one column of each tile kind."""
    parser = argparse.ArgumentParser(description="Draw one column of each tile kind, the easiest level in front.")
    parser.add_argument("--picture", type=Path, required=True, help="PNG file to write")
    parser.add_argument("--levels", type=int, default=5, help="number of difficulty levels (default: 5)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    config = TerrainConfig(
        kind="rough",
        levels=options.levels,
        columns=len(TILES),
        border=1.0,
        proportions=dict.fromkeys(TILES, 1.0),
        seed=options.seed,
    )
    image.imsave(options.picture, draw(Terrain(config)))
    print(f"{options.picture}: {', '.join(reversed(TILES))} from left to right")


if __name__ == "__main__":
    main()
