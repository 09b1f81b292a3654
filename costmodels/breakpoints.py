"""The best lines through a curve, piece by piece: y = α + x·g, with α, g >= 0 and y never falling.

Dynamic programming over all places where the curve may be cut (Bellman & Roth, J. Amer. Stat. Assoc. 64,
1969), exact for a given number of pieces. Many curves over the same x are done at once, so that a
bootstrap can search its cuts anew each time. What is minimised is the weighted sum of squared relative
errors, since times span many orders of magnitude.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Index = NDArray[np.intp]

LEAST = 3  # points of a piece: a line through two fits anything
PLACES = 40  # stretches of points between which a curve may be cut


@dataclass(frozen=True)
class Pieces:
    """Fits of R curves in K pieces. ends (R, K+1): piece k holds points ends[k] to ends[k+1] - 1.
    alpha, slope (R, K). loss (R,): weighted sum of squared relative errors."""

    ends: Index
    alpha: Array
    slope: Array
    loss: Array

    def knots(self, x: Array) -> tuple[Array, Array]:
        """x and y at both ends of every piece, each (R, 2K): between two pieces the curve is a straight
        line from the end of one to the start of the next."""
        at = np.stack([x[self.ends[:, :-1]], x[self.ends[:, 1:] - 1]], axis=2)
        y = self.alpha[:, :, None] + self.slope[:, :, None] * at
        rows = len(self.ends)
        return at.reshape(rows, -1), y.reshape(rows, -1)


@dataclass(frozen=True)
class _Lines:
    """The best line over each stretch from place a to place b, (R, m+1, m+1); first, last: y at its ends."""

    alpha: Array
    slope: Array
    loss: Array
    first: Array
    last: Array


def fit(x: Array, y: Array, weights: Array, most: int) -> list[Pieces]:
    """The best fits in 1, 2, ... `most` pieces, as far as there are points for them. x (n,) ascends;
    y (R, n) > 0; weights (n,) or (R, n). The loss is infinite for a curve that has no such fit: it falls."""
    places = np.unique(np.linspace(0, len(x), min(len(x), PLACES) + 1).round().astype(np.intp))
    lines = _lines(x, y, weights, places)
    best, back = lines.loss.copy(), list[Index]()
    best[:, 1:, :] = np.inf  # the first piece starts at the first point
    found = [_trace(lines, places, best, back)]
    while len(found) < most:
        best, before = _extended(lines, best)
        back.append(before)
        if not np.isfinite(best[:, :, -1]).any():
            break  # too few points for so many pieces
        found.append(_trace(lines, places, best, back))
    return found


def _lines(x: Array, y: Array, weights: Array, places: Index) -> _Lines:
    """Every stretch by differences of running sums; non-negative least squares in two unknowns, where
    the best lies on a border if it is not inside."""
    u, v = 1 / y, x / y
    w = np.broadcast_to(weights, y.shape)

    def between(values: Array) -> Array:
        sums = np.concatenate([np.zeros((len(y), 1)), np.cumsum(values, axis=1)], axis=1)[:, places]
        return np.asarray(sums[:, None, :] - sums[:, :, None])

    n, su, sv, suu, suv, svv = map(between, (w, w * u, w * v, w * u * u, w * u * v, w * v * v))
    with np.errstate(divide="ignore", invalid="ignore"):
        det = suu * svv - suv * suv
        alpha, slope = (su * svv - sv * suv) / det, (sv * suu - su * suv) / det
        flat, steep = su / suu, sv / svv
        border = n - flat * su <= n - steep * sv  # the better border: no slope, or no α
        inside = (det > 1e-12 * suu * svv) & (alpha >= 0) & (slope >= 0)
        alpha = np.where(inside, alpha, np.where(border, flat, 0.0))
        slope = np.where(inside, slope, np.where(border, 0.0, steep))
        loss = np.maximum(n - alpha * su - slope * sv, 0.0)
    wide = (places[None, :] - places[:, None]) >= LEAST
    loss = np.where(wide, loss, np.inf)
    start, stop = x[np.minimum(places, len(x) - 1)], x[np.maximum(places - 1, 0)]
    return _Lines(alpha, slope, loss, alpha + slope * start[None, :, None], alpha + slope * stop[None, None, :])


def _extended(lines: _Lines, best: Array) -> tuple[Array, Index]:
    """One piece more: the least loss up to b with the last piece from a, and where the piece before it
    started. A piece may not start below the end of the one before: time does not fall with size."""
    longer, before = np.full_like(best, np.inf), np.zeros(best.shape, dtype=np.intp)
    for a in range(1, best.shape[1] - 1):
        falls = lines.last[:, :a, a, None] > lines.first[:, a, None, a + 1 :] * (1 + 1e-9)
        sums = np.where(falls, np.inf, best[:, :a, a, None])
        before[:, a, a + 1 :] = np.argmin(sums, axis=1)
        longer[:, a, a + 1 :] = sums.min(axis=1) + lines.loss[:, a, a + 1 :]
    return longer, before


def _trace(lines: _Lines, places: Index, best: Array, back: list[Index]) -> Pieces:
    rows, end = np.arange(len(best)), np.full(len(best), best.shape[2] - 1)
    start = np.argmin(best[:, :, -1], axis=1)
    loss = best[rows, start, end]
    stretches = [(start, end)]
    for before in reversed(back):
        start, end = before[rows, start, end], start
        stretches.insert(0, (start, end))
    return Pieces(
        ends=np.stack([places[s] for s, _ in stretches] + [places[stretches[-1][1]]], axis=1),
        alpha=np.stack([lines.alpha[rows, s, e] for s, e in stretches], axis=1),
        slope=np.stack([lines.slope[rows, s, e] for s, e in stretches], axis=1),
        loss=loss,
    )
