"""Checkpoints that were loaded at another sharding than they were saved at."""

from __future__ import annotations

from collections.abc import Sequence

from harness.records import Failed, Ok, Params, Skipped
from harness.summary import Cell
from harness.units import show_size
from reports.model import Column, Group, Notes, Picture, Table, Text
from reports.numbers import GAP, shown
from reports.reading import grouped, size_of
from reports.subject import Subject, how_known
from reports.text import clean, sentence

BENCHMARK = "checkpoint.reshape"
SHARDINGS = {"fsdp": "fully sharded", "tp": "tensor parallel", "ddp": "whole on each rank"}


def sections(subject: Subject, cells: Sequence[Cell]) -> tuple[list[Picture], list[Table]]:
    """One table: a row for each way, by engine. Skips and failures are rows too, with their reason."""
    del cells  # which have numbers all
    tried = [cell for cell in subject.cells if cell.benchmark == BENCHMARK]
    if not any(cell.figures for cell in tried):
        return [], []
    notes = Notes()
    groups = [
        Group(clean(engine), tuple(_row(cell, notes) for cell in those))
        for engine, those in grouped(tried, lambda cell: str(cell.params.get("engine"))).items()
    ]
    columns = (
        Column("Saved by → loaded by", share=40), Column("State", numeric=True, share=10),
        Column("All tensors equal", share=18), Column("Load", numeric=True, share=16),
        Column("Bandwidth", numeric=True, share=16),
    )  # fmt: skip
    figures = [figure for cell in tried if (figure := cell.figure("restore")) is not None]
    caption = (
        "Checkpoints loaded by another number of ranks or at another sharding than saved; parameters, both moments, "
        f"random state and data position are compared bit for bit. {sentence(how_known(figures))}"
    )
    name = subject.identifier("checkpoint-reshape")
    return [], [Table(name, caption, columns, tuple(groups), tuple(notes.texts))]


def way(params: Params) -> str:
    """'2 ranks fully sharded → 1 rank tensor parallel'."""
    return " → ".join(
        f"{params.get(ranks)}{GAP}rank{'' if params.get(ranks) == 1 else 's'} "
        f"{SHARDINGS.get(str(params.get(sharding)), clean(params.get(sharding, '?')))}"
        for ranks, sharding in (("saved", "sharding_from"), ("loaded", "sharding_to"))
    )


def _row(cell: Cell, notes: Notes) -> tuple[Text, ...]:
    size = Text(show_size(size_of(cell.params) or 0.0).replace(" ", GAP))
    time, rate, nothing = cell.figure("restore"), cell.figure("bandwidth"), Text("–", tone="muted")
    if isinstance(cell.outcome, Ok) and time and rate:
        load, speed = shown(time.interval, time.unit), shown(rate.interval, rate.unit)
        return (
            Text(way(cell.params)),
            size,
            Text("yes"),
            Text(load.text, load.interval),
            Text(speed.text, speed.interval),
        )
    reason = getattr(cell.outcome, "reason", "no number").removeprefix(f"{cell.params.get('engine')}: ")
    mark = notes.mark(sentence(clean(reason)))
    word = {Skipped: "cannot reshape this", Failed: "no"}.get(type(cell.outcome), "not known")
    tone = "alarm" if isinstance(cell.outcome, Failed) else "muted"
    return Text(way(cell.params)), size, Text(word, mark=mark, tone=tone), nothing, nothing
