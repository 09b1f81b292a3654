"""Rates of products on devices that do not exist: what a search for the best shape is tried on.

Each gives the seconds of one FLOP of an (m, n, k) product, without noise.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

EDGES = tuple(range(512, 4097, 512))  # 512 shapes


def smooth(m, n, k):
    """A device that amortises its overheads over ever larger products."""
    return 1e-12 * (1 + 120 / k + 60 / m + 80 / n)


def ridge(m, n, k):
    """One that is best in the middle: what is larger falls out of a cache."""
    return smooth(m, n, k) * (
        1 + 0.1 * (math.log2(m / 2048) ** 2 + math.log2(n / 2560) ** 2 + math.log2(k / 1536) ** 2)
    )


def tiles(m, n, k, units=132, rows=128, columns=256, depth=64):
    """One that computes whole tiles of C, as many at a time as it has units, and leaves units idle in the last wave."""
    waves = math.ceil(math.ceil(m / rows) * math.ceil(n / columns) / units)
    cycles = waves * units * rows * columns * (math.ceil(k / depth) * depth + 400)
    return (2 * cycles / 800e12 + 4e-6) / (2 * m * n * k)


def kernels(m, n, k):
    """The best of several tile shapes, as a library picks it, on 304 units."""
    shapes = ((128, 256, 1.0), (256, 128, 1.0), (128, 128, 1.12), (256, 256, 0.97))
    return min(cost * tiles(m, n, k, 304, rows, columns, 32) for rows, columns, cost in shapes)


LANDSCAPES = {"smooth": smooth, "ridge": ridge, "tiles": tiles, "kernels": kernels}


def every(landscape, edges=EDGES):
    return {shape: landscape(*shape) for shape in itertools.product(edges, repeat=3)}


class Noisy:
    """Trials of a landscape: three samples, each slowed at random, and one trial in thirty disturbed."""

    def __init__(self, landscape, seed, noise=0.01, disturbed=1 / 30):
        self._landscape, self._random = landscape, np.random.default_rng(seed)
        self._noise, self._disturbed = noise, disturbed
        self.asked = []

    def __call__(self, shape):
        self.asked.append(shape)
        slowed = self._random.uniform(1.3, 20) if self._random.random() < self._disturbed else 1.0
        spread = np.exp(self._noise * np.abs(self._random.standard_normal(3)))
        return (self._landscape(*shape) * slowed * spread).tolist()
