"""What happened: modes and why, requests, checks, timing and limits, against what the stage knows it did."""

import numpy as np
import pytest

from robolearn.deploy.modes import Mode
from robolearn.deploy.types import JointCommand
from robolearn.replay import report
from robolearn.replay.recording import load
from robolearn.replay.summary import holes, summarize

from .stage import Stage


@pytest.fixture(scope="module")
def summary(bag):
    return summarize(load(bag))


def test_modes_are_told_with_their_reasons(summary):
    assert [(each.mode, each.why) for each in summary.modes] == [
        (Mode.IDLE, ""),
        (Mode.STAND, "operator: stand"),
        (Mode.READY, "ramp done"),
        (Mode.POLICY, "operator: start_policy"),
        (Mode.ESTOP, "emergency stop pressed"),
    ]
    assert sum(each.duration for each in summary.modes) == pytest.approx(summary.duration)


def test_requests_and_refusals_are_told(tmp_path):
    stage = Stage()
    stage.run(0.05)
    assert not stage.ask("stand")
    assert stage.ask("arm")
    found = summarize(load(stage.write(tmp_path))).requests
    assert [(each.request, each.accepted) for each in found] == [("stand", False), ("arm", True)]
    assert "not armed" in found[0].message


def test_what_was_asked_again_and_again_is_one_line(tmp_path):
    stage = Stage()
    stage.run(0.05)
    for _ in range(5):
        stage.ask("stand")
        stage.tick()
    recording = load(stage.write(tmp_path))
    text = report.overview(recording, summarize(recording))
    assert text.count("REFUSED") == 1
    assert "(5 times, until" in text


def test_checks_are_counted_worst_first(stage, tmp_path):
    for time in (60.0, 61.0):
        stage.note(reason="tilt", reaction="warn", message="a bit", time=time)
    stage.note(reason="tilt", reaction="damping", message="too much", time=62.0)
    found = summarize(load(stage.write(tmp_path))).checks
    assert [(each.reason, each.reaction, each.count) for each in found] == [
        ("estop", "estop", 1),
        ("tilt", "damping", 3),
    ]
    assert found[1].message == "too much"


def test_timing_is_told_in_milliseconds(summary, played):
    assert summary.period.count == played.sequence - 1
    assert summary.period.mean == pytest.approx(5.0)
    assert summary.period.max == pytest.approx(5.0)
    assert summary.wall is None  # the stage's walls keep its time
    assert (summary.late, summary.blind, summary.unanswered) == (0, 0, 0)
    assert summary.answer.p50 == pytest.approx(1.0, abs=1e-3)  # the stage sends commands 1 ms after the reading
    assert summary.inference.p50 == pytest.approx(0.1)  # its timer counts in tenths of a millisecond
    assert not summary.missing


def test_late_ticks_and_missing_answers_are_counted(stage, tmp_path):
    stage.drop("policy_output", [3, 7])
    stage.drop("policy_input", [11])
    ticks = stage.ticks.packet
    late = [i for i, message in enumerate(stage.messages) if message[0] == "safety_monitor/tick"][100]
    topic, stamp, data = stage.messages[late]
    values = np.frombuffer(data[20:]).copy()
    values[list(ticks._slices).index("now")] += 0.004
    stage.messages[late] = (topic, stamp, data[:20] + values.tobytes())
    found = summarize(load(stage.write(tmp_path)))
    assert (found.late, found.unanswered) == (1, 2)
    assert found.period.max == pytest.approx(9.0)
    assert found.missing == {"policy_input": 1, "policy_output": 2}


def test_what_the_recorder_did_not_hear_is_counted(stage, tmp_path):
    stage.drop("robot_state", [50, 51, 90])
    stage.drop("safety_monitor/tick", [200])
    stage.drop("joint_commands_wanted", [300, 301])
    recording = load(stage.write(tmp_path))
    found = summarize(recording)
    assert found.missing == {"robot_state": 3, "safety_monitor/tick": 1, "joint_commands_wanted": 2}
    assert np.flatnonzero(holes(recording)).tolist() == [199]
    assert found.late == 0  # a tick that was not recorded was not late
    assert found.period.count == stage.sequence - 3


def commands(stage, wanted, sent):
    """A cycle in which the stage's drives get given commands."""
    stage.now += 0.005
    stage.cycle = None
    for topic, command in (("joint_commands_wanted", wanted), ("joint_commands", sent)):
        stage.put(topic, stage.joint.packet, stage.joint.pack(stage.now, command))
    stage.put("robot_state", stage.states.packet, stage.states.pack(stage.now, False, stage.reading()))


def stiff(position, kp=50.0):
    return JointCommand(np.array(position), np.zeros(12), np.full(12, kp), np.full(12, 1.0), np.zeros(12))


def test_limiting_and_tracking_by_hand(tmp_path):
    stage = Stage()
    rest = stage.robot.default_pose
    moved, clipped = rest.copy(), rest.copy()
    moved[4] += 0.3
    clipped[4] += 0.1
    commands(stage, JointCommand.zero(12), JointCommand.zero(12))  # limp: says nothing about limits
    commands(stage, stiff(rest), stiff(rest))
    commands(stage, stiff(moved), stiff(clipped))
    commands(stage, stiff(rest), stiff(rest, kp=40.0))
    commands(stage, stiff(rest), stiff(rest))
    stage.changes = {"position": rest + 0.01}
    commands(stage, stiff(rest), stiff(rest))
    found = summarize(load(stage.write(tmp_path)))
    limits = found.limiting
    assert (limits.ticks, limits.share) == (5, pytest.approx(0.4))
    assert limits.largest == pytest.approx(0.2)
    assert limits.joint == stage.robot.joints[4]
    assert next(iter(limits.joints.items())) == (stage.robot.joints[4], pytest.approx(0.4))
    assert limits.joints[stage.robot.joints[0]] == pytest.approx(0.2)
    by_joint = {each.joint: each for each in found.tracking}
    wobble = 1e-3
    assert by_joint[stage.robot.joints[4]].max == pytest.approx(0.1, abs=wobble)  # the reading after the clipped one
    assert by_joint[stage.robot.joints[0]].max == pytest.approx(0.01, abs=wobble)


def test_nothing_but_a_few_words_is_enough(tmp_path):
    """Absent topics are no error."""
    stage = Stage()
    stage.say("safety_monitor/state", "idle")
    recording = load(stage.write(tmp_path))
    found = summarize(recording)
    assert (found.period, found.answer, found.inference, found.limiting) == (None, None, None, None)
    assert "idle" in report.overview(recording, found)


def test_the_words_name_what_counts(bag, summary):
    text = report.overview(load(bag), summary)
    for words in ("robot a1", "operator: start_policy", "estop", "control period", "inference", "limited in", "rms"):
        assert words in text, words
    assert "orderly" not in text
    assert "not recorded" not in text


def test_the_words_tell_what_is_missing(stage, tmp_path):
    stage.drop("robot_state", [50])
    recording = load(stage.write(tmp_path, close=False, policy=None))
    text = report.overview(recording, summarize(recording))
    assert "did not end in an orderly way" in text
    assert "robot_state: 1 that must have been sent" in text
    assert "give --policy FILE" in text
