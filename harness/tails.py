"""Tail probabilities that tests of few values need, without scipy: Student's t, the rank-sum test, and
the control of false discoveries.

Sources: rank sum: Mann & Whitney, Ann. Math. Stat. 18 (1947); the sum of m uniforms: Irwin, Biometrika
19, and Hall, ibid. (1927); false discoveries: Benjamini & Hochberg, J. R. Stat. Soc. B 57 (1995); the
median absolute deviation of few values: Croux & Rousseeuw, Computational Statistics 1 (1992), 411-428.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

FEW = 12
"""Values in the smaller sample up to which a rank sum is a sum of that many uniforms; beyond, it is
normal, whose tail then reaches below 1e-9, further than any test here asks."""

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(48)
_FEW_FACTORS = (1.196, 1.495, 1.363, 1.206, 1.200, 1.140, 1.129, 1.107)
"""Croux & Rousseeuw's corrections for 2 to 9 values."""


def student_tail(t: ArrayLike, df: float) -> Array:
    """P(T > t), element by element. df: degrees of freedom, at least 2, not always whole.

    With t = √df·tan φ the density is a power of cos φ on a finite range, which Gauss and Legendre's rule
    integrates to better than 1e-12 of the whole.
    """
    angle = np.abs(np.arctan(np.asarray(t, dtype=np.float64) / math.sqrt(df)))
    half = (math.pi / 2 - angle) / 2
    phi = (angle + half)[..., None] + half[..., None] * _NODES
    scale = math.exp(math.lgamma((df + 1) / 2) - math.lgamma(df / 2)) / math.sqrt(math.pi)
    upper = scale * half * (np.cos(phi) ** (df - 1) @ _WEIGHTS)
    return np.where(np.asarray(t) >= 0, upper, 1 - upper)


@lru_cache(maxsize=1024)
def student_quantile(tail: float, df: float) -> float:
    """The t that a share `tail` (below one half) of Student's distribution lies above."""
    low, high = 0.0, 1.0
    while student_tail(high, df) > tail:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if student_tail(middle, df) > tail else (low, middle)
    return high


def rank_sum_tail(inversions: ArrayLike, own: int, others: int) -> Array:
    """One-sided p-value of Mann and Whitney's test that `own` values are larger than `others` values.

    inversions: pairs of an own value and a larger one of the others (ties count one half), any shape.
    Both approximations err towards larger p-values: by up to a half where they matter for five values
    against five, by less for more.
    """
    count = np.asarray(inversions, dtype=np.float64)
    own, others = min(own, others), max(own, others)
    if own > FEW:
        sd = math.sqrt(own * others * (own + others + 1) / 12)
        return normal_tail((own * others / 2 - count) / sd)
    # Placing `own` values among the others is choosing points of a simplex; half a step of continuity.
    x = (count + own * (own + 1) / 4) / (others + (own + 1) / 2)
    terms = [(-1) ** j * math.comb(own, j) * np.maximum(x - j, 0) ** own for j in range(own + 1)]
    tail: Array = np.clip(np.sum(terms, axis=0) / math.factorial(own), 0, 1)
    return tail


def normal_tail(z: ArrayLike) -> Array:
    """P(Z > z) of a standard normal, element by element."""
    tail: Array = np.vectorize(math.erfc, otypes=[np.float64])(np.asarray(z) / math.sqrt(2)) / 2
    return tail


def discoveries(p: Array, rate: float) -> NDArray[np.bool_]:
    """Which hypotheses Benjamini and Hochberg reject, so that of those at most `rate` are expected to be
    true. Where all are true, one is rejected with at most that probability."""
    ordered = np.sort(p)
    passed = np.flatnonzero(ordered <= rate * np.arange(1, len(p) + 1) / len(p))
    return p <= ordered[passed[-1]] if len(passed) else np.zeros(len(p), dtype=np.bool_)


def spread(values: Array, axis: int = -1) -> Array:
    """Robust standard deviation: the median absolute deviation, made unbiased for normal values."""
    count = values.shape[axis]
    if count < 2:
        return np.zeros(np.delete(values.shape, axis))
    factor = _FEW_FACTORS[count - 2] if count < 10 else count / (count - 0.8)
    middle = np.median(values, axis=axis, keepdims=True)
    return 1.4826 * factor * np.median(np.abs(values - middle), axis=axis)
