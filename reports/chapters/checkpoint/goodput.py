"""What the measured costs of a checkpoint mean: how often to save, and what share of a job's time is then useful."""

from __future__ import annotations

from collections.abc import Sequence

from harness.statistics import Interval
from harness.summary import Cell
from harness.units import digits, show_duration
from reports.figures.goodput import Panel, goodput, wait
from reports.goodput_model import GoodputModel, Job
from reports.model import Column, Group, Notes, Picture, Table, Text
from reports.numbers import GAP
from reports.reading import grouped, say_all
from reports.subject import Subject
from reports.text import clean, sentence

ABREAST = 2  # panels: the jobs shown are the smallest and the largest
NOT_OURS = (
    "n/a for this cluster: its definition gives no device.interruptions (docs/clusters.md says how); shown is what "
    "the costs measured here would mean where devices are interrupted as often as others have published"
)


def sections(subject: Subject, cells: Sequence[Cell]) -> tuple[list[Picture], list[Table]]:
    """A figure and a table of the models that `bench` handed in; nothing where there is none."""
    del cells  # models carry what they are of
    models = [model for model in subject.models if isinstance(model, GoodputModel)]
    if not models:
        return [], []
    return [_picture(subject, models)], [_table(subject, models)]


def engine(model: GoodputModel, among: Sequence[GoodputModel]) -> str:
    """'dcp'; with the other parameters where the same engine was measured more than once."""
    name = clean(model.params.get("engine", "?"))
    if sum(other.params.get("engine") == model.params.get("engine") for other in among) == 1:
        return name
    return f"{name}, {say_all(model.params, ('engine',))}"


def of_job(job: Job) -> str:
    """'16,384 devices, interrupted every 3.1 h'."""
    whose = f"{job.devices:,} devices, " if job.devices else ""
    return f"{whose}interrupted every {wait(job.mtbf)}"


def _picture(subject: Subject, models: Sequence[GoodputModel]) -> Picture:
    jobs = [*grouped(models, lambda model: model.job).items()]
    shown = jobs if len(jobs) <= ABREAST else [jobs[0], jobs[-1]]
    panels = [Panel(of_job(job), tuple((engine(model, those), model) for model in those)) for job, those in shown]
    alt = " ".join(
        f"{of_job(job)}: "
        + "; ".join(
            f"{engine(model, those)} {share(model.goodput)[0]} at best, saving every {wait(model.best.value)}"
            for model in those
        )
        + "."
        for job, those in shown
    )
    name = subject.identifier("checkpoint-goodput-curves")
    caption = (
        "Useful share of a job's time against the time between two saves, with the best interval of each engine "
        "marked; bands go from the dearest to the cheapest end of all measured costs. Modelled, not measured."
    )
    return Picture(name, goodput(name, alt, panels), caption, alt)


def _table(subject: Subject, models: Sequence[GoodputModel]) -> Table:
    notes, groups = Notes(), []
    for job, those in grouped(models, lambda model: model.job).items():
        notes.mark(sentence(f"interruptions {clean(job.source)}"))
        groups.append(Group(sentence(of_job(job))[:-1], tuple(_row(model, those, notes) for model in those)))
    if not all(model.own for model in models):
        notes.mark(sentence(NOT_OURS))
    columns = (
        Column("Engine", share=26), Column("Best interval", numeric=True, share=22),
        Column("By Young", numeric=True, share=14), Column("By Daly", numeric=True, share=14),
        Column("Goodput", numeric=True, share=24),
    )  # fmt: skip
    caption = (
        "How often to save, and the share of time that is then useful: modelled from the blocked time, the drag, the "
        "time until durable and the restore that were measured here, at the size measured here; a larger state costs "
        "more. An interruption loses what was done since the newest durable checkpoint, and the restore. In brackets "
        "the range, from the cheapest to the dearest end of all costs."
    )
    return Table(subject.identifier("checkpoint-goodput"), caption, columns, tuple(groups), tuple(notes.texts))


def _row(model: GoodputModel, among: Sequence[GoodputModel], notes: Notes) -> tuple[Text, ...]:
    value, ends = share(model.goodput)
    name, mark = engine(model, among), notes.mark(sentence("; ".join(model.notes))) if model.notes else ""
    return (
        Text(name, mark=mark), Text(_wait(model.best.value), _range(model.best)),
        Text(_wait(model.young.value)), Text(_wait(model.daly.value)), Text(value, ends),
    )  # fmt: skip


def _range(interval: Interval) -> str:
    low, high = _wait(interval.low), _wait(interval.high)
    return f"[{low}, {high}]" if low != high else ""


def _wait(seconds: float) -> str:
    text = f"{digits(seconds)} s" if seconds < 60 else show_duration(seconds)
    return text.replace(" ", GAP)


def share(interval: Interval) -> tuple[str, str]:
    """Goodput in %, with as many decimals as its loss needs: '99.982 %', '[99.980, 99.984]'."""
    loss = max(1 - interval.value, 1e-9)
    decimals = next((n for n in range(1, 8) if 100 * loss >= 10 ** (1 - n)), 8)
    value, low, high = (f"{100 * part:.{decimals}f}" for part in (interval.value, interval.low, interval.high))
    return f"{value}{GAP}%", f"[{low}, {high}]" if low != high else ""
