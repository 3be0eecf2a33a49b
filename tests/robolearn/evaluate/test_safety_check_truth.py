"""The recordings' own conditions: closed forms, and that nothing holds while all is well."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robolearn.deploy.checks import Reason
from robolearn.deploy.policy import OnnxPolicy
from robolearn.evaluate.deployed import DeployedRobot
from robolearn.evaluate.safety_check import Operator, Run
from robolearn.evaluate.safety_check_record import Record
from robolearn.evaluate.safety_check_truth import CONDITIONS, NEVER, _among, _in_a_row, first_times

RELEASED = Path(__file__).parents[3] / "policies" / "a1_velocity_flat" / "policy.onnx"
FLAGS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30)


@pytest.fixture(scope="module")
def walked():
    run = Run(DeployedRobot(OnnxPolicy(RELEASED)), Operator([1]))
    while run.world.now < 4.0:
        run.step()
    return run


def record(run, samples=None):
    return Record(run.samples if samples is None else samples, run.world.robot, run.world.policy.setup)


def test_every_check_but_that_of_the_first_action_has_a_condition():
    assert set(Reason) - set(CONDITIONS) == {Reason.FIRST_ACTION}


def test_nothing_holds_while_all_is_well(walked):
    assert set(first_times(record(walked), 0, list(CONDITIONS)).values()) == {NEVER}


@given(FLAGS, st.integers(1, 4))
def test_in_a_row_counts_only_what_counts(flags, needed):
    bad, counts = (np.array(column) for column in zip(*flags, strict=True))
    found, run = [], 0
    for b, c in flags:
        run = (run + 1 if b else 0) if c else run
        found.append(c and run >= needed)
    assert _in_a_row(bad, counts, needed).tolist() == found


@given(FLAGS, st.integers(1, 4), st.integers(5, 8))
def test_among_the_last_ones_is_what_counting_gives(flags, count, window):
    bad, counts = (np.array(column) for column in zip(*flags, strict=True))
    seen, found = [], []
    for b, c in flags:
        seen += [b] if c else []
        found.append(c and sum(seen[-window:]) > count)
    assert _among(bad, counts, count, window).tolist() == found


def test_held_and_since_are_times(walked):
    r = record(walked)
    over = np.zeros(len(r.now), bool)
    over[10:13] = over[20:40] = True
    assert np.flatnonzero(r.held(over, 0.02)).tolist() == list(range(24, 40))
    assert r.since(over)[[9, 12, 15]].tolist() == pytest.approx([np.inf, 0.0, 0.015])


def spoil(walked, first, **changes):
    """The recording with fields of every reading changed from a tick on."""
    samples = list(walked.samples)
    for i in range(first, len(samples)):
        state = samples[i].tick.state
        new = {name: change(getattr(state, name)) for name, change in changes.items()}
        samples[i] = samples[i]._replace(tick=replace(samples[i].tick, state=replace(state, **new)))
    return record(walked, samples)


@pytest.mark.parametrize(
    ("reason", "ticks", "changes"),
    [
        (Reason.STATE_INVALID, 0, {"torque": lambda v: v * np.nan}),
        (Reason.IMU_NOT_UNIT, 16, {"orientation": lambda v: 1.1 * v}),
        (Reason.VELOCITY, 1, {"velocity": lambda v: v + 99.0}),
        (Reason.TORQUE, 4, {"torque": lambda v: v + 99.0}),
        (Reason.TILT, 20, {"orientation": lambda v: np.array([np.cos(0.55), np.sin(0.55), 0.0, 0.0])}),
        (Reason.FALL, 0, {"orientation": lambda v: np.array([np.cos(0.75), np.sin(0.75), 0.0, 0.0])}),
        (Reason.POSITION, 0, {"position": lambda v: v + 9.0}),
        (Reason.POSITION_JUMP, 0, {"position": lambda v: v + 0.5}),
        (Reason.DRIVE_RESPONSE, 20, {"torque": lambda v: v + 30.0}),
        (Reason.TRACKING, 100, {"position": lambda v: v + 2.5}),
        (Reason.BATTERY, 200, {"battery": lambda v: 0.05}),
        (Reason.TEMPERATURE, 100, {"temperature": lambda v: v + 100.0}),
        (Reason.STATE_STALE, 16, {"sequence": lambda v: 7}),
    ],
)
def test_a_condition_holds_from_when_the_robot_file_says(walked, reason, ticks, changes):
    found = first_times(spoil(walked, 500, **changes), 0, [reason])[reason]
    assert found - 500 == pytest.approx(ticks, abs=1)  # where an age meets its limit, rounding decides
