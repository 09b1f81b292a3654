"""What a cost model says of a measured curve, as a report shows it: handed in by `bench`, since reports
read records and cost models read curves, and neither knows the other."""

from __future__ import annotations

from dataclasses import dataclass

from harness.records import Cadence, Params
from harness.statistics import Interval


@dataclass(frozen=True)
class Piece:
    """One protocol segment: t = alpha + S·factor/beta from `first` to `last` B of message."""

    first: float
    last: float
    alpha: Interval  # s
    beta: Interval | None  # B/s of bus bandwidth; None where time does not measurably grow


@dataclass(frozen=True)
class Expectation:
    """What a model of the declared hardware, with the shares that others have published, gives for the
    curve's two ends. Without a rate there is no model, for the reason."""

    rate: float | None  # B/s of bus bandwidth, of the largest message
    time: float | None = None  # s, of the smallest, where the model is good enough to tell
    reason: str = ""


@dataclass(frozen=True)
class CurveModel:
    """One curve over message size. params: of its cells, without `size`. What the range of sizes cannot
    tell is None. error: median relative distance of the points from the model."""

    benchmark: str
    params: Params
    cadence: Cadence | None
    pieces: tuple[Piece, ...]
    peak: Interval  # B/s of bus bandwidth
    first_time: Interval  # s, of the smallest message
    n_half: Interval | None  # B
    ninety: Interval | None  # B
    error: float
    expected: Expectation
    notes: tuple[str, ...] = ()
