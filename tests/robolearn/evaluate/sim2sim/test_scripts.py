"""Command scripts: paired, within the range, with every phase that is promised."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robolearn.config import ConfigError
from robolearn.deploy.contract import CommandEntry
from robolearn.evaluate.sim2sim.draws import stream
from robolearn.evaluate.sim2sim.scripts import ALONE, draw, fixed

NAMES, UNITS = ("vx", "vy", "yaw_rate"), ("m/s", "m/s", "rad/s")


def command(*ranges):
    return [CommandEntry(*row, *ends) for row, ends in zip(zip(NAMES, UNITS, strict=True), ranges, strict=True)]


USUAL = command((-1.0, 1.0), (-0.5, 0.5), (-2.0, 2.0))


def of(seed, count):
    """The first episodes of a seed."""
    return tuple((seed, episode) for episode in range(count))


def phases(script):
    """The distinct commands of one episode (T, 3) in turn, with how many steps each holds."""
    starts = [0, *(np.flatnonzero((np.diff(script, axis=0) != 0).any(1)) + 1), len(script)]
    return [(script[a], b - a) for a, b in itertools.pairwise(starts)]


def test_an_episode_stands_makes_every_movement_once_and_stops():
    for episode in range(5):
        script = draw(USUAL, of(3, 5), 10.0, 0.02)[:, episode]
        commands, lengths = zip(*phases(script), strict=True)
        assert lengths == (50, 100, 100, 100, 100, 50)
        assert not commands[0].any() and not commands[-1].any()
        moving = sorted(tuple(np.flatnonzero(level)) for level in commands[1:-1])
        assert moving == [(0,), (0, 1, 2), (1,), (2,)]
        forward = next(level for level in commands if level[0] and not level[1:].any())
        assert ALONE[0] <= forward[0] <= ALONE[1]


def test_a_script_follows_from_the_experiment_only():
    few, many = draw(USUAL, of(1, 2), 10.0, 0.02), draw(USUAL, (*of(2, 1), *of(1, 7)), 10.0, 0.02)
    np.testing.assert_array_equal(many[:, 1:3], few)
    assert not np.array_equal(draw(USUAL, of(2, 2), 10.0, 0.02), few)
    assert not np.array_equal(few[:, 0], few[:, 1])


def test_another_control_period_samples_the_same_script():
    slow, fast = draw(USUAL, of(0, 2), 10.0, 0.02), draw(USUAL, of(0, 2), 10.0, 0.01)
    np.testing.assert_array_equal(np.repeat(slow, 2, 0), fast)


@st.composite
def ranges(draw_):
    ends = st.floats(-3, 3, allow_nan=False)
    return [tuple(sorted((draw_(ends), draw_(ends)))) for _ in NAMES]


@given(ranges(), st.integers(0, 10_000))
def test_no_command_leaves_the_range(found, seed):
    low, high = np.array(found).T
    for script in (draw(command(*found), of(seed, 2), 2.0, 0.05), fixed(command(*found), 2, 2.0, 0.05)):
        assert script.shape == (40, 2, 3)
        assert (script >= low).all() and (script <= high).all()


def test_both_directions_are_drawn_where_the_range_has_both_and_one_where_it_has_one():
    script = draw(USUAL, of(0, 30), 10.0, 0.02)
    assert (script.min((0, 1)) < 0).all() and (script.max((0, 1)) > 0).all()
    one_way = draw(command((-1.0, 0.0), (0.0, 0.5), (0.0, 0.0)), of(0, 30), 10.0, 0.02)
    assert one_way[..., 0].min() < -0.5 and one_way[..., 0].max() == 0
    assert one_way[..., 1].min() == 0 and one_way[..., 1].max() > 0.25
    assert not one_way[..., 2].any()


def test_the_fixed_script_is_the_same_everywhere_and_uses_every_column():
    script = fixed(USUAL, 3, 10.0, 0.02)
    np.testing.assert_array_equal(script[:, 0], script[:, 2])
    assert [tuple(level) for level, _ in phases(script[:, 0])] == [
        (0, 0, 0), (0.6, 0, 0), (0, 0.3, 0), (0, 0, 1.2), (0.6, 0.15, -1.0), (0, 0, 0),
    ]  # fmt: skip


def test_other_commands_are_refused_by_name():
    with pytest.raises(ConfigError, match="vx, vy, yaw_rate, this policy takes height"):
        draw([CommandEntry("height", "m", 0.0, 1.0)], of(0, 1), 1.0, 0.1)
    with pytest.raises(ConfigError, match="takes none"):
        fixed([], 1, 1.0, 0.1)


def test_streams_of_different_purposes_seeds_and_episodes_differ_and_repeat():
    keys = [(0, 0, "push"), (0, 1, "push"), (1, 0, "push"), (0, 0, "start")]
    first = [stream(*key).random() for key in keys]
    assert len(set(first)) == len(keys)
    assert [stream(*key).random() for key in keys] == first
