"""How far a batch can grow: steps to a target against the batch, the critical batch, and what it means for a system."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from harness.statistics import Interval
from harness.summary import Cell
from harness.units import digits
from reports.chapters.e2e import plan
from reports.critical_batch_model import CriticalBatchModel, Fitted
from reports.figures.critical_batch import LOOKS, critical_batch, ended_counts
from reports.model import Column, Group, Notes, Picture, Table, Text
from reports.numbers import GAP, percent
from reports.reading import grouped
from reports.subject import Subject
from reports.text import clean, counted, listed, sentence

TASKS = {"least_squares": "least squares", "text": "text"}
OVERHEAD = "1.2·B0 + b/(5a)"


def sections(subject: Subject, cells: Sequence[Cell]) -> tuple[list[Picture], list[Table]]:
    """Of the models that `bench` handed in: a figure each, a table of all, and plans."""
    del cells  # models carry what they are of
    held = [model for model in subject.models if isinstance(model, CriticalBatchModel)]
    if not held:
        return [], []
    pictures = [_picture(subject, model, held) for model in held]
    drawn, listed_ = plan.sections(subject, [(title(model, held), model) for model in held])
    return [*pictures, *drawn], [_table(subject, held), _runs(subject, held), *listed_]


def title(model: CriticalBatchModel, among: Sequence[CriticalBatchModel]) -> str:
    """'text, target 3.8'; with what sets it apart from others of its task."""
    params, task = model.params, str(model.params.get("task", ""))
    said = [TASKS.get(task, clean(task))]
    said += [clean(params["model"])] if params.get("model") else []
    said += [f"target {clean(model.target)}"]
    alike = [other.params for other in among if other is not model and other.params.get("task") == task]
    odd = [key for key in params if any(other.get(key) != params[key] for other in alike)]
    return ", ".join(said + [f"{key} {params[key]}" for key in odd if key not in ("task", "model", "target")])


def batch(known: Interval) -> Text:
    """A batch with its interval; an open end is ∞."""
    return Text(count(known.value), f"[{count(known.low)}, {count(known.high)}]")


def count(value: float) -> str:
    return "∞" if math.isinf(value) else f"{value:,.0f}" if value >= 100 else digits(value)


def _picture(subject: Subject, model: CriticalBatchModel, among: Sequence[CriticalBatchModel]) -> Picture:
    name, fitted = title(model, among), model.fitted
    runs = ", ".join(f"{number} {LOOKS[ended].said}" for ended, number in ended_counts(model.points).items())
    found = f"no fit: {model.reason}"
    if fitted:
        star, curve = batch(fitted.b_star), f"S(B) = {fitted.a.value:.4g} + {fitted.b.value:.4g}/B"
        found = f"{curve}, B* {star.main} {star.sub} {model.unit}"
    alt = f"Steps to the target against the batch, {name}: {counted(len(model.points), 'run')} ({runs}). {found}."
    caption = (
        f"Training steps to a held-out loss against the batch: {name}. Each mark is one seed at the learning rate that "
        "was tuned for its batch. The band is the 95 % interval of the curve"
        + (f"; B* with its interval is where it needs {percent(fitted.overhead)} more than linear scaling from batch "
           f"{fitted.reference:g}." if fitted else ": there is none, since the runs do not tell one.")
    )  # fmt: skip
    identifier = subject.identifier(f"e2e-critical-batch-{name}")
    return Picture(identifier, critical_batch(identifier, clean(alt), name, model), caption, clean(alt))


def _table(subject: Subject, held: Sequence[CriticalBatchModel]) -> Table:
    notes = Notes()
    rows = tuple(_row(model, held, notes) for model in held)
    columns = (
        Column("Task and target", share=22), Column("B*", numeric=True, share=15),
        Column("B_crit", numeric=True, share=15), Column("Fewest steps", "a", True, 14),
        Column("Fewest samples", "b", True, 16), Column("Off the curve", "median", True, 10),
        Column("Runs", numeric=True, share=8),
    )  # fmt: skip
    caption = (
        "Critical batch by S(B) = a + b/B, steps to the target against the batch. B*: steps are 20 % more than linear "
        f"scaling from the smallest batch B0 gives, {OVERHEAD} (Zhang et al., arXiv 2410.21676). B_crit = b/a: steps "
        "and samples are each twice their least (McCandlish et al., arXiv 1812.06162). 95 % intervals from drawn "
        "curves; ∞ is an end that the batches do not tell."
    )
    return Table(subject.identifier("e2e-critical-batch"), caption, columns, (Group("", rows),), tuple(notes.texts))


def _row(model: CriticalBatchModel, among: Sequence[CriticalBatchModel], notes: Notes) -> tuple[Text, ...]:
    name = title(model, among)
    if model.fitted is None:
        mark = notes.mark(sentence(f"n/a: {clean(model.reason)}"))
        absent = Text("n/a", mark=mark, tone="muted")
        return (Text(name, model.unit), *[absent] * 5, Text(f"{len(model.points):,}"))
    fitted: Fitted = model.fitted
    mark = notes.mark(sentence("; ".join(map(clean, fitted.notes)))) if fitted.notes else ""
    return (
        Text(name, model.unit, mark), batch(fitted.b_star), batch(fitted.b_crit), batch(fitted.a), batch(fitted.b),
        Text(percent(fitted.error)), Text(f"{len(model.points):,}"),
    )  # fmt: skip


def _runs(subject: Subject, held: Sequence[CriticalBatchModel]) -> Table:
    """What was trained, batch by batch, so that nothing is hidden behind a fit."""
    notes, groups = Notes(), []
    for model in held:
        rows = [_batch(model, size, notes) for size in sorted({point.batch for point in model.points})]
        groups.append(Group(f"{title(model, held)}, batch in {model.unit}", tuple(rows)))
    columns = (
        Column("Batch", share=12), Column("Learning rate", numeric=True, share=14),
        Column("Runs", numeric=True, share=10), Column("Reached", numeric=True, share=12),
        Column("Steps", "median", True, 16), Column("Steps", "range", True, 18),
        Column("Not there", numeric=True, share=18),
    )  # fmt: skip
    caption = "Training runs by batch, each seed counted once; the learning rate is the one tuned for that batch."
    return Table(
        subject.identifier("e2e-critical-batch-runs"), caption, columns, tuple(groups), tuple(notes.texts), dense=True
    )  # fmt: skip


def _batch(model: CriticalBatchModel, size: float, notes: Notes) -> tuple[Text, ...]:
    points = [point for point in model.points if point.batch == size]
    reached = sorted(point.steps for point in points if point.ended in ("reached", "outlier"))
    lost = grouped((point for point in points if point.ended != "reached"), lambda point: point.ended)
    said = [f"{len(those)} {ended}" for ended, those in lost.items()]
    rate, flags = dict(model.rates).get(size), dict(model.flags).get(size, ())
    mark = notes.mark(sentence("; ".join(map(clean, flags)))) if flags else ""
    return (
        Text(f"{size:g}"), Text(f"{rate:.4g}" if rate else "–"), Text(str(len(points))),
        Text(str(len(reached))), Text(count(median(reached)) if reached else "–"),
        Text(f"{count(reached[0])} to{GAP}{count(reached[-1])}" if reached else "–"),
        Text(listed(said) or "–", mark=mark, tone="" if said else "muted"),
    )  # fmt: skip
