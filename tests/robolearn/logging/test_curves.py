"""Learning curves: the smoothing against brute force, the picture as a file, the line of blocks."""

import numpy as np
import pytest
from PIL import Image

from robolearn.logging.csv_log import CsvLog
from robolearn.logging.curves import PANELS, draw_curves, smooth, sparkline


@pytest.mark.parametrize("window", [1, 2, 3, 5, 50])
def test_smooth_is_the_mean_of_the_neighbours(window):
    values = np.random.default_rng(0).normal(size=30)
    values[[3, 4, 5, 20]] = np.nan
    before, after = window // 2, (window - 1) // 2
    expected = [
        np.nan if np.isnan(values[max(0, i - before) : i + after + 1]).all()
        else np.nanmean(values[max(0, i - before) : i + after + 1])
        for i in range(30)
    ]  # fmt: skip
    np.testing.assert_allclose(smooth(values, window), expected)


def test_curves_are_drawn_from_what_was_logged(tmp_path):
    log = CsvLog(tmp_path / "m.csv")
    rng = np.random.default_rng(0)
    for i in range(1, 60):
        metrics = {name: abs(rng.normal()) + 0.01 for panel in PANELS[:6] for name, _ in panel.lines}
        log.write(i, {**metrics, "train/total_steps": 12288.0 * i})
    assert draw_curves(tmp_path / "m.csv", tmp_path / "c.png", "a1_velocity_flat")
    picture = np.asarray(Image.open(tmp_path / "c.png").convert("RGB"))
    assert picture.shape[0] > 400 and picture.shape[1] > 1000
    assert picture.std() > 5, "the picture is not empty"
    assert not list(tmp_path.glob("*.partial*"))


def test_nothing_to_draw_writes_nothing(tmp_path):
    assert not draw_curves(tmp_path / "none.csv", tmp_path / "c.png", "x")
    CsvLog(tmp_path / "m.csv").write(1, {"train/mean_reward": 1.0})
    assert not draw_curves(tmp_path / "m.csv", tmp_path / "c.png", "x")
    assert not (tmp_path / "c.png").exists()


def test_sparkline_rises_with_its_values():
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([1.0, 1.0]) == "▅▅"
    assert sparkline([]) == "" and sparkline([float("nan")]) == ""
    assert len(sparkline(np.arange(1000), 40)) == 40
    assert sparkline([3, float("nan"), 1]) == "█▁"
