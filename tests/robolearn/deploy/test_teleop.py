"""What keys and joystick mean: every way to move, every way to stop."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robolearn.config import ConfigError
from robolearn.deploy.modes import Mode, Request
from robolearn.deploy.teleop import HELP, LINGER, REQUEST_KEYS, STEP_KEYS, Teleop, TeleopSettings, status_line

DT = 0.05
LIMIT = np.array([1.0, 0.5, 2.0])
DEADMAN, STOP, ESTOP, ARM = 4, 0, 1, 2
SETTINGS = TeleopSettings(
    limit=(1.0, 0.5, 2.0),
    acceleration=(2.0, 2.0, 8.0),
    key_step=0.1,
    key_timeout=0.0,
    joy_timeout=0.5,
    dead_zone=0.1,
    axes=(1, 0, 3),
    scales=(1.0, 1.0, -1.0),
    deadman=DEADMAN,
    buttons={Request.STOP: STOP, Request.ESTOP: ESTOP, Request.ARM: ARM, Request.STAND: -1},
)


class Operator:
    """Presses keys and moves sticks while time goes on in ticks."""

    def __init__(self, **changes):
        self.teleop = Teleop(replace(SETTINGS, **changes))
        self.now = 100.0
        self.published = []

    def key(self, *keys):
        return [self.teleop.key(key, self.now) for key in keys]

    def joy(self, *pressed, axes=(0.0, 0.0, 0.0, 0.0), count=8):
        return self.teleop.joy(axes, [int(i in pressed) for i in range(count)], self.now)

    def wait(self, seconds=DT, **joy):
        """Let time pass; with arguments for ``joy``, the joystick repeats this message meanwhile."""
        for _ in range(round(seconds / DT)):
            self.now += DT
            if joy:
                self.joy(*joy.get("pressed", ()), **{k: v for k, v in joy.items() if k != "pressed"})
            self.published.append(self.teleop.tick(self.now))
        return self.published[-1]

    def drive(self, axes=(0.0, 1.0, 0.0, 0.0), seconds=2.0):
        """Release the dead-man, press it, and hold the stick."""
        self.joy()
        return self.wait(seconds, pressed=(DEADMAN,), axes=axes)


def test_nobody_there_publishes_nothing():
    operator = Operator()
    operator.wait(1.0)
    assert operator.published == [None] * 20


# Keyboard.


@pytest.mark.parametrize("key", STEP_KEYS)
def test_a_key_moves_the_set_point_by_one_step(key):
    operator = Operator()
    operator.key(key)
    np.testing.assert_allclose(operator.wait(0.5), 0.1 * LIMIT * STEP_KEYS[key])


def test_steps_add_up_to_the_limit_and_back_to_exactly_zero():
    operator = Operator()
    operator.key(*"w" * 25, *"j" * 25)
    np.testing.assert_allclose(operator.wait(2.0), [1.0, 0.0, 2.0])
    operator.key(*"s" * 10, *"l" * 10)
    operator.wait(2.0)
    operator.wait(LINGER + DT)
    assert operator.published[-1] is None
    assert not operator.teleop.velocity.any()


@pytest.mark.parametrize("key", ["x", "\x1b", "\r", "\x00", "é", "�", "lost", *REQUEST_KEYS])
def test_any_other_key_is_zero_at_once_and_then_silence(key):
    operator = Operator()
    operator.key(*"wwww")
    assert operator.wait(1.0)[0] > 0
    operator.key(key)
    np.testing.assert_array_equal(operator.wait(), np.zeros(3))
    operator.wait(LINGER + DT)
    assert operator.published[-1] is None
    zeros = [velocity for velocity in operator.published if velocity is not None and not velocity.any()]
    assert len(zeros) > 5, "one message may be lost"


def test_every_request_has_a_key_and_the_stops_have_theirs():
    assert sorted(REQUEST_KEYS.values()) == sorted(Request)
    operator = Operator()
    assert operator.key(" ", "e", "E", "e") == [Request.STOP, Request.ESTOP, Request.ESTOP, Request.ESTOP]
    assert not set(REQUEST_KEYS) & set(STEP_KEYS)
    for key in (*REQUEST_KEYS, *"wsadjlh"):
        assert key.strip() in HELP.replace("/", " ").split() or key == " "


def test_hold_to_move_stops_without_keys():
    operator = Operator(key_timeout=1.0)
    operator.key("w")
    for _ in range(3):
        operator.wait(0.9)
        operator.key("h")
    assert operator.wait(0.9)[0] == pytest.approx(0.1)
    np.testing.assert_array_equal(operator.wait(0.2), np.zeros(3))
    operator.wait(LINGER + DT)
    assert operator.published[-1] is None


def test_without_hold_to_move_the_set_point_stays():
    operator = Operator()
    operator.key("w")
    assert operator.wait(60.0)[0] == pytest.approx(0.1)


# Joystick.


def test_the_stick_moves_while_the_dead_man_is_held():
    operator = Operator()
    np.testing.assert_allclose(operator.drive(axes=(0.55, 1.0, 9.0, 1.0)), [1.0, 0.25, -2.0])


def test_releasing_the_dead_man_is_zero_at_once_and_then_silence():
    operator = Operator()
    operator.drive()
    operator.joy(axes=(0.0, 1.0, 0.0, 0.0))
    np.testing.assert_array_equal(operator.wait(), np.zeros(3))
    operator.wait(1.0, axes=(0.0, 1.0, 0.0, 0.0))
    assert operator.published[-1] is None


def test_without_the_dead_man_the_stick_means_nothing():
    operator = Operator()
    operator.wait(1.0, axes=(1.0, 1.0, 1.0, 1.0))
    assert operator.published == [None] * 20


def test_a_silent_joystick_is_zero_then_silence_and_must_be_released_again():
    operator = Operator()
    operator.drive()
    operator.wait(0.5)
    assert operator.teleop.velocity[0] == 1.0  # within its time
    np.testing.assert_array_equal(operator.wait(0.1), np.zeros(3))
    assert operator.teleop.joy_silent
    operator.wait(1.0)
    assert operator.published[-1] is None
    operator.wait(1.0, pressed=(DEADMAN,), axes=(0.0, 1.0, 0.0, 0.0))
    assert operator.published[-1] is None, "a stuck button must not move the robot when the joystick is back"
    assert operator.drive()[0] == 1.0


def test_a_dead_man_that_is_held_at_the_start_does_not_count():
    operator = Operator()
    operator.wait(1.0, pressed=(DEADMAN,), axes=(0.0, 1.0, 0.0, 0.0))
    assert operator.published == [None] * 20


@pytest.mark.parametrize(
    "broken",
    [{"axes": (0.0, math.nan, 0.0, 0.0)}, {"axes": (0.0, math.inf, 0.0, 0.0)}, {"axes": (0.0, 1.0)}, {"axes": ()},
     {"count": 4}, {"count": 0}, {"axes": (0.0, 1.0, math.nan, 0.0)}],
)  # fmt: skip
def test_broken_messages_are_counted_and_count_as_silence(broken):
    operator = Operator()
    operator.drive()
    operator.wait(0.4, pressed=(DEADMAN,), **broken)
    assert operator.teleop.ignored == 8
    assert operator.teleop.velocity[0] == 1.0
    operator.wait(0.2, pressed=(DEADMAN,), **broken)
    assert not operator.teleop.velocity.any()


def test_a_stop_counts_however_broken_the_rest_of_the_message():
    operator = Operator()
    operator.drive()
    for _ in range(2):
        assert operator.joy(ESTOP, DEADMAN, axes=(math.nan,)) == [Request.ESTOP]
        assert not operator.teleop.velocity.any()
        assert operator.joy(DEADMAN, axes=(math.nan,)) == []
    assert operator.teleop.joy([], [0, 1], operator.now) == [Request.ESTOP]


def test_buttons_ask_once_when_pressed():
    operator = Operator()
    operator.joy()
    assert [operator.joy(STOP), operator.joy(STOP), operator.joy(), operator.joy(STOP)] == [
        [Request.STOP], [], [], [Request.STOP],
    ]  # fmt: skip


def test_a_pressed_stop_counts_from_the_first_message():
    assert Operator().joy(ESTOP, STOP) == [Request.STOP, Request.ESTOP]


def test_starting_needs_the_dead_man_and_a_fresh_press():
    operator = Operator()
    assert operator.joy(ARM) == []
    operator.joy()
    assert operator.joy(ARM) == [], "without the dead-man"
    operator.joy(DEADMAN)
    assert operator.joy(DEADMAN, ARM) == [Request.ARM]
    assert operator.joy(DEADMAN, ARM) == []


def test_the_joystick_wins_and_the_keyboard_does_not_resume():
    operator = Operator()
    operator.key(*"ssss")
    assert operator.wait(1.0)[0] == pytest.approx(-0.4)
    assert operator.drive()[0] == 1.0
    operator.joy()
    np.testing.assert_array_equal(operator.wait(), np.zeros(3))
    operator.wait(1.0)
    assert operator.published[-1] is None


@given(st.floats(-2, 2), st.floats(0, 0.9))
def test_the_dead_zone_is_continuous_odd_and_full_at_the_end(value, zone):
    teleop = Teleop(replace(SETTINGS, dead_zone=zone))
    found = teleop._deflection(value)
    assert found == pytest.approx(-teleop._deflection(-value))
    assert abs(found) <= 1
    assert found == 0 if abs(value) <= zone else found * value > 0
    assert abs(teleop._deflection(value + 1e-6) - found) <= 1.1e-5 / (1 - zone)
    assert teleop._deflection(1.0) == pytest.approx(1.0)


# Both.

ACTIONS = st.one_of(
    st.tuples(st.just("key"), st.sampled_from([*STEP_KEYS, *REQUEST_KEYS, "x"])),
    st.tuples(
        st.just("joy"), st.lists(st.floats(width=32), max_size=5), st.lists(st.integers(0, 1), min_size=3, max_size=7)
    ),
    st.tuples(st.just("wait"), st.floats(0, 1)),
)


@given(st.lists(ACTIONS, max_size=60))
def test_whatever_happens_the_velocity_is_finite_within_limits_and_changes_gently(actions):
    operator = Operator(key_timeout=0.7)
    for kind, *what in actions:
        before = operator.teleop.velocity
        if kind == "key":
            operator.key(*what)
        elif kind == "joy":
            operator.teleop.joy(*what, operator.now)
        else:
            operator.now += what[0]
            operator.teleop.tick(operator.now)
        after = operator.teleop.velocity
        assert np.isfinite(after).all()
        assert (np.abs(after) <= LIMIT + 1e-12).all()
        grown = np.abs(after) - np.abs(before)
        assert (grown <= 0.1 * np.array(SETTINGS.acceleration) + 1e-9).all()
    operator.wait(3.0)
    assert operator.published[-1] is None, "whatever was done: hands off, and the robot is let go"


def test_acceleration_is_limited_and_stopping_is_not():
    operator = Operator()
    operator.key(*"w" * 10)
    speeds = [operator.wait()[0] for _ in range(12)]
    np.testing.assert_allclose(speeds, np.minimum(0.1 * np.arange(1, 13) + 0.1, 1.0), atol=0.1)
    assert np.diff(speeds).max() <= 2.0 * DT + 1e-9
    np.testing.assert_allclose(operator.teleop.set_point, [1.0, 0.0, 0.0])
    operator.key("x")
    assert operator.wait()[0] == 0.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"limit": (1.0, -0.5, 1.0)}, "limit"),
        ({"limit": (1.0, math.nan, 1.0)}, "limit"),
        ({"acceleration": (1.0, 0.0, 1.0)}, "acceleration"),
        ({"key_step": 0.0}, "key_step"),
        ({"key_timeout": -1.0}, "key_timeout"),
        ({"joy_timeout": 0.0}, "joy_timeout"),
        ({"dead_zone": 1.0}, "dead_zone"),
        ({"axes": (0, -1, 2)}, "axes"),
        ({"scales": (1.0, 1.5, 1.0)}, "scales"),
        ({"deadman": -1}, "dead-man"),
        ({"buttons": {Request.STOP: DEADMAN}}, "deadman and stop share button 4"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_by_name(change, message):
    with pytest.raises(ConfigError, match=message):
        replace(SETTINGS, **change)


def test_the_status_line_says_it_all_in_its_width():
    line = status_line(np.array([0.5, -0.0, -1.25]), Mode.POLICY, "there", "arm: armed", 200)
    assert line == "[POLICY] vx +0.50 vy +0.00 wz -1.25 | joy there | arm: armed"
    assert len(status_line(np.zeros(3), "idle", "silent", "x\ny" * 300, 79)) == 79
    assert status_line(np.zeros(3), "idle", "silent", "x", 1) == "…"
