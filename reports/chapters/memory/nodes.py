"""Memory nodes of a host: the cores of each on the memory of each."""

from __future__ import annotations

from collections.abc import Sequence

from harness.summary import Figure
from harness.units import show_size
from reports.chapters.matrix import matrix
from reports.model import Table
from reports.reading import dtype_of, grouped, size_of
from reports.subject import Subject
from reports.text import clean


def tables(subject: Subject, figures: Sequence[Figure]) -> list[Table]:
    """A map for each loop, data type and working set."""
    made = []
    for (op, dtype, size), those in grouped(figures, _key).items():
        name = f"{op}, {dtype}, {show_size(size)}"
        lead = f"Bandwidth of the cores of each memory node (down) on the memory of each (across): {name}"
        identifier = subject.identifier(f"memory-nodes-{name}")
        made.append(matrix(identifier, lead, "Cores of node", those, _memory, _cores, lambda node: f"{node:.0f}"))
    return made


def _key(figure: Figure) -> tuple[str, str, float]:
    return clean(figure.params.get("op", "")), clean(dtype_of(figure)), size_of(figure.params) or 0.0


def _memory(figure: Figure) -> str:
    return f"memory {clean(figure.params.get('memory', ''))}"


def _cores(figure: Figure) -> float:
    cores = figure.params.get("cores")
    return float(cores) if isinstance(cores, int) else 0.0
