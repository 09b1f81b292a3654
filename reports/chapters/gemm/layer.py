"""Sizing of a transformer: every part of a layer, their sum, and the layer really run."""

from __future__ import annotations

from collections.abc import Sequence

from harness.statistics import Interval
from harness.summary import Cell, Figure
from harness.units import Unit
from reports.chapters.gemm.rooflines import BOUND, Placed
from reports.chapters.gemm.sums import PartOf, Sizing, sizings
from reports.model import Column, Group, Table, Text
from reports.numbers import percent, shown
from reports.subject import Subject, how_known, quoted
from reports.text import clean, counted, listed, sentence

NONE = Text("–", tone="muted")


def tables(subject: Subject, cells: Sequence[Cell], placed: Placed | None) -> list[Table]:
    """A table for each model, sequence, micro-batch, tensor-parallel degree and data type."""
    return [_table(subject, one, placed) for one in sizings(subject, cells)] if cells else []


def _table(subject: Subject, sizing: Sizing, placed: Placed | None) -> Table:
    columns = (
        Column("Part", share=17), Column("Shape", share=21), Column("Times", "per layer", True, 7),
        Column("Time", numeric=True, share=10), Column("95 %", numeric=True, share=14),
        Column("Rate", numeric=True, share=13), Column("Share of the layer", numeric=True, share=9),
        Column("Bound", numeric=True, share=9),
    )  # fmt: skip
    inside = [part for part in sizing.parts if part.times]
    sections = (
        ("Forward", [part for part in inside if part.name.endswith(".forward")]),
        ("Backward", [part for part in inside if not part.name.endswith(".forward")]),
        ("Beside the layer, not in the sum", [part for part in sizing.parts if not part.times]),
    )
    groups = [Group(title, tuple(_row(sizing, p, placed) for p in those)) for title, those in sections if those]
    last = _last(sizing)
    groups += [Group("The layer", last)] if last else []
    name = subject.identifier("-".join(["layer", *(str(value) for value in _words(sizing))]))
    return Table(name, _caption(sizing, placed), columns, tuple(groups), dense=True)


def _words(sizing: Sizing) -> list[str]:
    """What the table is of, in words."""
    held = sizing.params
    said = [clean(str(held.get("model", "")).rpartition("/")[2]), clean(held.get("dtype", ""))]
    said += [f"{held.get('sequence')} tokens", f"micro-batch {held.get('batch')}"]
    said += [f"tensor-parallel degree {held.get('tensor_parallel')}", f"vocabulary {held.get('vocabulary')}"]
    return said


def _caption(sizing: Sizing, placed: Placed | None) -> str:
    model, *rest = _words(sizing)
    text = f"One layer of {model} ({', '.join(rest)}), forward and backward, on one device: its parts, each by itself."
    if sizing.parts:
        base = "the layer really run" if sizing.run else "the sum"
        text += f" Share: times × duration over that of {base}."
    if sizing.ratio:
        text += " The sum's interval is the sum of its parts' ends, and the ratio's takes both extremes together."
    elif sizing.missing:
        text += f" No ratio: {listed([clean(name) for name in sizing.missing])} of the layer have no number."
    elif sizing.run and sizing.parts:
        text += " No ratio: not all parts of the layer were asked for."
    text += f" {BOUND}" if placed else ""
    figures = [part.time for part in sizing.parts] + ([sizing.run] if sizing.run else [])
    return f"{text} {sentence(how_known(figures))}"


def _row(sizing: Sizing, part: PartOf, placed: Placed | None) -> tuple[Text, ...]:
    number, rate = shown(part.time.interval, part.time.unit), part.work or part.moved
    bound = placed.bound(part.work, part.moved) if placed else "–"
    base = sizing.run.interval if sizing.run else sizing.total
    share = Text(percent(part.times * part.time.interval.value / base.value)) if part.times else NONE
    return (
        Text(clean(part.name)), Text(_shape(part)), Text(f"{part.times}"), Text(number.text),
        Text(number.interval, tone="muted"), _number(rate), share, Text(bound),
    )  # fmt: skip


def _shape(part: PartOf) -> str:
    """'256 × 512 × 1,024', 'of 8' where there are several; a part that only moves data has two edges."""
    text = " × ".join(f"{edge:,}" for edge in part.shape if edge)
    return f"{text}, {part.count:,} of them" if part.count > 1 else text


def _number(figure: Figure | None) -> Text:
    if figure is None:
        return NONE
    number = shown(figure.interval, figure.unit)
    return Text(number.text, number.interval)


def _last(sizing: Sizing) -> tuple[tuple[Text, ...], ...]:
    """The sum, the layer, their ratio, and the layer's rate; of each what is known."""
    inside = [part for part in sizing.parts if part.times]
    rows = []
    if inside:
        name = "Sum of the parts" if sizing.ratio else "Sum of these parts"
        share = Text(percent(sizing.ratio.value)) if sizing.ratio else NONE
        rows.append(_line(name, counted(len(inside), "part"), sizing.total, Unit.SECOND, NONE, share))
    if sizing.run and sizing.layer:
        run, work, tokens = sizing.run, sizing.layer.figure("flops"), sizing.layer.figure("tokens")
        said = quoted(tokens) if tokens else ""
        rows.append(_line("Layer really run", said, run.interval, run.unit, _number(work), NONE))
    if sizing.ratio:
        rows.append(_line("Sum over layer", "", sizing.ratio, Unit.RATIO, NONE, NONE))
    return tuple(rows)


def _line(name: str, said: str, interval: Interval, unit: Unit, rate: Text, share: Text) -> tuple[Text, ...]:
    number = shown(interval, unit)
    return (
        Text(name), Text(said), NONE, Text(number.text), Text(number.interval, tone="muted"), rate, share, NONE
    )  # fmt: skip
