"""Disk beside memory traffic: what each costs the other."""

from __future__ import annotations

from collections.abc import Sequence

from harness.summary import Cell
from harness.units import show_size
from reports.chapters.offload.cells import number
from reports.model import Column, Group, Table, Text
from reports.numbers import GAP
from reports.reading import member, size_of
from reports.subject import Subject, how_known
from reports.text import clean, sentence

COLUMNS = (
    ("disk_alone", "Disk alone"), ("disk_slowdown", "beside, ×"), ("copy_alone", "Copy alone"),
    ("copy_slowdown", "beside, ×"),
)  # fmt: skip
WAYS = {"host": "copy in the host's memory", "h2d": "copy to device", "d2h": "copy from device", "both": "both ways"}


def tables(subject: Subject, cells: Sequence[Cell]) -> list[Table]:
    """A row for each pair of disk and memory traffic."""
    held = [
        (cell, {f.name: f for f in cell.figures}) for cell in cells if member(cell.benchmark) == "contention"
    ]  # fmt: skip
    figures = [named["disk_slowdown"] for _, named in held if "disk_slowdown" in named]
    if not figures:
        return []
    columns = (Column("Disk beside", share=32), *(Column(t, numeric=True, share=17) for _, t in COLUMNS))
    rows = tuple((_pair(cell), *(number(named.get(name)) for name, _ in COLUMNS)) for cell, named in held)
    host = any(cell.params.get("direction") == "host" for cell, _ in held)
    caption = (
        "Disk traffic and copies at once, each timed alone and beside the other in turns; beside is the ratio of the "
        "two times of a turn, with its 95 % interval. "
        + ("The device is the host's processors: the copies are within its memory. " if host else "")
        + sentence(how_known(figures))
    )
    return [Table(subject.identifier("disk-contention"), caption, columns, (Group("", rows),))]


def _pair(cell: Cell) -> Text:
    given = cell.params.get("copied")
    size = show_size(size_of(cell.params) or 0.0).replace(" ", GAP)
    copied = show_size(given if isinstance(given, int) else 0).replace(" ", GAP)
    way = WAYS.get(str(cell.params.get("direction")), "copy")
    return Text(f"{clean(cell.params.get('op', ''))} {size}", f"{way}, {copied}")
