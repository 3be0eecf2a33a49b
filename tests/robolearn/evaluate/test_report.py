"""The report: time to walk by hand, the tables, the text."""

import json

import numpy as np
import pytest
from PIL import Image

from robolearn.evaluate.pushes import PushResult
from robolearn.evaluate.report import Evaluation, draw_pushes, draw_tracking, time_to_walk, write_report
from robolearn.evaluate.statistics import Interval, wilson
from robolearn.experiment import compose
from robolearn.logging.csv_log import CsvLog
from robolearn.rl.checkpoint import checkpoint_path, read_checkpoint, write_checkpoint
from robolearn.run_folder import Run, create, read_meta, write_meta


def table(linear, yaw):
    n = len(linear)
    return {
        "env/term/track_linear_velocity": np.array(linear),
        "env/term/track_yaw_rate": np.array(yaw),
        "time/collect_s": np.full(n, 2.0),
        "time/update_s": np.full(n, 1.0),
        "train/total_steps": 1000.0 * np.arange(1, n + 1),
    }


def test_time_to_walk_is_the_time_of_the_first_row_at_the_goal():
    # The mean of ten rows passes 0.8 when eight of them are at 0.9 and two at 0.5: 0.82.
    linear = [0.5] * 5 + [0.9] * 20
    assert time_to_walk(table(linear, linear)) == (3.0 * 13, 13_000)
    mixed = time_to_walk(table([0.7] * 12, [0.95] * 12))
    assert mixed == (30.0, 10_000), "the two rewards are averaged"
    assert time_to_walk(table([0.79] * 30, [0.79] * 30)) is None
    assert time_to_walk(table([0.9] * 9, [0.9] * 9)) is None, "too short to tell"
    assert time_to_walk({}) is None


@pytest.fixture
def evaluation():
    rng = np.random.default_rng(0)
    commanded = rng.uniform(-1, 1, (40, 3))
    pushes = [PushResult(j, j / 12.45, wilson(k, 20)) for j, k in ((0.0, 20), (12.5, 15), (25.0, 3))]
    metrics = {"velocity_error": Interval(0.2, 0.15, 0.25, 40), "survival": wilson(39, 40)}
    return Evaluation(metrics, pushes, (0, 1), 20, 1000, commanded, commanded + rng.normal(0, 0.1, (40, 3)))


def test_the_text_names_figures_units_and_intervals(evaluation):
    text = evaluation.text()
    assert "40 episodes (2 seeds x 20)" in text
    assert "0.200 [0.150, 0.250] m/s" in text
    assert "12.5 N s (1.0 m/s x mass)  0.75 [0.53, 0.89]" in text


def test_pictures_are_drawn(evaluation, tmp_path):
    draw_tracking(evaluation, tmp_path / "t.png")
    draw_pushes(evaluation.pushes, tmp_path / "p.png")
    for name in ("t.png", "p.png"):
        assert np.asarray(Image.open(tmp_path / name).convert("L")).std() > 5
    draw_pushes([PushResult(0.0, 0.0, wilson(1, 2))], tmp_path / "one.png")
    assert (tmp_path / "one.png").is_file()


@pytest.mark.filterwarnings("error")
def test_tracking_of_robots_that_all_fell_is_drawn_empty(evaluation, tmp_path):
    nothing = np.full((3, 3), np.nan)
    empty = Evaluation(evaluation.metrics, [], (0,), 3, 10, nothing, nothing)
    draw_tracking(empty, tmp_path / "t.png")
    assert (tmp_path / "t.png").is_file()


def test_the_report_holds_figures_pictures_and_provenance(evaluation, tmp_path):
    config = compose("a1_velocity_flat")
    folder = create(tmp_path / "runs", config, ["robolearn", "train", "a1_velocity_flat"], now=0)
    meta = read_meta(folder)
    meta["starts"][0]["wall_s"] = 250.0
    write_meta(folder, meta)
    log = CsvLog(folder / "metrics.csv")
    for i in range(12):
        log.write(i + 1, {name: float(column[i]) for name, column in table([0.85] * 12, [0.9] * 12).items()})
    checkpoint = checkpoint_path(folder / "checkpoints", 4)
    state = {"policy": {"spec": 1}, "meta": {"experiment": {}}, "counters": {"iteration": 4}, "processes": [1, 2, 3]}
    write_checkpoint(checkpoint, state)
    target = tmp_path / "release"
    path = write_report(target, Run(folder, checkpoint, config), evaluation, "robolearn eval x", "walk.mp4")
    text = path.read_text()
    for words in (
        "| planar velocity error (RMS) | 0.200 m/s | 0.150 to 0.250 |",
        "| 12.5 | 1.00 | 0.75 | 0.53 to 0.89 | 20 |",
        "wall time 4:10",
        "`robolearn play release`",
        "after 0:30 and 10,000 steps",
        "`robolearn train a1_velocity_flat`",
        "[walk.mp4](walk.mp4)",
        "![learning curves](curves.png)",
    ):
        assert words in text, words
    slim = read_checkpoint(target / "policy.pt")
    assert slim["policy"] == {"spec": 1} and "processes" not in slim
    data = json.loads((target / "report.json").read_text())
    assert data["training"]["time_to_walk_s"] == 30.0 and data["training"]["steps"] == 12_000
    assert data["evaluation"]["metrics"]["survival"]["count"] == 40
    assert compose(target / "config.yaml") == config
