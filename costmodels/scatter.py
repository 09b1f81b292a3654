"""How many pieces a curve has, and how far its points scatter around them.

More pieces are taken if they fit better than they would in 99 % of curves that have no more (likelihood
ratio by bootstrap: McLachlan, Applied Statistics 36, 1987). The noise of a point is what its own interval
says, and on top the spread of points around the model that their intervals do not explain (Paule &
Mandel, J. Res. NBS 87, 1982); where a point is a single number, all of it is that spread. What moves all
sizes of a launch alike moves a drawn curve as a whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from costmodels.breakpoints import LEAST, Array, Pieces, fit

MOST = 5  # pieces
DRAWS = 400
LEVEL = 0.99  # of the test for more pieces
AHEAD = 2  # pieces more that are tried
EXACT = 2e-3  # relative error below which no further piece is sought: tables round times to that
TYPICAL = 0.02  # relative error of the model to begin with, until it is estimated
ENOUGH = 14  # points, for their scatter to be looked at by size
SURE = 4.0  # standard errors
STEEP = 3.0  # e-folds that the scatter may differ from its middle
OUTLIER = 6.0  # robust standard deviations from the curve, and
AWAY = 0.1  # relative distance from it, beyond which a point is left out
NEAR = 1.25  # ratio of a time and the model, beyond which a point counts no more for it
WILD = 1.0  # relative: points that scatter more say no more
TINY = 1e-15  # a loss of nothing but rounding
MAD = 1.4826  # standard deviation of a normal distribution / its median absolute deviation

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Data:
    """x: bus bytes; y: s; noise: relative standard deviation of each y by itself; shift: of all alike, and
    its degrees of freedom. shape: how much more than others a point may lie off the model. near: the
    model so far."""

    x: Array
    y: Array
    noise: Array
    shift: tuple[float, int]
    shape: Array
    near: Array

    def deviation(self, spread: float | Array) -> Array:
        """Relative standard deviation of each y around a model that is right to `spread`."""
        deviation: Array = np.hypot(self.noise, spread * self.shape)
        return deviation

    def counts(self, spread: float) -> Array:
        """What each point counts, (n,), 1 on average."""
        counts: Array = self.deviation(max(spread, EXACT)) ** -2.0
        counts /= counts.mean()
        return counts

    def weights(self, spread: float, y: Array) -> Array:
        """The same for the fit of y (..., n), whose errors are relative to y: relative to the model instead,
        they do not draw it to the shorter times."""
        weights: Array = self.counts(spread) * np.clip(y / self.near, 1 / NEAR, NEAR) ** 2
        return weights

    def without(self, out: Flags) -> Data:
        kept = (getattr(self, name)[~out] for name in ("x", "y", "noise", "shape", "near"))
        x, y, noise, shape, near = kept
        return Data(x, y, noise, self.shift, shape, near)


def prepared(x: Array, y: Array, noise: Array, shift: tuple[float, int]) -> Data:
    """The data with how the distance from the model changes with size, as a power of it, where that is
    beyond doubt: times of small messages often scatter more. Few points all count alike."""
    data = Data(x, y, noise, shift, np.ones(len(x)), y)
    data = replace(data, near=along(_fits(data, TYPICAL, MOST)[-1], x))
    if len(x) < ENOUGH:
        return data
    off = np.abs(y / data.near - 1)
    logs, sizes = np.log(np.maximum(off, max(EXACT, float(np.median(off)) / 10))), np.log(x)
    sizes -= sizes.mean()
    squares = float((sizes**2).sum())
    power = float((sizes * logs).sum()) / squares
    error = float((logs - logs.mean() - power * sizes).std()) / math.sqrt(squares)
    return replace(data, shape=np.exp(np.clip(power * sizes, -STEEP, STEEP))) if abs(power) > SURE * error else data


def fitted(data: Data, rng: np.random.Generator) -> tuple[Data, Pieces, float]:
    """The pieces, and the spread of points around them that their own noise does not explain."""
    spread = TYPICAL
    count = _count(data, spread, rng)
    for _ in range(3):  # weights, model and spread settle together
        pieces = _fits(data, spread, count)[-1]
        spread = _spread(data, pieces)
        data = replace(data, near=along(pieces, data.x))
    return data, _fits(data, spread, count)[-1], spread


def _fits(data: Data, spread: float, most: int) -> list[Pieces]:
    """Of the curve itself, in 1, 2, ... pieces, as far as it can be cut without falling."""
    found = fit(data.x, data.y[None, :], data.weights(spread, data.y), most)
    return [pieces for pieces in found if np.isfinite(pieces.loss[0])]


def _count(data: Data, spread: float, rng: np.random.Generator) -> int:
    """How many pieces there is evidence for. One more may gain little where two more gain much."""
    found = _fits(data, spread, MOST)
    count = 1
    while True:
        held = found[count - 1]
        noise = math.sqrt(float(held.loss[0]) / freedom(data, count))
        if noise < EXACT or count == len(found):
            return count
        y = _around(data, held, noise / np.sqrt(data.counts(spread)), rng, DRAWS // 2)
        weights = replace(data, near=along(held, data.x)).weights(spread, y)
        no_more = fit(data.x, y, weights, count + AHEAD)
        better = (
            more
            for more in range(count + 1, min(len(found), len(no_more)) + 1)
            if _gain(held, found[more - 1])[0] > np.quantile(_gain(no_more[count - 1], no_more[more - 1]), LEVEL)
        )
        more = next(better, count)
        if more == count:
            return count
        count = more


def _gain(held: Pieces, more: Pieces) -> Array:
    """(R,): how much better one piece more fits; 1 where a curve cannot be cut so."""
    possible = np.isfinite(more.loss) & np.isfinite(held.loss)
    gain: Array = np.where(possible, held.loss, 1.0) / np.where(possible, np.maximum(more.loss, TINY), 1.0)
    return gain


def freedom(data: Data, pieces: int) -> int:
    """Points beyond two for each piece and one for each cut."""
    return max(1, len(data.x) - 3 * pieces + 1)


def along(pieces: Pieces, x: Array) -> Array:
    """The first fitted curve at x (n,)."""
    knots, values = pieces.knots(x)
    along: Array = np.interp(x, knots[0], values[0])
    return along


def _around(data: Data, pieces: Pieces, noise: Array, rng: np.random.Generator, count: int) -> Array:
    """(count, n): curves that scatter around the fitted one."""
    drawn = np.minimum(noise, WILD) * rng.standard_normal((count, len(data.x)))
    scattered: Array = along(pieces, data.x) * np.exp(drawn)
    return scattered


def _spread(data: Data, pieces: Pieces) -> float:
    """The relative standard deviation which, added to each point's own, makes the squared distances sum
    up to the degrees of freedom; 0 where their own is enough."""
    squares = (data.y / along(pieces, data.x) - 1) ** 2
    free = freedom(data, pieces.ends.shape[1] - 1)
    low, high = 0.0, math.sqrt(float((squares / data.shape**2).sum()) / free)
    for _ in range(50):
        middle = (low + high) / 2
        if float((squares / np.maximum(data.deviation(middle), TINY) ** 2).sum()) > free:
            low = middle
        else:
            high = middle
    return high


def outliers(data: Data, pieces: Pieces) -> Flags:
    """(n,) bool: points far from the curve, at most a fifth of them."""
    away = np.abs(np.log(data.y / along(pieces, data.x)))
    far: Flags = away > np.maximum(OUTLIER * MAD * float(np.median(away / data.shape)) * data.shape, AWAY)
    few = far.sum() <= len(far) // 5 and len(far) - far.sum() >= LEAST
    return far if few else np.zeros_like(far)


def drawn(data: Data, pieces: Pieces, spread: float, rng: np.random.Generator) -> Pieces:
    """Refits of curves drawn around the fitted one, which is the first row. The spread is known only as
    well as the points beyond the model's parameters tell it, so it is drawn too (Student's argument).
    A cut that most drawn curves cannot have is given up."""
    count = pieces.ends.shape[1] - 1
    free, (shift, launches) = freedom(data, count), data.shift
    known = np.sqrt(free / rng.chisquare(free, (DRAWS, 1)))
    y = _around(data, pieces, data.deviation(spread * known), rng, DRAWS) * np.exp(
        shift * rng.standard_t(launches, (DRAWS, 1))
    )
    fits = fit(data.x, y, data.weights(spread, y), count)[-1]
    kept = np.isfinite(fits.loss)
    if kept.mean() < 0.5 or fits.ends.shape != (DRAWS, count + 1):
        return drawn(data, _fits(data, spread, count - 1)[-1], spread, rng)
    parts = ((getattr(pieces, name), getattr(fits, name)[kept]) for name in ("ends", "alpha", "slope", "loss"))
    return Pieces(*(np.concatenate(both) for both in parts))
