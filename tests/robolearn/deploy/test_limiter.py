"""The limiter: what leaves is finite and inside every limit, for any command, reading and time step."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robolearn.deploy.limiter import Limiter
from robolearn.deploy.ramps import stiff
from robolearn.deploy.types import RobotState

from .kit import DT, J, make_robot

ROBOT = make_robot()
FINITE = st.floats(allow_nan=False, allow_infinity=False) | st.floats(-3.0, 3.0)
PAIR = st.tuples(FINITE, FINITE).map(np.array)


def reading(position, velocity):
    return RobotState(position, velocity, np.zeros(J), np.array([1.0, 0, 0, 0]), np.zeros(3), 0, 0.0)


@given(
    commands=st.lists(st.tuples(PAIR, PAIR, PAIR, PAIR, PAIR, st.floats(0.0, DT)), min_size=1, max_size=10),
    start=PAIR,
)
def test_any_sequence_stays_inside(commands, start):
    limiter = Limiter(ROBOT)
    limiter.restart(start)
    before = limiter.position
    for position, kp, kd, q, dq, dt in commands:
        with np.errstate(all="ignore"):
            out, _ = limiter.limit(stiff(position, kp, kd), reading(q, dq), dt)
            predicted = np.abs(out.kp * (out.position - q) - out.kd * dq)
        for value in (out.position, out.velocity, out.kp, out.kd, out.torque):
            assert np.isfinite(value).all()
        assert (ROBOT.soft_low <= out.position).all()
        assert (out.position <= ROBOT.soft_high).all()
        assert (out.kp >= 0).all()
        assert (out.kp <= ROBOT.kp_limit).all()
        assert (out.kd >= 0).all()
        assert (out.kd <= ROBOT.kd_limit).all()
        assert not out.velocity.any()
        assert not out.torque.any()
        if out.kp.any():
            assert (np.abs(out.position - before) <= ROBOT.rate_limit * dt + 1e-12).all()
            assert (predicted <= ROBOT.effort_limit * (1 + 1e-9)).all()
        before = out.position


def test_says_which_limit_it_met():
    limiter = Limiter(ROBOT)
    limiter.restart(np.zeros(J))
    still = reading(np.zeros(J), np.zeros(J))
    gains = np.full(J, 50.0), np.full(J, 2.0)
    assert limiter.limit(stiff(np.array([0.05, 0.0]), *gains), still, DT)[1] == (False, False, False)
    assert limiter.limit(stiff(np.array([0.5, 0.0]), *gains), still, DT)[1] == (False, True, False)
    limiter.restart(np.full(J, 0.95))
    near = reading(np.full(J, 0.95), np.zeros(J))
    assert limiter.limit(stiff(np.array([1.01, 0.95]), *gains), near, DT)[1] == (True, False, False)
    limiter.restart(np.full(J, 0.7))
    out, met = limiter.limit(stiff(np.full(J, 0.7), *gains), still, DT)
    assert met == (False, False, True)
    np.testing.assert_allclose(out.kp, 50.0 * 30.0 / 35.0)  # 50 * 0.7 N m against a limit of 30 N m
    np.testing.assert_allclose(out.kd, 2.0 * 30.0 / 35.0)


def test_brakes_are_not_weakened_nor_counted():
    fast = reading(np.zeros(J), np.full(J, 1000.0))
    out, met = Limiter(ROBOT).limit(stiff(np.full(J, 9.0), np.zeros(J), np.full(J, 3.0)), fast, DT)
    assert met == (False, False, False)
    np.testing.assert_array_equal(out.kd, 3.0)


def test_without_a_reading_the_other_limits_hold():
    limiter = Limiter(ROBOT)
    limiter.restart(np.zeros(J))
    out, met = limiter.limit(stiff(np.full(J, 9.0), np.full(J, 900.0), np.full(J, 90.0)), None, DT)
    assert met == (True, True, False)
    np.testing.assert_allclose(out.position, 0.1)
    np.testing.assert_array_equal(out.kp, ROBOT.kp_limit)
    np.testing.assert_array_equal(out.kd, ROBOT.kd_limit)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("field", [0, 1, 2])
def test_what_is_not_finite_is_refused(field, bad):
    values = [np.zeros(J), np.full(J, 10.0), np.full(J, 1.0)]
    values[field] = np.array([0.0, bad])
    with pytest.raises(FloatingPointError, match="not finite"):
        Limiter(ROBOT).limit(stiff(*values), None, DT)
