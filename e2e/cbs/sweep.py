"""Which trials to train next, from what those before gave: a pure function, so every rank comes to the same list.

For each batch size the learning rate is tuned on a geometric grid by climbing: from a start, the two neighbours of the
best so far are tried until it is better than both. Trials that tune have seeds of their own; then the others are
trained at the rate found. The seeds that chose a rate would flatter it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from e2e.cbs.trials import Key, Trained, Trial

Held = Mapping[Key, Trained]
Score = tuple[int, float]

PATIENCE = 4  # times the steps that tuning took: a seed that is not there by then is censored
WORSE = 1.25  # times the steps of the best so far: a neighbour that takes longer is worse, and cut off there


@dataclass(frozen=True)
class Sweep:
    """starts: the first notch of each batch size. reach: notches on each side of the start, at most. tuning, seeds:
    trials that tune a rate and that are measured at it."""

    starts: Mapping[int, int]
    reach: int
    tuning: int
    seeds: int
    limit: int


def starts(batches: Sequence[int], scaling: float, apart: float) -> dict[int, int]:
    """The start of the largest batch is notch 0; others are scaled by a power of the batch size: 1 for SGD, 0.5 for
    Adam (Malladi et al., arXiv 2205.10287)."""
    largest = max(batches)
    return {batch: round(scaling * math.log(batch / largest) / math.log(apart)) for batch in batches}


def wanted(sweep: Sweep, held: Held) -> list[Trial]:
    """Trials to train now, the longest first; none where all is done."""
    trials = [trial for batch in sorted(sweep.starts) for trial in _of_batch(sweep, batch, held)]
    return [trial for trial in trials if trial.key not in held]


def _of_batch(sweep: Sweep, batch: int, held: Held) -> list[Trial]:
    start = sweep.starts[batch]
    tried = {notch: score for notch in _notches(sweep, batch) if (score := _score(sweep, batch, notch, held))}
    if start not in tried:
        return _tuning(sweep, batch, start, sweep.limit)
    best = min(tried, key=lambda notch: tried[notch])
    ended, steps = tried[best]
    limit = min(sweep.limit, math.ceil(WORSE * steps)) if ended == 0 else sweep.limit
    sides = (best - 1,) if ended == 2 else (best - 1, best + 1)
    open_ = [notch for notch in sides if notch not in tried and abs(notch - start) <= sweep.reach]
    if open_:
        return [trial for notch in open_ for trial in _tuning(sweep, batch, notch, limit)]
    if ended:
        return []
    limit = min(sweep.limit, math.ceil(PATIENCE * steps))
    return [Trial(batch, best, seed, limit) for seed in range(1, sweep.seeds + 1)]


def best(sweep: Sweep, batch: int, held: Held) -> tuple[int, bool]:
    """The notch that tuning chose, and whether it is better than neighbours on both sides; not so where the reach of
    the sweep ended first."""
    tried = {notch: score for notch in _notches(sweep, batch) if (score := _score(sweep, batch, notch, held))}
    chosen = min(tried, key=lambda notch: tried[notch])
    return chosen, chosen - 1 in tried and chosen + 1 in tried


def _notches(sweep: Sweep, batch: int) -> range:
    start = sweep.starts[batch]
    return range(start - sweep.reach, start + sweep.reach + 1)


def _tuning(sweep: Sweep, batch: int, notch: int, limit: int) -> list[Trial]:
    return [Trial(batch, notch, -index, limit) for index in range(sweep.tuning)]


def _score(sweep: Sweep, batch: int, notch: int, held: Held) -> Score | None:
    """Smaller is better: (0, mean steps) where all seeds reached the target, (1, mean of the lowest losses) where one
    did not, (2, notch) where one diverged; None where not all are trained."""
    those = [held.get((batch, notch, -index)) for index in range(sweep.tuning)]
    found = [one for one in those if one is not None]
    if len(found) < sweep.tuning:
        return None
    if any(one.ended == "diverged" for one in found):
        return 2, float(notch)
    if any(one.ended == "censored" for one in found):
        return 1, sum(one.lowest for one in found) / len(found)
    return 0, sum(one.steps for one in found) / len(found)
