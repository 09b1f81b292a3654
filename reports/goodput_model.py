"""What a cost model says of a checkpoint engine: how often to save, and the share of time that is then useful.
Handed in by `bench`, as curve models are."""

from __future__ import annotations

from dataclasses import dataclass

from harness.records import Params
from harness.statistics import Interval


@dataclass(frozen=True)
class Job:
    """Whose interruptions are counted on. devices: 0 where the mean time was given for the whole job. mtbf: mean time
    between interruptions of the job, s. source: where that comes from, in words."""

    devices: int
    mtbf: float
    source: str


@dataclass(frozen=True)
class GoodputModel:
    """Of one engine in one job, all modelled from what its saves were measured to cost.

    params: of the cell of checkpoint.save. best, young, daly: interval of training between two saves, s, exact and by
    the closed forms. goodput: at the best one. curve: (interval in s, goodput) by ascending interval. own: whether
    the source speaks of this cluster's devices. notes: what a reader of its numbers must know.
    """

    params: Params
    job: Job
    own: bool
    best: Interval
    young: Interval
    daly: Interval
    goodput: Interval
    curve: tuple[tuple[float, Interval], ...]
    notes: tuple[str, ...] = ()
