"""The latch file: a stop survives a restart, and every doubt counts as a stop."""

import contextlib
import os

import pytest

from robolearn.config import ConfigError
from robolearn.deploy.latch import Latch
from robolearn.deploy.modes import Mode, Request

from .kit import Rig


def test_set_survives_and_clear_releases(tmp_path):
    latch = Latch(tmp_path / "estop")
    assert not latch.is_set()
    latch.set("operator: estop")
    assert Latch(tmp_path / "estop").is_set()
    assert Latch(tmp_path / "estop").reason() == "operator: estop"
    latch.clear()
    latch.clear()
    assert not latch.is_set()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"released"])
def test_any_file_counts_as_latched(tmp_path, content):
    path = tmp_path / "estop"
    path.write_bytes(content)
    assert Latch(path).is_set()
    assert Latch(path).reason()


def test_what_cannot_be_looked_at_counts_as_latched(tmp_path, monkeypatch):
    latch = Latch(tmp_path / "estop")
    monkeypatch.setattr(type(latch.path), "lstat", lambda path: (_ for _ in ()).throw(PermissionError("no")))
    assert latch.is_set()


def test_a_dangling_link_and_a_folder_count_as_latched(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder").mkdir()
    assert Latch(tmp_path / "link").is_set()
    assert Latch(tmp_path / "folder").is_set()


def test_a_place_that_cannot_remember_is_refused(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="there is no folder"):
        Latch(tmp_path / "none" / "estop")
    monkeypatch.setattr(os, "access", lambda *args: False)
    with pytest.raises(ConfigError, match="cannot be written"):
        Latch(tmp_path / "estop")


def test_a_write_that_fails_halfway_leaves_the_old_file(tmp_path, monkeypatch):
    latch = Latch(tmp_path / "estop")
    latch.set("first")

    def fail(handle):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        latch.set("second")
    assert latch.reason() == "first"


def test_follow_writes_once_and_clears_after_a_reset(tmp_path, monkeypatch):
    latch = Latch(tmp_path / "estop")
    writes = []
    real = latch.set
    monkeypatch.setattr(latch, "set", lambda reason: (writes.append(reason), real(reason)))
    for mode in (Mode.IDLE, Mode.POLICY, Mode.ESTOP, Mode.ESTOP, Mode.ESTOP):
        assert latch.follow(mode, "why") == ""
    assert writes == ["why"]
    assert latch.is_set()
    assert latch.follow(Mode.IDLE, "") == ""
    assert not latch.is_set()


@contextlib.contextmanager
def broken_disk(monkeypatch, why):
    """A disk on which nothing is written through."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(why)))
        yield


def test_follow_reports_and_tries_again(tmp_path, monkeypatch):
    latch = Latch(tmp_path / "estop")
    latch.follow(Mode.IDLE, "")
    with broken_disk(monkeypatch, "disk full"):
        assert "cannot be written (disk full)" in latch.follow(Mode.ESTOP, "why")
    assert latch.follow(Mode.ESTOP, "why") == ""
    assert latch.is_set()


def test_a_stop_after_a_release_that_failed_halfway_is_remembered(tmp_path, monkeypatch):
    latch = Latch(tmp_path / "estop")
    latch.follow(Mode.ESTOP, "first")
    with broken_disk(monkeypatch, "input/output error"):
        assert "cannot be removed" in latch.follow(Mode.IDLE, "")
    assert not latch.is_set(), "the file is gone, only the folder was not written through"
    assert latch.follow(Mode.ESTOP, "second") == ""
    assert latch.reason() == "second"


def test_a_restart_keeps_what_the_file_says_about_the_stop(tmp_path):
    Latch(tmp_path / "estop").set("operator: estop")
    latch = Latch(tmp_path / "estop")
    assert latch.follow(Mode.ESTOP, "latched before the start") == ""
    assert latch.reason() == "operator: estop"
    assert latch.follow(Mode.IDLE, "") == ""
    assert not latch.is_set()


def test_a_controller_that_was_not_told_does_not_clear_the_latch(tmp_path):
    Latch(tmp_path / "estop").set("before")
    latch = Latch(tmp_path / "estop")
    assert "not started with latched=True" in latch.follow(Mode.IDLE, "")
    assert latch.is_set()


def test_estop_survives_a_restart_and_the_restart_moves_nothing(tmp_path):
    path = tmp_path / "estop"
    rig, latch = Rig().to(Mode.POLICY), Latch(path)
    latch.follow(rig.mode, "")
    out = rig.tick(estop=True)
    latch.follow(out.mode, out.stop_reason)

    latch = Latch(path)
    rig = Rig(latched=latch.is_set())
    for request in (Request.ARM, Request.STAND, Request.START_POLICY):
        out = rig.run(5)
        latch.follow(out.mode, out.stop_reason)
        assert not rig.ask(request).accepted
        assert out.mode is Mode.ESTOP
        assert not out.command.kp.any()
    assert latch.is_set()
    assert rig.ask(Request.RESET).accepted
    out = rig.tick()
    latch.follow(out.mode, out.stop_reason)
    assert out.mode is Mode.IDLE
    assert not latch.is_set()
    assert not out.command.kp.any()
