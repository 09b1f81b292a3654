"""Weak and strong scaling: what each further rank adds, against the fewest that were measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.statistics import Interval
from harness.summary import Cell, Figure
from harness.units import Unit
from reports.chapters.e2e.jobs import DEGREES, Job, dtype, extras, jobs, number, ratio, setting
from reports.figures.axes import Line
from reports.figures.panels import Look, Panel, panels
from reports.model import Column, Group, Picture, Table, Text
from reports.numbers import percent
from reports.reading import Curve, grouped
from reports.subject import Subject, how_known
from reports.text import clean, counted, sentence

MODES = ("weak", "strong")
HEADINGS = {
    "weak": "Weak scaling: as many sequences a rank", "strong": "Strong scaling: as many sequences in all",
}  # fmt: skip
SHARED = "ranks share a device here: what is lost is also what they take from each other in it"


@dataclass(frozen=True)
class Scaled:
    """One job on several numbers of ranks, the fewest first."""

    mode: str
    name: str
    jobs: tuple[Job, ...]

    def efficiency(self, job: Job) -> Interval:
        """A rank's tokens per second over those of a rank among the fewest: in both modes all ranks together get
        through the work that is a whole step. From the least over the greatest to the greatest over the least."""
        first, here = self.jobs[0].tokens.interval, job.tokens.interval
        if job is self.jobs[0]:
            return Interval(1.0, 1.0, 1.0)
        return Interval(here.value / first.value, here.low / first.high, here.high / first.low)


def sections(subject: Subject, cells: Sequence[Cell]) -> tuple[list[Picture], list[Table]]:
    """A figure and a table of what was measured on more than one number of ranks; nothing else can scale."""
    held = [one for one in scaled(jobs(subject, cells, "scaling")) if len(one.jobs) > 1]
    return ([_picture(subject, held)], [_table(subject, held)]) if held else ([], [])


def scaled(held: Sequence[Job]) -> list[Scaled]:
    """Jobs that differ in nothing but their ranks, weak before strong."""
    found = [
        Scaled(mode, name, tuple(sorted(those, key=lambda job: job.ranks)))
        for (mode, name), those in grouped(held, lambda job: (str(job.cell.params.get("mode")), _name(job))).items()
    ]
    return sorted(found, key=lambda one: (MODES.index(one.mode) if one.mode in MODES else len(MODES), one.name))


def _name(job: Job) -> str:
    """All that is the same on any number of ranks."""
    params = job.cell.params
    said = [clean(params.get("trainer", "")), dtype(params)]
    said += [f"{short} {params[name]}" for name, short in DEGREES if params.get(name, 1) != 1]
    said += [f"ZeRO {params['stage']}"] if params.get("stage") else []
    said += [extra] if (extra := extras(params)) else []
    each = "a data rank" if params.get("mode") == "weak" else "in all"
    return ", ".join([*said, setting(params), f"batch {params.get('batch')} {each}"])


def _keys(held: Sequence[Scaled]) -> dict[str, str]:
    """A short name of each: what they do not all have in common."""
    parts = {one.name: one.name.split(", ") for one in held}
    common = [part for part in next(iter(parts.values())) if all(part in said for said in parts.values())]
    short = {name: ", ".join(part for part in said if part not in common) for name, said in parts.items()}
    return {name: short[name] or parts[name][0] for name in parts}


def _picture(subject: Subject, held: Sequence[Scaled]) -> Picture:
    shown, said = [], []
    for mode, those in grouped(held, lambda one: one.mode).items():
        keys = _keys(those)
        curves = tuple(
            Curve(
                keys[one.name], None, tuple(_percent(job.tokens, one.efficiency(job)) for job in one.jobs),
                tuple(float(job.ranks) for job in one.jobs),
            ) for one in those
        )  # fmt: skip
        shown.append(Panel(f"{mode} scaling".capitalize(), curves, (Line(100.0, "perfect"),)))
        said += [
            f"{mode}, {one.name}: "
            + ", ".join(f"{percent(one.efficiency(job).value)} on {counted(job.ranks, 'rank')}" for job in one.jobs)
            for one in those
        ]
    alt = f"Efficiency of scaling. {'; '.join(said)}."
    order = tuple(dict.fromkeys(curve.key for panel in shown for curve in panel.curves))
    look = Look("efficiency, %", "ranks", order, binary=False, right=30.0)
    identifier = subject.identifier("e2e-scaling")
    caption = (
        "Efficiency of scaling: a rank's tokens per second over those of a rank among the fewest measured. Weak: a "
        "rank's sequences stay the same; strong: the whole batch does. Bars are 95 % intervals of both together."
    )
    return Picture(identifier + "-curves", panels(identifier + "-curves", alt, shown, look), caption, alt)


def _percent(figure: Figure, known: Interval) -> Figure:
    """An efficiency as a figure's axis has it."""
    ends = Interval(100 * known.value, 100 * known.low, 100 * known.high)
    return replace(figure, name="efficiency", unit=Unit.RATIO, interval=ends)


def _table(subject: Subject, held: Sequence[Scaled]) -> Table:
    groups = tuple(
        Group(f"{HEADINGS.get(one.mode, one.mode)}. {one.name}", tuple(_row(one, job) for job in one.jobs))
        for one in held
    )
    columns = (
        Column("Ranks", share=12), Column("Devices", numeric=True, share=10), Column("Batch", numeric=True, share=10),
        Column("Step", numeric=True, share=20), Column("Tokens", "all", True, 20),
        Column("Speed-up", numeric=True, share=14), Column("Efficiency", numeric=True, share=14),
    )  # fmt: skip
    figures = [job.time for one in held for job in one.jobs]
    shared = any(job.ranks > job.devices for one in held for job in one.jobs)
    caption = (
        "Scaling of a job. Efficiency: a rank's tokens per second over those of a rank among the fewest; its interval "
        "has both ends of both. Speed-up: all tokens per second over those of the fewest. "
        f"{sentence(how_known(figures))}"
    )
    notes = (sentence(SHARED),) if shared else ()
    return Table(subject.identifier("e2e-scaling"), caption, columns, groups, notes, dense=True)


def _row(one: Scaled, job: Job) -> tuple[Text, ...]:
    efficiency, first = one.efficiency(job), one.jobs[0]
    times = job.ranks / first.ranks
    known = Interval(efficiency.value * times, efficiency.low * times, efficiency.high * times)
    ends = f"[{100 * efficiency.low:.0f}, {100 * efficiency.high:.0f}]" if job is not first else ""
    return (
        Text(f"{job.ranks:,}"), Text(f"{job.devices:,}"), Text(f"{job.sequences:,}"),
        number(job.time.interval, job.time), number(job.total(job.tokens.interval), job.tokens), ratio(known),
        Text(percent(efficiency.value), ends),
    )  # fmt: skip
