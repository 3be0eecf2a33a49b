"""The recorder's thread: nothing waits for it, it stops before the disk is full, and keeps what is there."""

import os
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from rosbags.rosbag2 import Reader

from robolearn.replay.mcap import read_mcap
from robolearn_ros import bag_writer
from robolearn_ros.bag_writer import BagWriter, Limits

TOPICS = (("/a", "std_msgs/msg/String"), ("/b", "std_msgs/msg/String"))
ROOMY = Limits(size=1e9, free=0.0)
DATA = b"\0\1\0\0" + bytes(1000)


def wait_for(condition, what):
    end = time.monotonic() + 30.0
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.01)


@pytest.fixture
def stuck(monkeypatch):
    """A disk that takes nothing until ``ended`` is set; ``begun`` tells that the writer waits for it."""
    found = SimpleNamespace(begun=threading.Event(), ended=threading.Event())
    monkeypatch.setattr(BagWriter, "_flush", lambda self: found.begun.set() or found.ended.wait(30.0))
    monkeypatch.setattr(bag_writer, "FLUSH_EVERY", 0.0)
    return found


def stamps(folder):
    file = next(folder.glob("*.mcap"))
    if not file.stat().st_size:
        return [], False
    found = read_mcap(file)
    return sorted(stamp for stream in found.streams.values() for stamp in stream.stamps), found.complete


def test_what_is_put_is_written(tmp_path):
    writer = BagWriter(tmp_path / "new" / "bag", TOPICS, ROOMY)
    for i in range(100):
        writer.put(i % 2, i, DATA)
    writer.lose(3)
    writer.close()
    assert (writer.progress.messages, writer.progress.lost, writer.progress.problem) == (100, 3, "")
    assert stamps(writer.folder) == (list(range(100)), True)
    with Reader(writer.folder) as reader:  # others can read it too
        assert reader.message_count == 100


def test_all_is_on_the_disk_after_each_flush(tmp_path, monkeypatch):
    monkeypatch.setattr(bag_writer, "FLUSH_EVERY", 0.01)
    writer = BagWriter(tmp_path / "bag", TOPICS, ROOMY)
    for i in range(5):
        writer.put(0, i, DATA)
        wait_for(lambda upto=i: stamps(writer.folder)[0] == list(range(upto + 1)), "not flushed")
    assert not stamps(writer.folder)[1]
    writer.close()
    assert stamps(writer.folder)[1]


def test_a_slow_disk_holds_nobody_up(tmp_path, stuck):
    """The queue fills, further messages are counted as lost, and ``put`` returns all the same."""
    writer = BagWriter(tmp_path / "bag", TOPICS, ROOMY, waiting=10)
    writer.put(0, 0, DATA)
    assert stuck.begun.wait(30.0), "the first is taken"
    for i in range(1, 51):
        writer.put(0, i, DATA)
    progress = writer.progress
    assert progress.lost >= 39
    assert progress.messages + progress.lost == 51
    stuck.ended.set()
    writer.close()
    assert len(stamps(writer.folder)[0]) == progress.messages
    assert f"lost: '{progress.lost}'" in (writer.folder / "metadata.yaml").read_text()


def test_closing_does_not_wait_for_ever(tmp_path, stuck):
    writer = BagWriter(tmp_path / "bag", TOPICS, ROOMY)
    writer.put(0, 0, DATA)
    assert stuck.begun.wait(30.0), "the first is taken"
    writer.close(limit=0.05)
    assert "did not take the rest" in writer.progress.problem
    stuck.ended.set()
    writer._thread.join(30.0)


@pytest.mark.parametrize(
    ("limits", "words"), [(Limits(50_000, 0.0), "largest size"), (Limits(1e9, 1e18), "are free on the disk")]
)
def test_a_limit_ends_the_recording_with_a_complete_bag(tmp_path, monkeypatch, limits, words):
    monkeypatch.setattr(bag_writer, "FLUSH_EVERY", 0.01)
    writer = BagWriter(tmp_path / "bag", TOPICS, limits)
    sent = iter(range(10**9))
    wait_for(lambda: writer.put(0, next(sent), DATA) or writer.progress.problem, "no limit")
    assert words in writer.progress.problem
    writer._thread.join(30.0)
    found, complete = stamps(writer.folder)
    assert complete
    assert found == list(range(len(found)))
    before = writer.progress
    writer.put(0, 5, DATA)  # taken for nothing, without harm
    writer.close()
    assert writer.progress == before


FULL = """
import resource, sys, time
from pathlib import Path
from robolearn_ros import bag_writer
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
bag_writer.FLUSH_EVERY = 0.01
writer = bag_writer.BagWriter(Path(sys.argv[1]), (("/a", "std_msgs/msg/String"),), bag_writer.Limits(1e9, 0.0))
stamp, end = 0, time.monotonic() + 30.0
while not writer.progress.problem and time.monotonic() < end:
    writer.put(0, stamp, bytes([0, 1, 0, 0]) + bytes(1000))
    stamp += 1
    time.sleep(0.0002)
writer.close()
print(writer.progress.problem)
"""


def test_a_full_disk_keeps_what_is_there(tmp_path):
    """A file that the system lets grow no further: an error as that of a full disk, amid a write."""
    folder = tmp_path / "bag"
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(folder)], capture_output=True, text=True, env=os.environ.copy(), timeout=60
    )
    assert "the disk refuses to be written" in done.stdout, done.stderr
    assert not done.stderr
    found, complete = stamps(folder)
    assert not complete
    assert found == list(range(len(found)))
    assert len(found) > 80


def test_a_folder_that_is_there_is_not_touched(tmp_path):
    (tmp_path / "bag").mkdir()
    with pytest.raises(Exception, match="exists already"):
        BagWriter(tmp_path / "bag", TOPICS, ROOMY)
