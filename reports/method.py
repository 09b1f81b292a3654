"""How the numbers came about: the rules that hold for every cell, and how well each family is known."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from harness.records import Evidence
from harness.summary import Cell, Figure
from harness.units import Unit, show_duration
from reports.model import Chapter, Column, Fact, Group, Table, Text
from reports.numbers import percent, plain, plus_minus
from reports.reading import TRIAL, grouped
from reports.subject import Subject
from reports.text import clean, counted

SLOW = 1.10  # a rank whose median is this factor above the middle rank's is named
MOST_FLAGS = 20


RULES = (
    Fact(
        "Time",
        "A sample is the time of one operation, or of a block of them divided by their number. Across ranks it is "
        "the maximum after a synchronised start: the slowest rank decides.",
    ),
    Fact(
        "Cadence",
        "Isolated: each operation is synchronised by itself. Streaming: back to back, with one synchronisation at the "
        "end. The two are never mixed.",
    ),
    Fact(
        "Value and interval",
        "The median, with its distribution-free 95 % interval. Rates are bytes or operations over the median time, "
        "never a mean of rates. A training job's step is the mean, so that its rate is all tokens over all the time.",
    ),
    Fact(
        "Correctness",
        "Every result is checked on the same buffers, outside the timed region; a wrong one has no number.",
    ),
    Fact(
        "Caches",
        "Operands are random numbers and rotate over at least four last-level caches, unless a cell says otherwise. "
        "Memory loops reuse theirs: a small working set shows the cache that it fits in.",
    ),
    Fact(
        "Bus bandwidth",
        "Message size over time (algbw) times the share of data that must cross each rank's link: 2(n−1)/n for "
        "all-reduce, (n−1)/n for all-gather, reduce-scatter and all-to-all, 1 for broadcast and send/recv "
        "(nccl-tests).",
    ),
    Fact("Units", "GB is 10⁹ bytes and GiB 2³⁰; rates use powers of ten, sizes powers of two."),
)


def chapter(subject: Subject) -> Chapter:
    tables = tuple(table for table in (_quality(subject), _flags(subject)) if table)
    facts = (*_notes(subject), *RULES, *_limits(subject), *_timer(subject))
    return Chapter(subject.identifier("method"), "How it was measured", _intro(subject), (), tables, facts=facts)


def _intro(subject: Subject) -> str:
    if subject.modelled:
        return (
            "These numbers were not measured. A model of the declared cluster gave the time of each operation; the "
            "rest of the suite ran as it would on the real machine, and the rules below hold for measurements."
        )
    return "The same rules hold for every cell; where one could not hold, the tables below say so."


def _limits(subject: Subject) -> tuple[Fact, ...]:
    """What this run was allowed: launches, time, and the order of its cells."""
    info = subject.run.info
    launches = (
        "One launch: intervals are within the run and do not cover launch-to-launch change."
        if info.launches == 1
        else f"{info.launches} launches of fresh processes: a value is the median of launch medians, and its interval "
        "covers change from launch to launch."
    )
    budget = "without a limit of time" if info.budget is None else f"under a budget of {show_duration(info.budget)}"
    stopping = (
        "Each cell warms up until two blocks agree, then is sampled until its interval is within ± 2 % (± 5 % below "
        f"100 µs) or its time is up, {budget}. Cells ran in a random order, seed {info.seed}."
    )
    return Fact("Launches", launches), Fact("Stopping", stopping)


def _notes(subject: Subject) -> tuple[Fact, ...]:
    """What the launches themselves said: a model's assumptions, what the machine could not tell."""
    said = dict.fromkeys(clean(note) for held in subject.launches for note in held.notes)
    return tuple(Fact(f"Note {number}", note) for number, note in enumerate(said, start=1))


def _timer(subject: Subject) -> tuple[Fact, ...]:
    """Resolution and cost of the clock, the worst over launches (METHOD 4)."""
    timers = [held.timer for held in subject.launches if held.timer is not None]
    if not timers:
        return ()
    resolution, overhead = max(t.resolution for t in timers), max(t.overhead for t in timers)
    said = f"Resolution {plain(resolution, Unit.SECOND)}; timing an empty region costs {plain(overhead, Unit.SECOND)}."
    return (Fact("Timer", said),)


def _times(cells: Sequence[Cell]) -> list[Figure]:
    """What was measured itself, without the rates that follow from it and the trials of a search."""
    return [f for cell in cells for f in cell.figures if f.unit is Unit.SECOND and f.name != TRIAL]


def _quality(subject: Subject) -> Table | None:
    """One row for each benchmark: how wide its intervals are, why sampling ended, what was disturbed."""
    figures = _times(subject.measured)
    if not figures:
        return None
    columns = (
        Column("Benchmark", share=24), Column("Measurements", numeric=True, share=13),
        Column("Samples", numeric=True, share=12), Column("Median half width", numeric=True, share=13),
        Column("Widest", numeric=True, share=11), Column("Width reached", numeric=True, share=13),
        Column("Disturbed, repeated", numeric=True, share=14),
    )  # fmt: skip
    rows = [_quality_row(name, those) for name, those in grouped(figures, lambda figure: figure.benchmark).items()]
    caption = (
        "How well each benchmark is known: relative half widths of the 95 % intervals, the share of measurements that "
        "stopped because the wanted width was reached, and blocks that were disturbed and measured again."
    )
    return Table(subject.identifier("quality"), caption, columns, (Group("", tuple(rows)),))


def _quality_row(name: str, figures: Sequence[Figure]) -> tuple[Text, ...]:
    widths = [figure.interval.width for figure in figures]
    evidence = [piece for figure in figures for piece in figure.evidence]
    reached = sum(piece.stopped == "width reached" for piece in evidence)
    return (
        Text(clean(name)), Text(f"{len(figures):,}"), Text(f"{sum(figure.summary.n for figure in figures):,}"),
        Text(plus_minus(median(widths))), Text(plus_minus(max(widths))),
        Text(percent(reached / len(evidence)) if reached else "0 %"),
        Text(f"{sum(piece.tainted for piece in evidence):,}"),
    )  # fmt: skip


def _flags(subject: Subject) -> Table | None:
    """What the records themselves warn of, each said once with the number of measurements."""
    held: dict[str, int] = {}
    for figure in _times(subject.measured):
        for piece in figure.evidence:
            for said in [clean(flag) for flag in piece.flags] + _slow(piece):
                held[said] = held.get(said, 0) + 1
    for cell in subject.cells:
        for note in cell.notes:
            held[clean(note)] = held.get(clean(note), 0) + 1
    if not held:
        return None
    ordered = sorted(held.items(), key=lambda pair: -pair[1])
    rows = tuple((Text(said), Text(f"{count:,}")) for said, count in ordered[:MOST_FLAGS])
    more = f" {counted(len(held) - MOST_FLAGS, 'more')} not listed." if len(held) > MOST_FLAGS else ""
    columns = (Column("Remark", share=84), Column("Measurements", numeric=True, share=16))
    return Table(
        subject.identifier("flags"), f"Remarks that the measurements carry.{more}", columns, (Group("", rows),)
    )


def _slow(evidence: Evidence) -> list[str]:
    """The slowest rank, where it stands out from the middle one."""
    ranks = evidence.rank_medians
    if len(ranks) < 2 or min(ranks) <= 0:
        return []
    worst, middle = max(ranks), median(ranks)
    if worst <= SLOW * middle:
        return []
    return [f"rank {ranks.index(worst)} is slow: more than {percent(SLOW - 1)} above the middle rank"]
