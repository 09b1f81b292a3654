"""All statistics of the suite, in one place, on raw samples.

Timings are skewed and sometimes have two modes, so intervals are distribution-free. Sources:
order-statistic interval of the median: David & Nagaraja, Order Statistics (2003), 7.1;
cluster bootstrap (launches, then iterations): Davison & Hinkley, Bootstrap Methods (1997), 3.8;
few launches: Student, Biometrika 6 (1908), with the quantiles of Abramowitz & Stegun, table 26.10;
two modes: Otsu, IEEE Trans. SMC 9 (1979), the best split of the sorted logarithms in two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95
RESAMPLES = 4000
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""97.5 % quantiles of Student's t with 1 to 9 degrees of freedom."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval, all in the value's unit."""

    value: float
    low: float
    high: float

    @property
    def width(self) -> float:
        """Relative half width: 0.02 says that the value is known to within 2 %."""
        return math.inf if self.value == 0 else (self.high - self.low) / 2 / abs(self.value)

    def over(self, amount: float) -> Interval:
        """amount / self: a rate's interval from its time's (the ends change places)."""
        return Interval(amount / self.value, amount / self.high, amount / self.low)


@dataclass(frozen=True)
class Summary:
    """What a set of samples says; times in s where the samples are times.

    across_launches: the interval covers launch-to-launch change; else it is a within-run interval.
    modes: medians of the two modes where the samples have two, with the upper mode's share.
    """

    interval: Interval
    n: int
    launches: int
    least: float
    p5: float
    p95: float
    p99: float
    mad: float
    cv: float
    across_launches: bool
    modes: tuple[float, float, float] | None


@lru_cache(maxsize=4096)
def median_ranks(n: int) -> tuple[int, int]:
    """Indices (from 0) of the order statistics that bound the median with at least 95 %.

    Exact, from the binomial distribution B(n, 1/2). Below 6 samples no pair reaches 95 %; then it is
    the least and the greatest, the widest statement that n samples can make.
    """
    if n < 1:
        raise ValueError("no samples")
    cumulative, below = 0.0, 0
    for k in range(n // 2):
        cumulative += math.exp(math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2))
        if cumulative > (1 - CONFIDENCE) / 2:
            break
        below = k + 1
    low = max(below - 1, 0)
    return low, n - 1 - low


def median_interval(samples: ArrayLike) -> Interval:
    """Median with its order-statistic interval. samples: (n,), any unit; n >= 1."""
    ordered = np.sort(np.asarray(samples, dtype=np.float64))
    low, high = median_ranks(len(ordered))
    return Interval(float(np.median(ordered)), float(ordered[low]), float(ordered[high]))


def launch_interval(launches: Sequence[ArrayLike], seed: int = 0) -> Interval:
    """Median of launch medians with an interval that covers launch-to-launch change.

    A cluster bootstrap (launches first, then iterations), widened to Student's interval of the mean
    logarithm of the launch medians where there are at most ten launches: resampling 3 launches can
    never see beyond them, and covers 76 % where launches differ more than iterations do. Values that
    are not all positive have no logarithm and get the bootstrap alone.
    """
    ordered = [np.sort(np.asarray(samples, dtype=np.float64)) for samples in launches]
    medians = np.array([np.median(samples) for samples in ordered])
    value = float(np.median(medians))
    low, high = np.quantile(_bootstrap(ordered, seed), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    least, most = _student(medians)
    return Interval(value, min(float(low), least, value), max(float(high), most, value))


def _bootstrap(ordered: Sequence[Array], seed: int) -> Array:
    """Medians of launch medians over RESAMPLES draws. ordered: sorted samples of each launch.

    The bootstrap median of n sorted samples is the sample at the median of n uniform indices, and
    that median is Beta((n+1)/2, (n+1)/2) distributed; drawing it directly costs nothing per sample.
    """
    rng, count = np.random.default_rng(seed), len(ordered)
    sizes = np.array([len(samples) for samples in ordered])
    chosen = rng.integers(count, size=(RESAMPLES, count))
    n = sizes[chosen]
    index = np.minimum((rng.beta((n + 1) / 2, (n + 1) / 2) * n).astype(np.intp), n - 1)
    starts = np.cumsum(sizes) - sizes
    drawn: Array = np.median(np.concatenate(ordered)[starts[chosen] + index], axis=1)
    return drawn


def _student(medians: Array) -> tuple[float, float]:
    """Ends of Student's 95 % interval of the geometric mean; the empty interval where it does not apply."""
    count = len(medians)
    if not 2 <= count <= len(STUDENT) + 1 or medians.min() <= 0:
        return math.inf, -math.inf
    logs = np.log(medians)
    half = STUDENT[count - 2] * float(logs.std(ddof=1)) / math.sqrt(count)
    middle = float(logs.mean())
    return math.exp(middle - half), math.exp(middle + half)


def ratio_interval(a: ArrayLike, b: ArrayLike) -> Interval:
    """Median of a/b over pairs measured side by side (ABBA order), with its interval. Shapes (n,)."""
    return median_interval(np.asarray(a, dtype=np.float64) / np.asarray(b, dtype=np.float64))


def two_modes(samples: ArrayLike, least_share: float = 0.1) -> tuple[float, float, float] | None:
    """(lower median, upper median, share of the upper) where the samples fall in two groups.

    The best split in two explains 64 % of a normal's variance and 75 % of a uniform's; above 85 %,
    with at least `least_share` on each side and medians 5 % apart, there are two modes.
    """
    ordered = np.sort(np.asarray(samples, dtype=np.float64))
    n = len(ordered)
    if n < 20 or ordered[0] <= 0:
        return None
    logs = np.log(ordered)
    left = np.arange(1, n)
    sums = np.cumsum(logs)
    gap = sums[:-1] / left - (sums[-1] - sums[:-1]) / (n - left)
    between = left * (n - left) / n * gap**2
    total = float(((logs - logs.mean()) ** 2).sum())
    cut = int(np.argmax(between)) + 1
    share = (n - cut) / n
    if total == 0 or between[cut - 1] / total < 0.85 or not least_share <= share <= 1 - least_share:
        return None
    lower, upper = float(np.median(ordered[:cut])), float(np.median(ordered[cut:]))
    return (lower, upper, share) if upper > 1.05 * lower else None


def mean_interval(launches: Sequence[ArrayLike]) -> Interval:
    """Mean of launch means, for a total over a total; launches of any length.

    Of one launch Student's interval of the means of five to ten stretches, since what spoils a step spoils its
    neighbours, which single steps would hide (batch means: Conway, Management Science 9 (1963)); of several theirs
    together, widened to Student's of the launch means as in `launch_interval`. One sample has no interval: both ends
    are the value."""
    arrays = [np.asarray(samples, dtype=np.float64) for samples in launches]
    means = np.array([samples.mean() for samples in arrays])
    value = float(means.mean())
    half = math.sqrt(sum(_half_of_mean(samples) ** 2 for samples in arrays)) / len(arrays)
    low, high = value - half, value + half
    if value > 0:  # a time's interval does not reach 0, nor its rate's infinity
        low, high = value * math.exp(-half / value), value * math.exp(half / value)
    least, most = _student(means)
    return Interval(value, min(low, least), max(high, most))


def _half_of_mean(samples: Array) -> float:
    """Half width of the 95 % interval of one launch's mean."""
    count = min(len(samples), max(5, math.isqrt(len(samples))), len(STUDENT) + 1)
    if count < 2:
        return 0.0
    stretches = np.array([held.mean() for held in np.array_split(samples, count)])
    return STUDENT[count - 2] * float(stretches.std(ddof=1)) / math.sqrt(count)


def _interval(arrays: Sequence[Array], every: Array, statistic: str) -> Interval:
    if statistic == "mean":
        return mean_interval(arrays)
    return launch_interval(arrays) if len(arrays) > 1 else median_interval(every)


def summarise(launches: Sequence[ArrayLike], statistic: Literal["median", "mean"] = "median") -> Summary:
    """Summary of one measurement's samples, one array per launch; its interval is of the statistic."""
    arrays = [np.asarray(samples, dtype=np.float64) for samples in launches]
    every = np.sort(np.concatenate(arrays))  # sums then do not depend on the order of samples
    across = len(arrays) > 1
    middle = float(np.median(every))
    p5, p95, p99 = (float(q) for q in np.quantile(every, [0.05, 0.95, 0.99]))
    mean = float(every.mean())
    return Summary(
        interval=_interval(arrays, every, statistic),
        n=len(every),
        launches=len(arrays),
        least=float(every.min()),
        p5=p5,
        p95=p95,
        p99=p99,
        mad=float(np.median(np.abs(every - middle))),
        cv=float(every.std(ddof=1) / mean) if len(every) > 1 and mean else 0.0,
        across_launches=across,
        modes=two_modes(every),
    )


def settled(previous: ArrayLike, current: ArrayLike, tolerance: float = 0.05) -> bool:
    """The drift test of a warm-up: two successive blocks' medians agree within `tolerance`."""
    before, now = float(np.median(np.asarray(previous))), float(np.median(np.asarray(current)))
    return abs(now - before) <= tolerance * max(before, now)
