"""Intervals against published values, brute force and their coverage on synthetic data."""

import itertools
import math

import numpy as np
import pytest

from robolearn.evaluate.statistics import Interval, bootstrap_mean, student_mean, student_quantile, wilson


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # Newcombe, Statistics in Medicine 17 (1998), table I, method 3 (Wilson without continuity correction)
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_matches_the_published_table(successes, trials, low, high):
    interval = wilson(successes, trials)
    assert interval.value == pytest.approx(successes / trials)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=5e-5)
    assert interval.count == trials


def test_wilson_limits_solve_the_score_equation():
    """The limits are the p at which |p_hat - p| = z sqrt(p (1 - p) / n)."""
    interval = wilson(7, 40)
    for p in (interval.low, interval.high):
        assert abs(7 / 40 - p) == pytest.approx(1.959963984540054 * math.sqrt(p * (1 - p) / 40))


def test_wilson_is_symmetric_and_stays_inside():
    for k in range(11):
        a, b = wilson(k, 10), wilson(10 - k, 10)
        assert 0 <= a.low <= a.value <= a.high <= 1
        assert (a.low, a.high) == pytest.approx((1 - b.high, 1 - b.low))


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_impossible_counts(successes, trials):
    with pytest.raises(ValueError, match="wilson"):
        wilson(successes, trials)


def test_bootstrap_agrees_with_the_full_enumeration():
    """Three samples have 27 equally likely resamples: the limits are quantiles of their means."""
    samples = [0.0, 1.0, 5.0]
    means = [np.mean(draw) for draw in itertools.product(samples, repeat=3)]
    interval = bootstrap_mean(samples, confidence=0.8, resamples=40_000)
    expected = np.quantile(means, [0.1, 0.9])
    assert interval.value == 2.0
    assert (interval.low, interval.high) == pytest.approx(tuple(expected), abs=1e-9)


def test_bootstrap_covers_the_true_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(300):
        interval = bootstrap_mean(rng.normal(2.0, 1.0, 40), confidence=0.9, resamples=400, seed=trial)
        hits += interval.low <= 2.0 <= interval.high
    assert 0.83 <= hits / 300 <= 0.95


def test_bootstrap_draws_whole_seeds_again():
    """Rows with no spread inside but a large one between them must give a wide interval."""
    rows = np.array([[0.0] * 50, [1.0] * 50, [2.0] * 50])
    by_seed, pooled = bootstrap_mean(rows), bootstrap_mean(rows.ravel())
    assert by_seed.value == pooled.value == 1.0
    assert by_seed.count == 3
    assert by_seed.high - by_seed.low > 3 * (pooled.high - pooled.low)


def test_bootstrap_leaves_nan_out_and_weights_by_what_is_left():
    interval = bootstrap_mean([[1.0, 1.0, 1.0], [5.0, np.nan, np.nan], [np.nan] * 3])
    assert interval.value == pytest.approx(2.0)
    assert interval.count == 2


def test_bootstrap_repeats_and_a_single_sample_has_no_width():
    samples = np.random.default_rng(0).normal(size=10)
    assert bootstrap_mean(samples, seed=3) == bootstrap_mean(samples, seed=3)
    assert bootstrap_mean([4.0]) == Interval(4.0, 4.0, 4.0, 1)


@pytest.mark.parametrize("samples", [[], [float("nan")], np.zeros((2, 2, 2))])
def test_bootstrap_refuses_what_has_no_mean(samples):
    with pytest.raises(ValueError, match="bootstrap_mean"):
        bootstrap_mean(samples)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_confidence_is_a_share(confidence):
    with pytest.raises(ValueError, match="confidence"):
        wilson(1, 2, confidence)
    with pytest.raises(ValueError, match="confidence"):
        bootstrap_mean([1.0, 2.0], confidence)


def test_text_names_the_unit():
    assert Interval(0.5, 0.25, 0.75, 8).text("m/s", 2) == "0.50 [0.25, 0.75] m/s"


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(1, 12.7062), (2, 4.30265), (3, 3.18245), (4, 2.77645), (9, 2.26216), (30, 2.04227)]
)
def test_student_s_quantiles_are_those_of_the_table(freedom, quantile):
    """Abramowitz and Stegun, table 26.10."""
    assert student_quantile(0.975, freedom) == pytest.approx(quantile, rel=2e-3)


def test_student_s_interval_by_hand():
    found = student_mean([2.0, 4.0, np.nan])
    half = 12.7062 * math.sqrt(2.0) / math.sqrt(2.0)
    assert (found.value, found.low, found.high) == pytest.approx((3.0, 3.0 - half, 3.0 + half), rel=1e-4)
    assert found.count == 2


def test_one_sample_tells_nothing_about_the_spread():
    found = student_mean([2.0])
    assert found.value == 2.0 and math.isnan(found.low) and math.isnan(found.high)


def test_student_s_interval_covers_five_samples():
    rng = np.random.default_rng(0)
    found = [student_mean(rng.normal(size=5)) for _ in range(2000)]
    assert 0.93 < np.mean([one.low <= 0.0 <= one.high for one in found]) < 0.97
