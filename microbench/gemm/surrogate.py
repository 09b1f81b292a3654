"""What a few timed products say about all the others: a Gaussian process over the shapes of a product.

The logarithm of the time of one FLOP is taken to be a sum of independent normal processes
(Rasmussen & Williams, Gaussian Processes for Machine Learning, 2006, 2.2 and 5.4.1): a linear
function of what is known to cost time (edges that are short, tiles and waves of tiles that are not
full), a smooth function of each edge, and a smooth function of the shape, all in octaves. How large
and how smooth each is, and how many compute units share the tiles, is read off the trials.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

TILES = (32, 64, 128, 256)
WAVE_TILES = ((128, 128), (128, 256), (256, 128), (256, 256))
UNITS = (2, 58, 72, 80, 84, 108, 110, 114, 128, 132, 142, 148, 256, 304)
"""Compute units that share the tiles of a product on devices in use: L4, A10, V100, A40, A100, MI250X,
H100 PCIe, RTX 4090, H100 and H200, L40S, B200, MI355X, MI300X and MI325X; 2 stands for two cores."""

ENOUGH = 0.5  # logarithm of a waste, beyond which it is merely large
OCTAVE = 0.5  # octaves over which the effect of one edge lasts
STEP = 1.6  # factor between two values of a scale that are tried
PRIOR = 1.0  # spread of a scale's logarithm around its first value, before any trial
TUNED = 120  # trials; with more, the scales stay as they are: tuning grows with their cube
EVIDENCE = 1.5  # logarithm of the odds that speak for another number of units


@dataclass(frozen=True)
class Scales:
    """Standard deviations, in logarithms of a time; lengths in octaves of m, n and k."""

    linear: float = 0.3
    edge: float = 0.03
    shape: float = 0.1
    along_m: float = 1.0
    along_n: float = 1.0
    along_k: float = 1.0
    noise: float = 0.01


@dataclass(frozen=True)
class Fit:
    """The process given the trials, ready to predict. goodness: log marginal likelihood of the trials."""

    scales: Scales
    units: int
    lower: Array
    weights: Array
    goodness: float


class Surrogate:
    """Fitted to trials again and again; keeps the scales that it found last."""

    def __init__(self, low: int) -> None:
        self._low = low  # the shortest edge
        self._scales, self._units = Scales(), 0
        self._tuned = 0
        self._known: Array = np.empty((0, 3))
        self._middle = 0.0
        self._fit: Fit | None = None

    def fit(self, shapes: Sequence[tuple[int, int, int]], times: Array) -> None:
        """shapes: (n, 3); times: (n,), logarithms. Scales are tuned anew at every tenth more trials, up to TUNED."""
        self._known, self._middle = np.array(shapes, dtype=np.float64), float(np.median(times))
        rest = times - self._middle
        self._fit = self._given(rest, self._scales, self._units)
        if 1.1 * self._tuned < len(times) <= TUNED:
            self._tuned = len(times)
            self._fit = self._tune(rest, self._fit)
            self._scales, self._units = self._fit.scales, self._fit.units

    def predict(self, shapes: Array) -> tuple[Array, Array]:
        """Expected logarithm of the time and its standard deviation, for shapes (n, 3)."""
        assert self._fit is not None, "fit comes first"
        scales, units = self._fit.scales, self._fit.units
        across = self._kernel(self._known, shapes, scales, units)
        solved = np.linalg.solve(self._fit.lower, across)
        own = 1 + scales.linear**2 * (self._features(shapes, units) ** 2).sum(1) + 3 * scales.edge**2 + scales.shape**2
        spread = np.sqrt(np.maximum(own - (solved**2).sum(0), 1e-12))
        return self._middle + across.T @ self._fit.weights, spread

    def slower(self, margin: float) -> list[int]:
        """Trials that are slower than all the others lead one to expect, by two standard deviations and
        the margin; the most surprising first (leave-one-out: Rasmussen & Williams, 5.4.2)."""
        assert self._fit is not None, "fit comes first"
        precision = (np.linalg.inv(self._fit.lower) ** 2).sum(0)
        beyond = self._fit.weights / precision - 1 / np.sqrt(precision) - margin
        return [int(at) for at in np.argsort(-beyond) if beyond[at] > 0]

    def _tune(self, rest: Array, best: Fit) -> Fit:
        """Coordinate ascent of the marginal likelihood, from the scales that were best before."""
        for units in (0, *UNITS):
            other = self._given(rest, best.scales, units)
            best = other if other.goodness > best.goodness + EVIDENCE else best
        for name in 2 * tuple(Scales.__dataclass_fields__):
            for factor in (STEP, 1 / STEP):
                while True:
                    scales = replace(best.scales, **{name: getattr(best.scales, name) * factor})
                    other = self._given(rest, scales, best.units)
                    if other.goodness <= best.goodness + 1e-3:
                        break
                    best = other
        return best

    def _given(self, rest: Array, scales: Scales, units: int) -> Fit:
        covariance = self._kernel(self._known, self._known, scales, units)
        lower = np.linalg.cholesky(covariance + (scales.noise**2 + 1e-8) * np.eye(len(rest))).astype(np.float64)
        weights = np.linalg.solve(lower.T, np.linalg.solve(lower, rest))
        first = Scales()
        off = [np.log(getattr(scales, name) / getattr(first, name)) for name in Scales.__dataclass_fields__]
        prior = -sum(value**2 for value in off) / 2 / PRIOR**2
        goodness = -0.5 * rest @ weights - np.log(np.diag(lower)).sum() + prior
        return Fit(scales, units, lower, weights, float(goodness))

    def _kernel(self, a: Array, b: Array, scales: Scales, units: int) -> Array:
        """Covariances (len(a), len(b)); the 1 is an unknown constant."""
        apart = np.log2(a)[:, None] - np.log2(b)[None]
        linear = self._features(a, units) @ self._features(b, units).T
        edges = _matern(np.abs(apart) / OCTAVE).sum(-1)
        lengths = np.array([scales.along_m, scales.along_n, scales.along_k])
        shape = _matern(np.sqrt(((apart / lengths) ** 2).sum(-1)))
        kernel: Array = 1 + scales.linear**2 * linear + scales.edge**2 * edges + scales.shape**2 * shape
        return kernel

    def _features(self, shapes: Array, units: int) -> Array:
        """What is known to cost time, each about as large as what it may cost: (n, features)."""
        short = self._low / shapes
        found = [short, short.prod(1, keepdims=True)]
        found += [np.log(np.ceil(shapes / tile) * tile / shapes) for tile in TILES]
        if units:
            found.append(_waves(shapes, units))
        return np.concatenate(found, axis=1)


def _waves(shapes: Array, units: int) -> Array:
    """Logarithm of units' time over useful time, where each computes one tile of C at a time."""
    m, n = shapes[:, 0], shapes[:, 1]
    waves = [
        np.log(np.ceil(np.ceil(m / rows) * np.ceil(n / columns) / units) * units * rows * columns / (m * n))
        for rows, columns in WAVE_TILES
    ]
    found: Array = np.minimum(np.stack([*waves, np.min(waves, axis=0)], axis=1), ENOUGH)
    return found


def _matern(distance: Array) -> Array:
    """The Matérn kernel of smoothness 5/2 (Rasmussen & Williams, 4.17)."""
    scaled = np.sqrt(5) * distance
    kernel: Array = (1 + scaled + scaled**2 / 3) * np.exp(-scaled)
    return kernel
