"""Memory that is not swept in order: pieces at a stride, and in a random order, against those side by side."""

from __future__ import annotations

from collections.abc import Sequence

from harness.summary import Figure
from harness.units import show_size
from reports.chapters.memory.ratios import ratio, share
from reports.chapters.memory.settings import by_setting, setting_of
from reports.model import Column, Group, Table, Text
from reports.numbers import GAP, shown
from reports.reading import grouped, member, size_of
from reports.subject import Subject, how_known
from reports.text import sentence

Key = tuple[float, int, str]  # working set, piece and how it was run: within which pieces compare


def tables(subject: Subject, pieces: Sequence[Figure], streams: Sequence[Figure]) -> list[Table]:
    """A row for each stride and random order, with its share of the same copy in order. streams: bandwidths of
    memory.stream, whose copy stands in where no stride is the piece itself."""
    if not pieces:
        return []
    groups = []
    for _, those in sorted(grouped(pieces, _key).items()):
        base, basis = _sequential(those, streams)
        rows = [_row(figure, base) for figure in sorted(those, key=_place)]
        groups.append(Group(f"{_title(those[0])}; {basis}", tuple(rows)))
    columns = (
        Column("Order", share=34), Column("Bandwidth", numeric=True, share=22), Column("95 %", numeric=True, share=22),
        Column("Of that in order", numeric=True, share=22),
    )  # fmt: skip
    caption = (
        "Pieces of a table copied side by side, at a constant stride and in a random order. A piece counts twice, "
        "read and written, and a random order's index once; a memory moves whole lines, so that small pieces reach "
        f"less. In order: the same pieces without gaps. {sentence(how_known(pieces))}"
    )
    return [Table(subject.identifier("pieces"), caption, columns, tuple(groups))]


def _key(figure: Figure) -> Key:
    setting = setting_of(figure)
    crew = f"{setting.kernel != 'compiled'} {setting.threads:04}"
    return size_of(figure.params) or 0.0, _number(figure, "piece"), crew


def _number(figure: Figure, name: str) -> int:
    value = figure.params.get(name)
    return value if isinstance(value, int) else 0


def _place(figure: Figure) -> tuple[bool, int]:
    return member(figure.benchmark) == "random", _number(figure, "stride")


def _title(figure: Figure) -> str:
    size, setting = show_size(size_of(figure.params) or 0.0).replace(" ", GAP), setting_of(figure)
    return f"{size}, pieces of {_number(figure, 'piece')}{GAP}B, {setting.text}"


def _sequential(figures: Sequence[Figure], streams: Sequence[Figure]) -> tuple[Figure | None, str]:
    """What these pieces reach in order, and in words what that is."""
    dense = next((f for f in figures if _number(f, "stride") == _number(f, "piece")), None)
    if dense is not None:
        return dense, "in order: a stride of one piece"
    setting, size = setting_of(figures[0]), figures[0].params.get("size")
    alike = by_setting([f for f in streams if f.params.get("op") == "copy" and f.params.get("size") == size])
    found = next(iter(alike.get(setting, [])), None)
    return found, "in order: memory.stream's copy" if found else "nothing in order to compare with"


def _row(figure: Figure, base: Figure | None) -> tuple[Text, ...]:
    number, stride = shown(figure.interval, figure.unit), show_size(_number(figure, "stride")).replace(" ", GAP)
    order = "random" if member(figure.benchmark) == "random" else "in order" if figure is base else f"every {stride}"
    part = Text("–", tone="muted")
    if base is not None:
        part = Text(f"100{GAP}%") if figure is base else share(ratio(figure.interval, base.interval))
    return Text(order), Text(number.text), Text(number.interval, tone="muted"), part
