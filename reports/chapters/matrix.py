"""A table of one rate: sizes down, data types or operations across, each with its interval."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.records import Cadence
from harness.summary import Figure
from reports.model import Column, Group, Table, Text
from reports.numbers import Scale, common_scale, shown
from reports.reading import best, grouped
from reports.subject import how_known
from reports.text import clean, sentence

BESIDE = 5  # columns of values up to which intervals have columns of their own


def matrix(
    identifier: str, lead: str, corner: str, figures: Sequence[Figure],
    across: Callable[[Figure], str], down: Callable[[Figure], float], say: Callable[[float], str],
) -> Table:  # fmt: skip
    """figures: at least one, of one rate. Cadences are never mixed: the table is of one, and says which."""
    cadence = _cadence(figures)
    figures = [figure for figure in figures if figure.cadence == cadence]
    keys = list(dict.fromkeys(across(figure) for figure in figures))
    scale = common_scale([figure.interval.value for figure in figures], figures[0].unit)
    columns = [Column(corner, share=10)]
    for key in keys:
        columns += _columns(clean(key), scale.unit, 90 / len(keys), len(keys) > BESIDE)
    rows = []
    for place, those in sorted(grouped(figures, down).items()):
        held = grouped(those, across)
        rows.append(
            (Text(say(place)), *(text for key in keys for text in _number(held.get(key), scale, len(keys) > BESIDE)))
        )
    word = f", {cadence.value}" if cadence else ""
    caption = f"{lead}{word}, with 95 % intervals. {sentence(how_known(figures))}"
    return Table(identifier, caption, tuple(columns), (Group("", tuple(rows)),))


def _cadence(figures: Sequence[Figure]) -> Cadence | None:
    """The cadence that most figures have; streaming where it is even, since that is how work runs."""
    counts = {cadence: len(those) for cadence, those in grouped(figures, lambda figure: figure.cadence).items()}
    return max(counts, key=lambda cadence: (counts[cadence], cadence is Cadence.STREAMING))


def _columns(title: str, unit: str, share: float, below: bool) -> list[Column]:
    if below:
        return [Column(title, unit, True, share)]
    return [Column(title, unit, True, share * 0.42), Column("95 %", "", True, share * 0.58)]


def _number(figures: Sequence[Figure] | None, scale: Scale, below: bool) -> tuple[Text, ...]:
    """A value and its interval: in two columns, or one below the other."""
    if not figures:
        return (Text("–", tone="muted"),) if below else (Text("–", tone="muted"), Text(""))
    figure = best(figures)
    number = shown(figure.interval, figure.unit, scale)
    if below:
        return (Text(number.value, number.interval),)
    return Text(number.value), Text(number.interval, tone="muted")
