"""The map of all pairs of ranks: a heat map for each size, and what stands out in it."""

from __future__ import annotations

from collections.abc import Sequence

from harness.outliers import Findings, slow_pairs
from harness.summary import Cell, Figure
from harness.units import show_size
from reports.figures.heatmap import heatmap
from reports.model import Column, Group, Picture, Table, Text
from reports.numbers import percent
from reports.reading import figures_of, say_all, size_of
from reports.subject import Subject, how_known
from reports.text import sentence

SHORT = 64 << 10  # B: messages up to this size say how long a path is, longer ones how wide


def sections(subject: Subject, cells: Sequence[Cell]) -> tuple[list[Picture], list[Table]]:
    """A map for each cell, and one table of what was found in all of them."""
    times = [figure for figure in figures_of(cells, "time") if len(figure.pairs) > 1]
    found = [(figure, findings(subject, figure)) for figure in times]
    return [_map(subject, figure, said) for figure, said in found], [_table(subject, found)] if found else []


def findings(subject: Subject, figure: Figure) -> Findings:
    """Slow pairs, ranks, nodes and rails in one map. Launches add to the samples of each pair."""
    pairs, rows = figure.pairs, []
    for at in range(len(pairs)):
        row: list[float] = []
        for samples in figure.samples:
            share = len(samples) // len(pairs)
            row += samples[at * share : (at + 1) * share]
        rows.append(row)
    return slow_pairs(pairs, rows, subject.ranks_per_node)


def _map(subject: Subject, figure: Figure, said: Findings) -> Picture:
    size = size_of(figure.params) or 0.0
    name = subject.identifier(f"pairs-{say_all(figure.params)}")
    latency = size <= SHORT
    svg, alt = heatmap(name, figure, said, subject.ranks_per_node, latency)
    what = "time" if latency else "bandwidth of one way"
    ringed = f" Ringed: {', '.join(fault.label for fault in said.faults)}." if said.faults else ""
    caption = (
        f"Every pair of ranks swaps {show_size(size)}, both ways at once: {what}.{ringed} "
        f"{sentence(how_known([figure]))}"
    )
    return Picture(name, svg, caption, alt)


def _table(subject: Subject, found: Sequence[tuple[Figure, Findings]]) -> Table:
    columns = (
        Column("Map", share=24), Column("Stands out", share=22), Column("Time over its like", numeric=True, share=22),
        Column("Smallest slow-down found 9 times in 10", share=32),
    )  # fmt: skip
    rows = []
    for figure, said in found:
        smallest = ", ".join(f"{kind} {_times(ratio)}" for kind, ratio in said.smallest.items()) or "–"
        first = Text(say_all(figure.params))
        if not said.faults:
            rows.append((first, Text("nothing"), Text("–"), Text(smallest)))
        for fault in said.faults:
            i = fault.ratio
            ratio = Text(f"{i.value:.2f} ×", f"[{i.low:.2f}, {i.high:.2f}]")
            rows.append((first, Text(fault.label, tone="alarm"), ratio, Text(smallest)))
            first = Text("")
    notes = dict.fromkeys(note for _, said in found for note in said.notes)
    caption = (
        "Pairs, ranks, nodes and rails that are slower than their like by more than the practical margin, at a "
        f"controlled rate of false discoveries. {' '.join(notes)}"
    )
    return Table(subject.identifier("pairs-found"), caption.strip(), columns, (Group("", tuple(rows)),))


def _times(ratio: float) -> str:
    return percent(ratio - 1) if ratio < 100 else "none"
