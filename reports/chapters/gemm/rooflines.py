"""What bounds a product: the device's arithmetic or its memory (Williams et al., CACM 52:4, 2009).

Both roofs are measured in the same run: the best rate of any product of the data type, and the best
bandwidth of any loop from memory. Intensity is FLOP over the bytes that must move at least.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.records import Cadence
from harness.roofline import Place, place
from harness.summary import Cell, Figure
from reports.figures.roofline import Point, Roof, roofline
from reports.model import Picture
from reports.numbers import plain
from reports.reading import best, dtype_of, figures_of, grouped, is_cached, member
from reports.subject import Subject, beyond_caches, how_known, quoted
from reports.text import clean, counted, sentence
from reports.titles import DTYPES

LEFT_OUT = ("rule",)
"""Members whose cells do several products at once, with work that serves for nothing."""

BOUND = "Bound: which roof of the roofline is lower there; either: their intervals allow both."


@dataclass(frozen=True)
class Placed:
    """The roofs, and all products below them. bandwidth: the best from memory; best: rate by data type."""

    bandwidth: Figure
    best: dict[str, Figure]
    points: tuple[Point, ...]
    above: int  # products that are faster than their roof, beyond both intervals
    remark: str

    def bound(self, flops: Figure | None, traffic: Figure | None) -> str:
        """'compute', 'memory' or 'either'; what does no FLOP is memory's."""
        if flops is None:
            return "memory"
        top = self.best.get(clean(dtype_of(flops)))
        return "–" if traffic is None or top is None else _placed(flops, traffic, top, self.bandwidth).bound


def _placed(flops: Figure, traffic: Figure, top: Figure, bandwidth: Figure) -> Place:
    """Both rates are an amount over the same time, so their ratio is that of the amounts."""
    rate, moved = flops.interval, traffic.interval.value
    return place(rate.value, moved, rate, top.interval, bandwidth.interval)


def rates(figures: Sequence[Figure]) -> list[tuple[Figure, Figure]]:
    """(FLOP/s, B/s) of each measurement that has both."""
    moved = {id(figure.samples): figure for figure in figures if figure.name == "traffic"}
    return [(f, moved[id(f.samples)]) for f in figures if f.name == "flops" and id(f.samples) in moved]


def measured(subject: Subject, cells: Sequence[Cell]) -> tuple[Placed | None, tuple[str, ...]]:
    """The roofs and what is below them, or None with a remark where the run lacks one."""
    pairs = _pairs(cells)
    if not pairs:
        return None, ()
    loops = [cell for cell in subject.measured if cell.benchmark == "memory.stream"]
    figures, said = [], ""
    if loops:
        far, said = beyond_caches(subject, loops)
        figures = figures_of(far, "bandwidth")
    if not figures:
        return None, (
            "No roofline: this run measured no memory bandwidth. Cells of memory.stream in the same run give it.",
        )
    keys = grouped(pairs, lambda pair: clean(dtype_of(pair[0])))
    tops = {key: best([flops for flops, _ in those]) for key, those in keys.items()}
    slope = best(figures)
    found = [(key, pair[0], _placed(*pair, tops[key], slope)) for key, those in keys.items() for pair in those]
    points = tuple(Point(key, one.intensity, flops.interval) for key, flops, one in found)
    return Placed(slope, tops, points, sum(one.share.low > 1 for *_, one in found), sentence(said)), ()


def _pairs(cells: Sequence[Cell]) -> list[tuple[Figure, Figure]]:
    """Products with operands from memory, back to back where that was measured."""
    held = []
    for cell in cells:
        if member(cell.benchmark) in LEFT_OUT or is_cached(cell.params):
            continue
        found = rates(cell.figures)
        held += [pair for pair in found if pair[0].cadence is Cadence.STREAMING] or found
    return held


def picture(subject: Subject, placed: Placed) -> Picture:
    """All products on logarithmic axes, one series and one roof for each data type."""
    slope = placed.bandwidth.interval
    name = subject.identifier("roofline")
    order = tuple(dict.fromkeys([*DTYPES, *placed.best]))
    tops = "; ".join(f"{key} {quoted(figure)}" for key, figure in placed.best.items())
    roofs = [Roof(key, figure.interval.value) for key, figure in placed.best.items()]
    alt = (
        f"Roofline: rate against intensity of {counted(len(placed.points), 'product')}. Memory bandwidth "
        f"{plain(slope.value, placed.bandwidth.unit)}; best rates: {tops}."
    )
    over = f"{counted(placed.above, 'product')} above the slope: operands that stay in a cache allow that."
    parts = (
        "Rate of every matrix product, part of a layer and attention against its intensity: FLOP over the bytes that "
        f"must move at least. The slope is the best bandwidth from memory in this run, {quoted(placed.bandwidth)}; "
        f"the flat roofs are its best rates: {tops}.",
        placed.remark, over if placed.above else "",
        f"Bars are 95 % intervals. {sentence(how_known(list(placed.best.values())))}",
    )  # fmt: skip
    svg = roofline(name, alt, placed.points, roofs, slope.value, order)
    return Picture(name, svg, " ".join(part for part in parts if part), alt)
