"""How every figure looks: one palette, one typeface, light grids, labels on the lines themselves.

The six series colours follow Okabe and Ito's colour-blind safe set (Color Universal Design, 2008),
darkened until each has a contrast of at least 3.7 on white, so that a label can carry its line's
colour. Markers repeat the distinction. Text is drawn as outlines (svg.fonttype 'path'): a figure
then looks the same in every browser and in the PDF, and a label is exactly as wide as it was
measured when it was placed; its words are in the alternative text and the tables.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, MUTED, GRID, ROOF = "#1b2733", "#5c6a79", "#dde3e9", "#7a5c00"
SERIES = ("#0072b2", "#c94f00", "#00805f", "#a8477f", "#946a00", "#55677a")
MARKERS = ("o", "s", "^", "D", "v", "P")

WIDTH = 174.0  # mm: the text block of an A4 page
INCH = 25.4  # mm
POINT = INCH / 72  # mm
TEXT, SMALL, TITLE = 7.6, 6.8, 8.4  # pt

_FONTS = Path(__file__).parent.parent / "templates"
_FAMILY = "Bench Sans"

_RC: Any = {  # matplotlib types the keys of its settings one by one
    "svg.fonttype": "path",
    "svg.hashsalt": "bench",
    "font.family": [_FAMILY],
    "font.size": TEXT,
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.6,
    "axes.labelcolor": MUTED,
    "axes.labelsize": SMALL,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "xtick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "xtick.major.pad": 2.5,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "ytick.major.pad": 2.5,
    "lines.linewidth": 1.4,
    "lines.markersize": 2.6,
    "lines.solid_capstyle": "round",
    "path.simplify": False,
}


def styled() -> AbstractContextManager[None]:
    """The style, for as long as a figure is made and written."""
    _register()
    return matplotlib.rc_context(_RC)


@lru_cache(maxsize=1)
def _register() -> None:
    """Make the report's own typeface known to matplotlib."""
    for weight in (400, 600):
        font_manager.fontManager.addfont(str(_FONTS / f"bench-sans-{weight}.otf"))


def sheet(height: float, width: float = WIDTH) -> Figure:
    """An empty figure of that size in mm."""
    return Figure(figsize=(width / INCH, height / INCH))


def place(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a place in mm from the figure's left and upper edge, with a horizontal grid."""
    wide, tall = (side * INCH for side in figure.get_size_inches())
    axes = figure.add_axes((left / wide, 1 - (top + height) / tall, width / wide, height / tall))
    axes.grid(axis="y")
    return axes


def write(
    figure: Figure,
    left: float,
    top: float,
    text: str,
    size: float,
    colour: str,
    weight: int = 400,
    align: str = "baseline",
) -> None:
    """Text at a place in mm from the figure's left and upper edge; its baseline is there."""
    wide, tall = (side * INCH for side in figure.get_size_inches())
    figure.text(left / wide, 1 - top / tall, text, fontsize=size, color=colour, fontweight=weight, va=align)


def colour_of(key: str, order: tuple[str, ...]) -> tuple[str, str]:
    """(colour, marker) of a series: by its place in `order`; beyond six the last is shared."""
    index = min(order.index(key) if key in order else len(SERIES) - 1, len(SERIES) - 1)
    return SERIES[index], MARKERS[index]
