"""Where a step's time goes, and whether a rank is slower than the others."""

from __future__ import annotations

import re
from collections.abc import Sequence
from statistics import mean, median

from harness.outliers import Findings, slow_ranks
from harness.units import Unit
from reports.chapters.e2e.jobs import NONE, Job, by_setting, line, named, number
from reports.figures.stacked import Bar, stacked
from reports.model import Column, Group, Picture, Table, Text
from reports.numbers import GAP, plain
from reports.reading import grouped
from reports.subject import Subject
from reports.text import counted, listed

PARTS = {
    "forward": "forward", "backward": "backward", "communication": "exposed", "optimizer": "optimizer",
    "data": "data", "rest": "rest",
}  # fmt: skip
"""Parts as records name them, and as a figure does; in the order of a step."""
LABEL = 34  # characters that fit beside a bar
_SLOWED = re.compile(r"took ([\d.]+) times")


def sections(subject: Subject, held: Sequence[Job]) -> tuple[list[Picture], list[Table]]:
    """A figure and a table for each setting that has parts."""
    known = by_setting([job for job in held if shares(job)])
    pictures = [_picture(subject, title, those) for title, those in known.items()]
    return pictures, [_table(subject, known)] if known else []


def shares(job: Job) -> dict[str, float]:
    """Each part's share of the steps that a profiler watched; {} where none was. Means, since they add up."""
    found = {
        str(figure.own.get("part")): mean(value for launch in figure.samples for value in launch)
        for figure in job.cell.figures if figure.name == "part"
    }  # fmt: skip
    whole = sum(found.values())
    return {part: found.get(part, 0.0) / whole for part in PARTS} if whole > 0 else {}


def _picture(subject: Subject, title: str, held: Sequence[Job]) -> Picture:
    bars = []
    for job in held:
        whole = job.time.interval.value
        parts = {PARTS[part]: part_of * whole for part, part_of in shares(job).items()}
        bars.append(Bar(_short(job, held), parts, whole))
    alt = f"Parts of a training step of {title}: " + "; ".join(
        f"{line(job)} {plain(bar.whole, Unit.SECOND)}: "
        + ", ".join(f"{part} {plain(size, Unit.SECOND)}" for part, size in bar.parts.items())
        for job, bar in zip(held, bars, strict=True)
    )
    identifier = subject.identifier(f"e2e-step-{title}")
    caption = (
        f"Where a step's time goes: {title}. Shares are those of a few steps under a profiler{_slowed(held)}, drawn to "
        "the length of the timed step, whose time stands at the bar's end. Exposed: communication while no arithmetic "
        "runs, which is in no other part."
    )
    return Picture(identifier, stacked(identifier, alt, bars, list(PARTS.values()), "a step"), caption, alt)


def _short(job: Job, among: Sequence[Job]) -> str:
    """What tells a job from the others of its figure, cut to the room beside a bar."""
    name = named(job)
    text = f"{name.main}, {name.sub}"
    common = {part for part in text.split(", ") if all(part in line(other).split(", ") for other in among)}
    said = [part for part in text.split(", ") if len(among) == 1 or part not in common or part == name.main]
    said = [part for part in said if not part.startswith("batch ")] or said
    return ", ".join(said)[:LABEL]


def slowed(job: Job) -> list[float]:
    """How many times as long steps took under the profiler, of each launch, from what its records say."""
    flags = dict.fromkeys(
        flag for figure in job.cell.figures if figure.name == "part" for one in figure.evidence for flag in one.flags
    )
    return [float(match.group(1)) for flag in flags if (match := _SLOWED.search(flag))]


def _slowed(held: Sequence[Job]) -> str:
    """', in which they took 1.2 to 1.9 times as long'."""
    found = [value for job in held for value in slowed(job)]
    if not found:
        return ""
    low, high = f"{min(found):.2f}", f"{max(found):.2f}"
    return f", in which they took {low if low == high else f'{low} to {high}'} times as long"


def _table(subject: Subject, known: dict[str, list[Job]]) -> Table:
    groups = tuple(Group(title, tuple(_row(job) for job in those)) for title, those in known.items())
    columns = (
        Column("Trainer and layout", share=24), Column("Step", numeric=True, share=12),
        *(Column(part.capitalize(), "%", True, 4 + 0.7 * len(part)) for part in PARTS.values()),
        Column("Profiled", "over timed", True, 9), Column("Busiest rank", "over median", True, 10),
    )  # fmt: skip
    caption = (
        "The parts of a step in % of a few steps under a profiler, on the first rank; they add up to 100. Profiled: "
        "how many times as long those steps took as the timed ones. Busiest rank: the time in which it computes, over "
        "the median of all ranks."
    )
    return Table(subject.identifier("e2e-steps"), caption, columns, groups, dense=True)


def _row(job: Job) -> tuple[Text, ...]:
    parts, times = shares(job), slowed(job)
    return (
        named(job), number(job.time.interval, job.time), *(Text(f"{100 * parts[part]:.1f}") for part in PARTS),
        Text(f"{median(times):.2f}") if times else NONE, busiest(job),
    )  # fmt: skip


def busiest(job: Job) -> Text:
    """'1.14', the rank below."""
    rows = busy([job])
    if not rows:
        return NONE
    medians = [median(values) for values in zip(*rows, strict=True)]
    top = max(range(len(medians)), key=medians.__getitem__)
    return Text(f"{medians[top] / median(medians):.2f}", f"rank{GAP}{top}")


def busy(held: Sequence[Job]) -> list[tuple[float, ...]]:
    """Seconds of a step in which each rank computes, a row for each job and launch that told all of them."""
    rows = (evidence.rank_medians for job in held for evidence in job.time.evidence)
    return [row for row in rows if len(row) > 1 and all(value > 0 for value in row)]


def verdicts(held: Sequence[Job]) -> list[str]:
    """Straggler verdicts, one for each number of ranks. Stages of a pipeline do different work, so jobs with one
    have no say."""
    alike = [job for job in held if job.cell.params.get("pipeline", 1) == 1]
    said = []
    for ranks, rows in grouped(busy(alike), len).items():
        said.append(_verdict(ranks, rows, slow_ranks(rows)))
    if len(alike) < len(held):
        said.append("Stages of a pipeline do different work: jobs with one have no part in the verdict on stragglers.")
    return said


def _verdict(ranks: int, rows: Sequence[tuple[float, ...]], found: Findings) -> str:
    lead = f"Stragglers among {counted(ranks, 'rank')}, by the time in which each computes in a step"
    lead += f" ({counted(len(rows), 'job or launch', 'jobs or launches')}): "
    said = [
        f"{fault.label} takes {fault.ratio.value:.2f} times as long as the others "
        f"[{fault.ratio.low:.2f}, {fault.ratio.high:.2f}]"
        for fault in found.faults
    ]  # fmt: skip
    told = listed(said) if said else "no verdict" if not found.smallest else "none"
    least = found.smallest.get("rank")
    notes = [f"A rank that takes {least:.2f} times as long is found in nine of ten."] if least else []
    return " ".join([f"{lead}{told}.", *notes, *found.notes])
