"""The four times of a checkpoint for each engine, and what they cost in memory and against the disk's roof."""

from __future__ import annotations

from collections.abc import Sequence

from harness.statistics import Interval
from harness.summary import Cell, Figure
from harness.units import Unit, show_size
from reports.figures.checkpoint import Bar, bars
from reports.model import Column, Group, Notes, Picture, Table, Text
from reports.numbers import GAP, percent, plain, shown
from reports.reading import figures_of, grouped, member, say_all, size_of
from reports.subject import Subject, how_known
from reports.text import clean, sentence

TIMES = ("blocked", "durable", "restore")
ALONE = "n/a"
MIB = 2**20


def sections(subject: Subject, cells: Sequence[Cell]) -> tuple[list[Picture], list[Table]]:
    """A table of all engines, a figure for each size and sharding, and where the time of a save went."""
    saves = [cell for cell in cells if member(cell.benchmark) == "save" and cell.figure("durable") is not None]
    if not saves:
        return [], []
    setups = grouped(saves, lambda cell: setup(cell))
    pictures = [_picture(subject, name, those) for name, those in setups.items()]
    return pictures, [_table(subject, setups), *_phases(subject, saves)]


def setup(cell: Cell) -> str:
    """What engines are compared at: '64 MiB, 2 ranks, fsdp'."""
    size = size_of(cell.params) or 0.0
    rest = {key: cell.params[key] for key in ("processes",) if key in cell.params}
    return f"{show_size(size)}, {say_all(rest)}, {clean(cell.params.get('sharding', ''))}".replace(" ", GAP, 1)


def engine_of(cell: Cell) -> str:
    return clean(cell.params.get("engine", "?"))


def _table(subject: Subject, setups: dict[str, list[Cell]]) -> Table:
    columns = (
        Column("Engine", share=13), Column("Blocked", numeric=True, share=14),
        Column("Durable", numeric=True, share=14), Column("Restore", numeric=True, share=14),
        Column("Drag", numeric=True, share=13),
        Column("Bandwidth", numeric=True, share=13), Column("Of the roof", numeric=True, share=10),
        Column("Staging", numeric=True, share=11),
    )  # fmt: skip
    notes = Notes()
    groups = tuple(Group(name, tuple(_row(cell, notes) for cell in those)) for name, those in setups.items())
    used = [f for those in setups.values() for f in figures_of(those, "durable")]
    caption = (
        "What a checkpoint costs. Blocked: training stands still. Durable: until the last byte and the manifest are on "
        "the disk. Restore: in fresh processes, load and the first step. Drag: a step while a save is written, of one "
        "alone; n/a where nothing is left to write then. Of the roof: bandwidth against plain writes of the same bytes "
        f"by as many processes, in the same run. Staging: host memory over that of training. "
        f"{sentence(how_known(used))}"
    )
    return Table(subject.identifier("checkpoint-times"), caption, columns, groups, tuple(notes.texts))


def _row(cell: Cell, notes: Notes) -> tuple[Text, ...]:
    durable = cell.figure("durable")
    assert durable is not None
    mark = notes.mark(clean("; ".join(_remarks(durable)))) if _remarks(durable) else ""
    staging = cell.figure("staging")
    return (
        Text(engine_of(cell), mark=mark), *(_number(cell.figure(name)) for name in TIMES), _times(cell.figure("drag")),
        _number(cell.figure("bandwidth")), _share(cell.figure("share")),
        Text(show_size(_round(staging.interval.value)).replace(" ", GAP)) if staging and staging.interval.value >= 1
        else Text("none" if staging else ALONE, tone="muted"),
    )  # fmt: skip


def _round(size: float) -> float:
    """Whole MiB, where it is more than one: pages come and go."""
    return size if size < MIB else round(size / MIB) * MIB


def _remarks(durable: Figure) -> list[str]:
    """What the record says of the engine and of where its time went; the file system and ranks are said elsewhere."""
    flags = dict.fromkeys(flag for evidence in durable.evidence for flag in evidence.flags)
    return [flag for flag in list(flags)[2:] if not flag.startswith("n/a")]


def _number(figure: Figure | None) -> Text:
    if figure is None:
        return Text(ALONE, tone="muted")
    number = shown(figure.interval, figure.unit)
    return Text(number.text, number.interval)


def _times(figure: Figure | None) -> Text:
    if figure is None:
        return Text(ALONE, tone="muted")
    number = shown(figure.interval, Unit.RATIO)
    return Text(f"{number.value}{GAP}×", number.interval)


def _share(figure: Figure | None) -> Text:
    if figure is None:
        return Text(ALONE, tone="muted")
    i = figure.interval
    number = shown(Interval(100 * i.value, 100 * i.low, 100 * i.high), Unit.RATIO)
    return Text(f"{number.value}{GAP}%", number.interval)


def _phases(subject: Subject, cells: Sequence[Cell]) -> list[Table]:
    """Where the time of a save went, for engines that tell."""
    told = [cell for cell in cells if cell.figure("phase") is not None]
    if not told:
        return []
    parts = list(dict.fromkeys(str(figure.own.get("part")) for figure in figures_of(told, "phase")))
    columns = (Column("Engine", share=20), Column("At", share=22),
               *(Column(clean(part).capitalize(), numeric=True, share=58 / len(parts)) for part in parts))  # fmt: skip
    rows = []
    for cell in told:
        found = {str(figure.own.get("part")): figure for figure in figures_of([cell], "phase")}
        texts = [_number(found[part]) if part in found else Text(ALONE, tone="muted") for part in parts]
        rows.append((Text(engine_of(cell)), Text(setup(cell)), *texts))
    caption = (
        "Where the time of a save goes, the slowest rank's of each. Planning: the plan is made and agreed on. "
        "Serialising: tensors are found and framed. Writing: bytes are handed to the system. Finishing: metadata, and "
        "the wait for other ranks."
    )
    return [Table(subject.identifier("checkpoint-phases"), caption, columns, (Group("", tuple(rows)),))]


def _picture(subject: Subject, name: str, cells: Sequence[Cell]) -> Picture:
    made = []
    for cell in cells:
        figures = [cell.figure(part) for part in TIMES]
        made.append(Bar(engine_of(cell), tuple(None if f is None else f.interval for f in figures)))
    drags = [(engine_of(cell), f.interval.value) for cell in cells if (f := cell.figure("drag")) is not None]
    said = ", ".join(f"{percent(ratio)} with {engine}" for engine, ratio in drags)
    identifier = subject.identifier(f"checkpoint-{name}")
    alt = f"Times of a checkpoint of {name}: {'; '.join(map(_said, made))}."
    caption = (
        f"A checkpoint of {name}: how long training stands still, until it is durable, and until training has gone on "
        f"from it.{f' A step beside a save, of one alone: {said}.' if said else ''}"
    )
    return Picture(identifier, bars(identifier, alt, TIMES, made), caption, alt)


def _said(bar: Bar) -> str:
    """'dcp: blocked 248 ms, durable 248 ms, restore 820 ms'."""
    parts = (f"{n} {plain(i.value, Unit.SECOND)}" for n, i in zip(TIMES, bar.parts, strict=True) if i is not None)
    return f"{bar.label}: {', '.join(parts)}"
