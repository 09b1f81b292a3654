"""What cost models say of training runs at several batch sizes: the curve of steps, the critical batch, and which
batch on how many ranks is fastest and cheapest. Handed in by `bench`, as curve models are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.records import Params
from harness.statistics import Interval

Ended = Literal["reached", "censored", "diverged", "outlier"]


@dataclass(frozen=True)
class Point:
    """One training run. steps: to the target; of a censored run those without reaching it; of a diverged one those
    at which it was given up. outlier: reached, and too far off the curve to be used."""

    batch: float
    steps: float
    ended: Ended


@dataclass(frozen=True)
class Fitted:
    """S(B) = a + b/B. a in steps, b in samples: the least steps and the least samples. b_crit = b/a; b_star: where
    steps are `overhead` more than linear scaling from the reference batch gives. curve: (batch, steps) ascending.
    error: median relative distance of the runs from it. notes: what a reader must know."""

    a: Interval
    b: Interval
    b_crit: Interval
    b_star: Interval
    reference: float
    chosen: bool
    overhead: float
    curve: tuple[tuple[float, Interval], ...]
    error: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Choice:
    """A batch on so many ranks. step, wall: s of one step, and to the target. rank_time: rank-seconds to it. beyond:
    the factor by which the batch lies outside what was measured; 1 inside."""

    batch: float
    ranks: int
    step: Interval
    steps: Interval
    wall: Interval
    rank_time: Interval
    beyond: float = 1.0


@dataclass(frozen=True)
class Width:
    """The best that a number of ranks does. gain: ln of the speed-up over ln of the ranks from the next smaller number;
    None for the smallest. efficiency: of the rank time, over the smallest number's."""

    fastest: Choice
    gain: Interval | None
    efficiency: Interval


@dataclass(frozen=True)
class PlanModel:
    """Steps joined to the step times of one system. system: whose, in words. choices: all that were looked at, by
    ranks, then batch. worth: the largest number of ranks worth having, of a return of at least `least_return`."""

    system: str
    choices: tuple[Choice, ...]
    fastest: Choice
    fastest_batch: Interval
    cheapest: Choice
    cheapest_batch: Interval
    pareto: tuple[Choice, ...]
    widths: tuple[Width, ...]
    worth: int
    least_return: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class CriticalBatchModel:
    """Of one cell of `e2e.cbs`. unit: what its batches count. rates, flags: of each batch, the learning rate that was
    tuned for it, and what its runs say of themselves in words. fitted: None where the runs do not tell; then `reason`
    says why. plans: of each system whose step times are of the same model; none has its reason in `unjoined`."""

    params: Params
    target: str
    unit: str
    points: tuple[Point, ...]
    fitted: Fitted | None
    reason: str = ""
    plans: tuple[PlanModel, ...] = ()
    unjoined: str = ""
    rates: tuple[tuple[float, float], ...] = ()
    flags: tuple[tuple[float, tuple[str, ...]], ...] = ()
