"""Curves that the runs allow: drawn around the fitted one as runs would scatter, and fitted again.

Two things move the mean of a batch size. Its seeds differ, which their own scatter tells; it is resampled (Davison &
Hinkley, Bootstrap Methods, 1997, 3.2 and 6.2), and shrinks with more seeds. And all its runs may lie off the curve,
because of a learning rate that suits it less or since the form is not exact: what the means scatter beyond their
seeds. Where there is one seed for each batch, only the second is seen, and holds both. How large each is, is known
only as well as the values that tell it: both are drawn as well, and the second is what is left of the means' scatter
after the first, so that it may be there in some draws though the runs show none (fiducial intervals of variance
components: Tsui & Weerahandi, JASA 84, 1989).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from costmodels.critical_batch_curve import Curves, solve
from costmodels.critical_batch_points import Array
from costmodels.critical_batch_robust import Robust

DRAWS = 2000
ENOUGH = 8  # values, from which on they are resampled themselves; fewer give a normal distribution
MANY = 64  # seeds, from which on their mean is normal whatever they are
LEAST_NOISE = 1e-9  # relative
WILD = 50.0  # e-folds: a draw so far off says as much as any further one


def drawn(found: Robust, rng: np.random.Generator) -> Curves:
    """DRAWS curves."""
    data = found.data
    seeds = data.sums(found.counts)
    off = data.sums(found.counts * found.off) / seeds
    free = int((data.sums((~data.censored).astype(float)) > 0).sum()) - 2
    total = float((seeds * off**2).sum()) / rng.chisquare(free, (DRAWS, 1))  # variance of a run, by the means
    apart, group, known = _within(found)
    shocks = np.zeros((DRAWS, len(seeds)))
    if known:
        variance = _variances(apart, group, len(seeds))
        unsure = known / rng.chisquare(known, (DRAWS, 1))
        total = total - float(variance.mean()) * unsure
        shocks = np.sqrt(variance * unsure) * _means(rng, apart / np.sqrt(variance[group]), seeds)
    shared = np.maximum(total, 0.0) / float(seeds.mean()) / np.minimum(seeds, 1.0)  # a censored run tells less
    shocks = shocks + np.sqrt(shared) * _shocks(rng, _unit(off), (DRAWS, len(off)))
    return solve(data.sizes, found.curve.logs(data.sizes) + np.clip(shocks, -WILD, WILD), seeds)


def _within(found: Robust) -> tuple[Array, NDArray[np.intp], int]:
    """How far runs that reached the target lie from the mean of their batch size, made as large as the scatter of
    single runs; the index of their size; and the degrees of freedom, 0 where no batch size has two."""
    data = found.data
    seen = ~data.censored
    count = data.sums(seen.astype(float))
    mean = data.sums(np.where(seen, found.off, 0.0)) / np.maximum(count, 1)
    used = seen & (count[data.group] > 1)
    size = count[data.group][used]
    apart = (found.off - mean[data.group])[used] * np.sqrt(size / (size - 1))
    return apart, data.group[used], int(np.maximum(count - 1, 0).sum())


def _variances(apart: Array, group: NDArray[np.intp], sizes: int) -> Array:
    """(J,): of a single run of each batch size, its own where it has enough runs to tell it, else that of all."""
    count = np.bincount(group, minlength=sizes)
    own = np.bincount(group, weights=apart**2, minlength=sizes) / np.maximum(count, 1)
    variances: Array = np.where(count >= ENOUGH, own, float((apart**2).mean()))
    return np.maximum(variances, LEAST_NOISE**2)


def _means(rng: np.random.Generator, apart: Array, seeds: Array) -> Array:
    """(DRAWS, J): means of as many single runs, of variance 1, as each batch size has seeds."""
    drawn = np.empty((DRAWS, len(seeds)))
    for at, count in enumerate(seeds):
        whole = max(1, round(count))
        unit = rng.standard_normal(DRAWS) if whole >= MANY else _shocks(rng, _unit(apart), (DRAWS, whole)).sum(axis=1)
        drawn[:, at] = unit / math.sqrt(count if whole >= MANY else whole * count)
    return drawn


def _unit(values: Array) -> Array:
    """With mean 0 and variance 1; as they are where they do not differ."""
    values = values - values.mean()
    scale = float(values.std())
    return values / scale if scale > 0 else values


def _shocks(rng: np.random.Generator, unit: Array, size: tuple[int, int]) -> Array:
    """Of mean 0 and variance 1: the values themselves where they are enough."""
    if len(unit) >= ENOUGH and unit.any():
        return rng.choice(unit, size)
    return rng.standard_normal(size)
