"""Offloading: the disk and the paths to it, training with states on other tiers, and the largest model that fits."""

from __future__ import annotations

from collections.abc import Sequence

from harness.summary import Cell
from reports.chapters.offload import io, training
from reports.model import Chapter
from reports.subject import Subject

INTRO = (
    "How fast states move between a device, the host's memory and its disk, and what a training step pays for keeping "
    "them there."
)


def chapter(subject: Subject, cells: Sequence[Cell]) -> Chapter:
    (drawn, listed), (steps, memory) = io.sections(subject, cells), training.sections(subject, cells)
    return Chapter(subject.identifier("offload"), "Offload", INTRO, (*drawn, *steps), (*listed, *memory))
