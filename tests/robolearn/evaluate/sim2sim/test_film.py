from pathlib import Path

import imageio.v2 as imageio
import numpy as np
import pytest

from robolearn.config import ConfigError
from robolearn.evaluate.sim2sim.film import VIEW, film_side_by_side

RELEASED = Path(__file__).parents[4] / "policies" / "a1_velocity_flat" / "policy.onnx"


def test_simulators_stand_side_by_side(tmp_path):
    path = tmp_path / "film.mp4"
    assert film_side_by_side(path, RELEASED, ["mujoco", "mujoco-soft"], seconds=0.4) == pytest.approx(0.4)
    with imageio.get_reader(path) as reader:
        images = [np.asarray(image) for image in reader]
    assert len(images) == 10
    assert images[0].shape == (VIEW.height, 2 * VIEW.width, 3)
    left, right = np.split(images[-1].astype(int), 2, axis=1)
    robot = (slice(VIEW.height // 3, None), slice(None))  # below the panels, which differ in the title
    assert left[robot].std() > 5  # there is something to see
    assert np.abs(left[robot] - right[robot]).mean() < 10  # from the same place


def test_an_unknown_simulator_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="Did you mean 'mujoco'"):
        film_side_by_side(tmp_path / "film.mp4", RELEASED, ["mujco"])
