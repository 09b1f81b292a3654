"""Every cell that has a number, in compact tables: one for each benchmark."""

from __future__ import annotations

from collections.abc import Sequence

from harness.records import Cadence, Params
from harness.summary import Cell, Figure
from harness.units import Unit
from reports.model import Chapter, Column, Group, Table, Text
from reports.numbers import GAP, Scale, common_scale, shown
from reports.reading import TRIAL, grouped, rate_name, say, say_all, squared
from reports.subject import Subject, how_known
from reports.text import clean, counted, sentence
from reports.titles import quantity

WIDE = 2  # quantities of a cell that stand side by side; with more, each has a row of its own
Slot = tuple[str, Cadence | None]  # a measured quantity: its name and cadence


def chapter(subject: Subject) -> Chapter:
    tables = tuple(
        _table(subject, benchmark, cells)
        for benchmark, cells in grouped(subject.measured, lambda c: c.benchmark).items()
    )
    intro = f"{counted(len(subject.measured), 'cell')} with a number, each as it was asked for."
    return Chapter(subject.identifier("cells"), "All cells", intro, tables=tables)


def _table(subject: Subject, benchmark: str, cells: Sequence[Cell]) -> Table:
    running = _running([squared(cell.params) for cell in cells])
    slots = list(dict.fromkeys((f.name, f.cadence) for cell in cells for f in cell.figures if _base(f)))
    rates = [f for cell in cells for f in cell.figures if f.name == rate_name(cell) and not _base(f)]
    scale = common_scale([f.interval.value for f in rates], rates[0].unit) if rates else None
    several = any(len(_bases(cell)) > len({(f.name, f.cadence) for f in _bases(cell)}) for cell in cells)
    layout = _Layout(running, slots, scale, len(slots) > WIDE or several)
    groups = grouped(cells, lambda cell: _title(squared(cell.params), running))
    lines = tuple(
        Group(title, tuple(row for cell in those for row in layout.rows(cell))) for title, those in groups.items()
    )
    figures = [f for cell in cells for f in cell.figures if _base(f)]
    rate = f"; {quantity(rates[0].name)} is from the median time" if rates else ""
    caption = f"{clean(benchmark)}: medians with 95 % intervals{rate}. {sentence(how_known(figures))}"
    name = subject.identifier(f"cells-{benchmark}")
    return Table(name, caption, layout.columns(), lines, dense=True)


def _base(figure: Figure) -> bool:
    """Whether this is what was measured itself: no rate that follows from it, no trial of a search."""
    return not figure.derived and figure.name != TRIAL


def _bases(cell: Cell) -> list[Figure]:
    return [figure for figure in cell.figures if _base(figure)]


def _running(several: Sequence[Params]) -> str:
    """The parameter whose values are the rows: the one that leaves the fewest groups, whose titles are the
    others; of several, the one with most values."""
    keys = dict.fromkeys(key for params in several for key in params)

    def cost(key: str) -> tuple[int, int]:
        groups = {_title(params, key) for params in several}
        return len(groups), -len({str(params.get(key)) for params in several})

    return min(keys, key=cost, default="")


def _title(params: Params, running: str) -> str:
    return say_all(params, without=(running,))


class _Layout:
    """The columns of one table, and a cell's rows in them."""

    def __init__(self, running: str, slots: Sequence[Slot], scale: Scale | None, long: bool) -> None:
        self._running, self._slots, self._scale, self._long = running, list(slots), scale, long

    def columns(self) -> tuple[Column, ...]:
        head = Column(clean(self._running).replace("_", " ").capitalize() if self._running != "n" else "n", share=11)
        samples = Column("Samples", numeric=True, share=8)
        shown_slots: list[Slot] = [("", None)] if self._long else self._slots
        share = (100 - 19 - (14 if self._long else 0)) / len(shown_slots)
        columns = [head]
        if self._long:
            columns.append(Column("Quantity", share=14))
        for name, cadence in shown_slots:
            title = "Value" if self._long else f"{quantity(name)}, {cadence.value}" if cadence else quantity(name)
            columns.append(Column(title[:1].upper() + title[1:], numeric=True, share=share * 0.3))
            columns.append(Column("95 % interval", numeric=True, share=share * 0.42))
            if self._scale is not None:
                columns.append(Column("Rate", self._scale.unit, True, share * 0.28))
        return (*columns, samples)

    def rows(self, cell: Cell) -> list[tuple[Text, ...]]:
        params = squared(cell.params)
        name = Text(
            say(self._running, params[self._running]).removeprefix(f"n{GAP}={GAP}") if self._running in params else "–"
        )
        if self._long:
            return [(name, _quantity(base), *self._numbers(cell, base), _samples([base])) for base in _bases(cell)]
        bases = {(f.name, f.cadence): f for f in _bases(cell)}
        numbers = [text for slot in self._slots for text in self._numbers(cell, bases.get(slot))]
        return [(name, *numbers, _samples(list(bases.values())))]

    def _numbers(self, cell: Cell, base: Figure | None) -> list[Text]:
        if base is None:
            return [Text("–", tone="muted")] * (2 if self._scale is None else 3)
        number = shown(base.interval, base.unit)
        texts = [Text(number.text), Text(number.interval)]
        if self._scale is not None:
            fits = (f for f in cell.figures if f.samples is base.samples and f.name == rate_name(cell))
            rate = next((f for f in fits if f.unit is not Unit.SECOND), None)
            texts.append(Text(shown(rate.interval, rate.unit, self._scale).value) if rate else Text("–", tone="muted"))
        return texts


def _quantity(base: Figure) -> Text:
    """What was measured, how, and what sets it apart from others of its cell."""
    how = (base.cadence.value if base.cadence else "", say_all(base.own))
    return Text(quantity(base.name), ", ".join(part for part in how if part))


def _samples(figures: Sequence[Figure]) -> Text:
    counts = sorted({figure.summary.n for figure in figures})
    return Text("–" if not counts else f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,}–{counts[-1]:,}")
