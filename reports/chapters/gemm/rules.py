"""Sizing rules: what a slightly wider width would gain, each with its evidence."""

from __future__ import annotations

from collections.abc import Sequence

from harness.advice import MARGIN, advise
from harness.statistics import Interval
from harness.summary import Cell, Figure
from reports.model import Column, Group, Table, Text
from reports.numbers import GAP, NO_INTERVAL, percent, shown
from reports.reading import figures_of
from reports.subject import Subject, how_known, interval_title
from reports.text import clean, counted, sentence

KINDS = {"hidden": "hidden width", "ffn": "FFN width", "expert": "expert width", "vocab": "vocabulary",
         "head_dim": "head dimension"}  # fmt: skip
FEWEST = 6  # samples of a launch from which the median has an interval of 95 % (harness.statistics)
MULTIPLES = (256, 128, 64, 32, 16, 8)


def tables(subject: Subject, cells: Sequence[Cell]) -> list[Table]:
    """A group for each width that was judged: its title is the advice, its rows the evidence."""
    judged = [cell for cell in cells if figures_of([cell], "gain")]
    figures = figures_of(judged, "gain")
    if not figures:
        return []
    columns = (
        Column("Width", share=14), Column("Multiple of", numeric=True, share=14),
        Column("Time", numeric=True, share=16), Column("95 %", numeric=True, share=20),
        Column("Gain", numeric=True, share=14), Column(interval_title(figures), numeric=True, share=22),
    )  # fmt: skip
    groups = tuple(Group(_title(cell), _rows(cell)) for cell in judged)
    caption = (
        "Sizing rules: a width as asked, and wider ones that do its work and their padding besides, measured in turns. "
        "Gain: how much faster the whole is than at the width as asked. The advice is the narrowest width that is "
        f"faster by more than {percent(MARGIN)} beyond its interval and not clearly slower than the fastest; each "
        "interval is for its own width only. "
        f"{sentence(how_known(figures))}"
    )
    return [Table(subject.identifier("sizing-rules"), caption, columns, groups)]


def advice(cell: Cell) -> str:
    """'Vocabulary 50,257 → 50,304: +12.1 % [+11.0, +13.2]', or why there is none."""
    what, width = KINDS.get(str(cell.params.get("kind")), "width"), _count(cell.params.get("width"))
    gains = figures_of([cell], "gain")
    fewest = min(len(launch) for figure in gains for launch in figure.samples)
    if fewest < FEWEST:
        return sentence(f"{what} {width}: {counted(fewest, 'sample')} of each, too few for advice")[:-1]
    found = advise(int(cell.params.get("width") or 0), {int(f.own.get("to") or 0): f.interval for f in gains})
    text, interval = gained(found.gain)
    if found.stays:
        return sentence(f"{what} {width}: keep it; the best other, {_count(found.beside)}: {text} {interval}")[:-1]
    return sentence(f"{what} {width} → {_count(found.to)}: {text} {interval}")[:-1]


def gained(ratio: Interval) -> tuple[str, str]:
    """A ratio of times as a gain in per cent, and its interval: ('+12.1 %', '[11.0, 13.2]')."""
    value, low, high = (100 * (part - 1) for part in (ratio.value, ratio.low, ratio.high))
    interval = NO_INTERVAL if low == high else f"[{low:+.1f}, {high:+.1f}]"
    return f"{value:+.1f}{GAP}%", interval.replace("-", "−")


def _title(cell: Cell) -> str:
    tokens, edge = (_count(cell.params.get(key)) for key in ("tokens", "edge"))
    return f"{advice(cell)} ({clean(cell.params.get('dtype', ''))}, {tokens} tokens, other edge {edge})"


def _rows(cell: Cell) -> tuple[tuple[Text, ...], ...]:
    gains = {figure.own.get("to"): figure for figure in figures_of([cell], "gain")}
    times = sorted(figures_of([cell], "time"), key=lambda figure: str(figure.own.get("to")).zfill(12))
    return tuple(_row(time, gains.get(time.own.get("to"))) for time in times)


def _row(time: Figure, gain: Figure | None) -> tuple[Text, ...]:
    number, width = shown(time.interval, time.unit), time.own.get("to")
    fits = next((f"{m}" for m in MULTIPLES if isinstance(width, int) and width % m == 0), "–")
    text, interval = gained(gain.interval) if gain else ("as asked", "")
    return (
        Text(_count(width)), Text(fits), Text(number.text), Text(number.interval, tone="muted"),
        Text(text.replace("-", "−"), tone="" if gain else "muted"), Text(interval, tone="muted"),
    )  # fmt: skip


def _count(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "–"
