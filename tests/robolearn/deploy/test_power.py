"""Mechanical power and energy from readings: against integrals that can be done by hand."""

import math

import numpy as np
import pytest

from robolearn.deploy.power import PowerMeter, instantaneous
from robolearn.deploy.types import RobotState

UPRIGHT = np.array([1.0, 0.0, 0.0, 0.0])


def reading(stamp, torque, velocity, energy=math.nan):
    values = (np.array(each, np.float64) for each in (velocity, torque))
    return RobotState(np.zeros(len(torque)), *values, UPRIGHT, np.zeros(3), round(1e4 * stamp), stamp, energy=energy)


def test_each_joint_counts_by_its_size():
    """A joint that takes up 6 W does not pay for one that gives 8 W; one that holds without moving costs nothing."""
    assert instantaneous(reading(0.0, [4.0, -3.0, 50.0], [2.0, 2.0, 0.0])) == 14.0


def test_constant_power_for_a_while():
    meter = PowerMeter()
    assert meter.take(reading(1.0, [4.0, -3.0], [2.0, 2.0])) == (14.0, 0.0)
    for stamp in (1.004, 1.01, 1.5, 3.0):
        assert meter.take(reading(stamp, [4.0, -3.0], [2.0, 2.0])) == pytest.approx((14.0, 14.0 * (stamp - 1.0)))


def test_a_swinging_joint():
    """tau = 3 sin t, dq = 2 sin t: the energy of n half turns is n 6 pi / 2, and trapezoids are exact to h^2."""
    meter = PowerMeter()
    times = np.linspace(0.0, 4 * np.pi, 4001)
    for t in times:
        found = meter.take(reading(t, [3 * np.sin(t)], [2 * np.sin(t)]))
    assert found.energy == pytest.approx(4 * 3 * np.pi, rel=1e-6)


def test_what_the_robot_counts_is_believed():
    """Between two cycles there was an impact that no reading shows."""
    meter = PowerMeter()
    meter.take(reading(0.0, [1.0], [1.0], energy=100.0))
    assert meter.take(reading(0.005, [1.0], [1.0], energy=101.0)) == pytest.approx((200.0, 1.0))
    assert meter.take(reading(0.010, [1.0], [1.0], energy=101.0)) == pytest.approx((0.0, 1.0))
    # a count that began anew says nothing about the time between
    assert meter.take(reading(0.015, [1.0], [1.0], energy=0.0)) == pytest.approx((1.0, 1.005))


def test_a_reading_that_is_no_news_tells_no_power_and_changes_nothing():
    meter = PowerMeter()
    meter.take(reading(0.0, [1.0], [2.0]))
    found = meter.take(reading(0.1, [1.0], [2.0]))
    for stamp in (0.1, 0.05):
        stale = meter.take(reading(stamp, [9.0], [9.0]))
        assert math.isnan(stale.power) and stale.energy == found.energy
    assert meter.take(reading(0.2, [1.0], [2.0])) == pytest.approx((2.0, 0.4))


@pytest.mark.parametrize("energy", [math.nan, 5.0])
def test_a_bad_reading_leaves_the_energy(energy):
    meter = PowerMeter()
    meter.take(reading(0.0, [1.0], [2.0], energy))
    meter.take(reading(0.1, [1.0], [2.0], energy + 0.2))
    bad = meter.take(reading(0.2, [math.nan], [2.0], math.inf if energy == 5.0 else math.nan))
    assert math.isnan(bad.power)
    assert bad.energy == pytest.approx(0.2)
    meter.take(reading(0.3, [1.0], [2.0], energy + 0.6))  # what lies between is not known
    assert meter.take(reading(0.4, [1.0], [2.0], energy + 0.8)).energy == pytest.approx(0.4)
