"""Techniques one at a time: each one's factor on throughput and memory, as in "Dissecting the Runtime Performance"
(Zhang et al., arXiv 2311.03687)."""

from __future__ import annotations

from collections.abc import Sequence

from harness.statistics import Interval
from harness.summary import Cell, Figure
from harness.units import show_size
from reports.chapters.e2e.jobs import NONE, dtype, extras, layout, number, ratio, setting
from reports.figures.factors import Panel, factors
from reports.model import Column, Group, Notes, Picture, Table, Text
from reports.numbers import GAP
from reports.reading import grouped, member
from reports.subject import Subject, how_known
from reports.text import clean, sentence
from reports.utilisation import placed

JOBS = ("without", "with")


def sections(subject: Subject, cells: Sequence[Cell]) -> tuple[list[Picture], list[Table]]:
    """A figure for each job that techniques were tried on, and one table of all."""
    held = [cell for cell in cells if member(cell.benchmark) == "ablation" and cell.figure("ratio")]
    if not held:
        return [], []
    held.sort(key=lambda cell: -throughput(cell).value)
    known = grouped(held, lambda cell: base(subject, cell))
    return [_picture(subject, title, those) for title, those in known.items()], [_table(subject, known)]


def base(subject: Subject, cell: Cell) -> str:
    """The job that techniques are compared with."""
    params = cell.params
    said = [clean(params.get("trainer", "")), setting(params), dtype(params), layout(params, placed(subject, cell)[0])]
    return ", ".join([*said, extra] if (extra := extras(params)) else said)


def technique(cell: Cell) -> str:
    """'recompute full', 'stage 3, compile true': what the other job has."""
    said = str(_ratio(cell).params.get("technique", "?"))
    return ", ".join(clean(part).replace("=", " ") for part in said.split("+"))


def throughput(cell: Cell) -> Interval:
    return _ratio(cell).interval


def memory(cell: Cell) -> tuple[Figure, Figure] | None:
    """Peak memory of a rank without and with it, of the tier that the device computes from."""
    held = [figure for figure in cell.figures if figure.name == "memory"]
    tiers = [str(figure.own.get("tier")) for figure in held]
    tier = "device" if "device" in tiers else tiers[0] if tiers else ""
    found = [next((f for f in held if f.own == {"job": job, "tier": tier}), None) for job in JOBS]
    return (found[0], found[1]) if found[0] and found[1] and found[0].interval.value > 0 else None


def memory_factor(cell: Cell) -> Interval | None:
    """With it over without: each is one number, so no interval of its own."""
    found = memory(cell)
    if found is None:
        return None
    before, after = (figure.interval for figure in found)
    return Interval(after.value / before.value, after.low / before.high, after.high / before.low)


def _ratio(cell: Cell) -> Figure:
    figure = cell.figure("ratio")
    assert figure is not None
    return figure


def _picture(subject: Subject, title: str, cells: Sequence[Cell]) -> Picture:
    rows = [technique(cell) for cell in cells]
    speeds = tuple(throughput(cell) for cell in cells)
    sizes = tuple(memory_factor(cell) for cell in cells)
    panels = [Panel("Throughput", "right", speeds)]
    if any(sizes):
        panels.append(Panel("Peak memory of a rank", "left", sizes))
    alt = f"Factors of techniques on {title}: " + "; ".join(
        f"{name} throughput {speed.value:.2f}" + (f", memory {size.value:.2f}" if size else "")
        for name, speed, size in zip(rows, speeds, sizes, strict=True)
    )
    identifier = subject.identifier(f"e2e-ablation-{title}")
    caption = (
        f"What each technique does to {title}: tokens per second with it over without, and peak memory. Bars are "
        "95 % intervals; grey where they reach 1, black where there is one number and no interval."
    )
    return Picture(identifier, factors(identifier, f"{alt}.", rows, panels), caption, f"{alt}.")


def _table(subject: Subject, known: dict[str, list[Cell]]) -> Table:
    notes = Notes()
    groups = tuple(Group(title, tuple(_row(cell, notes) for cell in those)) for title, those in known.items())
    columns = (
        Column("Technique", share=24), Column("Throughput", "factor", True, 14),
        Column("Step", "without", True, 14), Column("Step", "with", True, 14),
        Column("Memory", "factor", True, 10), Column("Memory", "without", True, 12), Column("Memory", "with", True, 12),
    )  # fmt: skip
    figures = [_ratio(cell) for those in known.values() for cell in those]
    caption = (
        "Techniques one at a time, each against the same job without it. Both train in one world in turns (ABBA), so "
        "the factor on throughput is of one machine in one state; the interval is of the ratio over turns. Memory is "
        f"the peak of a rank, of each job in a world of its own. {sentence(how_known(figures))}"
    )
    return Table(subject.identifier("e2e-ablation"), caption, columns, groups, tuple(notes.texts), dense=True)


def _row(cell: Cell, notes: Notes) -> tuple[Text, ...]:
    steps = [next((f for f in cell.figures if f.name == "step" and f.own.get("job") == job), None) for job in JOBS]
    sizes, factor = memory(cell), memory_factor(cell)
    flags = dict.fromkeys(clean(flag) for each in _ratio(cell).evidence for flag in each.flags)
    return (
        Text(technique(cell), mark=notes.mark(sentence("; ".join(flags))) if flags else ""), ratio(throughput(cell)),
        *(number(figure.interval, figure) if figure else NONE for figure in steps),
        ratio(factor) if factor else NONE,
        *(Text(show_size(figure.interval.value).replace(" ", GAP)) for figure in sizes or ()),
        *(() if sizes else (NONE, NONE)),
    )  # fmt: skip
