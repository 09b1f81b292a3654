"""Least squares for steps against batch, S(B) = a + b/B, in logarithms: every start at once.

With u = ln(b/a), the logarithm of the critical batch, ln S = ln a + ln(1 + e^u/B). For a given u the best ln a is a
weighted mean, so that one parameter is left; it is sought on a grid that reaches a factor of 1000 beyond the batches
on both sides, then bisected on the derivative within the best cell. A minimum at the end of the grid means that the
data have no critical batch: a or b is then 0.

Zhang et al. (arXiv 2410.21676) for the form; the same as (S/S_min - 1)(E/E_min - 1) = 1 of McCandlish et al. 2018
(arXiv 1812.06162) with S_min = a, E_min = b and B_crit = b/a.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from costmodels.critical_batch_points import Array

BEYOND = math.log(1000)  # of the grid, past the smallest and largest batch
STEP = 0.1  # of the grid, in ln batch: the curve bends over about 4
HALVINGS = 45  # of two steps: to rounding


@dataclass(frozen=True)
class Curves:
    """a in steps, b in steps times batch, each (R,); one of both may be 0."""

    a: Array
    b: Array

    @property
    def critical(self) -> Array:
        """(R,): b/a in the batch's unit, infinite where a is 0."""
        with np.errstate(divide="ignore"):
            critical: Array = self.b / self.a
        return critical

    def logs(self, x: Array) -> Array:
        """ln S at x = ln batch (n,): (R, n)."""
        logs: Array = np.log(self.a[:, None] + self.b[:, None] * np.exp(-x))
        return logs


def grid(x: Array, step: float = STEP) -> Array:
    """Values of u to try, (U,)."""
    return np.arange(float(x.min()) - BEYOND, float(x.max()) + BEYOND + step, step)


def shape(u: Array, x: Array) -> Array:
    """ln(1 + e^u/B) at x = ln B (J,) for u (U,): (U, J)."""
    shape: Array = np.logaddexp(0.0, u[:, None] - x)
    return shape


def solve(x: Array, y: Array, weights: Array) -> Curves:
    """The best curve of each row. x: ln batch (J,); y: ln steps (R, J); weights: (J,), above 0."""
    weights = weights / weights.sum()
    tried = grid(x)
    bent = shape(tried, x)
    bent -= (bent @ weights)[:, None]
    loss = (bent**2 @ weights)[None, :] - 2 * (y * weights) @ bent.T  # of each row, but for a constant: (R, U)
    best = loss.argmin(axis=1)
    inside = (best > 0) & (best < len(tried) - 1)
    u = _bisected(x, y, weights, tried[np.maximum(best - 1, 0)], tried[np.minimum(best + 1, len(tried) - 1)])
    level = np.exp((y - shape(u, x)) @ weights)
    a, b = level, level * np.exp(u)
    flat, falling = np.exp(y @ weights), np.exp((y + x) @ weights)
    a = np.where(inside, a, np.where(best == 0, flat, 0.0))
    b = np.where(inside, b, np.where(best == 0, 0.0, falling))
    return Curves(a, b)


def _bisected(x: Array, y: Array, weights: Array, low: Array, high: Array) -> Array:
    """(R,): where the loss stops falling between low and high."""
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        bent = shape(middle, x)
        off = y - bent
        off -= (off @ weights)[:, None]
        grows = -np.expm1(-bent)  # d ln(1 + e^u/B) / du = 1 - 1/(1 + e^u/B)
        falls = (off * grows) @ weights > 0
        low, high = np.where(falls, middle, low), np.where(falls, high, middle)
    return (low + high) / 2
