"""The critical batch joined to the system: wall time and rank time to the target, and the width worth having."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.statistics import Interval
from harness.units import show_duration
from reports.chapters.e2e.jobs import NONE
from reports.critical_batch_model import Choice, CriticalBatchModel, PlanModel, Width
from reports.figures.batch_plan import batch_plan
from reports.model import Column, Group, Notes, Picture, Table, Text
from reports.numbers import GAP, percent
from reports.subject import Subject
from reports.text import clean, counted, sentence

SHOWN = 6  # choices of a Pareto curve in a table, its ends among them
Named = tuple[str, CriticalBatchModel]


def sections(subject: Subject, held: Sequence[Named]) -> tuple[list[Picture], list[Table]]:
    """A figure for each plan, a table of choices and one of widths; where there is no plan, the reason."""
    fitted = [(name, model) for name, model in held if model.fitted]
    if not fitted:
        return [], []
    pictures = [_picture(subject, name, model, plan) for name, model in fitted for plan in model.plans]
    return pictures, [_choices(subject, fitted), *_widths(subject, fitted)]


def _picture(subject: Subject, name: str, model: CriticalBatchModel, plan: PlanModel) -> Picture:
    fastest, cheapest = plan.fastest, plan.cheapest
    alt = (
        f"Wall time and rank time to the target against the batch, {name}, {plan.system}: fastest {_said(fastest)}; "
        f"cheapest {_said(cheapest)}; {counted(len(plan.pareto), 'choice')} that no other beats."
    )
    caption = (
        f"What a batch costs to the target: {name}, on {plan.system}. Steps by the fitted curve times step times "
        "measured in this run, straight lines between measured batches; modelled. Stars: the fastest and the cheapest. "
        "The line on the right joins the choices that no other beats in both."
    )
    identifier = subject.identifier(f"e2e-batch-plan-{name}-{plan.system}")
    return Picture(identifier, batch_plan(identifier, clean(alt), plan, model.unit), caption, clean(alt))


def _said(choice: Choice) -> str:
    return f"batch {choice.batch:.4g} on {counted(choice.ranks, 'rank')}, {wall(choice.wall.value)}"


def wall(seconds: float) -> str:
    """'0.35 s', '3 min 20 s', '12.5 d'."""
    if seconds < 60:
        return f"{seconds:.3g}{GAP}s"
    if seconds >= 2 * 86400:
        return f"{seconds / 86400:.3g}{GAP}d"
    return show_duration(seconds).replace(" ", GAP)


def hours(seconds: float) -> str:
    """Rank time: '3.21 h', '1,250 h'; below an hour as a wait is said."""
    return f"{seconds / 3600:,.4g}{GAP}h" if seconds >= 3600 else wall(seconds)


def _choices(subject: Subject, held: Sequence[Named]) -> Table:
    notes, groups = Notes(), []
    for name, model in held:
        for plan in model.plans:
            rows = [_row(label, choice, plan) for label, choice in _picked(plan)]
            for note in plan.notes:
                notes.mark(sentence(clean(note)))
            groups.append(Group(f"{name}, on {plan.system}", tuple(rows)))
        if not model.plans:
            mark = notes.mark(sentence(f"n/a: {clean(model.unjoined)}"))
            groups.append(Group(name, ((Text("n/a", mark=mark, tone="muted"), *[NONE] * 5),)))
    columns = (
        Column("Choice", share=16), Column("Batch", numeric=True, share=18), Column("Ranks", numeric=True, share=10),
        Column("Steps", numeric=True, share=18), Column("Wall time", numeric=True, share=20),
        Column("Rank time", numeric=True, share=18),
    )  # fmt: skip
    caption = (
        "Which batch to train with, from the fastest to the cheapest: steps to the target by the fitted curve times "
        "the step time measured in this run. Modelled; intervals carry those of the curve and of the step times. "
        "Batches between measured ones are looked at too: take the nearest that the layout can have. Below the fastest "
        "and the cheapest batch, the range in which draws put it."
    )
    return Table(subject.identifier("e2e-batch-choices"), caption, columns, tuple(groups), tuple(notes.texts))


def _picked(plan: PlanModel) -> list[tuple[str, Choice]]:
    """The ends of the Pareto curve, and some between them evenly."""
    count = len(plan.pareto)
    if count == 1:
        return [("fastest and cheapest", plan.pareto[0])]
    places = sorted({round(at * (count - 1) / (SHOWN - 1)) for at in range(SHOWN)})
    return [("fastest" if at == 0 else "cheapest" if at == count - 1 else "", plan.pareto[at]) for at in places]


def _row(label: str, choice: Choice, plan: PlanModel) -> tuple[Text, ...]:
    known = {"fastest": plan.fastest_batch, "cheapest": plan.cheapest_batch}.get(label.partition(" ")[0])
    ends = f"[{known.low:,.4g}, {known.high:,.4g}]" if known else ""
    far = f", {choice.beyond:.2g} × outside" if choice.beyond > 1 else ""
    return (
        Text(label or "between"), Text(f"{choice.batch:,.4g}{far}", ends), Text(f"{choice.ranks:,}"),
        _spread(choice.steps, lambda value: f"{value:,.0f}"), _spread(choice.wall, wall),
        _spread(choice.rank_time, hours),
    )  # fmt: skip


def _spread(known: Interval, say: Callable[[float], str]) -> Text:
    return Text(say(known.value), f"[{say(known.low)}, {say(known.high)}]")


def _widths(subject: Subject, held: Sequence[Named]) -> list[Table]:
    groups, notes = [], Notes()
    for name, model in held:
        for plan in model.plans:
            rows = tuple(_width(width, plan) for width in plan.widths)
            notes.mark(sentence(
                f"worth having: n times as many ranks divide the wall time by at least n to the power of "
                f"{plan.least_return:g}, and surely by something"
            ))  # fmt: skip
            groups.append(Group(f"{name}, on {plan.system}", rows))
    if not groups:
        return []
    columns = (
        Column("Ranks", share=20), Column("Best batch", numeric=True, share=16),
        Column("Wall time", numeric=True, share=24),
        Column("Gain", "1 is perfect", True, 20), Column("Efficiency", "of rank time", True, 20),
    )  # fmt: skip
    caption = (
        "The largest data-parallel width worth having: each number of ranks at the batch that suits it. Gain: the "
        "logarithm of the speed-up over that of the ranks, from the next smaller number. Modelled."
    )
    return [Table(subject.identifier("e2e-batch-widths"), caption, columns, tuple(groups), tuple(notes.texts))]


def _width(width: Width, plan: PlanModel) -> tuple[Text, ...]:
    fastest, gain, efficiency = width.fastest, width.gain, width.efficiency
    worth = "the largest worth having" if fastest.ranks == plan.worth else ""
    return (
        Text(f"{fastest.ranks:,}", worth), Text(f"{fastest.batch:,.4g}"), _spread(fastest.wall, wall),
        Text(f"{gain.value:.2f}", f"[{gain.low:.2f}, {gain.high:.2f}]") if gain else NONE,
        Text(percent(efficiency.value), f"[{100 * efficiency.low:.0f}, {100 * efficiency.high:.0f}]"),
    )  # fmt: skip
