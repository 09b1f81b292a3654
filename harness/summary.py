"""Records into what a reader wants to know: one row per cell and metric, launches merged.

Everything that shows numbers (reports, `bench show`, --json) reads them from here, so that a
statistic exists once. Rates come from times: amount / median(time), never a mean of rates.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from harness.records import Cadence, Evidence, Measurement, Ok, Origin, Outcome, Params, Record, cell_name
from harness.statistics import Interval, Summary, summarise
from harness.units import Unit


@dataclass(frozen=True)
class Figure:
    """One number of one cell, ready to be shown: a time, or a rate that follows from it."""

    benchmark: str
    params: Params  # of the cell, and what the measurement adds to them
    name: str  # "time", or the rate's name: busbw, algbw, flops, bandwidth
    cadence: Cadence | None
    unit: Unit
    interval: Interval
    origin: Origin
    summary: Summary  # of the samples (s), also for a rate
    evidence: tuple[Evidence, ...]  # one per launch
    samples: tuple[tuple[float, ...], ...]  # raw, one tuple per launch
    own: Params = field(default_factory=dict)  # what the measurement adds to the cell's params
    pairs: tuple[tuple[int, int], ...] = ()  # see records.Measurement; the first launch's
    derived: bool = False  # a rate that follows from the figure before it

    @property
    def label(self) -> str:
        return cell_name(self.benchmark, self.params)


@dataclass(frozen=True)
class Cell:
    """All launches of one cell."""

    benchmark: str
    version: int
    params: Params
    outcomes: tuple[Outcome, ...]  # one per launch
    figures: tuple[Figure, ...]
    notes: tuple[str, ...]

    @property
    def label(self) -> str:
        return cell_name(self.benchmark, self.params)

    @property
    def outcome(self) -> Outcome:
        """The worst over launches: a cell that failed once is not ok."""
        return next((outcome for outcome in self.outcomes if not isinstance(outcome, Ok)), Ok())

    def figure(self, name: str, cadence: Cadence | None = None) -> Figure | None:
        """The figure of that name; without a cadence, the first one measured."""
        fits = (f for f in self.figures if f.name == name and cadence in (None, f.cadence))
        return next(fits, None)


def latest(records: Iterable[Record]) -> list[Record]:
    """The last record of each cell and launch: a cell measured again (refined, resumed) replaces
    what was stored for it before, which stays in the file."""
    kept: dict[tuple[str, int, int], Record] = {}
    for record in records:
        kept[(cell_name(record.benchmark, record.params), record.version, record.launch)] = record
    return list(kept.values())


def cells(records: Iterable[Record]) -> list[Cell]:
    """Cells in the order of benchmark name and parameters, each with its figures."""
    groups: dict[tuple[str, int], list[Record]] = {}
    for record in latest(records):
        groups.setdefault((cell_name(record.benchmark, record.params), record.version), []).append(record)
    return sorted((_cell(group) for group in groups.values()), key=_order)


def _order(cell: Cell) -> tuple[Any, ...]:
    """Numbers sort as numbers, texts as texts, whatever the mix of parameters."""
    values = [(k, 0, v, "") if isinstance(v, (int, float)) else (k, 1, 0, str(v)) for k, v in cell.params.items()]
    return (cell.benchmark, cell.version, sorted(values))


def _cell(group: list[Record]) -> Cell:
    group = sorted(group, key=lambda record: record.launch)
    first = group[0]
    measured = [record for record in group if isinstance(record.outcome, Ok)]
    taken: dict[tuple[str, str], list[Measurement]] = {}
    for record in measured:
        for m in record.measurements:
            taken.setdefault(identity(m), []).extend([m] if m.samples else [])
    figures = [figure for those in taken.values() if those for figure in _figures(first, those)]
    notes = dict.fromkeys(note for record in group for note in record.notes)
    return Cell(
        first.benchmark, first.version, first.params, tuple(r.outcome for r in group), tuple(figures), tuple(notes)
    )


def identity(measurement: Measurement) -> tuple[str, str]:
    """What makes a measurement of one visit or launch the same as one of another, within a cell."""
    return measurement.metric, cell_name("", measurement.params)


def _figures(record: Record, taken: list[Measurement]) -> list[Figure]:
    """The measured quantity itself, then each rate that follows from it."""
    head = taken[0]
    summary = summarise([m.samples for m in taken], head.statistic)
    evidence, samples = tuple(m.evidence for m in taken), tuple(m.samples for m in taken)

    def figure(name: str, unit: Unit, interval: Interval, derived: bool) -> Figure:
        return Figure(
            record.benchmark, record.params | head.params, name, head.cadence, unit, interval, head.origin, summary,
            evidence, samples, head.params, head.pairs, derived,
        )  # fmt: skip

    base = head.metric.split(".", 1)[0]
    rates = [figure(rate.name, rate.unit, summary.interval.over(rate.amount), True) for rate in head.rates]
    return [figure(base, head.unit, summary.interval, False), *rates]
