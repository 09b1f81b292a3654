"""The curve of steps against batch that most runs agree on, whatever a few of them say.

First the curve with the least trimmed squares (Rousseeuw, JASA 79, 1984) over a grid: half of the runs may lie
anywhere. What is orders of magnitude, and many robust standard deviations, away from the rest is left out, and named
by the caller. The rest is fitted with Huber's weights and scale (proposal 2: Annals of Mathematical Statistics 35,
1964). A censored run counts with what it says, that more steps are needed: its place is taken by the mean of a normal
distribution above it (the EM algorithm for Tobit's model: Dempster, Laird & Rubin, JRSS B 39, 1977).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from costmodels.critical_batch_curve import Curves, grid, shape, solve
from costmodels.critical_batch_points import LEAST, Array, Data, Flags
from costmodels.scatter import MAD, OUTLIER

COARSE = 0.25  # step of the first grid, in ln batch
AWAY = math.log(1.5)  # no less: Huber's weights take care of what is nearer
FEW = 8  # runs, below which the scale of their noise is hardly known, and
FAR = math.log(3)  # only this far from the curve is away
ENOUGH = 4000  # runs, for a start
MOST = 4  # at most one run in that many is left out
HUBER = 1.345  # standard deviations: 95 % efficient for normal noise
BETA = 0.7102  # mean of min(|z|, HUBER)² for a standard normal z
LITTLE = 1e-6  # of a run's information: of a censored one that the curve expected to be
TINY = 1e-9  # relative noise of steps that lie on the curve exactly
ROUNDS = 500
CLOSE = 1e-9  # relative change of the curve, below which it has settled
LATEST = 36.0  # standard deviations, beyond which a normal tail has no double


@dataclass(frozen=True)
class Robust:
    """out: (n,) runs left out. data: the others. curve: of one row. y: their ln steps, a censored one where it is
    expected. counts: the information of each, of one that reached the target. settled: the fit has converged."""

    out: Flags
    data: Data
    curve: Curves
    y: Array
    counts: Array
    settled: bool

    @property
    def off(self) -> Array:
        """ln of steps over the curve's, (n,)."""
        off: Array = self.y - self.curve.logs(self.data.x)[0]
        return off


def robust(data: Data) -> Robust:
    """The curve, and which runs are too far from it to be of it."""
    curve, scale = _trimmed(data)
    out = _away(data, curve, scale)
    found = _settled(data.kept(~out), curve, out)
    for _ in range(3):  # the curve without them may take some back
        again = _away(data, found.curve, MAD * float(np.median(np.abs(found.off[~found.data.censored]))))
        if (again == out).all():
            break
        out = again
        found = _settled(data.kept(~out), found.curve, out)
    return found


def _trimmed(data: Data) -> tuple[Curves, float]:
    """The curve that is nearest to its nearest half of the runs, and their scale (Rousseeuw & Leroy 1987, 5.1)."""
    if len(data.x) > ENOUGH:  # of very many, some tell as much
        data = data.kept(np.arange(len(data.x)) % (len(data.x) // ENOUGH + 1) == 0)
    tried, count = grid(data.x, COARSE), len(data.x)
    off = data.y - shape(tried, data.x)
    off -= np.median(off[:, ~data.censored], axis=1, keepdims=True)
    nearest = np.sort(_distance(off, data.censored) ** 2, axis=1)[:, : (count + 3) // 2]
    best = int(nearest.sum(axis=1).argmin())
    level = math.exp(float((data.y - shape(tried[[best]], data.x) - off[best])[0, 0]))
    scale = MAD * (1 + 5 / max(count - 2, 1)) * float(np.median(np.abs(off[best, ~data.censored])))
    return Curves(np.array([level]), np.array([level * math.exp(tried[best])])), scale


def _distance(off: Array, censored: Flags) -> Array:
    """How far from the curve: a censored run only where it lies above."""
    return np.where(censored, np.maximum(off, 0.0), np.abs(off))


def _away(data: Data, curve: Curves, scale: float) -> Flags:
    """Runs far from the curve; none where they are too many to be exceptions, or few batch sizes would be left."""
    far = _distance(data.y - curve.logs(data.x)[0], data.censored)
    out: Flags = far > max(OUTLIER * scale, AWAY if len(far) >= FEW else FAR)
    left = len(np.unique(data.group[~out & ~data.censored]))
    return out if out.sum() <= len(far) // MOST and left >= LEAST else np.zeros_like(out)


def _settled(data: Data, curve: Curves, out: Flags) -> Robust:
    """Weights, scale, censored runs' places and the curve, in turn until nothing changes."""
    off = data.y - curve.logs(data.x)[0]
    scale = max(MAD * float(np.median(np.abs(off[~data.censored]))), TINY)
    free = max(len(off) - 2, 1)
    y, counts = data.y, np.ones(len(off))
    for _ in range(ROUNDS):
        model = curve.logs(data.x)[0]
        above = np.clip((data.y - model) / scale, -LATEST, LATEST)
        tail = np.zeros(len(off))
        tail[data.censored] = mills(above[data.censored])
        y = np.where(data.censored, model + scale * tail, data.y)
        weights = np.where(data.censored, 1.0, HUBER / np.maximum(np.abs(above), HUBER))
        counts = np.where(data.censored, np.clip(tail * (tail - above), LITTLE, 1.0), 1.0)
        squares = np.where(data.censored, (1 + above * tail) * BETA, np.minimum(np.abs(above), HUBER) ** 2)
        scale = max(scale * math.sqrt(float(squares.sum()) / free / BETA), TINY)
        before, curve = curve, _solved(data, y, weights)
        if bool((np.abs(curve.logs(data.sizes) - before.logs(data.sizes)) < CLOSE).all()):
            return Robust(out, data, curve, y, counts, True)
    return Robust(out, data, curve, y, counts, False)


def _solved(data: Data, y: Array, weights: Array) -> Curves:
    """Runs of one batch size count through their mean: nothing else of them tells where the curve is."""
    total = data.sums(weights)
    return solve(data.sizes, (data.sums(weights * y) / total)[None, :], total)


def mills(z: Array) -> Array:
    """Mean of a standard normal above z: its density over its tail, z at most LATEST."""
    tail = np.array([math.erfc(value / math.sqrt(2)) / 2 for value in z])
    mean: Array = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) / tail
    return mean
