"""The numbers that a decision starts from: the best rate of each operation and data type.

One row each for bus bandwidth, GEMM and memory, with its interval, its cell, and its shares of the
declared peak and of the best published figure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.records import Cadence, Origin
from harness.summary import Cell, Figure
from harness.units import Unit
from reports.model import Column, Group, Hero, Notes, Table, Text
from reports.numbers import percent, shown
from reports.reading import (
    best,
    family,
    figures_of,
    grouped,
    is_cached,
    is_collected,
    member,
    origin_words,
    origins,
    rate_name,
    say,
    say_all,
)
from reports.shares import Share, of_peak, of_published
from reports.subject import Subject, beyond_caches, interval_title
from reports.text import clean, sentence, spoken
from reports.titles import family_title, quantity
from reports.utilisation import of_job

COMPARED = (Unit.SECOND, Unit.BYTE_PER_SECOND, Unit.FLOP_PER_SECOND, Unit.TOKEN_PER_SECOND)
"""Units in which it is plain whether more or less is better; others are in their chapters only."""


APART = (
    "gemm.rule", "collectives.pairwise", "collectives.overlap", "collectives.nccl_tests", "memory.strided",
    "memory.random", "memory.latency", "memory.numa", "memory.transfer",
)  # fmt: skip
JOB = "e2e.mfu"
COLLECTED = ("collectives", "network", "memory", "gemm", "offload", "e2e")
"""Families of logs of which the best may lead; the state of a device is no result."""
HEROES = 4
PARSED = Origin.PARSED.value
PRODUCTS = ("gemm.square", "gemm.shape", "gemm.peak")


@dataclass(frozen=True)
class Best:
    """One row: the best figure of `title` (an operation, a data type), and its shares."""

    section: str
    title: str
    dtype: str
    figure: Figure
    peak: Share
    published: Share
    remark: str = ""  # what a reader must know of this row


def rows(subject: Subject) -> list[Best]:
    """Best figures, in the order of benchmarks and data types."""
    made = []
    leading = [cell for cell in subject.measured if _leads(cell)]
    for name, cells in grouped(leading, lambda cell: family(cell.benchmark)).items():
        for (benchmark, dtype, op, cached, trainer), those in grouped(cells, _identity).items():
            figures, remark = _eligible(subject, those)
            if not figures or figures[0].unit not in COMPARED:
                continue
            figure = best(figures)
            share = _of_peak(subject, figure, those)
            title = spoken(op or member(benchmark)) + (", in cache" if cached else "")
            title += f", {trainer}" if trainer else ""
            title += f", {clean(figure.params['model'])}" if "model" in figure.params else ""
            made.append(Best(name, title, dtype, figure, share, of_published(figure, subject.cluster), remark))
    return made


def _leads(cell: Cell) -> bool:
    """Whether a cell may head the report: not a part of a layer, and not what has no one best cell, or one
    that says nothing by itself (padding's rate, a stride's)."""
    if cell.benchmark == "gemm.transformer":
        return cell.params.get("part") == "layer"
    if is_collected(cell):
        return family(cell.benchmark) in COLLECTED
    return cell.benchmark not in APART and (family(cell.benchmark) != "e2e" or cell.benchmark == JOB)


def _identity(cell: Cell) -> tuple[str, str, str, bool, str]:
    dtype, op, trainer = (clean(cell.params.get(key, "")) for key in ("dtype", "op", "trainer"))
    if is_collected(cell):
        op = op or next((clean(cell.params[key]) for key in ("operation", "test") if key in cell.params), "")
        trainer = trainer or clean(cell.params.get("framework", ""))
    return cell.benchmark, dtype, op, is_cached(cell.params), trainer


def _of_peak(subject: Subject, figure: Figure, cells: Sequence[Cell]) -> Share:
    """Of the datasheet's peak; of a training job that is its MFU, a device's whoever shares it."""
    if figure.benchmark == JOB:
        return of_job(subject, next(cell for cell in cells if figure in cell.figures)).datasheet
    return of_peak(figure, subject.cluster, subject.per_device)


def _eligible(subject: Subject, cells: Sequence[Cell]) -> tuple[list[Figure], str]:
    """Figures of the headline rate, and a remark. Memory counts only where its working set is no cache's."""
    remark = ""
    if family(cells[0].benchmark) == "memory" and not is_collected(cells[0]):
        cells, remark = beyond_caches(subject, cells)
    return figures_of(cells, rate_name(cells[0])), remark


def table(subject: Subject, made: Sequence[Best]) -> Table:
    """The headline table; notes give every peak and published figure with its source."""
    notes, figures = Notes(), [row.figure for row in made]
    mixed = len({figure.origin for figure in figures}) > 1
    columns = [
        Column("", share=13), Column("Data type", share=8), Column("Best", numeric=True, share=13),
        Column(interval_title(figures), numeric=True, share=14), Column("Reached at", share=25),
        Column("Launches ×\u00a0samples", numeric=True, share=9), Column("Of datasheet peak", numeric=True, share=9),
        Column("Of best published", numeric=True, share=9),
    ]  # fmt: skip
    if mixed:
        columns.append(Column("Origin", share=9))
    groups = []
    for section, those in grouped(made, lambda row: row.section).items():
        title = family_title(section)
        if quantity(those[0].figure.name) not in title.lower():
            title += f", {quantity(those[0].figure.name)}"
        ranks = {row.figure.params.get("ranks") for row in those} - {None}
        common = ("ranks",) if len(ranks) == 1 else ()
        title += "".join(f", {say('ranks', count)}" for count in ranks if common)
        groups.append(Group(title, tuple(_row(row, notes, mixed, common) for row in those)))
    origin = origin_words(list(dict.fromkeys(figure.origin for figure in figures)))
    caption = f"Best rate of each operation and data type; {origin}."
    return Table(subject.identifier("headline"), caption, tuple(columns), tuple(groups), tuple(notes.texts))


def _row(row: Best, notes: Notes, mixed: bool, common: tuple[str, ...]) -> tuple[Text, ...]:
    figure = row.figure
    number, counts = shown(figure.interval, figure.unit), {len(launch) for launch in figure.samples}
    where = (say_all(figure.own or figure.params, without=("dtype", "op", "cached", *common)), figure.cadence)
    each = f"{max(counts):,}" if len(counts) == 1 else f"{min(counts):,}–{max(counts):,}"
    mark = notes.mark(sentence(row.remark)) if row.remark else ""
    cells = [
        Text(row.title), Text(row.dtype or "–"), Text(number.text, mark=mark), Text(number.interval),
        Text(", ".join(part for part in where if part)), Text(f"{figure.summary.launches} × {each}"),
        _share(row.peak, notes), _share(row.published, notes),
    ]  # fmt: skip
    return (*cells, Text(figure.origin.value)) if mixed else tuple(cells)


def _share(share: Share, notes: Notes) -> Text:
    if share.ratio is None:
        return Text("n/a", mark=notes.mark(sentence(share.note)), tone="muted")
    if share.alarm:
        return Text(
            percent(share.ratio), mark=notes.mark(f"{share.note}. Above 100 %: see the note above."), tone="alarm"
        )
    return Text(percent(share.ratio), mark=notes.mark(sentence(share.note)))


def heroes(subject: Subject, made: Sequence[Best]) -> tuple[Hero, ...]:
    """Up to four numbers for the first page: all-reduce rate, GEMM peak, memory, training, shortest all-reduce."""
    chosen: list[Hero] = []
    wanted: list[tuple[str, Callable[[Best], bool]]] = [
        ("All-reduce bus bandwidth", lambda row: row.figure.benchmark == "collectives.all_reduce"),
        ("Matrix multiplication", lambda row: row.figure.benchmark in PRODUCTS and not is_cached(row.figure.params)),
        ("Memory bandwidth", lambda row: row.figure.benchmark == "memory.stream"),
        ("Training, FLOP of the model", lambda row: row.figure.benchmark == JOB),
    ]
    for label, fits in wanted:
        found = [row for row in made if fits(row)]
        if found:
            chosen.append(_hero(label, max(found, key=lambda row: row.figure.interval.value)))
    shortest = _latency(subject)
    return (*chosen, shortest)[:HEROES] if shortest else tuple(chosen)


def _hero(label: str, row: Best) -> Hero:
    number = shown(row.figure.interval, row.figure.unit)
    what = ", ".join(part for part in (say_all(row.figure.params), row.figure.cadence, row.remark) if part)
    share = f"{percent(row.peak.ratio)} of datasheet peak" if row.peak.ratio is not None else ""
    alarm = ": see the headline numbers" if row.peak.alarm else ""
    return Hero(label, number.value, number.unit, number.interval, what, share + alarm)


def _latency(subject: Subject) -> Hero | None:
    cells = [cell for cell in subject.measured if cell.benchmark == "collectives.all_reduce"]
    figures = [f for f in figures_of(cells, "time", Cadence.ISOLATED) if f.unit is Unit.SECOND]
    if not figures:
        return None
    least = best(figures)
    number = shown(least.interval, least.unit)
    return Hero(
        "Shortest all-reduce", number.value, number.unit, number.interval, f"{say_all(least.params)}, isolated", ""
    )


def alarms(made: Sequence[Best]) -> tuple[str, ...]:
    """Utilisations above 100 %, which no reader may miss."""
    return tuple(dict.fromkeys(sentence(row.peak.alarm) for row in made if row.peak.alarm))


def verb(subject: Subject) -> str:
    """What was done to the cells that have numbers: 'measured', 'modelled', or 'parsed' where logs are all there is."""
    if subject.modelled:
        return Origin.MODELLED.value
    return PARSED if origins(subject.measured) == [Origin.PARSED] else Origin.MEASURED.value
