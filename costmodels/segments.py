"""What a curve of time against message size says: latency and bandwidth of each protocol, and sizes to use.

Hockney's model (Parallel Computing 20, 1994), piece by piece, since a library changes its protocol with
size: t(S) = α + S·factor/β, where factor is busbw / algbw, so that β is a bus bandwidth. Between the
last size of one piece and the first of the next, where the protocol changes, time is taken as a straight
line. `scatter` says how many pieces there are, and where the intervals (95 %) come from.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from costmodels import scatter
from costmodels.breakpoints import LEAST, Array, Pieces
from costmodels.scatter import TINY, WILD, Data
from harness.statistics import CONFIDENCE, Interval
from harness.units import show_size

NORMAL = 1.96
NOISY = 10  # measurements that are drawn around each drawn curve
FLAT = 1e-12  # sum of squared logarithms, of times that do not differ


@dataclass(frozen=True)
class Point:
    """One size of a curve. size: nccl-tests' S, B; times in s. low, high: the interval of `time`, where it
    has one. launches: the median of each launch, where there are several."""

    size: float
    time: float
    low: float | None = None
    high: float | None = None
    launches: tuple[float, ...] = ()


@dataclass(frozen=True)
class Segment:
    """One protocol: first to last are the sizes (B) of its points. alpha in s, beta in B/s of bus bandwidth,
    n_half = α·β in B of message. beta and n_half are absent where time does not measurably grow."""

    first: float
    last: float
    points: int
    alpha: Interval
    beta: Interval | None
    n_half: Interval | None


@dataclass(frozen=True)
class Draws:
    """Curves that the points allow: knots x (bus bytes) and y (s), (R, 2K); the last piece's α and 1/β,
    (R,). at, spread: how far, relative, points at x lie from the model beyond their own intervals, (n,);
    freedom: the points that tell it."""

    x: Array
    y: Array
    alpha: Array
    slope: Array
    at: Array
    spread: Array
    freedom: int


@dataclass(frozen=True)
class Curve:
    """The model of one curve, with 95 % intervals; what the range of its points cannot tell is absent.

    peak: greatest bus bandwidth in the range, B/s. n_half: the size that reaches half of the bandwidth
    that the last segment tends to. ninety: the smallest size that reaches 90 % of the peak. error, worst:
    median and greatest relative distance of the points from the model, outliers apart. r2: of log time;
    absent for a flat curve. outliers: sizes that were left out. notes: what a reader must know, in words.
    """

    factor: float
    first: float
    last: float
    segments: tuple[Segment, ...]
    breakpoints: tuple[Interval, ...]
    peak: Interval
    n_half: Interval | None
    ninety: Interval | None
    error: float
    worst: float
    r2: float | None
    outliers: tuple[float, ...]
    notes: tuple[str, ...]
    draws: Draws = field(repr=False, compare=False)  # row 0 is the fit itself


def describe(points: Sequence[Point], factor: float = 1.0, seed: int = 0) -> Curve:
    """The model of a curve. points: one for each size, in any order. factor: busbw / algbw.

    ValueError where there are fewer than three sizes, or a number is not positive and finite.
    """
    ordered = sorted(points, key=lambda point: point.size)
    _check(ordered, factor)
    rng = np.random.default_rng(seed)
    data, pieces, spread = scatter.fitted(_data(ordered, factor), rng)
    out = scatter.outliers(data, pieces)
    if out.any():
        data, pieces, spread = scatter.fitted(data.without(out), rng)
    drawn = scatter.drawn(data, pieces, spread, rng)  # its first row is the fit
    sizes = [point.size for point in ordered]
    outliers = tuple(size for size, left in zip(sizes, out, strict=True) if left)
    return _curve(data, drawn, factor, spread, outliers)


def predict(curve: Curve, size: float, extrapolate: bool = False) -> Interval:
    """Time in s of a message of `size` B, with the interval that a measurement of it would fall in.

    ValueError outside the sizes that the curve was measured at, unless `extrapolate`, which follows the
    line of the first or last segment, whatever other protocol there may be.
    """
    if not (extrapolate or curve.first <= size <= curve.last):
        raise ValueError(
            f"{show_size(size)} lies outside the measured {show_size(curve.first)} to {show_size(curve.last)}: that "
            "would be an extrapolation"
        )
    draws, x = curve.draws, size * curve.factor
    times = np.array([np.interp(x, xs, ys) for xs, ys in zip(draws.x, draws.y, strict=True)])
    if x > draws.x[0, -1]:
        times = draws.alpha + draws.slope * x
    elif x < draws.x[0, 0]:
        grows = (draws.y[:, 1] - draws.y[:, 0]) / (draws.x[:, 1] - draws.x[:, 0])
        times = np.maximum(draws.y[:, 0] - grows * (draws.x[:, 0] - x), 0.0)
    spread = float(np.interp(x, draws.at, draws.spread))
    scattered = spread * np.random.default_rng(0).standard_t(draws.freedom, (NOISY, len(times)))
    return _interval(float(times[0]), (times * np.exp(np.clip(scattered, -WILD, WILD))).ravel())


def _check(points: Sequence[Point], factor: float) -> None:
    if len(points) < LEAST:
        raise ValueError(f"a curve of {len(points)} size(s): latency and bandwidth need at least {LEAST}")
    if not (math.isfinite(factor) and factor > 0):
        raise ValueError(f"factor {factor:g}: busbw / algbw is a finite number above 0")
    for before, point in zip([None, *points], points, strict=False):
        if not all(math.isfinite(value) and value > 0 for value in (point.size, point.time, *point.launches)):
            raise ValueError(f"size {point.size:g} B with {point.time:g} s: both are finite numbers above 0")
        if before is not None and before.size == point.size:
            raise ValueError(f"two points of size {point.size:g} B: a curve has one for each size")


def _data(points: Sequence[Point], factor: float) -> Data:
    times = np.array([point.time for point in points])
    widths = [0.0 if p.low is None or p.high is None else (p.high - p.low) / 2 for p in points]
    launches = np.array([p.launches for p in points]) if len({len(p.launches) for p in points}) == 1 else np.empty(0)
    shift = (0.0, 1)
    if launches.ndim == 2 and launches.shape[1] > 1:
        logs = np.log(launches)
        common = (logs - logs.mean(axis=1, keepdims=True)).mean(axis=0)
        shift = (float(common.std(ddof=1)) / math.sqrt(len(common)), len(common) - 1)
    noise = np.array(widths) / times / NORMAL
    return scatter.prepared(np.array([point.size * factor for point in points]), times, noise, shift)


def _curve(data: Data, drawn: Pieces, factor: float, spread: float, outliers: tuple[float, ...]) -> Curve:
    x, y = drawn.knots(data.x)
    freedom = scatter.freedom(data, drawn.alpha.shape[1])
    draws = Draws(x, y, drawn.alpha[:, -1], drawn.slope[:, -1], data.x, spread * data.shape, freedom)
    peaks = (x / y).max(axis=1)
    half = _reached(x, y, 0.5 / np.maximum(draws.slope, TINY)) / factor
    ninety = _reached(x, y, 0.9 * peaks) / factor
    off, logs = np.log(data.y / scatter.along(drawn, data.x)), np.log(data.y)
    total = float(((logs - logs.mean()) ** 2).sum())
    inside = (float(data.x[0]) / factor, float(data.x[-1]) / factor)
    segments = tuple(_segment(data, drawn, index, factor) for index in range(drawn.alpha.shape[1]))
    distance = np.abs(np.expm1(off))
    notes = _notes(data, segments, inside, float(half[0]), float(ninety[0]))
    return Curve(
        factor, *inside, segments, tuple(_breakpoints(data, drawn, factor)), _interval(float(peaks[0]), peaks[1:]),
        _inside(half, inside) if segments[-1].beta else None, _inside(ninety, inside), float(np.median(distance)),
        float(distance.max()), 1 - float((off**2).sum()) / total if total > FLAT else None, outliers, tuple(notes),
        draws,
    )  # fmt: skip


def _reached(x: Array, y: Array, target: Array) -> Array:
    """(R,): the smallest x at which x / y reaches the target; -inf below the first knot, inf for never."""
    found = np.full(len(x), np.inf)
    for at in reversed(range(x.shape[1] - 1)):
        (x0, x1), (y0, y1) = x[:, at : at + 2].T, y[:, at : at + 2].T
        with np.errstate(invalid="ignore", divide="ignore"):
            crossing = x0 + (x1 - x0) * (target * y0 - x0) / ((x1 - x0) - target * (y1 - y0))
        found = np.where(x1 >= target * y1, np.clip(crossing, x0, x1), found)
    return np.where(x[:, 0] >= target * y[:, 0], -np.inf, found)


def _segment(data: Data, drawn: Pieces, index: int, factor: float) -> Segment:
    start, stop = drawn.ends[0, index], drawn.ends[0, index + 1]
    alpha, slope = drawn.alpha[:, index], drawn.slope[:, index]
    beta = n_half = None
    if slope[0] > 0 and np.mean(slope == 0) <= (1 - CONFIDENCE) / 2:
        with np.errstate(divide="ignore", invalid="ignore"):
            beta = _interval(float(1 / slope[0]), 1 / slope[1:])
            n_half = _interval(float(alpha[0] / slope[0] / factor), alpha[1:] / slope[1:] / factor)
    first, last = float(data.x[start]) / factor, float(data.x[stop - 1]) / factor
    return Segment(first, last, int(stop - start), _interval(float(alpha[0]), alpha[1:]), beta, n_half)


def _breakpoints(data: Data, drawn: Pieces, factor: float) -> list[Interval]:
    """Between the last size of a piece and the first of the next: that far the sizes tell."""
    below, above = data.x[drawn.ends[:, 1:-1] - 1] / factor, data.x[drawn.ends[:, 1:-1]] / factor
    lows = np.quantile(below, (1 - CONFIDENCE) / 2, axis=0, method="lower")
    highs = np.quantile(above, (1 + CONFIDENCE) / 2, axis=0, method="higher")
    middles = np.sqrt(below[0] * above[0])
    return [Interval(*map(float, found)) for found in zip(middles, lows, highs, strict=True)]


def _interval(value: float, draws: Array) -> Interval:
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], method="nearest")
    return Interval(value, min(float(low), value), max(float(high), value))


def _inside(sizes: Array, inside: tuple[float, float]) -> Interval | None:
    """A size with its interval, which ends where the measured range does; none where itself lies outside."""
    if not math.isfinite(sizes[0]):
        return None
    return _interval(float(sizes[0]), np.clip(sizes[1:], *inside))


def _notes(
    data: Data, segments: Sequence[Segment], inside: tuple[float, float], half: float, ninety: float
) -> Iterator[str]:  # fmt: skip
    first, last = map(show_size, inside)
    if not data.noise.any():
        yield "points are single values: intervals come from how far they lie from the model"
    if segments[-1].beta is not None and not math.isfinite(half):
        place = f"below the smallest size, {first}" if half < 0 else f"above the largest size, {last}"
        yield f"n½ lies {place}"
    if ninety < 0:
        yield f"90 % of the peak is reached at the smallest size, {first}"
    for number, segment in enumerate(segments, start=1):
        if segment.beta is None:
            yield f"segment {number}: time does not measurably grow with size, so no bandwidth can be told"
