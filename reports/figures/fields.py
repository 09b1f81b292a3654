"""The fields of a map on the page: colours, numbers, labels, and frames around what is slow.

Fields are strokes, one path for each colour, so that a map of thousands stays small and is no picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle, PathPatch, Rectangle
from matplotlib.path import Path
from numpy.typing import NDArray

from harness.outliers import Fault
from harness.units import digits
from reports.figures.axes import spread
from reports.figures.pairs import Area, Map, Mask
from reports.figures.ramp import LEVELS, Ramp
from reports.figures.style import INK, MUTED, POINT, SERIES, SMALL, TEXT
from reports.numbers import GAP, Scale

NUMBERED = 6.2  # mm of a field from which its number fits
APART = 3.0  # mm of a field from which fields are drawn apart, and a frame fits around one
LINE = 4.2  # mm between two lines of text
NAMED = 12  # of what is slow, named beside the map
MARK = SERIES[1]


def draw_fields(axes: Axes, shown: Map, chosen: Mask, ramp: Ramp) -> None:
    """The chosen fields: strokes as wide as a field is tall. Small ones overlap by a hair, so that no seam
    shows between them."""
    gap = (0.05 if shown.field >= APART else -0.012) * shown.field
    joined = 1 if gap > 0 else shown.together if shown.together > 1 else shown.n  # fields that may touch
    levels = np.where(chosen, ramp.levels(np.where(chosen, shown.values, ramp.low)), -1)
    strokes: dict[int, list[tuple[float, float]]] = {}
    for row in range(shown.n):
        y = shown.place(row) + shown.field / 2
        for first, last in _runs(levels[row], joined):
            ends = shown.place(first) + gap, shown.place(last) + shown.field - gap
            strokes.setdefault(int(levels[row, first]), []).extend((x, y) for x in ends)
    for level, points in sorted(strokes.items()):
        path = Path(points, [Path.MOVETO, Path.LINETO] * (len(points) // 2))
        width = (shown.field - 2 * gap) / POINT
        axes.add_patch(PathPatch(path, fill=False, edgecolor=ramp.colours[level], capstyle="butt", linewidth=width))


def _runs(levels: NDArray[np.intp], joined: int) -> Iterator[tuple[int, int]]:
    """First and last places of neighbours of one colour, within each `joined` of them; -1 has no colour."""
    for (level, _), places in groupby(range(len(levels)), lambda place: (int(levels[place]), place // joined)):
        held = list(places)
        if level >= 0:
            yield held[0], held[-1]


def draw_numbers(axes: Axes, shown: Map, chosen: Mask, ramp: Ramp, scale: Scale) -> None:
    """The value of each chosen field, where there is room for it."""
    if shown.field < NUMBERED:
        return
    for row, column in zip(*np.nonzero(chosen), strict=True):
        value = shown.values[row, column]
        axes.text(
            shown.place(int(column)) + shown.field / 2, shown.place(int(row)) + shown.field / 2,
            digits(float(value) / scale.factor), ha="center", va="center_baseline",
            fontsize=min(TEXT, 0.95 * shown.field), color="white" if ramp.levels(value) > 0.45 * LEVELS else INK,
        )  # fmt: skip


def draw_labels(axes: Axes, shown: Map) -> None:
    """Ranks or nodes along the left and upper edges, and the names of nodes that have several ranks."""
    room = 5.4 if shown.n > 100 else 4.0  # mm that a number takes
    steps = (s for s in (1, 2, 4, 8, 16, 32) if s * shown.field >= room)
    if 1 < shown.together < shown.n:
        steps = (s for s in steps if shown.together % s == 0)
    step = next(steps, shown.together)
    for index in range(0, shown.n, step):
        middle = shown.place(index) + shown.field / 2
        axes.text(-1.4, middle, str(index), ha="right", va="center_baseline", fontsize=SMALL, color=MUTED)
        axes.text(middle, -1.4, str(index), ha="center", va="bottom", fontsize=SMALL, color=MUTED)
    tall = shown.together * shown.field
    if 1 < shown.together < shown.n and tall >= 2 * LINE:
        for node in range(shown.n // shown.together):
            middle = shown.place(node * shown.together) + tall / 2
            axes.text(-7.4, middle, f"node {node}", ha="center", va="center", rotation=90, fontsize=SMALL, color=MUTED)


def draw_faults(axes: Axes, shown: Map, faults: Sequence[Fault]) -> None:
    """A frame around what is slow, and beside the map its name and by how much."""
    wanted = list[tuple[float, Fault]]()
    for fault in faults[:NAMED]:
        areas = shown.areas(fault)
        for area in areas:
            _frame(axes, area, shown)
        wanted.append((shown.place(areas[0][0]) + shown.field / 2 if areas else shown.side, fault))
    wanted.sort(key=lambda entry: entry[0])
    bottom, right = max(shown.side - LINE / 2, LINE * len(wanted)), shown.side
    placed = spread([at for at, _ in wanted], LINE, LINE / 2, bottom)
    for (at, fault), text in zip(wanted, placed, strict=True):
        if shown.areas(fault):
            axes.plot([right + 0.8, right + 2.6], [at, text], color=MARK, linewidth=0.8, clip_on=False)
        said = f"{fault.label}: {longer(fault)}"
        axes.text(right + 3.4, text, said, va="center_baseline", fontsize=TEXT, fontweight=600, color=MARK)
    if len(faults) > NAMED:
        said = f"and {len(faults) - NAMED} more"
        axes.text(right + 3.4, placed[-1] + LINE, said, va="center_baseline", fontsize=SMALL, color=MUTED)


def longer(fault: Fault) -> str:
    """'21 % longer'."""
    return f"{100 * (fault.ratio.value - 1):.0f}{GAP}% longer"


def _frame(axes: Axes, area: Area, shown: Map) -> None:
    """A frame around an area, clear of it where it is thin; a ring around a field too small for one."""
    top, left = shown.place(area[0]), shown.place(area[2])
    tall, wide = shown.place(area[1]) + shown.field - top, shown.place(area[3]) + shown.field - left
    thin = min(tall, wide) < APART
    if max(tall, wide) < APART:
        centre = (left + wide / 2, top + tall / 2)
        axes.add_patch(Circle(centre, 1.7, fill=False, color=MARK, linewidth=1.2, clip_on=False))
        return
    clear, line = (0.3, 0.9) if thin else (0.0, 1.3)
    corner, size = (left - clear, top - clear), (wide + 2 * clear, tall + 2 * clear)
    axes.add_patch(Rectangle(corner, *size, fill=False, color=MARK, linewidth=line, clip_on=False, joinstyle="round"))


def draw_ramp(axes: Axes, ramp: Ramp, said: str, scale: Scale) -> None:
    """A bar of the colours with its ends' values; that values lie beyond an end is said."""
    axes.set(xlim=(0, 1), ylim=(0, 1))
    for level, colour in enumerate(ramp.colours):
        axes.add_patch(Rectangle((level / LEVELS, 0), 1.02 / LEVELS, 1, color=colour, linewidth=0))
    low, high = (digits(end / scale.factor) for end in (ramp.low, ramp.high))
    ends = (0, f"≤ {low}" if ramp.below else low), (0.5, scale.unit), (1, f"≥ {high}" if ramp.above else high)
    for (at, text), align in zip(ends, ("left", "center", "right"), strict=True):
        axes.text(at, -0.45, text, ha=align, va="top", fontsize=SMALL, color=MUTED)
    axes.text(0, 1.35, said, fontsize=SMALL, color=INK, va="bottom")
