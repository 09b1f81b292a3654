"""Gradient noise scale: a cheap estimate of the critical batch size, out of any training step.

B_simple = tr(Σ)/|G|², where G is the true gradient and Σ the covariance of one sample's gradient (McCandlish et al.
2018, arXiv 1812.06162, eq. 2.9). The squared norm of a mean gradient over B samples is |G|² + tr(Σ)/B on average, so
two batch sizes tell both terms without bias (their appendix A.1):

    |G|² = (B_big·|G_big|² - B_small·|G_small|²) / (B_big - B_small)
    tr(Σ) = (|G_small|² - |G_big|²) / (1/B_small - 1/B_big)

Each step gives a noisy pair, so their ratio is that of averages, never an average of ratios. The interval is Fieller's
(JRSS B 16, 1954), over blocks of steps, since successive steps are alike: it is open above where |G|² cannot be told
from 0, which a normal approximation would hide. Where the noise scale changes during the steps, it is that of their
sums, to which steps with large gradients give most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.statistics import STUDENT, Interval

BLOCKS = 32  # at most: enough for a variance, few enough to be long
LEAST = 3  # pairs, for an interval

Array = NDArray[np.float64]


def estimate(small: Sequence[float], big: Sequence[float], b_small: float, b_big: float) -> Interval:
    """B_simple in the unit of the batches, with its 95 % interval.

    small, big: squared gradient norms at batches of b_small and b_big, a pair for each step, in order. The value is
    infinite where the mean gradient drowns in noise, 0 where nothing but it is seen. ValueError names what is wrong.
    """
    noise, signal = terms(small, big, b_small, b_big)
    if len(noise) < LEAST:
        raise ValueError(f"{len(noise)} pair(s) of squared gradient norms: accepted are {LEAST} and more")
    value = _ratio(float(noise.mean()), float(signal.mean()))
    low, high = _fieller(_blocks(noise), _blocks(signal))
    return Interval(value, min(low, value), max(high, value))


def terms(small: Sequence[float], big: Sequence[float], b_small: float, b_big: float) -> tuple[Array, Array]:
    """(tr(Σ), |G|²) of each pair, (n,): unbiased, and each by itself very noisy; single ones may be negative."""
    _check(small, big, b_small, b_big)
    few, many = np.asarray(small, dtype=np.float64), np.asarray(big, dtype=np.float64)
    return (few - many) / (1 / b_small - 1 / b_big), (b_big * many - b_small * few) / (b_big - b_small)


def _check(small: Sequence[float], big: Sequence[float], b_small: float, b_big: float) -> None:
    if not (0 < b_small < b_big < math.inf):
        raise ValueError(f"batches of {b_small:g} and {b_big:g}: accepted are a small one above 0, and a larger one")
    if len(small) != len(big):
        raise ValueError(
            f"{len(small)} squared norms at the small batch, {len(big)} at the big one: they come in pairs"
        )
    wrong = next((value for value in (*small, *big) if not (math.isfinite(value) and value >= 0)), None)
    if wrong is not None:
        raise ValueError(f"a squared gradient norm of {wrong:g}: accepted is a finite number, not below 0")


def _ratio(noise: float, signal: float) -> float:
    return max(noise, 0.0) / signal if signal > 0 else math.inf


def _blocks(values: Array) -> Array:
    """Means of consecutive values, at most BLOCKS of one length; what is left over at the beginning is left out."""
    length = math.ceil(len(values) / BLOCKS)
    count = len(values) // length
    means: Array = values[len(values) - count * length :].reshape(count, length).mean(axis=1)
    return means


def _fieller(noise: Array, signal: Array) -> tuple[float, float]:
    """Ratios r >= 0 at which mean(noise - r·signal) is within Student's bounds of 0.

    Both terms drift by far as training goes on, which is no noise: their covariance is that of neighbours' differences
    (von Neumann, Annals of Mathematical Statistics 12, 1941), which a slow drift does not enter."""
    count = len(noise)
    bound = _student(max(1, 2 * (count - 1) ** 2 // (3 * count - 4))) ** 2 / count
    x, y = float(noise.mean()), float(signal.mean())
    steps = np.diff(np.stack([noise, signal]), axis=1)
    (xx, xy), (_, yy) = (steps @ steps.T / (2 * (count - 1))).tolist()
    a, b, c = y * y - bound * yy, x * y - bound * xy, x * x - bound * xx
    root = math.sqrt(max(b * b - a * c, 0.0))
    if a > 0 and y > 0:
        return max((b - root) / a, 0.0), max((b + root) / a, 0.0)
    if a > 0 or c <= 0 or b + root <= 0:  # any ratio will do
        return 0.0, math.inf
    return c / (b + root), math.inf  # |G|² may be 0: (b - root) / a, where a may be 0, too


def _student(freedom: int) -> float:
    """97.5 % quantile of Student's t; beyond the table by its expansion (Abramowitz & Stegun, 26.7.5)."""
    if freedom <= len(STUDENT):
        return STUDENT[freedom - 1]
    z = 1.959964
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3
