"""A recording in memory: every packet at its time, and what is wrong with a folder in one clear line."""

import json

import numpy as np
import pytest

from robolearn.config import ConfigError
from robolearn.deploy.modes import Mode
from robolearn.deploy.recording import ABOUT, POLICY, describe, folder_name, read_about
from robolearn.deploy.wire import CommandPacket, Packet, StatePacket
from robolearn.replay.mcap import BagError, read_mcap
from robolearn.replay.packets import rows, take_apart
from robolearn.replay.recording import find, load, mode_spans

from .stage import START, Stage


def test_a_table_is_what_its_packets_are_one_by_one(bag, played):
    stream = read_mcap(next(bag.glob("*.mcap"))).streams["/joint_commands"]
    packet = CommandPacket(played.robot)
    (found,) = rows(stream.messages)
    table = take_apart(packet.packet, found)
    sent = [np.frombuffer(data[20:]) for topic, _, data in played.messages if topic == "joint_commands"]
    for i, values in enumerate(sent):
        cycle, command = packet.unpack(values, packet.packet.fingerprint)
        assert table["cycle"][i, 0] == cycle
        assert np.array_equal(table["kp"][i], command.kp)
        assert np.array_equal(table["position"][i], command.position)


def test_everything_is_read_at_its_time(bag, played):
    found = load(bag)
    ticks = played.sequence
    assert (found.complete, found.lost, dict(found.unreadable)) == (True, 0, {})
    for series in (found.states, found.commands, found.wanted, found.ticks, found.power):
        assert len(series) == ticks
        assert np.allclose(series.time, np.arange(ticks) / 200.0, atol=1e-6)
    assert len(found.asked) == len(found.answered) == played.number
    assert found.duration == pytest.approx((ticks - 1) / 200.0)
    # What has no time of its own happened when it arrived.
    steered = next(stamp for topic, stamp, _ in played.messages if topic == "cmd_vel")
    assert found.velocity.time == pytest.approx([(steered - START) / 1e9 - 50.005], abs=1e-6)
    assert found.velocity["command"].tolist() == [[0.5, 0.0, 0.1]]
    assert found.counts["robot_state"] == ticks


def test_times_are_the_robots_also_where_its_clock_runs_faster(stage, tmp_path):
    """A simulation at twice the speed: events lie where the robot was when they arrived."""
    slow = [(topic, START + (stamp - START) // 2, data) for topic, stamp, data in stage.messages]
    stage.messages = slow
    found = load(stage.write(tmp_path))
    estop = next(begin for begin, _, mode in mode_spans(found) if mode is Mode.ESTOP)
    said = next(time for time, mode in found.modes if mode is Mode.ESTOP)
    assert said == pytest.approx(estop, abs=1e-3)


def test_modes_are_read_from_ticks_or_from_what_was_announced(bag, stage, tmp_path):
    modes = [Mode.IDLE, Mode.STAND, Mode.READY, Mode.POLICY, Mode.ESTOP]
    by_ticks = mode_spans(load(bag))
    assert [mode for _, _, mode in by_ticks] == modes
    stage.messages = [message for message in stage.messages if message[0] != "safety_monitor/tick"]
    announced = mode_spans(load(stage.write(tmp_path)))
    assert [mode for _, _, mode in announced] == modes
    assert [begin for begin, _, _ in announced] == pytest.approx([begin for begin, _, _ in by_ticks], abs=1e-6)


def test_a_namespace_is_part_of_the_topics(stage, tmp_path):
    folder = stage.write(tmp_path, namespace="lab/a1")
    assert folder.name == "2026-11-20_16-00-00_lab-a1_a1"
    assert len(load(folder).states) == stage.sequence


def test_a_recording_that_was_not_finished_is_read(stage, tmp_path):
    found = load(stage.write(tmp_path, close=False))
    assert (found.complete, found.lost) == (False, None)
    assert len(found.states) == stage.sequence


def test_cycles_without_a_reading_are_known(tmp_path):
    stage = Stage()
    stage.run(0.02)
    packet = StatePacket(stage.robot)
    for _ in range(2):
        stage.now += 0.005
        stage.put("robot_state", packet.packet, packet.pack(stage.now, False, None))
    stage.run(0.02)
    found = load(stage.write(tmp_path))
    assert found.silent == pytest.approx([50.025, 50.03])
    assert len(found.states) == 8
    assert not found.unreadable


def test_what_fits_neither_robot_nor_policy_is_counted(stage, tmp_path):
    other = Packet("joint_commands", {"cycle": 1, "position": 3}, ("other robot",))
    for _ in range(3):
        stage.put("joint_commands", other, [0.0] * 4)
    stage.put_raw("joint_commands", b"\0\1\0\0nothing of the kind")
    stage.put_raw("joint_commands", b"")
    stage.put_raw("safety_monitor/events", b"\0\1\0\0\xff\xff\xff\xff")
    stage.put_raw("cmd_vel", b"\0\1\0\0")
    found = load(stage.write(tmp_path))
    assert found.unreadable == {"joint_commands": 5, "safety_monitor/events": 1, "cmd_vel": 1}
    assert len(found.commands) == stage.sequence


def test_without_its_policy_only_that_is_missing(stage, policy_file, tmp_path):
    folder = stage.write(tmp_path, policy=None)
    found = load(folder)
    assert found.contract is None
    assert not len(found.asked)
    assert found.unreadable["policy_input"] == found.unreadable["policy_output"] == stage.number
    assert len(found.states) == stage.sequence
    assert len(load(folder, policy_file).asked) == stage.number


def test_a_restart_of_the_robots_clock_leaves_the_recorders(tmp_path):
    stage = Stage()
    stage.run(0.05)
    before = list(stage.messages)
    again = Stage()  # its clock begins anew
    again.run(0.05)
    stage.messages = before + [(topic, stamp + 10**9, data) for topic, stamp, data in again.messages]
    found = load(stage.write(tmp_path))
    assert len(found.states) == 20
    assert found.states.time[-1] == pytest.approx(1.045)
    assert (np.diff(found.states.time) > 0).all()


def test_the_newest_of_a_folder_is_found(stage, tmp_path):
    folder = stage.write(tmp_path)
    newer = folder.rename(tmp_path / "2026-11-21_00-00-00_a1")
    stage.write(tmp_path)
    (tmp_path / "2027_no_recording").mkdir()
    assert find(tmp_path) == newer
    assert find(newer) == newer
    assert find(next(newer.glob("*.mcap"))) == newer


def test_what_is_no_recording_is_one_clear_line(stage, tmp_path):
    with pytest.raises(BagError, match="no such file or folder"):
        load(tmp_path / "nothing")
    with pytest.raises(BagError, match="no recording of recorder_node here"):
        load(tmp_path)
    folder = stage.write(tmp_path)
    bag = next(folder.glob("*.mcap"))
    data = bag.read_bytes()
    bag.unlink()
    with pytest.raises(BagError, match="0 mcap files instead of one"):
        load(folder)
    bag.write_bytes(data[:60])
    with pytest.raises(BagError, match="no message was recorded"):
        load(folder)
    about = folder / ABOUT
    entries = json.loads(about.read_text())
    for text, words in (
        ("{", "not JSON"),
        (json.dumps({**entries, "version": 2}), "version"),
        (json.dumps({**entries, "robott": 1}), "Did you mean 'robot'"),
    ):
        about.write_text(text)
        with pytest.raises(ConfigError, match=words):
            load(folder)


def test_a_recording_describes_itself(bag, policy_file):
    about = read_about(bag)
    assert (about.robot, about.namespace, about.started) == ("a1", "/", "2026-11-20T16:00:00+00:00")
    assert about.joints[0] == "FL_hip_joint"
    assert about.policy.path == str(policy_file)
    assert (bag / POLICY).read_bytes() == policy_file.read_bytes()
    assert folder_name(about) == bag.name


def test_a_policy_for_another_robot_is_refused(policy_file):
    from datetime import UTC, datetime

    with pytest.raises(ConfigError, match="made for 'a1', not for robot 'go1'"):
        describe("go1", policy_file, "/", datetime.now(UTC))
