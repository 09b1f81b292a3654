"""MFU as others would have printed it: the same job by each published way to count FLOP."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from harness import models
from harness.errors import BenchError
from harness.models.conventions import Convention, conventions
from harness.models.counts import training_flops
from harness.units import Unit
from reports.chapters.e2e.jobs import NONE, Job, by_setting, line
from reports.model import Column, Group, Notes, Table, Text
from reports.numbers import percent, plain
from reports.shares import Share
from reports.subject import Subject
from reports.text import clean, sentence
from reports.utilisation import of_job

COUNTED = {"model": "MFU", "hardware": "HFU"}


def tables(subject: Subject, held: Sequence[Job]) -> list[Table]:
    """A group for each model and length of sequence, at its fastest job."""
    notes, groups = Notes(), list[Group]()
    for title, those in by_setting(held).items():
        job = max(those, key=lambda one: one.tokens.interval.value * one.ranks / one.devices)
        rows = _rows(subject, job, notes)
        if rows:
            groups.append(Group(f"{title}: {line(job)}", rows))
    if not groups:
        return []
    columns = (
        Column("Convention", share=30), Column("Counts", share=10), Column("FLOP a token", numeric=True, share=20),
        Column("Over the exact count", numeric=True, share=20), Column("Utilisation", numeric=True, share=20),
    )  # fmt: skip
    caption = (
        "The fastest job by each published way to count: two papers' utilisations may differ in nothing but this. All "
        "of them count every pair of attention's positions; a causal kernel needs half, and the exact count that this "
        "report uses elsewhere has only those. Utilisation is over the peak in the note."
    )
    return [Table(subject.identifier("e2e-conventions"), caption, columns, tuple(groups), tuple(notes.texts))]


def _rows(subject: Subject, job: Job, notes: Notes) -> tuple[tuple[Text, ...], ...]:
    params = job.cell.params
    layers, sequence = params.get("layers"), params.get("sequence")
    if not isinstance(layers, int) or not isinstance(sequence, int):
        return ()
    try:
        model = msgspec.structs.replace(models.load(str(params.get("model"))), layers=layers)
    except BenchError:  # a file that is not here: its numbers stand, their breakdown does not
        return ()
    half, whole = (training_flops(model, sequence, 1, causal=causal) for causal in (True, False))
    share = of_job(subject, job.cell).best_known
    exact = (
        (Text("exact, pairs of a causal kernel"), Text("MFU"), *_of(half / sequence, half / whole, share, 1.0, notes)),
        (Text("exact, every pair"), Text("MFU"), *_of(whole / sequence, 1.0, share, whole / half, notes)),
    )
    return (*exact, *(_row(one, sequence, half, share, notes) for one in conventions(model, sequence)))


def _row(one: Convention, sequence: int, half: float, share: Share | None, notes: Notes) -> tuple[Text, ...]:
    said = "; ".join((one.source, *one.leaves_out))
    name = Text(clean(one.name), mark=notes.mark(f"{clean(said)}."))  # no capital: some begin with a repository
    return (name, Text(COUNTED[one.counts]), *_of(one.flops / sequence, one.ratio, share, one.flops / half, notes))


def _of(flops: float, ratio: float, share: Share | None, factor: float, notes: Notes) -> tuple[Text, Text, Text]:
    """FLOP a token, their ratio to the exact count, and the utilisation that they give: `factor` times the job's."""
    used = NONE
    if share is not None and share.ratio is not None:
        used = Text(percent(share.ratio * factor), mark=notes.mark(sentence(f"over {share.note}")))
    return Text(plain(flops, Unit.FLOP)), Text(f"{ratio:.3f}"), used
