"""Checkpoints: what is left of them after a fault, at which shardings they load, and how often to save."""

from __future__ import annotations

from collections.abc import Sequence

from harness.summary import Cell
from reports.chapters.checkpoint import crash, goodput, reshape, times
from reports.model import Chapter
from reports.subject import Subject

INTRO = (
    "What it costs to save the state of training and to bring it back, at which shardings a checkpoint loads, and what "
    "is left of it when a save is killed, the disk fills or a file is damaged."
)


def chapter(subject: Subject, cells: Sequence[Cell]) -> Chapter:
    made = [part.sections(subject, cells) for part in (times, goodput, reshape, crash)]
    pictures, tables = ([one for part in made for one in part[kind]] for kind in (0, 1))
    return Chapter(subject.identifier("checkpoint"), "Checkpoints", INTRO, tuple(pictures), tuple(tables))
