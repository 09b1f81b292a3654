"""Where a curve over the working set is level, which cache that is, and from which size it is near its peak."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.plateaus import Plateau, plateaus, reaching
from harness.summary import Figure
from harness.units import Unit, show_size
from reports.chapters.memory.settings import Setting, by_setting, points, taking_part
from reports.model import Column, Group, Table, Text
from reports.numbers import GAP, shown
from reports.reading import dtype_of, grouped
from reports.subject import Subject, how_known
from reports.text import clean, sentence

SIZES = 6
"""Fewest working sets that plateaus are sought in: on fewer, two that happen to be alike would be named one."""

SHARE = 0.9  # of the peak
PART = f"{100 * SHARE:.0f}{GAP}%"
NOTHING = Text("–", tone="muted")


def tables(subject: Subject, figures: Sequence[Figure]) -> list[Table]:
    """Plateaus of every loop that has enough sizes, grouped by data type, kernel and threads."""
    groups, used = [], []
    for dtype, typed in grouped(figures, dtype_of).items():
        for setting, those in by_setting(typed).items():
            rows = []
            for op, each in grouped(those, lambda figure: clean(figure.params.get("op", ""))).items():
                if len(points(each)) >= SIZES:
                    rows += _rows(op, each, taking_part(subject, setting.threads))
                    used += each
            if rows:
                groups.append(Group(_title(dtype, setting), tuple(rows)))
    if not groups:
        return []
    columns = (
        Column("Loop", share=12), Column("Level", share=12), Column("Working sets", share=22),
        Column("Bandwidth", numeric=True, share=16), Column("95 %", numeric=True, share=18),
        Column(f"{PART} of peak from", numeric=True, share=20),
    )  # fmt: skip
    caption = (
        "Plateaus: sizes over which bandwidth is level, named by the cache that holds most of them, of all the caches "
        "that the threads have; their level is a geometric mean. Steps between plateaus are in none. Caches are as "
        "detected: others on the host may hold part of a shared one. The last column "
        f"is the smallest working set from which on the loop keeps {PART} of its peak, until the peak. "
        f"{sentence(how_known(used))}"
    )
    return [Table(subject.identifier("plateaus"), caption, columns, tuple(groups))]


def said(figures: Sequence[Figure], caches: Mapping[str, float], unit: Unit) -> str:
    """Plateaus in a sentence: 'L1 1.1 ns [1.1, 1.2], memory 98 ns [95, 101]'."""
    curve = points(figures)
    levels = plateaus(curve, caches) if len(curve) >= SIZES else []
    found = [(level.name or span(level), shown(level.level, unit)) for level in levels]
    return ", ".join(f"{name} {number.text} {number.interval}" for name, number in found)


def span(level: Plateau) -> str:
    """'48 KiB to 1 MiB'."""
    first, last = (show_size(size).replace(" ", GAP) for size in (level.first, level.last))
    return f"{first} to {last}"


def _title(dtype: str, setting: Setting) -> str:
    return ", ".join(part for part in (clean(dtype), setting.text) if part)


def _rows(op: str, figures: Sequence[Figure], caches: Mapping[str, float]) -> list[tuple[Text, ...]]:
    """A row for each plateau; the first names the loop and where it is near its peak."""
    curve, unit = points(figures), figures[0].unit
    near = Text(show_size(reaching(curve, SHARE)).replace(" ", GAP))
    found = plateaus(curve, caches)
    if not found:
        return [(Text(op), Text("none", tone="muted"), NOTHING, NOTHING, Text(""), near)]
    rows = list[tuple[Text, ...]]()
    for at, level in enumerate(found):
        number = shown(level.level, unit)
        head, tail = (Text(op), near) if at == 0 else (Text(""), Text(""))
        interval = Text(number.interval, tone="muted")
        rows.append((head, Text(level.name or "–"), Text(span(level)), Text(number.text), interval, tail))
    return rows
