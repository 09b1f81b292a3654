"""Critical batch size from training steps to a target loss at several batch sizes: S(B) = a + b/B.

Up to the critical batch twice the batch halves the steps; far beyond it more batch buys nothing. From the two
parameters follow, in the batch's unit (sequences or tokens):

    s_min = a, steps with an endless batch        e_min = b, samples with a tiny one
    b_crit = b/a, where steps and samples are both twice their least (McCandlish et al. 2018, arXiv 1812.06162)
    b_star = (1 + x)·B0 + x·b/a, where steps are x = 20 % more than linear scaling from a reference batch B0 gives
             (Zhang et al., arXiv 2410.21676: 1.2·B0 + b/(5a))

Fitted in logarithms, since noise is a share of the steps. Intervals are 95 %, and open where the batch sizes do not
tell: an infinite end is a finding, not a number.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from costmodels.critical_batch_curve import Curves
from costmodels.critical_batch_draws import drawn
from costmodels.critical_batch_points import Array, Run, prepared
from costmodels.critical_batch_robust import Robust, robust
from harness.statistics import CONFIDENCE, Interval

OVERHEAD = 0.2  # x: Zhang et al.


@dataclass(frozen=True)
class CriticalBatch:
    """What the runs say. reference: B0 and whether it was chosen for lack of one. expected: what the curve gives at
    each run, in the order of the runs. outliers, diverged, censored: which of them are left out, are only named, and
    count as lower bounds. error: median relative distance of the runs from the curve. notes: what a reader must know,
    in words."""

    a: Interval
    b: Interval
    b_crit: Interval
    b_star: Interval
    reference: float
    chosen: bool
    overhead: float
    runs: tuple[Run, ...]
    expected: tuple[float, ...]
    outliers: tuple[int, ...]
    diverged: tuple[int, ...]
    censored: tuple[int, ...]
    error: float
    notes: tuple[str, ...]
    draws: Curves = field(repr=False, compare=False)

    @property
    def smallest(self) -> float:
        return min(run.batch for run in self.runs if not run.diverged)

    @property
    def largest(self) -> float:
        return max(run.batch for run in self.runs if not run.diverged)

    @property
    def stars(self) -> Array:
        """B* of each drawn curve, infinite where it has none."""
        stars: Array = (1 + self.overhead) * self.reference + self.overhead * self.draws.critical
        return stars

    def steps(self, batch: float) -> Interval:
        """S at a batch, with the interval of the curve (a run of its own scatters more)."""
        return _interval(self.a.value + self.b.value / batch, self.draws.a + self.draws.b / batch)

    def samples(self, batch: float) -> Interval:
        """E = S·B = e_min·(1 + B/b_crit), in the batch's unit."""
        return _interval(self.a.value * batch + self.b.value, self.draws.a * batch + self.draws.b)


def fit(
    runs: Sequence[Run], reference: float | None = None, overhead: float = OVERHEAD, seed: int = 0
) -> CriticalBatch:
    """The curve of one target. reference: B0; None takes the smallest batch of the runs.

    ValueError names a run that is impossible, and says what is missing where the runs do not tell.
    """
    _check(reference, overhead)
    data = prepared(runs)
    found = robust(data)
    draws = drawn(found, np.random.default_rng(seed))
    b0 = min(run.batch for run in runs if not run.diverged) if reference is None else reference
    a, b = float(found.curve.a[0]), float(found.curve.b[0])
    if not (a > 0 and b > 0):
        raise ValueError(_undetermined(found, draws))
    crit = _interval(b / a, draws.critical)
    if crit.low == 0 and math.isinf(crit.high):
        raise ValueError(
            f"the noise of {_spread(found):.0%} hides where steps stop to fall with the batch: b_crit is {crit.low:g} "
            "to any size. Add seeds, or batch sizes on both sides"
        )
    star = _interval((1 + overhead) * b0 + overhead * b / a, (1 + overhead) * b0 + overhead * draws.critical)
    used = [at for at, run in enumerate(runs) if not run.diverged]
    outliers = tuple(at for at, left in zip(used, found.out, strict=True) if left)
    away = set(outliers)
    return CriticalBatch(
        _interval(a, draws.a), _interval(b, draws.b), crit, star, b0, reference is None, overhead, tuple(runs),
        tuple(a + b / run.batch for run in runs), outliers,
        tuple(at for at, run in enumerate(runs) if run.diverged),
        tuple(at for at in used if not runs[at].reached and at not in away),
        float(np.median(np.abs(np.expm1(found.off[~found.data.censored])))), tuple(_notes(found, crit, b0)), draws,
    )  # fmt: skip


def _check(reference: float | None, overhead: float) -> None:
    if reference is not None and not (math.isfinite(reference) and reference > 0):
        raise ValueError(f"a reference batch of {reference:g}: accepted is a finite number above 0")
    if not (math.isfinite(overhead) and overhead > 0):
        raise ValueError(f"an overhead of {overhead:g}: accepted is a finite number above 0; 0.2 is 20 %")


def _interval(value: float, draws: Array) -> Interval:
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], method="nearest")
    return Interval(value, min(float(low), value), max(float(high), value))


def _spread(found: Robust) -> float:
    return float(np.std(found.off[~found.data.censored]))


def _undetermined(found: Robust, draws: Curves) -> str:
    """Why there is no critical batch, what is known of it, and what would tell."""
    data = found.data
    small, large = math.exp(float(data.x.min())), math.exp(float(data.x.max()))
    level = 1 - CONFIDENCE
    if found.curve.a[0] == 0:
        least = float(np.quantile(draws.critical, level, method="nearest"))
        return (
            f"steps fall as 1/batch up to the largest, {large:g}: samples to the target do not grow, so the critical "
            f"batch lies above{f' {least:.4g} (95 %)' if math.isfinite(least) else ''}. Add larger batches; and where "
            "every run had the same budget of samples, this is no target loss"
        )
    most = float(np.quantile(draws.critical, 1 - level, method="nearest"))
    return (
        f"steps do not fall with the batch from the smallest, {small:g}, on: the critical batch lies below"
        f"{f' {most:.4g} (95 %)' if most > 0 else ''}. Add smaller batches"
    )


def _notes(found: Robust, crit: Interval, reference: float) -> Iterator[str]:
    data = found.data
    small, large = math.exp(float(data.x.min())), math.exp(float(data.x.max()))
    if math.isinf(crit.high):
        yield f"b_crit is not bounded from above: the batches, {small:g} to {large:g}, end too early; add larger ones"
    elif crit.value > large:
        yield f"b_crit lies {crit.value / large:.3g} times above the largest batch, {large:g}: extrapolated"
    if crit.low == 0:
        yield f"b_crit is not bounded from below: the batches, {small:g} to {large:g}, begin too late; add smaller ones"
    elif crit.value < small:
        yield f"b_crit lies {small / crit.value:.3g} times below the smallest batch, {small:g}: extrapolated"
    if not small * (1 - 1e-9) <= reference <= large * (1 + 1e-9):
        yield f"the reference batch {reference:g} lies outside the batches, {small:g} to {large:g}"
    if len(data.sizes) == len(data.x):
        yield "one run for each batch size: intervals come from how far runs lie from the curve"
    if not found.settled:
        yield "the fit of the censored runs did not settle: add steps to them"
