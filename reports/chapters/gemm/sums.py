"""A model's layer out of its parts: which cells belong together, their sum, and the layer really run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.records import Params, Scalar
from harness.statistics import Interval
from harness.summary import Cell, Figure
from reports.reading import grouped
from reports.subject import Subject

LAYER = "layer"
KEYS = ("model", "sequence", "batch", "tensor_parallel", "vocabulary", "dtype")
PIECES = ("norm", "qkv", "rope", "split", "attention", "projection", "router", "route", "permute", "up", "activation",
          "down", "combine", "residual", "bias", "logits", "scores", "values")  # fmt: skip
"""The order in which a layer runs; what stands beside it comes last."""


@dataclass(frozen=True)
class PartOf:
    """One part. time in s of doing it once; work: FLOP/s; moved: B/s, each where it was recorded."""

    name: str
    times: int  # in a layer; 0 where it stands beside it
    shape: tuple[int, ...]  # m, n, k; k is 0 of a part that only moves data
    count: int
    time: Figure
    work: Figure | None
    moved: Figure | None

    @property
    def flops(self) -> float:
        return self.work.interval.value * self.time.interval.value if self.work else 0.0


@dataclass(frozen=True)
class Sizing:
    """All cells of one model, shape and data type. missing: parts that were planned and have no number."""

    params: Params
    parts: tuple[PartOf, ...]
    layer: Cell | None
    missing: tuple[str, ...]

    @property
    def run(self) -> Figure | None:
        """Duration of the layer really run."""
        return self.layer.figure("time") if self.layer else None

    @property
    def total(self) -> Interval:
        """times × duration over the parts of the layer, in interval arithmetic: the ends are summed."""
        held = [(part.times, part.time.interval) for part in self.parts]
        return Interval(*(sum(n * getattr(i, end) for n, i in held) for end in ("value", "low", "high")))

    @property
    def whole(self) -> bool:
        """Whether the parts are all of the layer: none is missing, and FLOP agree."""
        work = self.layer.figure("flops") if self.layer else None
        if self.missing or work is None or self.run is None:
            return False
        flops = work.interval.value * self.run.interval.value
        return math.isclose(sum(part.times * part.flops for part in self.parts), flops, rel_tol=1e-6)

    @property
    def ratio(self) -> Interval | None:
        """The sum over the layer really run, the extremes of both taken together."""
        if self.run is None or not self.whole:
            return None
        total, run = self.total, self.run.interval
        return Interval(total.value / run.value, total.low / run.high, total.high / run.low)


def sizings(subject: Subject, cells: Sequence[Cell]) -> list[Sizing]:
    """One for each model, shape and data type that has numbers."""
    named = grouped(subject.run.info.cells, lambda planned: planned.benchmark).get(cells[0].benchmark, [])
    planned = grouped((p.params for p in named), key)
    return [_sizing(those, planned.get(name, [])) for name, those in grouped(cells, lambda c: key(c.params)).items()]


def key(params: Params) -> tuple[Scalar, ...]:
    return tuple(params.get(name) for name in KEYS)


def _sizing(cells: Sequence[Cell], planned: Iterable[Params]) -> Sizing:
    held = {str(cell.params.get("part", "")): cell for cell in cells}
    parts = [part for name, cell in held.items() if name != LAYER and (part := _part(name, cell))]
    wanted = dict.fromkeys(str(params.get("part", "")) for params in planned)
    missing = tuple(name for name in wanted if name != LAYER and name not in held and not _beside(name))
    return Sizing(cells[0].params, tuple(sorted(parts, key=_order)), held.get(LAYER), missing)


def _part(name: str, cell: Cell) -> PartOf | None:
    time = cell.figure("time")
    if time is None:
        return None
    times, m, n, k, count = (_whole(time.own.get(word)) for word in ("times", "m", "n", "k", "count"))
    moved = cell.figure("bandwidth") or cell.figure("traffic")
    return PartOf(name, times, (m, n, k), count, time, cell.figure("flops"), moved)


def _whole(value: Scalar) -> int:
    return value if isinstance(value, int) else 0


def _beside(name: str) -> bool:
    return name.partition(".")[0] in ("logits", "scores", "values")


def _order(part: PartOf) -> tuple[int, str]:
    piece = part.name.partition(".")[0]
    return (PIECES.index(piece) if piece in PIECES else len(PIECES)), part.name
