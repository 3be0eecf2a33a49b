"""The camera's path, the drawn frames and the written files."""

import numpy as np
import pytest
from PIL import Image

from robolearn.evaluate import rendering
from robolearn.evaluate.rollout import Film
from robolearn.evaluate.video import (
    COMMAND_COLOR,
    VELOCITY_COLOR,
    View,
    contact_sheet,
    frames,
    smooth_track,
    write_video,
)
from sim.robots import load_robot
from sim.scene import PhysicsConfig, build_scene
from sim.terrain import Terrain, TerrainConfig

can_draw = pytest.mark.skipif(rendering.works() is not None, reason=f"needs {rendering.install_command()}")


def test_the_camera_path_has_no_delay_and_no_jumps():
    t = np.arange(200) * 0.02
    line = np.stack([0.8 * t, 0 * t, 0.3 + 0.02 * np.sin(30 * t)], 1)
    path = smooth_track(line, 0.02, 0.4)
    middle = slice(60, 140)
    np.testing.assert_allclose(path[middle, 0], line[middle, 0], atol=0.03)
    assert np.abs(path[middle, 2] - 0.3).max() < 0.003, "the trot's bobbing is gone"
    assert smooth_track(line, 0.02, 0.0) is not line
    np.testing.assert_array_equal(smooth_track(line, 0.02, 0.0), line)


def test_the_low_pass_is_the_recursion_it_says():
    x = np.array([[0.0], [1.0], [0.0], [0.0]])
    keep = np.exp(-0.5)
    forward = [0.0, 1 - keep, keep * (1 - keep), keep**2 * (1 - keep)]
    expected = [0.0, 0.0, 0.0, forward[3]]
    for i in (2, 1, 0):
        expected[i] = keep * expected[i + 1] + (1 - keep) * forward[i]
    np.testing.assert_allclose(smooth_track(x, 0.5, 1.0)[:, 0], expected)


@pytest.fixture(scope="module")
def images():
    robot = load_robot("a1")
    scene = build_scene(robot, Terrain(TerrainConfig()), PhysicsConfig())
    qpos = np.tile(scene.model.qpos0, (12, 1))
    qpos[:, :7] = (0, 0, robot.base_height, 1, 0, 0, 0)
    qpos[:, scene.joint_qpos] = robot.default_pose
    qpos[:, 0] = np.arange(12) * 0.05
    film = Film(qpos, np.tile([0.9, 0.0, 0.0], (12, 1)), np.tile([0.0, 0.6, 0.0], (12, 1)), 0.02, "a1")
    return list(frames(scene.display_model(), film, View(width=480, height=270)))


def _count(image, color):
    """Pixels of about this hue."""
    rgb = image.reshape(-1, 3).astype(float)
    rgb = rgb / (np.linalg.norm(rgb, axis=1, keepdims=True) + 1e-9)
    wanted = np.array(color) / np.linalg.norm(color)
    return int((rgb @ wanted > 0.995).sum())


@can_draw
def test_frames_show_robot_arrows_and_panel(images):
    assert len(images) == 6, "25 frames per second out of 50 rows"
    assert images[0].shape == (270, 480, 3) and images[0].dtype == np.uint8
    upper = images[2][:135, 240:]
    assert _count(upper, COMMAND_COLOR) > 30 and _count(upper, VELOCITY_COLOR) > 20
    corner = images[2][12:70, 12:120]
    assert corner.mean() < images[2][12:70, 300:].mean() - 40, "the panel is dark"
    difference = np.abs(images[5][:160].astype(int) - images[0][:160]).mean()
    assert difference < 40, "the camera follows: the picture changes little"


@can_draw
def test_videos_and_sheets_are_files_that_open(images, tmp_path):
    import imageio.v3 as imageio

    assert write_video(tmp_path / "a" / "w.mp4", iter(images)) == 6
    back = imageio.imread(tmp_path / "a" / "w.mp4")
    assert back.shape == (6, 270, 480, 3)
    assert np.abs(back[3].astype(int) - images[3]).mean() < 8
    assert write_video(tmp_path / "w.gif", iter(images[:3]), 12) == 3
    assert Image.open(tmp_path / "w.gif").n_frames == 3
    contact_sheet(images[:5], tmp_path / "s.png", columns=2, width=100)
    assert Image.open(tmp_path / "s.png").size == (200, 3 * 56)


def test_other_file_types_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.mp4 or \.gif"):
        write_video(tmp_path / "w.avi", iter(()))
