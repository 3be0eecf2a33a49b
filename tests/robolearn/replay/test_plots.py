"""Pictures of recordings: drawn for whatever is there."""

import numpy as np
import pytest
from matplotlib import image

from robolearn.deploy.modes import Mode
from robolearn.replay.plots import cut, draw, roll_pitch
from robolearn.replay.recording import load, mode_spans

from .stage import Stage


@pytest.mark.parametrize(("roll", "pitch", "yaw"), [(0.3, 0, 0), (0, -0.4, 0), (0.2, 0.5, 2.0), (-1.0, 1.2, -3.0)])
def test_roll_and_pitch_of_a_quaternion(roll, pitch, yaw):
    (cr, sr), (cp, sp), (cy, sy) = ((np.cos(a / 2), np.sin(a / 2)) for a in (roll, pitch, yaw))
    quaternion = np.array(
        [
            cr * cp * cy + sr * sp * sy,
            sr * cp * cy - cr * sp * sy,
            cr * sp * cy + sr * cp * sy,
            cr * cp * sy - sr * sp * cy,
        ]
    )
    assert np.allclose(roll_pitch(quaternion[None]), [[roll], [pitch]])


def test_all_pictures_of_a_run(bag, tmp_path):
    paths = draw(load(bag), tmp_path / "new" / "folder", (2.0, 3.2))
    assert [path.name for path in paths] == ["joints.png", "velocities.png", "base.png", "power.png", "timing.png"]
    for path in paths:
        assert image.imread(path).std() > 0.01  # not blank


def test_a_part_is_all_that_happened_in_it(bag):
    whole = load(bag)
    part = cut(whole, 0.9999, 2.0001)
    assert len(part.states) == len(part.ticks) == len(part.commands) == 201
    assert part.states.time[[0, -1]] == pytest.approx([1.0, 2.0])
    assert np.array_equal(part.states["position"], whole.states["position"][200:401])
    assert {mode for _, _, mode in mode_spans(part)} == {Mode.STAND}
    assert not len(cut(whole, 100.0, 200.0).states)


def test_what_is_missing_is_not_drawn(tmp_path):
    stage = Stage()
    stage.run(0.05)
    stage.messages = [message for message in stage.messages if message[0] == "safety_monitor/tick"]
    paths = draw(load(stage.write(tmp_path)), tmp_path / "plots")
    assert [path.name for path in paths] == ["timing.png"]
