"""Intervals for the figures of a report: Wilson for shares, Student for a few seeds, else percentile bootstrap."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95
RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence limits, in the unit of the estimate.

    Attributes:
        value: the estimate.
        low, high: confidence limits, ``low <= value <= high``; both NaN where nothing is known about the spread.
        count: number of independent samples behind it.
    """

    value: float
    low: float
    high: float
    count: int

    def text(self, unit: str = "", digits: int = 3) -> str:
        """Return ``0.412 [0.398, 0.430] m/s``."""
        suffix = f" {unit}" if unit else ""
        return f"{self.value:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]{suffix}"


def wilson(successes: int, trials: int, confidence: float = CONFIDENCE) -> Interval:
    """Wilson score interval of a share (E. B. Wilson, J. Am. Stat. Assoc. 22, 1927); it also holds near 0 and 1.

    With z the normal quantile and p = successes / trials,
    centre = (p + z^2 / 2n) / (1 + z^2 / n), half width = z sqrt(p (1 - p) / n + z^2 / 4n^2) / (1 + z^2 / n).

    Raises:
        ValueError: no trials, successes out of range, or a confidence outside (0, 1).
    """
    _check_confidence(confidence)
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"wilson needs 0 <= successes <= trials and trials >= 1, got {successes} of {trials}")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    p, n = successes / trials, trials
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return Interval(p, min(max(0.0, centre - half), p), max(min(1.0, centre + half), p), n)


def bootstrap_mean(
    samples: ArrayLike, confidence: float = CONFIDENCE, resamples: int = 4000, seed: int = 0
) -> Interval:
    """Percentile bootstrap of a mean (B. Efron, Ann. Stat. 7, 1979); same samples and seed, same interval.

    Args:
        samples: (M,) for independent samples, or (S, M) where the S rows (seeds) are the independent units: then whole
            rows are drawn again. NaN marks a missing sample and is left out; a row of NaN only is dropped.
        confidence: share of the resampled means between the limits.
        resamples: number of resampled means.
        seed: of the resampling.

    Raises:
        ValueError: no sample at all, more than two axes, or a confidence outside (0, 1).
    """
    _check_confidence(confidence)
    values = np.asarray(samples, dtype=float)
    if values.ndim == 2:
        rows = [row[~np.isnan(row)] for row in values]
        units = np.array([row.mean() for row in rows if row.size])
        weights = np.array([row.size for row in rows if row.size], dtype=float)
    elif values.ndim == 1:
        units = values[~np.isnan(values)]
        weights = np.ones_like(units)
    else:
        raise ValueError(f"bootstrap_mean needs one or two axes, got shape {values.shape}")
    if not units.size:
        raise ValueError("bootstrap_mean needs at least one sample that is not NaN")
    value = float(np.average(units, weights=weights))
    rng = np.random.default_rng(seed)
    chosen = rng.integers(units.size, size=(resamples, units.size))
    means = (units[chosen] * weights[chosen]).sum(1) / weights[chosen].sum(1)
    low, high = np.quantile(means, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Interval(value, min(float(low), value), max(float(high), value), int(units.size))


def student_mean(samples: ArrayLike, confidence: float = CONFIDENCE) -> Interval:
    """Mean with Student's interval (Student, Biometrika 6, 1908): mean -+ t s / sqrt(n). For a handful of samples.

    A percentile bootstrap of five samples covers the mean 86 times in 100, not 95.

    Args:
        samples: (n,) independent samples, NaN left out.
        confidence: of the interval.

    Returns:
        Its limits are NaN for a single sample: nothing is known about the spread.

    Raises:
        ValueError: no sample, or a confidence outside (0, 1).
    """
    _check_confidence(confidence)
    values = np.asarray(samples, dtype=float)
    values = values[~np.isnan(values)]
    if not values.size:
        raise ValueError("student_mean needs at least one sample that is not NaN")
    value = float(values.mean())
    if values.size == 1:
        return Interval(value, math.nan, math.nan, 1)
    half = student_quantile(0.5 + confidence / 2, values.size - 1) * float(values.std(ddof=1)) / math.sqrt(values.size)
    return Interval(value, value - half, value + half, int(values.size))


def student_quantile(p: float, freedom: int) -> float:
    """Quantile of Student's distribution; exact for one and two degrees of freedom, else to 0.2 % up to p = 0.975.

    The expansion in 1 / freedom is Abramowitz and Stegun 26.7.5.
    """
    if freedom == 1:
        return math.tan(math.pi * (p - 0.5))
    if freedom == 2:
        a = 2.0 * p - 1.0
        return a * math.sqrt(2.0 / (1.0 - a * a))
    z = NormalDist().inv_cdf(p)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return sum(term / freedom**i for i, term in enumerate(terms))


def interquartile_mean(samples: ArrayLike) -> NDArray[np.float64]:
    """Mean of what is left without the lowest and the highest quarter, each rounded down to whole samples.

    R. Agarwal et al., Deep RL at the Edge of the Statistical Precipice, NeurIPS 2021: less noisy than the median,
    and not moved by outliers as the mean is. The same as ``scipy.stats.trim_mean(samples, 0.25)``, which rliable calls.

    Args:
        samples: (..., M) without NaN; the mean is taken along the last axis.
    """
    ordered = np.sort(np.asarray(samples, dtype=float), axis=-1)
    cut = ordered.shape[-1] // 4
    return ordered[..., cut : ordered.shape[-1] - cut].mean(-1)


Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""What is estimated: (B, n, ...) samples to (B,) values."""


def bootstrap(
    samples: ArrayLike,
    statistic: Statistic,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap of any statistic; same samples and seed, same interval.

    Of n rows, n - 1 are drawn (J. Rao and C. Wu, J. Am. Stat. Assoc. 83, 1988): a resampled mean then has the variance
    s^2 / n, unbiased. Drawing n rows makes intervals sqrt((n - 1) / n) as wide as they should be, 0.82 for three rows.

    Args:
        samples: (n, ...) without NaN: n independent rows. What is in a row belongs together and is drawn together.
        statistic: what is estimated.
        confidence: share of the resampled values between the limits.
        resamples: number of resampled values.
        seed: of the resampling.

    Returns:
        Its limits are NaN for a single row: nothing is known about the spread.

    Raises:
        ValueError: no row, NaN, or a confidence outside (0, 1).
    """
    _check_confidence(confidence)
    rows = np.asarray(samples, dtype=float)
    if not rows.size or np.isnan(rows).any():
        raise ValueError(f"bootstrap needs at least one sample and no NaN, got shape {rows.shape}")
    value, count = float(statistic(rows[None])[0]), len(rows)
    if count == 1:
        return Interval(value, math.nan, math.nan, 1)
    chosen = np.random.default_rng(seed).integers(count, size=(resamples, count - 1))
    low, high = np.quantile(statistic(rows[chosen]), [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Interval(value, min(float(low), value), max(float(high), value), count)


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")


def finite_only(value: object) -> object:
    """Return a tree of dicts and lists with None for numbers that JSON does not know."""
    if isinstance(value, dict):
        return {key: finite_only(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite_only(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
