"""Training jobs end to end: what they reach and of which peak, where a step's time goes, what techniques and more
ranks are worth, and how far a batch can grow."""

from __future__ import annotations

from collections.abc import Sequence

from harness.summary import Cell
from reports.chapters.e2e import ablation, batch, conventions, local_steps, scaling, steps, throughput
from reports.chapters.e2e.jobs import jobs
from reports.model import Chapter
from reports.subject import Subject
from reports.text import sentence
from reports.titles import family_title

INTRO = (
    "What a cluster is worth for training: how much of its peak a real job gets and where the rest goes, and how far a "
    "batch can grow before more devices stop helping."
)


def chapter(subject: Subject, cells: Sequence[Cell]) -> Chapter:
    trained = jobs(subject, cells)
    drawn, listed = steps.sections(subject, trained)
    pictures, tables = list(drawn), [*throughput.tables(subject, trained), *listed]
    tables += conventions.tables(subject, trained)
    for part in (ablation, scaling, local_steps, batch):
        more, rows = part.sections(subject, cells)
        pictures += more
        tables += rows
    remarks = tuple(sentence(verdict) for verdict in steps.verdicts(trained))
    return Chapter(subject.identifier("e2e"), family_title("e2e"), INTRO, tuple(pictures), tuple(tables), remarks)
