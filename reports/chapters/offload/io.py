"""Raw disk traffic: every engine against fio, over blocks and depths; a long write; disk beside memory traffic."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.records import Params
from harness.summary import Cell, Figure
from harness.units import show_size
from reports.chapters.memory.ratios import ratio, share
from reports.chapters.offload import contention
from reports.chapters.offload.cells import NONE
from reports.chapters.offload.stream import pictures as long_writes
from reports.figures.alt import of_curves
from reports.figures.panels import Look, Panel, panels
from reports.model import Column, Group, Picture, Table, Text
from reports.numbers import GAP, shown
from reports.reading import best, curves, figures_of, grouped, member, size_of
from reports.subject import Subject, bars, how_known
from reports.text import clean, sentence

ENGINES = {
    "aio": "DeepSpeed aio", "uring": "io_uring", "positional": "positional", "gds": "GPUDirect Storage",
    "fio": "fio, libaio", "fio_uring": "fio, io_uring",
}  # fmt: skip
ROOFS = ("fio", "fio_uring")
OPS = ("read", "write")


def sections(subject: Subject, cells: Sequence[Cell]) -> tuple[list[Picture], list[Table]]:
    """Pictures and tables of `offload.io`, `.sustained` and `.contention`, of whichever there are cells."""
    figures = figures_of([c for c in cells if member(c.benchmark) == "io"], "bandwidth")
    pictures = [*_pictures(subject, figures), *long_writes(subject, cells)]
    tables = [*_table(subject, figures), *contention.tables(subject, cells)]
    return pictures, tables


def flight(params: Params) -> int:
    """Requests in flight of one rank."""
    depth, threads = params.get("depth"), params.get("threads")
    return (depth if isinstance(depth, int) else 1) * (threads if isinstance(threads, int) else 1)


def _number(params: Params, key: str) -> float:
    value = params.get(key)
    return float(value) if isinstance(value, (int, float)) else 0.0


def _engine(figure: Figure) -> str:
    name = str(figure.params.get("engine", ""))
    said = ENGINES.get(name, clean(name))
    threads = _number(figure.params, "threads")
    if name == "positional" or threads > 1:
        said += f", {threads:.0f} thread{'' if threads == 1 else 's'}"
    said += "" if figure.params.get("pinned", True) else ", bounce buffer"
    return said + (", from cache" if figure.params.get("cached") else "")


def _setting(figure: Figure) -> tuple[str, float, int, float, str, bool]:
    """What a number and its roof have in common."""
    held = figure.params
    return (
        clean(held.get("op", "")), _number(held, "block"), flight(held), _number(held, "writers"),
        f"{clean(held.get('layout', ''))} {size_of(held) or 0:.0f}", held.get("direct") is True,
    )  # fmt: skip


def _title(figure: Figure) -> str:
    held, ranks = figure.params, _number(figure.params, "writers")
    size = show_size(size_of(held) or 0.0).replace(" ", GAP)
    block = show_size(_number(held, "block")).replace(" ", GAP)
    said = f"{clean(held.get('op', ''))}, {size} in blocks of {block}, {flight(held)} in flight"
    if ranks > 1:
        said += f", {ranks:.0f} ranks, {'one shared file' if held.get('layout') == 'shared' else 'a file each'}"
    return said + ("" if held.get("direct", True) else ", through the system's cache")


def _table(subject: Subject, figures: Sequence[Figure]) -> list[Table]:
    """A group for each setting, a row for each engine, with its share of what fio reaches."""
    if not figures:
        return []
    groups = []
    for _, those in sorted(grouped(figures, _setting).items()):
        roofs = [figure for figure in those if figure.params.get("engine") in ROOFS]
        roof = best(roofs) if roofs else None
        ordered = sorted(those, key=lambda figure: -figure.interval.value)
        groups.append(Group(_title(those[0]), tuple(_row(figure, roof) for figure in ordered)))
    columns = (
        Column("Engine", share=34), Column("Bandwidth", numeric=True, share=22), Column("95 %", numeric=True, share=22),
        Column("Of fio's", numeric=True, share=22),
    )  # fmt: skip
    caption = (
        "Disk traffic by engine, all ranks together. A write counts until fsync has ended, over blocks that were given "
        "out before; a read comes from a file that memory was made to forget. Of fio's: of the faster of its engines, "
        f"same size, block and requests in flight, by its own clock. {sentence(how_known(figures))}"
    )
    return [Table(subject.identifier("disk"), caption, columns, tuple(groups))]


def _row(figure: Figure, roof: Figure | None) -> tuple[Text, ...]:
    found = shown(figure.interval, figure.unit)
    part = NONE
    if roof is not None:
        part = Text(f"100{GAP}%") if figure is roof else share(ratio(figure.interval, roof.interval))
    return Text(_engine(figure)), Text(found.text), Text(found.interval, tone="muted"), part


def _pictures(subject: Subject, figures: Sequence[Figure]) -> list[Picture]:
    """Bandwidth over the block size, and over the requests in flight, where there are several."""

    def block(held: Params) -> float:
        return _number(held, "block")

    def depth(held: Params) -> float:
        return float(flight(held))

    return [
        *_over(subject, figures, "block size", block, depth),
        *_over(subject, figures, "requests in flight", depth, block),
    ]


def _over(
    subject: Subject, figures: Sequence[Figure], over: str, place: Callable[[Params], float],
    rest: Callable[[Params], float],
) -> list[Picture]:  # fmt: skip
    """A panel for each direction and each value of what stays the same."""
    held, alts, binary = [], [], over == "block size"
    panes = grouped(figures, lambda figure: (str(figure.params.get("op")), rest(figure.params)))
    for (op, fixed), those in sorted(panes.items()):
        drawn = [curve for curve in curves(those, _line, place) if len(curve.xs) > 1]
        if drawn:
            other = f"{fixed:.0f} in flight" if binary else f"blocks of {show_size(fixed)}"
            held.append(Panel(f"{clean(op)}, {other}", tuple(drawn)))
            alts.append(of_curves(held[-1].title, drawn, show_size if binary else _plain))
    return [_picture(subject, over, held, " ".join(alts))] if held else []


def _line(figure: Figure) -> str:
    return ENGINES.get(str(figure.params.get("engine")), clean(figure.params.get("engine", "")))


def _plain(value: float) -> str:
    return f"{value:.0f}"


def _picture(subject: Subject, over: str, held: Sequence[Panel], alts: str) -> Picture:
    name = subject.identifier(f"disk-{over}")
    order = tuple(said for said in ENGINES.values() if any(said == c.key for panel in held for c in panel.curves))
    every = [figure for panel in held for curve in panel.curves for figure in curve.figures]
    alt = f"Disk bandwidth against {over}. {alts}"
    svg = panels(name, alt, held, Look("bandwidth", over, order, binary=over == "block size"))
    caption = f"Disk bandwidth against {over}, by engine. {bars(every)} {sentence(how_known(every))}"
    return Picture(name, svg, caption, alt)
