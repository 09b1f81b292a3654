"""Latency: the time of one load that waits for the one before it, against the working set."""

from __future__ import annotations

from collections.abc import Sequence

from harness.summary import Figure
from harness.units import Unit, show_size
from reports.chapters.memory.levels import said
from reports.chapters.memory.settings import marks, taking_part
from reports.figures.alt import of_curves
from reports.figures.panels import Look, Panel, panels
from reports.model import Picture
from reports.reading import curves, size_of
from reports.subject import Subject, bars, how_known
from reports.text import listed, sentence

KEY = "one load"


def pictures(subject: Subject, figures: Sequence[Figure]) -> list[Picture]:
    """Both axes logarithmic; the plateaus, named by caches, in the caption."""
    if not figures:
        return []
    name, drawn = subject.identifier("memory-latency"), curves(figures, lambda _: KEY, size_of)
    steps = marks(subject, 1)
    caches = f" Vertical lines: {listed([line.text for line in steps])}." if steps else ""
    alt = f"Time of a dependent load against working set.{caches} {of_curves('latency', drawn, show_size)}"
    panel = Panel("Dependent loads in a random order", tuple(drawn), steps=steps)
    svg = panels(name, alt, [panel], Look("time of a load", "working set", (KEY,), tall=50))
    levels = said(figures, taking_part(subject, 1), Unit.SECOND)
    caption = (
        "Latency: one thread follows a chain through all lines of its working set, in a random order. "
        f"{f'Plateaus: {levels}. ' if levels else ''}{bars(figures)} {sentence(how_known(figures))}"
    )
    return [Picture(name, svg, caption, alt)]
