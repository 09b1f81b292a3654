"""STREAM's loops: bandwidth against the working set, by kernel and threads, and one thread against all."""

from __future__ import annotations

from collections.abc import Sequence

from harness.summary import Cell, Figure
from harness.units import show_size
from reports.chapters.matrix import matrix
from reports.chapters.memory.ratios import ratio, times
from reports.chapters.memory.settings import Setting, by_setting, marks, setting_of
from reports.figures.alt import of_curves
from reports.figures.axes import Line
from reports.figures.panels import Look, Panel, panels
from reports.model import Picture, Table
from reports.numbers import declared
from reports.reading import Curve, curves, dtype_of, figures_of, grouped, size_of
from reports.shares import Roof, peak_of
from reports.subject import Subject, bars, how_known
from reports.text import clean, listed, sentence
from reports.titles import LOOPS

ALONE, STACKED = 62.0, 44.0  # mm of a panel that has the figure to itself, and of one among others


def sections(subject: Subject, cells: Sequence[Cell]) -> tuple[list[Picture], list[Table]]:
    """For each data type a figure of every kernel and thread count, and a table of each; then threads compared."""
    pictures, tables = list[Picture](), list[Table]()
    for dtype, figures in grouped(figures_of(cells, "bandwidth"), dtype_of).items():
        settings = by_setting(figures)
        pictures += [_picture(subject, clean(dtype), settings), *_threads(subject, clean(dtype), figures)]
        tables += [_table(subject, clean(dtype), *held, len(settings) > 1) for held in settings.items()]
    return pictures, tables


def op_of(figure: Figure) -> str:
    return clean(figure.params.get("op", ""))


def far_size(figure: Figure) -> float:
    return size_of(figure.params) or 0.0


def _table(subject: Subject, dtype: str, setting: Setting, figures: Sequence[Figure], several: bool) -> Table:
    how = f"{dtype}, {setting.text}" if several else dtype
    lead = f"Memory bandwidth of each loop ({how}) by working set"
    return matrix(
        subject.identifier(f"memory-sizes-{how}"), lead, "Working set", figures, op_of, far_size, show_size
    )  # fmt: skip


def _picture(subject: Subject, dtype: str, settings: dict[Setting, list[Figure]]) -> Picture:
    """One panel below the other, so that the caches stand in one line where they are the same."""
    held, alts, every = [], [], []
    for setting, figures in settings.items():
        roof = peak_of(figures[0], subject.cluster) if subject.per_device == 1 and not setting.threads else ""
        lines = (Line(roof.value, f"peak, {declared(roof.value, roof.unit)}"),) if isinstance(roof, Roof) else ()
        steps = marks(subject, setting.threads)
        for cadence, those in grouped(figures, lambda figure: figure.cadence).items():
            drawn = curves(those, op_of, size_of)
            title = f"{setting.text}, {cadence.value}" if cadence else setting.text
            held.append(Panel(title, tuple(drawn), lines, steps))
            alts.append(of_curves(title, drawn, show_size))
        every += figures
    name, caches = subject.identifier(f"memory-{dtype}"), [line.text for line in held[0].steps]
    alt = f"Memory bandwidth against working set.{f' Vertical lines: {listed(caches)}.' if caches else ''} "
    order = tuple(dict.fromkeys([*LOOPS, *(curve.key for panel in held for curve in panel.curves)]))
    tall = ALONE if len(held) == 1 else STACKED
    svg = panels(name, alt + " ".join(alts), held, Look("bandwidth", "working set", order, tall=tall, abreast=1,
                 right=30))  # fmt: skip
    what = f"Memory bandwidth of each loop ({dtype}) against its working set" + (
        "; vertical lines mark what the caches of those threads hold together." if caches else "."
    )
    return Picture(name, svg, f"{what} {bars(every)} {sentence(how_known(every))}", alt + " ".join(alts))


def _threads(subject: Subject, dtype: str, figures: Sequence[Figure]) -> list[Picture]:
    """One thread against all, a panel for each loop, where a kernel was run with both."""
    held, alts = [], []
    for (kernel, op), those in grouped(figures, lambda f: (setting_of(f).kernel, op_of(f))).items():
        crews = [each for setting, each in by_setting(those).items() if setting.threads in (0, 1)]
        lines = [line for each in crews for line in curves(each, lambda f: setting_of(f).crew, size_of)]
        if len(crews) > 1:
            held.append(Panel(f"{op}, {kernel}", tuple(lines)))
            alts.append(of_curves(op, lines, show_size))
    if not held:
        return []
    name = subject.identifier(f"memory-threads-{dtype}")
    alt = f"Memory bandwidth of one thread and of all against working set. {' '.join(alts)}"
    order = tuple(dict.fromkeys(curve.key for panel in held for curve in panel.curves))
    svg = panels(name, alt, held, Look("bandwidth", "working set", order))
    every = [figure for panel in held for curve in panel.curves for figure in curve.figures]
    gains = [f"{panel.title.partition(',')[0]} {gain}" for panel in held if (gain := _gain(panel.curves))]
    far = f"At the largest working set all threads together reach {listed(gains)} what one does. " if gains else ""
    caption = f"One thread against all ({dtype}). {far}{bars(every)} {sentence(how_known(every))}"
    return [Picture(name, svg, caption, alt)]


def _gain(lines: Sequence[Curve]) -> str:
    """'1.82 × [1.80, 1.85]': all threads over one, at the largest size of both."""
    many, one = (dict(zip(line.xs, line.figures, strict=True)) for line in lines[:2])
    common = many.keys() & one.keys()
    if not common:
        return ""
    return times(ratio(many[max(common)].interval, one[max(common)].interval))
