"""Copies between memories: by way and size, and both ways at once against each alone."""

from __future__ import annotations

from collections.abc import Sequence

from harness.records import Cadence
from harness.summary import Figure
from harness.units import show_size
from reports.chapters.matrix import matrix
from reports.chapters.memory.ratios import ratio, share, total
from reports.model import Column, Group, Table, Text
from reports.numbers import GAP, shown
from reports.reading import grouped, size_of
from reports.subject import Subject, how_known
from reports.text import clean, sentence

WAYS = {
    "h2d": "to device", "d2h": "from device", "both": "both ways", "d2d": "within device", "peer": "to next device",
}  # fmt: skip
ALONE = ("h2d", "d2h")


def tables(subject: Subject, figures: Sequence[Figure]) -> list[Table]:
    """Bandwidth of every way by size, and how far two ways disturb each other."""
    if not figures:
        return []
    ordered = sorted(figures, key=lambda f: ([*WAYS].index(_direction(f)) if _direction(f) in WAYS else 9, way(f)))
    name = subject.identifier("memory-transfers")
    lead = "Bandwidth of copies between the host's memory and a device's, and between devices, by size"
    every = matrix(name, lead, "Size", ordered, way, _size, show_size)
    return [every, *_both(subject, figures)]


def way(figure: Figure) -> str:
    """'to device, pinned'."""
    direction = _direction(figure)
    words = WAYS.get(direction, clean(direction))
    if direction not in (*ALONE, "both"):
        return words
    return f"{words}, {'pinned' if figure.params.get('pinned', True) else 'pageable'}"


def _direction(figure: Figure) -> str:
    return str(figure.params.get("direction", "h2d"))


def _size(figure: Figure) -> float:
    return size_of(figure.params) or 0.0


def _both(subject: Subject, figures: Sequence[Figure]) -> list[Table]:
    """Back to back where that was measured: the two queues of `both` then stay filled."""
    pinned = [f for f in figures if f.params.get("pinned", True) and _direction(f) in (*ALONE, "both")]
    held = [f for f in pinned if f.cadence is Cadence.STREAMING] or pinned
    rows, used = [], list[Figure]()
    for size, those in sorted(grouped(held, _size).items()):
        found = {_direction(figure): figure for figure in those}
        if len(found) == len(ALONE) + 1:
            three = [found[direction] for direction in (*ALONE, "both")]
            to, back, both = (figure.interval for figure in three)
            numbers = [shown(figure.interval, figure.unit) for figure in three]
            texts = [Text(number.text, number.interval) for number in numbers]
            rows.append((Text(show_size(size).replace(" ", GAP)), *texts, share(ratio(both, total(to, back)))))
            used += three
    if not rows:
        return []
    columns = (
        Column("Size", share=14), Column("To device alone", numeric=True, share=22),
        Column("From device alone", numeric=True, share=22), Column("Both ways at once", numeric=True, share=22),
        Column("Of the sum", numeric=True, share=20),
    )  # fmt: skip
    cadence = f", {used[0].cadence.value}" if used[0].cadence else ""
    caption = (
        f"Both ways at once against each alone, pinned{cadence}; bytes of both ways count. The whole sum says that "
        f"neither way disturbs the other, half of it that they take turns. {sentence(how_known(used))}"
    )
    return [Table(subject.identifier("memory-both"), caption, columns, (Group("", tuple(rows)),))]
