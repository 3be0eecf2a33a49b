"""A recorded run equals the live decisions: a fresh controller, given what was recorded, does the same bit by bit."""

import numpy as np
import pytest

from robolearn.deploy.modes import Mode
from robolearn.deploy.recording import ROBOT
from robolearn.replay import report
from robolearn.replay.decisions import decide_again
from robolearn.replay.mcap import BagError
from robolearn.replay.recording import load

from .stage import Stage


def test_a_recorded_run_equals_the_live_decisions(bag, played):
    found = decide_again(load(bag))
    assert found.disagreement is None
    assert (found.ticks, found.left, found.end) == (played.sequence, 0, None)
    assert found.largest == 0.0
    assert found.requests == 3
    assert "same modes and commands" in report.decisions(found)


def test_trips_resets_and_stops_are_decided_again(policy_file, tmp_path):
    stage = Stage(policy_file).play(0.2)
    stage.changes = {"orientation": np.array([np.cos(0.6), np.sin(0.6), 0.0, 0.0])}
    stage.run(0.3)
    assert stage.mode is Mode.DAMPING
    stage.changes = {}
    stage.run(0.1)
    assert stage.ask("reset")
    stage.tick()
    assert stage.ask("arm")
    assert stage.ask("stand")  # two requests between two ticks
    stage.run(1.0, fault="broken")
    stage.run(0.1)
    assert stage.ask("estop")
    stage.run(0.05)
    found = decide_again(load(stage.write(tmp_path)))
    assert found.disagreement is None
    assert found.largest == 0.0
    assert found.requests == 7


def test_a_controller_that_starts_latched(tmp_path):
    stage = Stage(latched=True)
    stage.run(0.1)
    assert stage.ask("reset")
    stage.run(0.1)
    found = decide_again(load(stage.write(tmp_path)))
    assert found.disagreement is None
    assert found.requests == 1


@pytest.mark.parametrize(
    ("entry", "other", "mode"),
    [("stand_kp: 60.0", "stand_kp: 61.0", Mode.STAND), ("blend_time: 0.5", "blend_time: 0.4", Mode.POLICY)],
)
def test_another_robot_file_is_found_out(stage, tmp_path, entry, other, mode):
    folder = stage.write(tmp_path)
    file = folder / ROBOT
    assert entry in file.read_text()
    file.write_text(file.read_text().replace(entry, other))
    found = decide_again(load(folder))
    assert found.disagreement.what == "command"
    assert found.disagreement.recorded is mode
    assert "DIFFERENT in its command since" in report.decisions(found)


def test_a_check_that_would_have_stopped_is_found_out(policy_file, tmp_path):
    stage = Stage(policy_file).play(0.2)
    stage.changes = {"orientation": np.array([np.cos(0.3), np.sin(0.3), 0.0, 0.0])}  # 0.6 rad; the limit is 1
    stage.run(0.3)
    folder = stage.write(tmp_path)
    file = folder / ROBOT
    changed = file.read_text().replace("tilt: {mode: trip, limit: 1.0", "tilt: {mode: trip, limit: 0.5")
    file.write_text(changed)
    found = decide_again(load(folder)).disagreement
    assert (found.recorded, found.decided, found.what) == (Mode.POLICY, Mode.DAMPING, "mode")


@pytest.mark.parametrize("topic", ["robot_state", "safety_monitor/tick"])
def test_it_ends_where_the_recording_has_a_hole(stage, tmp_path, topic):
    stage.drop(topic, [300])
    recording = load(stage.write(tmp_path))
    found = decide_again(recording)
    assert found.disagreement is None
    assert found.ticks == 300
    assert found.end == pytest.approx(299 / 200)
    assert "has a hole" in report.decisions(found)


def test_a_missing_answer_is_a_hole_too(stage, tmp_path):
    stage.drop("policy_output", [2])
    found = decide_again(load(stage.write(tmp_path)))
    assert found.disagreement is None
    assert found.end is not None


def test_a_controller_that_was_started_anew_is_another_one(policy_file, tmp_path):
    """As after kill -9: it knows nothing of the run before."""
    before = Stage(policy_file).play(0.1)
    after = Stage(policy_file)
    after.now = before.now
    after.play(0.1)  # the numbers of its requests to the policy are the same ones again
    before.messages += after.messages
    found = decide_again(load(before.write(tmp_path)))
    assert found.disagreement is None
    assert found.ticks == before.sequence
    assert found.left == after.sequence


def test_it_begins_where_the_controller_is_at_rest(stage, tmp_path):
    """A recorder that came later missed the beginning."""
    stage.drop("safety_monitor/tick", range(5))
    found = decide_again(load(stage.write(tmp_path)))
    assert found.disagreement is None
    assert found.left == 0


def test_a_run_without_rest_or_ticks_cannot_be_decided(stage, tmp_path):
    stage.drop("safety_monitor/tick", range(40))
    with pytest.raises(BagError, match="in motion from the first to the last"):
        decide_again(load(stage.write(tmp_path / "late")))
    stage.messages = [message for message in stage.messages if message[0] != "safety_monitor/tick"]
    with pytest.raises(BagError, match="no ticks"):
        decide_again(load(stage.write(tmp_path / "none")))
