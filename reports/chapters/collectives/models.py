"""The model of each curve, sizes to use, and whether what was reached is normal."""

from __future__ import annotations

from collections.abc import Sequence

from harness.statistics import Interval
from harness.summary import Cell
from harness.units import Unit, digits, show_size
from reports.chapters.collectives.messages import title_of
from reports.curve_model import CurveModel
from reports.model import Column, Group, Notes, Table, Text
from reports.numbers import GAP, percent, plain, shown
from reports.reading import best, figures_of
from reports.shares import of_peak
from reports.subject import Subject
from reports.text import clean, sentence

MARGIN = 0.10
"""A rate is called low where its interval ends below 90 % of what is expected: published rings reach 76 % to
82 % of their links (S. Bekman, Machine Learning Engineering, network), a spread of about that."""

SLOW = 2.0
"""A latency is called long beyond this factor: inside a node the model's constants are no better than that,
and between nodes none is expected."""


def tables(subject: Subject, cells: Sequence[Cell]) -> list[Table]:
    """One row for each curve that has a model; nothing where none was handed in."""
    rows, notes = [], Notes()
    for model in subject.models:
        if not isinstance(model, CurveModel):
            continue
        those = [cell for cell in cells if _same(cell, model)]
        if those:
            rows.append(_row(subject, model, those, notes))
    if not rows:
        return []
    columns = (
        Column("Curve", share=19), Column("Latency α", numeric=True, share=15),
        Column("Bandwidth β", numeric=True, share=15), Column("Half of it from, n½", numeric=True, share=14),
        Column("90 % of peak from", numeric=True, share=14), Column("Of roof", numeric=True, share=8),
        Column("Is this normal?", share=15),
    )  # fmt: skip
    caption = (
        "The model of each curve, t = α + S·factor/β, with 95 % intervals: α of its first segment, β of its last. "
        "Messages should be fused up to the size that reaches 90 % of the peak."
    )
    return [Table(subject.identifier("models"), caption, columns, (Group("", tuple(rows)),), tuple(notes.texts))]


def _same(cell: Cell, model: CurveModel) -> bool:
    return cell.benchmark == model.benchmark and model.params == {k: v for k, v in cell.params.items() if k != "size"}


def _row(subject: Subject, model: CurveModel, cells: Sequence[Cell], notes: Notes) -> tuple[Text, ...]:
    dtype = clean(cells[0].params.get("dtype", ""))
    cadence = model.cadence.value if model.cadence else ""
    what = ", ".join(part for part in (dtype, cadence) if part)
    figures = figures_of(cells, "busbw", model.cadence)
    share = of_peak(best(figures), subject.cluster, subject.per_device)
    roof = Text(percent(share.ratio)) if share.ratio is not None else Text("n/a", tone="muted")
    roof = Text(roof.main, mark=notes.mark(sentence(share.note)), tone=roof.tone)
    said, why = verdict(model)
    beta = model.pieces[-1].beta
    said_of = notes.mark(_segments(model)) if len(model.pieces) > 1 or model.notes else ""
    return (
        Text(title_of(cells[0]), what, mark=said_of), _time(model.pieces[0].alpha),
        _quantity(beta, "time does not grow"), _size(model.n_half), _size(model.ninety), roof,
        Text(said, mark=notes.mark(sentence(why))),
    )  # fmt: skip


def verdict(model: CurveModel) -> tuple[str, str]:
    """Whether a curve is as the declared hardware should give, and against what that was judged."""
    expected = model.expected
    if expected.rate is None:
        return "cannot be told", expected.reason or "nothing is known to compare it with"
    share = Interval(*(value / expected.rate for value in (model.peak.value, model.peak.low, model.peak.high)))
    late = model.first_time.value / expected.time if expected.time else 0.0
    shortest = f" and {plain(expected.time, Unit.SECOND)} for the smallest" if expected.time else ""
    against = (
        f"expected are {plain(expected.rate, Unit.BYTE_PER_SECOND)} for the largest message{shortest}: a model of the "
        "declared links, with the share of them that published runs reach"
    )
    words = []
    if share.high < 1 - MARGIN:
        words.append(f"low: {percent(share.value)} of expected")
    if late > SLOW:
        words.append(f"latency {late:.1f} × expected")
    if share.low > 1 + MARGIN:
        words.append(f"above expected: {percent(share.value)}")
    return "; ".join(words) or f"yes: {percent(share.value)} of expected", against


def _segments(model: CurveModel) -> str:
    """The pieces in words, and what the fit says of itself."""
    said = [
        f"{show_size(piece.first)} to {show_size(piece.last)}: α {plain(piece.alpha.value, Unit.SECOND)}"
        + (f", β {plain(piece.beta.value, Unit.BYTE_PER_SECOND)}" if piece.beta else "")
        for piece in model.pieces
    ]
    fit = f"the points lie {percent(model.error)} from the model in the median"
    return sentence("; ".join([*said, fit, *(clean(note).rstrip(".") for note in model.notes)]))


def _time(interval: Interval) -> Text:
    number = shown(interval, Unit.SECOND)
    return Text(number.text, number.interval)


def _quantity(interval: Interval | None, absent: str) -> Text:
    if interval is None:
        return Text("–", absent, tone="muted")
    number = shown(interval, Unit.BYTE_PER_SECOND)
    return Text(number.text, number.interval)


def _size(interval: Interval | None) -> Text:
    if interval is None:
        return Text("–", "not in the range", tone="muted")
    number, unit = show_size(interval.value).split(" ")
    factor = interval.value / float(number)
    low, high = (digits(end / factor) for end in (interval.low, interval.high))
    return Text(f"{digits(float(number))}{GAP}{unit}", f"[{low}, {high}]")
