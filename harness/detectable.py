"""The smallest effect that a design finds at its noise, from the measurements themselves.

No shape of noise is assumed: each suspect, as it was measured, is asked by how much slower it would have
had to be for every rule to name it. What nine in ten would have needed is the answer for their kind.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from harness.contrasts import MARGIN, Class, Contrasts, Group, Index, Verdict, chance, parts
from harness.tails import Array, student_quantile

FOUND = 0.9  # share of the suspects of a kind that would have been named
ASKED = 50  # suspects of a kind, evenly spread, that are asked: more would not change a decile
LONGEST = math.log(64)  # a suspect that would have to be slower than this is said to be out of reach


def smallest(
    suspects: Sequence[Group], rows: Index, held: Sequence[Class], tests: Contrasts, verdict: Verdict, level: float
) -> float:
    """Ratio of times at which nine in ten suspects of a kind (rows of `tests`) would have been named, one
    at a time, with p-values below `level`. Infinite where no ratio is enough, for want of samples."""
    step, needs = -(-len(rows) // ASKED), []
    for row in rows[::step].tolist():
        by_t = student_quantile(level, float(verdict.df[row])) * verdict.scale[row]
        enough = max(by_t, MARGIN + float(verdict.reach[row]))
        needs.append(_needed(suspects[row], held, float(tests.effect[row]), enough, level))
    return math.exp(_bound(np.array(needs)))


def _bound(needs: Array) -> float:
    """What nine in ten need. The greatest of m is that of m / (m + 1) of all, so of fewer than nine it is
    too low, and Student's prediction bound stands in its place."""
    count = len(needs)
    bound = float(np.quantile(needs, FOUND, method="higher"))
    if not 2 < count < FOUND / (1 - FOUND) or math.isinf(bound):
        return bound
    beyond = student_quantile(1 - FOUND, count - 1) * needs.std(ddof=1) * math.sqrt(1 + 1 / count)
    return max(bound, float(needs.mean() + beyond))


def _needed(suspect: Group, held: Sequence[Class], effect: float, enough: float, level: float) -> float:
    """The least shift that makes its effect `enough`, shared by its paths, with a rank sum below `level`."""
    found = parts(suspect, held)
    if not found:
        return math.inf
    shift = max(0.0, enough - effect, *(part.lacking(effect) for part in found))
    if chance(found, shift) <= level:
        return shift
    low, high = shift, LONGEST
    if chance(found, high) > level:
        return math.inf
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (low, middle) if chance(found, middle) <= level else (middle, high)
    return high
