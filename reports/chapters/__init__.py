"""A chapter for each family of benchmarks; a family without one of its own gets a table of its cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.summary import Cell
from reports.chapters import checkpoint, collected, collectives, e2e, gemm, generic, memory, offload
from reports.model import Chapter
from reports.reading import family, grouped, is_collected
from reports.subject import Subject

WRITERS: dict[str, Callable[[Subject, Sequence[Cell]], Chapter]] = {
    "checkpoint": checkpoint.chapter,
    "collectives": collectives.chapter,
    "e2e": e2e.chapter,
    "gemm": gemm.chapter,
    "memory": memory.chapter,
    "offload": offload.chapter,
}


def chapters(subject: Subject) -> list[Chapter]:
    """One chapter for each family that has numbers, in the order of their names; then what logs of other tools say."""
    logs = [cell for cell in subject.measured if is_collected(cell)]
    own = [cell for cell in subject.measured if not is_collected(cell)]
    families = grouped(own, lambda cell: family(cell.benchmark))
    written = [WRITERS.get(name, generic.chapter)(subject, cells) for name, cells in families.items()]
    return [*written, collected.chapter(subject, logs)] if logs else written
