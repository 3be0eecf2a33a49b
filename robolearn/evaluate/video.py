"""Film a recorded roll-out off screen: a camera that follows smoothly, arrows and a panel for command and velocity."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import imageio.v2 as imageio
import mujoco
import numpy as np
from matplotlib import get_data_path
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from robolearn.evaluate.rendering import open_renderer
from robolearn.evaluate.rollout import Film

Images = Iterator[NDArray[np.uint8]]
COMMAND_COLOR = (255, 176, 32)
VELOCITY_COLOR = (64, 196, 255)
_INK, _PANEL = (240, 244, 248), (16, 22, 30, 205)
_ARROW_WIDTH, _ARROW_SCALE, _ARROW_LIFT = 0.015, 0.5, 0.25  # m, m per m/s, m above the base


@dataclass(frozen=True)
class View:
    """How to film.

    Attributes:
        width, height: size of the image in pixels, both even.
        fps: wanted frames per second; a frame shows every ``stride``-th row, so the video gets the nearest possible.
        distance: m from the base to the camera.
        azimuth, elevation: degrees; the direction the camera looks in.
        lag: s, time constant with which the camera follows.
    """

    width: int = 854
    height: int = 480
    fps: int = 25
    distance: float = 1.7
    azimuth: float = 130.0
    elevation: float = -16.0
    lag: float = 0.4


def smooth_track(positions: NDArray[np.float64], dt: float, lag: float) -> NDArray[np.float64]:
    """Return positions (T, D) passed through a first-order low-pass with time constant ``lag`` s, both ways.

    Forward and backward passes cancel each other's delay: the camera neither trails behind nor jumps.
    """
    if lag <= 0:
        return positions.copy()
    keep = math.exp(-dt / lag)
    result = positions.copy()
    for order in (range(1, len(result)), range(len(result) - 2, -1, -1)):
        step = order.step
        for t in order:
            result[t] = keep * result[t - step] + (1 - keep) * result[t]
    return result


def stride(film: Film, view: View) -> int:
    """Return how many rows of a film one frame stands for: ``1 / (stride * film.dt)`` frames make a second."""
    return max(1, round(1 / (view.fps * film.dt)))


def frames(model: mujoco.MjModel, film: Film, view: View | None = None) -> Images:
    """Draw a film; yields (height, width, 3) images.

    Args:
        model: the model that was simulated; it is not changed.
        film: what happened.
        view: how to film it.

    Raises:
        RenderError: no image can be drawn on this machine.
    """
    view = view or View()
    model = copy.deepcopy(model)
    model.vis.quality.shadowsize, model.vis.quality.offsamples = 2048, 4
    data = mujoco.MjData(model)
    step = stride(film, view)
    look_at = smooth_track(film.qpos[:, :3], film.dt, view.lag)
    renderer = open_renderer(model, view.width, view.height)
    option = mujoco.MjvOption()
    option.sitegroup[:] = 0
    camera = mujoco.MjvCamera()
    camera.distance, camera.azimuth, camera.elevation = view.distance, view.azimuth, view.elevation
    try:
        renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        for t in range(0, len(film.qpos), step):
            data.qpos[:] = film.qpos[t]
            mujoco.mj_forward(model, data)
            camera.lookat[:] = look_at[t]
            renderer.update_scene(data, camera, option)
            _add_arrows(renderer.scene, data, film.command[t], film.velocity[t])
            yield _add_panel(renderer.render(), film, t)
    finally:
        renderer.close()


def write_video(path: str | Path, images: Images, fps: float = 25.0) -> int:
    """Write images to an H.264 ``.mp4`` or a ``.gif``; return how many there were.

    Raises:
        ValueError: another file type.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    if path.suffix == ".mp4":
        options = {"fps": fps, "codec": "libx264", "quality": 7, "macro_block_size": 2, "pixelformat": "yuv420p"}
    elif path.suffix == ".gif":
        options = {"duration": 1000 / fps, "loop": 0, "subrectangles": True}
    else:
        raise ValueError(f"{path}: a video must end in .mp4 or .gif")
    with imageio.get_writer(path, **options) as writer:  # type: ignore[arg-type]
        for image in images:
            writer.append_data(image)  # type: ignore[attr-defined]
            count += 1
    return count


def contact_sheet(images: Sequence[NDArray[np.uint8]], path: str | Path, columns: int = 4, width: int = 480) -> None:
    """Write images, evenly thinned by the caller, side by side into one PNG."""
    height = round(width * images[0].shape[0] / images[0].shape[1])
    rows = math.ceil(len(images) / columns)
    sheet = Image.new("RGB", (columns * width, rows * height))
    for i, image in enumerate(images):
        tile = Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS)
        sheet.paste(tile, ((i % columns) * width, (i // columns) * height))
    sheet.save(path)


def _add_arrows(scene: mujoco.MjvScene, data: mujoco.MjData, command: NDArray, velocity: NDArray) -> None:
    """Arrows above the base: commanded and actual planar velocity, turned from the base's heading into the world."""
    w, x, y, z = data.qpos[3:7]
    heading = math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
    cos, sin = math.cos(heading), math.sin(heading)
    for lift, vector, color in ((0.0, command, COMMAND_COLOR), (0.04, velocity, VELOCITY_COLOR)):
        planar = np.array([cos * vector[0] - sin * vector[1], sin * vector[0] + cos * vector[1], 0.0]) * _ARROW_SCALE
        if np.linalg.norm(planar) < 0.02 or scene.ngeom >= scene.maxgeom:
            continue
        start = data.qpos[:3] + np.array([0.0, 0.0, _ARROW_LIFT + lift])
        geom = scene.geoms[scene.ngeom]
        rgba = np.array([*(c / 255 for c in color), 0.9], dtype=np.float32)
        kind = int(mujoco.mjtGeom.mjGEOM_ARROW)
        mujoco.mjv_initGeom(geom, kind, np.zeros(3), np.zeros(3), np.zeros(9), rgba)
        mujoco.mjv_connector(geom, kind, _ARROW_WIDTH, start, start + planar)
        scene.ngeom += 1


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


def _add_panel(image: NDArray[np.uint8], film: Film, t: int) -> NDArray[np.uint8]:
    """Write title, time, command and velocity into the upper left corner."""
    height = image.shape[0]
    size = max(9, height // 36)
    font, line, pad = _font(size), round(1.45 * size), size
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture, "RGBA")
    columns = (0, 4.6 * size, 10.2 * size)
    box_width, box_height = round(columns[2] + 7.2 * size), 5 * line + pad
    left, top = pad, pad
    draw.rounded_rectangle((left, top, left + box_width, top + box_height), radius=size // 2, fill=_PANEL)
    x, y = left + pad * 0.8, top + pad * 0.5
    draw.text((x, y), f"{film.title}   {t * film.dt:4.1f} s", font=font, fill=_INK)
    y += line
    draw.text((x + columns[1], y), "command", font=font, fill=COMMAND_COLOR)
    draw.text((x + columns[2], y), "measured", font=font, fill=VELOCITY_COLOR)
    for i, (label, unit) in enumerate((("forward", "m/s"), ("left", "m/s"), ("turn", "rad/s"))):
        y += line
        draw.text((x, y), label, font=font, fill=_INK)
        draw.text((x + columns[1], y), f"{film.command[t, i]:+.2f}", font=font, fill=COMMAND_COLOR)
        draw.text((x + columns[2], y), f"{film.velocity[t, i]:+.2f} {unit}", font=font, fill=VELOCITY_COLOR)
    return np.asarray(picture)
