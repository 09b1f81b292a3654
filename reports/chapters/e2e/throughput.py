"""What jobs reach: tokens, memory, energy and noise scale; then MFU and HFU over each peak."""

from __future__ import annotations

from collections.abc import Sequence

from harness.noise_scale import estimate
from harness.statistics import Interval
from harness.summary import Cell, Figure
from harness.units import digits, show_size
from reports.chapters.e2e.jobs import NONE, Job, by_setting, named, number, share
from reports.model import Column, Group, Notes, Table, Text
from reports.numbers import GAP
from reports.subject import Subject, how_known, interval_title
from reports.text import clean, sentence
from reports.utilisation import HARDWARE, MODEL, of_job, per_device

GRADIENTS = ("gradient_small", "gradient_big")
NOISELESS = "no gradient noise scale: "
TIERS = {"host": "host", "device": "device", "cpu": "host"}
ALARM = "Above 100 %: see the note at the head of the report"
AGAINST = ("of datasheet", "of measured", "at its clock")


def tables(subject: Subject, held: Sequence[Job]) -> list[Table]:
    """Two tables of all jobs; none without a job."""
    return [_reached(subject, held), _shares(subject, held)] if held else []


def _reached(subject: Subject, held: Sequence[Job]) -> Table:
    notes = Notes()
    groups = tuple(
        Group(title, tuple(_row(job, notes) for job in those)) for title, those in by_setting(held).items()
    )  # fmt: skip
    columns = (
        Column("Trainer and layout", share=27), Column("Tokens", "a rank", True, 12),
        Column("Tokens", "a device", True, 12), Column("Tokens", "all", True, 13),
        Column("Peak memory", "a rank", True, 11), Column("Energy", "a token", True, 13),
        Column("Noise scale", "sequences", True, 13),
    )  # fmt: skip
    figures = [job.time for job in held]
    caption = (
        f"Training jobs. Tokens: all of them over all the time of the timed steps; {interval_title(figures)} below. "
        "Noise scale: tr(Σ)/|G|² of the gradients in the first steps, a batch beyond which more sequences a step begin "
        f"to help little; it grows as the loss falls. {sentence(how_known(figures))}"
    )
    return Table(subject.identifier("e2e-jobs"), caption, columns, groups, tuple(notes.texts), dense=True)


def _row(job: Job, notes: Notes) -> tuple[Text, ...]:
    rate, energy = job.tokens.interval, job.cell.figure("energy")
    flags = [clean(flag) for each in job.time.evidence for flag in each.flags]
    name = named(job)
    mark = notes.mark(sentence("; ".join(dict.fromkeys(flags)))) if flags else ""
    return (
        Text(name.main, name.sub, mark), number(rate, job.tokens), number(job.total(rate, job.devices), job.tokens),
        number(job.total(rate), job.tokens), memory(job.cell), _energy(energy, notes),
        noise(job.cell, notes),
    )  # fmt: skip


def _energy(figure: Figure | None, notes: Notes) -> Text:
    if figure is None:
        return Text("n/a", mark=notes.mark("n/a: no power was measured here."), tone="muted")
    return number(figure.interval, figure)


def memory(cell: Cell) -> Text:
    """Peak memory of the rank that takes most, the tier in which it lies below."""
    found = [figure for figure in cell.figures if figure.name == "memory"]
    if not found:
        return NONE
    text = [show_size(figure.interval.value).replace(" ", GAP) for figure in found]
    names = [TIERS.get(str(figure.own.get("tier")), clean(figure.own.get("tier", ""))) for figure in found]
    if len(found) == 1:
        return Text(text[0], names[0])
    rest = ", ".join(f"{name} {size}" for name, size in zip(names[1:], text[1:], strict=True))
    return Text(text[0], f"{names[0]}; {rest}")


def noise_scale(cell: Cell) -> Interval | str:
    """Of the pairs of squared gradient norms of all launches, or why there is none."""
    small, big = (cell.figure(name) for name in GRADIENTS)
    if small is None or big is None:
        time = cell.figure("time")
        said = [flag for one in (time.evidence if time else ()) for flag in one.flags if flag.startswith(NOISELESS)]
        return said[0].removeprefix(NOISELESS) if said else "no squared gradient norms were taken"
    few, many = (small.own.get(name) for name in ("b_small", "b_big"))
    if not isinstance(few, (int, float)) or not isinstance(many, (int, float)):
        return "the record does not say of how many sequences its gradients are"
    pairs = [[value for launch in figure.samples for value in launch] for figure in (small, big)]
    try:
        return estimate(pairs[0], pairs[1], few, many)
    except ValueError as error:
        return str(error)


def noise(cell: Cell, notes: Notes) -> Text:
    """The noise scale in sequences; open ends are said."""
    found = noise_scale(cell)
    if isinstance(found, str):
        return Text("n/a", mark=notes.mark(sentence(f"n/a: {found}")), tone="muted")
    low, value, high = (_count(part) for part in (found.low, found.value, found.high))
    return Text(value, f"[{low}, {high}]")


def _count(value: float) -> str:
    return "∞" if value == float("inf") else f"{value:,.0f}" if value >= 100 else digits(value)


def _shares(subject: Subject, held: Sequence[Job]) -> Table:
    notes = Notes()
    groups = tuple(
        Group(title, tuple(_utilisation(subject, job, notes) for job in those))
        for title, those in by_setting(held).items()
    )
    columns = (
        Column("Trainer and layout", share=26), Column("Rate", "a device", True, 14),
        *(Column("MFU", each, True, 10) for each in AGAINST), *(Column("HFU", each, True, 10) for each in AGAINST),
    )  # fmt: skip
    caption = (
        "Utilisation: FLOP of the model, counted matrix by matrix with the pairs that a causal kernel needs, a second "
        "and device, over three peaks of the device: the datasheet's dense one of the data type; the best that matrix "
        "products reached in this run; that at the clock which the job had. HFU counts what is computed a second time "
        "too. Intervals go from the least rate over the greatest peak to the greatest over the least."
    )
    return Table(subject.identifier("e2e-utilisation"), caption, columns, groups, tuple(notes.texts), dense=True)


def _utilisation(subject: Subject, job: Job, notes: Notes) -> tuple[Text, ...]:
    flops = job.cell.figure(MODEL)
    rate = number(per_device(subject, job.cell, flops.interval), flops) if flops else NONE
    found = [share_ for name in (MODEL, HARDWARE) for share_ in of_job(subject, job.cell, name).all]
    marks = [notes.mark(sentence(f"{each.note}. {ALARM}" if each.alarm else each.note)) for each in found]
    return (named(job), rate, *(share(each, mark) for each, mark in zip(found, marks, strict=True)))
