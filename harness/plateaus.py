"""Plateaus of a curve over sizes, and the size from which it is near its peak. Pure: numbers in, numbers out.

Bandwidth over the working set is level within a cache and falls to the next level beyond it. Plateaus are
the segments of the best piecewise constant fit to the logarithm of the rate: least squares with a price
for every segment (optimal partitioning: Jackson et al., IEEE Signal Processing Letters 12, 2005; the price
is Schwarz's criterion, as Yao, Statistics & Probability Letters 6, 1988, has it for change points). A
transition is a segment of one point, or one whose points differ too much, and is no plateau.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from harness.statistics import Interval

LEVEL = 0.05
"""Standard deviation of the logarithm of points on one plateau: what alignment, prefetching and noise leave
of a level, where the points' own intervals do not say more. An assumption."""

FEWEST = 2  # points of a plateau
SLOPE = 1.25  # greatest over least rate on a plateau; beyond it the curve is on its way from one to the next
BEYOND = "memory"
LASTING = 6  # samples of a level in a series: fewer are a hitch
FASTER = 1.2  # a burst's rate over that of the steady state, at least


class Point(NamedTuple):
    """A rate at a size (B)."""

    size: float
    rate: Interval


@dataclass(frozen=True)
class Plateau:
    """first, last: sizes of its first and last point, B. level: geometric mean of its rates, with the
    geometric means of the ends of their intervals. points: how many. name: the cache that holds most of its
    points; empty where no cache is known."""

    first: float
    last: float
    level: Interval
    points: int
    name: str


def plateaus(points: Sequence[Point], caches: Mapping[str, float] | None = None) -> list[Plateau]:
    """The plateaus of a curve by ascending size. caches: B that each level holds, of all its instances that
    take part, in any order: {"L1": 65536, "L2": 2097152}. Rates and sizes are positive."""
    ordered = sorted(points)
    found = []
    for start, end in segments(ordered):
        held = ordered[start:end]
        rates = [point.rate.value for point in held]
        if len(held) >= FEWEST and max(rates) <= SLOPE * min(rates):
            name = _name([point.size for point in held], caches or {})
            found.append(Plateau(held[0].size, held[-1].size, _level(held), len(held), name))
    return found


def reaching(points: Sequence[Point], share: float = 0.9) -> float:
    """The smallest size from which on, up to that of the peak, every point reaches `share` of the peak."""
    if not points:
        raise ValueError("no points: a curve without one has no peak")
    ordered = sorted(points)
    peak = max(range(len(ordered)), key=lambda at: ordered[at].rate.value)
    least = share * ordered[peak].rate.value
    while peak and ordered[peak - 1].rate.value >= least:
        peak -= 1
    return ordered[peak].size


def segments(points: Sequence[Point]) -> list[tuple[int, int]]:
    """First index and the one after the last of each segment of the best fit, by ascending size."""
    count = len(points)
    logs = [math.log(point.rate.value) for point in points]
    weights = [1 / _variance(point.rate) for point in points]
    price = 2 * math.log(max(count, 2))  # a segment adds a level and a place
    sums = _sums(logs, weights)
    best, cuts = [0.0], [0]
    for end in range(1, count + 1):
        cost, start = min((best[at] + _misfit(sums[at], sums[end]) + price, at) for at in range(end))
        best.append(cost)
        cuts.append(start)
    segments, end = list[tuple[int, int]](), count
    while end:
        segments.append((cuts[end], end))
        end = cuts[end]
    return segments[::-1]


@dataclass(frozen=True)
class Phases:
    """A series that may begin at another level than it ends at. burst: samples before the level changed, 0 where it
    did not get slower. steady: the first sample of the last level."""

    burst: int
    steady: int


def phases(times: Sequence[float]) -> Phases:
    """Where a series of times (s, of equal amounts, in order) stops being fast. Its own noise is that of neighbours,
    which a change of level hardly touches; a level lasts at least `LASTING` samples, and a burst is faster than what
    follows by `FASTER`."""
    noise = _noise([math.log(time) for time in times])
    points = [Point(at, Interval(time, time * math.exp(-2 * noise), time * math.exp(2 * noise)))
              for at, time in enumerate(times)]  # fmt: skip
    long = [(start, end) for start, end in segments(points) if end - start >= LASTING]
    if not long:
        return Phases(0, 0)
    levels = [median(times[start:end]) for start, end in long]
    last = len(long) - 1
    while last and levels[last - 1] * FASTER >= levels[-1] >= levels[last - 1] / FASTER:
        last -= 1
    fast = [index for index in range(last) if levels[index] * FASTER < levels[-1]]
    if not fast or fast[0] != 0:
        return Phases(0, 0 if not last else long[last][0])
    ending = next((index for index in range(last) if index not in fast), last)
    return Phases(long[ending - 1][1], long[last][0])


def _noise(logs: Sequence[float]) -> float:
    """Standard deviation, from the median difference of neighbours (1.4826: that of a normal's)."""
    steps = [abs(after - before) for before, after in pairwise(logs)]
    return 1.4826 * median(steps) / math.sqrt(2) if steps else 0.0


def _variance(rate: Interval) -> float:
    """Of the logarithm: a level's own spread, and the point's interval, which is about four deviations long."""
    return LEVEL**2 + (math.log(rate.high / rate.low) / 4) ** 2


def _sums(logs: Sequence[float], weights: Sequence[float]) -> list[tuple[float, float, float]]:
    """Weight, weighted sum and weighted squares of all values before each place. Around the middle of all: the
    difference of two places then keeps its digits."""
    middle = sum(logs) / max(len(logs), 1)
    sums = [(0.0, 0.0, 0.0)]
    for log, weight in zip(logs, weights, strict=True):
        apart, (total, first, second) = log - middle, sums[-1]
        sums.append((total + weight, first + weight * apart, second + weight * apart**2))
    return sums


def _misfit(before: tuple[float, float, float], after: tuple[float, float, float]) -> float:
    """Weighted squares around the weighted mean of what lies between two places."""
    total, first, second = (late - early for early, late in zip(before, after, strict=True))
    return max(0.0, second - first**2 / total)


def _level(points: Sequence[Point]) -> Interval:
    low, value, high = (
        math.exp(sum(math.log(number) for number in numbers) / len(points))
        for numbers in zip(*((point.rate.low, point.rate.value, point.rate.high) for point in points), strict=True)
    )
    return Interval(value, low, high)


def _name(sizes: Sequence[float], caches: Mapping[str, float]) -> str:
    """The level that holds most of these sizes, each being held by the smallest that is large enough."""
    if not caches:
        return ""
    levels = sorted(caches.items(), key=lambda level: level[1])
    holders = [next((name for name, held in levels if size <= held), BEYOND) for size in sizes]
    return Counter(holders).most_common(1)[0][0]
