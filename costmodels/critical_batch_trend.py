"""How the critical batch grows with data and model size: B = c · D^p · N^q, across fits of one curve each.

A line in logarithms. Its interval carries the interval of every fit, and what they scatter around the line beyond that
(the variance which makes the squared distances sum up to the degrees of freedom: Paule & Mandel, J. Res. NBS 87,
1982). Where D and N grow together (as in compute-optimal training) no data tell whose doing it is: each then has a
power law of its own, which holds for that path only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from costmodels.critical_batch import CriticalBatch
from costmodels.critical_batch_points import Array
from harness.statistics import CONFIDENCE, Interval

SIZES = 3  # different ones, for a power law
LITTLE = 1e-300  # a batch: the least that has a logarithm
EXACT = 1e-9  # relative
LARGEST = 700.0  # e-folds
TOGETHER = 0.95  # correlation of ln D and ln N, above which they are not told apart

ZHANG = "Zhang et al., arXiv 2410.21676"
POWER_LINES = "Power Lines, arXiv 2505.13738"
PUBLISHED = {
    ("b_star", "tokens"): ((ZHANG, 0.47),),
    ("b_crit", "tokens"): ((POWER_LINES, 0.462),),
    ("b_star", "parameters"): ((f"{ZHANG}, at a fixed D", 0.0),),
    ("b_crit", "parameters"): ((f"{POWER_LINES}, at a fixed D", 0.0),),
}
"""Exponents that papers give, by which batch is set against which size; 0 stands for nearly none."""


@dataclass(frozen=True)
class Sized:
    """One fitted curve, and the training tokens D and parameters N it belongs to, where they are known."""

    fit: CriticalBatch
    tokens: float | None = None
    parameters: float | None = None


@dataclass(frozen=True)
class Trend:
    """batch = coefficient · Π size^exponent. batch: 'b_star' or 'b_crit'. scatter: of the batch around it beyond its
    intervals, relative. count: of fits. notes: what a reader must know."""

    batch: str
    coefficient: Interval
    exponents: dict[str, Interval]
    scatter: float
    count: int
    notes: tuple[str, ...]


def trends(fits: Sequence[Sized]) -> tuple[Trend, ...]:
    """Power laws of b_star and b_crit over the sizes that have at least three values; none where there are none."""
    sizes = {
        name: np.log(np.array([getattr(one, name) for one in fits], dtype=float))
        for name in ("tokens", "parameters")
        if all(getattr(one, name) for one in fits)
    }
    sizes = {name: logs for name, logs in sizes.items() if len(set(logs)) > 1}
    usable = [name for name, logs in sizes.items() if len(set(logs)) >= SIZES]
    apart = len(sizes) < 2 or abs(np.corrcoef(*sizes.values())[0, 1]) < TOGETHER
    found = list[Trend]()
    for batch in ("b_star", "b_crit"):
        if usable and apart and len(fits) > len(sizes) + 1:
            found.append(_trend(batch, fits, sizes, usable, ()))
            continue
        for name in usable:
            other = next((key for key in sizes if key != name), None)
            notes = (f"{other} change with {name} here: the exponent holds for this path only",) if other else ()
            found.append(_trend(batch, fits, {name: sizes[name]}, [name], notes))
    return tuple(found)


def _trend(
    batch: str, fits: Sequence[Sized], sizes: Mapping[str, Array], told: Sequence[str], notes: tuple[str, ...]
) -> Trend:
    """told: the sizes whose exponents are given; the others are only held fixed."""
    rng = np.random.default_rng(0)
    logs = np.log([getattr(one.fit, batch).value for one in fits])
    held = [one.fit.stars if batch == "b_star" else one.fit.draws.critical for one in fits]
    drawn = np.log(np.maximum(np.stack([rng.permutation(each) for each in held], axis=1), LITTLE))  # (DRAWS, J)
    finite = np.isfinite(drawn)
    if not finite.all():
        notes += (f"some {batch} have no upper end: the interval is too narrow for that",)
    drawn = np.where(finite, drawn, logs)
    noise = np.sqrt(((drawn - logs) ** 2).mean(axis=0))
    design = np.column_stack([np.ones(len(logs)), *sizes.values()])
    free = len(logs) - design.shape[1]
    scatter = _scatter(design, logs, noise, free)
    solve = _solver(design, np.hypot(noise, scatter))
    shocks = scatter * rng.standard_normal(drawn.shape) * np.sqrt(free / rng.chisquare(free, (len(drawn), 1)))
    value, around = solve @ logs, (drawn + shocks) @ solve.T
    low, high = np.quantile(around, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    ends = np.stack([value, np.minimum(low, value), np.maximum(high, value)], axis=1)
    exponents = {name: Interval(*map(float, ends[at])) for at, name in enumerate(sizes, start=1) if name in told}
    coefficient = Interval(*(math.exp(end) for end in np.clip(ends[0], -LARGEST, LARGEST)))
    return Trend(batch, coefficient, exponents, scatter, len(logs), notes)


def _solver(design: Array, noise: Array) -> Array:
    """(P, J): weighted least squares as a matrix."""
    weights = 1 / np.maximum(noise, EXACT)
    solver: Array = np.linalg.pinv(design * weights[:, None]) * weights
    return solver


def _scatter(design: Array, logs: Array, noise: Array, free: int) -> float:
    """The standard deviation beyond `noise` that the distances from the line show; 0 where noise explains them."""

    def squares(scatter: float) -> float:
        total = np.hypot(noise, scatter)
        off = logs - design @ (_solver(design, total) @ logs)
        return float(((off / np.maximum(total, EXACT)) ** 2).sum())

    low, high = 0.0, float(np.ptp(logs)) + EXACT
    if squares(low) <= free:
        return 0.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if squares(middle) > free else (low, middle)
    return high
