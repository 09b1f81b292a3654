"""A map of pairs: rank against rank, coloured by bandwidth or latency; of many ranks, node against node.

Both halves are drawn, so that a slow rank is a cross, and a slow pair two fields. Pairs inside nodes have a
ramp of their own where one for all would hide what differs within each kind.
"""

from __future__ import annotations

import re

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Page

from harness.outliers import Findings
from harness.summary import Figure
from harness.units import Unit
from reports.figures.axes import heading
from reports.figures.fields import NAMED, draw_faults, draw_fields, draw_labels, draw_numbers, draw_ramp, longer
from reports.figures.pairs import Map, Mask, map_of
from reports.figures.ramp import Ramp, ramp
from reports.figures.style import place, sheet, styled
from reports.figures.svg import svg
from reports.numbers import axis_scale, plain
from reports.text import counted, listed

LEFT, TOP, FOOT = 13.0, 14.0, 15.0  # mm around the map
BAR, APART = 44.0, 58.0  # mm: a ramp's length, from one ramp to the next
ONE_RAMP = 2.5  # kinds of pairs whose medians are within this factor share a ramp

_LEVEL = re.compile(r"M ([-\d.]+) ([-\d.]+)\s+L ([-\d.]+) \2\s+")


def heatmap(identifier: str, figure: Figure, found: Findings, per_node: int, latency: bool = False) -> tuple[str, str]:
    """(SVG, the same in words) of a figure of times with pairs. Times are shown with `latency`, else the
    rates that follow from the message size. per_node: ranks of one node."""
    shown = map_of(figure, per_node, latency)
    alt, ramps = _words(shown, found), _ramps(shown)
    with styled():
        page = sheet(TOP + shown.side + FOOT)
        scale = axis_scale(max(colours.high for _, _, colours in ramps), shown.unit)
        quantity = f"{_quantity(shown)} ({scale.unit})"
        if shown.what == "node":
            quantity += ", median over the pairs of two nodes"
        heading(page, 1, 8, f"{shown.what.capitalize()} against {shown.what}", quantity)
        axes = _bare(page, LEFT, TOP, shown.side, shown.side)
        axes.set(xlim=(0, shown.side), ylim=(shown.side, 0))
        for index, (said, chosen, colours) in enumerate(ramps):
            draw_fields(axes, shown, chosen, colours)
            draw_numbers(axes, shown, chosen, colours, scale)
            draw_ramp(_bare(page, LEFT + APART * index, TOP + shown.side + 6, BAR, 2.6), colours, said, scale)
        draw_labels(axes, shown)
        draw_faults(axes, shown, found.faults)
        return _LEVEL.sub(r"M\1 \2H\3", svg(page, identifier, alt)), alt  # level strokes need half the bytes


def _bare(page: Page, left: float, top: float, width: float, height: float) -> Axes:
    """Axes without ticks, grid or frame, in mm."""
    axes = place(page, left, top, width, height)
    axes.grid(visible=False)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return axes


def _ramps(shown: Map) -> list[tuple[str, Mask, Ramp]]:
    """A ramp for each kind of pairs, or one for all where they are near enough."""
    kinds = list(shown.kinds())
    medians = [float(np.median(shown.values[chosen])) for _, chosen in kinds]
    if max(medians) <= ONE_RAMP * min(medians):
        kinds = [("", ~np.isnan(shown.values))]
    hues = ("blue",) if len(kinds) == 1 else ("green", "blue")
    return [(said, chosen, ramp(shown.values[chosen], hue)) for (said, chosen), hue in zip(kinds, hues, strict=True)]


def _quantity(shown: Map) -> str:
    return "bandwidth, one way" if shown.unit is Unit.BYTE_PER_SECOND else "time of a swap"


def _words(shown: Map, found: Findings) -> str:
    """The map for those who cannot see it."""
    ranges = []
    for said, chosen in shown.kinds():
        low, middle, high = (plain(float(q), shown.unit) for q in np.quantile(shown.values[chosen], [0, 0.5, 1]))
        ranges.append(f"{said} from {low} to {high}, median {middle}".strip())
    slow = [f"{fault.label}{shown.nodes_of(fault)} takes {longer(fault)}" for fault in found.faults[:NAMED]]
    if len(found.faults) > NAMED:
        slow.append(f"{len(found.faults) - NAMED} more")
    stands = f"Slow: {listed(slow)}." if slow else "Nothing stands out."
    return f"Heat map of {counted(shown.n, shown.what)}, {_quantity(shown)}: {'; '.join(ranges)}. {stands}"
