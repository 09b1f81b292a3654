"""In which order the cells of a launch are visited, and how the budget is shared (METHOD 7, 13).

One pass over every cell in a seeded random order, each with an even share of the time that is left;
then, while time is left, the cell with the widest interval is visited again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from harness.policy import Policy
from harness.records import Evidence, Measurement
from harness.statistics import median_interval
from harness.summary import identity

LEAST_CAP = 0.02  # s of sampling that the poorest visit gets
SAMPLED = 0.5  # share of a cell's time that goes to sampling; the rest to buffers, checks, warm-up


@dataclass(frozen=True)
class Visit:
    cell: int
    passing: int
    policy: Policy


class Budget:
    """Time left of a launch, in s; None is without end."""

    def __init__(self, limit: float | None, now: Callable[[], float]) -> None:
        self._now = now
        self._end = None if limit is None else now() + limit

    def left(self) -> float | None:
        return None if self._end is None else self._end - self._now()


def visits(count: int, seed: int, budget: Budget, policy: Policy, widest: Callable[[], int | None]) -> Iterator[Visit]:
    """Visits until the cells or the budget are used up. `widest` names the cell that is worth another."""
    order = list(range(count))
    random.Random(seed).shuffle(order)  # noqa: S311 (an order, not a secret)
    for done, cell in enumerate(order):
        left = budget.left()
        if left is not None and left <= 0:
            return
        yield Visit(cell, 1, _within(policy, left, count - done))
    passing = 2
    while (left := budget.left()) is not None and left > policy.cap:
        again = widest()
        if again is None:
            return
        yield Visit(again, passing, policy)
        passing += 1


def _within(policy: Policy, left: float | None, cells: int) -> Policy:
    """The policy with its caps cut to an even share of what is left (two cadences a cell)."""
    if left is None:
        return policy
    share = max(LEAST_CAP, left / cells * SAMPLED / 2)
    return msgspec.structs.replace(policy, cap=min(policy.cap, share), warmup_cap=min(policy.warmup_cap, share / 2))


def joined(before: tuple[Measurement, ...], now: tuple[Measurement, ...]) -> tuple[Measurement, ...]:
    """Samples of two visits of the same cell as one measurement per metric and parameters; what only
    one of them has (a search may try other shapes) stays."""
    earlier = {identity(measurement): measurement for measurement in before}
    again = {identity(measurement) for measurement in now}
    kept = tuple(measurement for key, measurement in earlier.items() if key not in again)
    return kept + tuple(_join(earlier[identity(m)], m) if identity(m) in earlier else m for m in now)


def _join(a: Measurement, b: Measurement) -> Measurement:
    if a.pairs != b.pairs:
        return b  # other pairs: the later visit stands
    samples = _by_pair(a, b) if a.pairs else a.samples + b.samples
    evidence = msgspec.structs.replace(
        b.evidence,
        warmup=a.evidence.warmup + b.evidence.warmup,
        settled=a.evidence.settled and b.evidence.settled,
        width=None if a.evidence.width is None else median_interval(samples).width,  # a search's trials have none
        tainted=a.evidence.tainted + b.evidence.tainted,
        skew_max=_larger(a.evidence, b.evidence),
        flags=tuple(dict.fromkeys(a.evidence.flags + b.evidence.flags)),
    )
    return msgspec.structs.replace(b, samples=samples, evidence=evidence)


def _by_pair(a: Measurement, b: Measurement) -> tuple[float, ...]:
    """Samples of both visits, still in equal shares, one for each pair."""
    count, first, second = len(a.pairs), len(a.samples) // len(a.pairs), len(b.samples) // len(b.pairs)
    shares = (a.samples[i * first : (i + 1) * first] + b.samples[i * second : (i + 1) * second] for i in range(count))
    return tuple(sample for share in shares for sample in share)


def _larger(a: Evidence, b: Evidence) -> float | None:
    known = [skew for skew in (a.skew_max, b.skew_max) if skew is not None]
    return max(known, default=None)
