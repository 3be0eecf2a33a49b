"""The live line: time left, plain fallback, what is shown and what is not."""

import io
import math

import pytest

from robolearn.logging.progress import RunProgress, Shown, TimeLeft, clock

SHOWN = (Shown("reward", "mean_reward", ".2f"), Shown("fps", "fps", ",.0f", "/s"))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"),
        (59.6, "1:00"),
        (61, "1:01"),
        (3661, "1:01:01"),
        (-3, "0:00"),
        (math.nan, "--:--"),
        (math.inf, "--:--"),
    ],
)
def test_clock(seconds, text):
    assert clock(seconds) == text


def test_time_left_of_steady_iterations_is_exact():
    estimate = TimeLeft(total=100, start=20, now=1000.0)
    assert math.isnan(estimate.update(20, 1000.0))
    for i in range(1, 41):
        left = estimate.update(20 + i, 1000.0 + 2.0 * i)
    assert left == pytest.approx(2.0 * 40)
    assert estimate.share(60, 1080.0) == pytest.approx(0.6)


def test_time_left_follows_a_change_of_speed():
    estimate = TimeLeft(total=1000, start=0, now=0.0)
    now = 0.0
    for i in range(1, 200):
        now += 1.0 if i < 50 else 3.0
        left = estimate.update(i, now)
    assert left == pytest.approx(3.0 * (1000 - 199), rel=0.01)


def test_time_limit_can_come_first():
    estimate = TimeLeft(total=1000, start=0, now=0.0, limit=60.0)
    assert estimate.update(1, 1.0) == pytest.approx(59.0)
    assert estimate.share(1, 30.0) == pytest.approx(0.5)


def test_without_a_terminal_plain_lines_are_written():
    stream = io.StringIO()
    with RunProgress("run", 3, SHOWN, stream=stream) as progress:
        for i in (1, 2, 3):
            progress.update(i, {"mean_reward": 1.234, "fps": 12345.6, "other": 9.0})
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2, "the first and the last iteration; those in between come too soon"
    assert "1.23" in lines[0] and "12,346/s" in lines[0] and "other" not in lines[0]
    assert lines[1].split()[0] == "3/3"
    assert "\x1b" not in stream.getvalue()


def test_with_a_time_limit_the_number_of_iterations_is_not_promised():
    stream = io.StringIO()
    with RunProgress("run", 100_000, SHOWN, limit=60.0, stream=stream) as progress:
        progress.update(7, {"fps": 5.0})
    assert "iteration 7 " in stream.getvalue() and "100000" not in stream.getvalue()


def test_a_missing_metric_is_left_out():
    stream = io.StringIO()
    with RunProgress("run", 1, SHOWN, stream=stream) as progress:
        progress.update(1, {"fps": 5.0})
    assert "reward" not in stream.getvalue() and "fps 5/s" in stream.getvalue()


def test_other_ranks_are_silent():
    stream = io.StringIO()
    with RunProgress("run", 1, SHOWN, stream=stream, enabled=False) as progress:
        progress.update(1, {"fps": 5.0})
        progress.message("hello")
    assert stream.getvalue() == ""


def test_a_terminal_gets_live_lines(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    with RunProgress("a1_flat", 10, SHOWN, stream=stream) as progress:
        progress.update(5, {"mean_reward": 0.5, "fps": 1000.0})
    assert "a1_flat" in stream.getvalue() and "5/10" in stream.getvalue() and "\x1b" in stream.getvalue()
