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
from typing import NamedTuple

from harness.statistics import Interval

LEVEL = 0.05
"""Standard deviation of the logarithm of points on one plateau: what alignment, prefetching and noise leave
of a level, where the points' own intervals do not say more. An assumption."""

FEWEST = 2  # points of a plateau
SLOPE = 1.25  # greatest over least rate on a plateau; beyond it the curve is on its way from one to the next
BEYOND = "memory"


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
    for start, end in _segments(ordered):
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


def _segments(points: Sequence[Point]) -> list[tuple[int, int]]:
    """First index and the one after the last of each segment of the best fit."""
    count = len(points)
    logs = [math.log(point.rate.value) for point in points]
    weights = [1 / _variance(point.rate) for point in points]
    price = 2 * math.log(max(count, 2))  # a segment adds a level and a place
    best, cuts = [0.0], [0]
    for end in range(1, count + 1):
        cost, start = min((best[at] + _misfit(logs[at:end], weights[at:end]) + price, at) for at in range(end))
        best.append(cost)
        cuts.append(start)
    segments, end = list[tuple[int, int]](), count
    while end:
        segments.append((cuts[end], end))
        end = cuts[end]
    return segments[::-1]


def _variance(rate: Interval) -> float:
    """Of the logarithm: a level's own spread, and the point's interval, which is about four deviations long."""
    return LEVEL**2 + (math.log(rate.high / rate.low) / 4) ** 2


def _misfit(logs: Sequence[float], weights: Sequence[float]) -> float:
    """Weighted squares around the weighted mean."""
    total = sum(weights)
    mean = sum(weight * log for weight, log in zip(weights, logs, strict=True)) / total
    return sum(weight * (log - mean) ** 2 for weight, log in zip(weights, logs, strict=True))


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
