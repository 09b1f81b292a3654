"""Training that communicates little: tokens per second and loss at equal tokens, each method against synchronous data
parallelism."""

from __future__ import annotations

from collections.abc import Sequence

from harness.statistics import Interval
from harness.summary import Cell, Figure
from harness.units import Unit
from reports.chapters.e2e.jobs import NONE, dtype, number, ratio, setting
from reports.figures.factors import Panel, factors
from reports.model import Column, Group, Notes, Picture, Table, Text
from reports.numbers import plain
from reports.reading import grouped, member, ranks_of
from reports.subject import Subject, how_known, interval_title
from reports.text import clean, counted, sentence

SYNCHRONOUS = "ddp"
TITLES = {
    "ddp": "DDP, every step", "diloco": "DiLoCo, local steps", "co2": "CO2, overlapped",
    "noloco": "NoLoCo, pairwise gossip",
}  # fmt: skip
SOURCES = {
    "diloco": "DiLoCo: Douillard et al., arXiv 2311.08105", "co2": "CO2: Sun et al., arXiv 2401.16265",
    "noloco": "NoLoCo: Kolehmainen et al., arXiv 2506.10911",
}  # fmt: skip


def sections(subject: Subject, cells: Sequence[Cell]) -> tuple[list[Picture], list[Table]]:
    """A figure for each setting, and one table."""
    held = [cell for cell in cells if member(cell.benchmark) == "local_steps" and methods(cell)]
    if not held:
        return [], []
    return [_picture(subject, cell, held) for cell in held], [_table(subject, held)]


def methods(cell: Cell) -> dict[str, dict[str, Figure]]:
    """Figures of each method by name, synchronous training first."""
    by = grouped((f for f in cell.figures if "method" in f.own), lambda figure: str(figure.own["method"]))
    found = {method: {figure.name: figure for figure in those} for method, those in by.items()}
    return dict(sorted(found.items(), key=lambda item: item[0] != SYNCHRONOUS))


def title(cell: Cell, among: Sequence[Cell]) -> str:
    """'tiny of 4 layers, ..., 8 local steps, link as it is'."""
    params = cell.params
    rate, link = params.get("bandwidth"), "links as they are"
    if isinstance(rate, (int, float)) and rate:
        link = f"links held to {plain(float(rate), Unit.BYTE_PER_SECOND)}"
    said = [
        setting(params), dtype(params), counted(ranks_of(params), "rank"), f"batch {params.get('batch')} a rank",
        f"{params.get('local_steps')} local steps", link,
    ]  # fmt: skip
    odd = [
        key for key in ("learning_rate", "rounds", "seeds") if any(c.params.get(key) != params.get(key) for c in among)
    ]
    return ", ".join(said + [f"{key.replace('_', ' ')} {params[key]}" for key in odd])


def _named(method: str) -> str:
    return TITLES.get(method, clean(method))


def _picture(subject: Subject, cell: Cell, among: Sequence[Cell]) -> Picture:
    name, held = title(cell, among), {m: f for m, f in methods(cell).items() if m != SYNCHRONOUS}
    known = {
        which: tuple(f[which].interval if which in f else None for f in held.values())
        for which in ("speedup", "loss_ratio")
    }
    panels = [Panel("Tokens per second", "right", known["speedup"])]
    if any(known["loss_ratio"]):
        panels.append(Panel("Held-out loss at equal tokens", "left", known["loss_ratio"]))
    rows = [_named(method) for method in held]
    alt = f"Low-communication training over DDP, {name}: " + "; ".join(
        f"{row} {_said(speed)} times the tokens per second, {_said(loss)} times the loss"
        for row, speed, loss in zip(rows, known["speedup"], known["loss_ratio"], strict=True)
    )
    caption = (
        f"What communicating less is worth, and what it costs: {name}. Each over synchronous data parallelism (DDP), "
        "in turns in one world; the loss is held-out, after as many tokens, seed by seed. Bars are 95 % intervals; "
        "grey where they reach 1."
    )
    identifier = subject.identifier(f"e2e-local-{name}")
    return Picture(identifier, factors(identifier, f"{alt}.", rows, panels), caption, f"{alt}.")


def _said(known: Interval | None) -> str:
    return f"{known.value:.3g}" if known else "unknown"


def _table(subject: Subject, held: Sequence[Cell]) -> Table:
    notes = Notes()
    groups = tuple(
        Group(title(cell, held), tuple(_row(method, figures, notes) for method, figures in methods(cell).items()))
        for cell in held
    )
    columns = (
        Column("Method", share=22), Column("Tokens", "all", True, 15), Column("Over DDP", numeric=True, share=12),
        Column("Sent", "a token", True, 10), Column("Waited", "a round", True, 14),
        Column("Held-out loss", numeric=True, share=14), Column("Over DDP", numeric=True, share=13),
    )  # fmt: skip
    times = [figures["time"] for cell in held for figures in methods(cell).values() if "time" in figures]
    caption = (
        "Training that communicates little, against synchronous data parallelism: local steps with an outer optimizer, "
        "the same with its all-reduce beside the next round, and pairs that gossip. Loss is after as many tokens as "
        f"DDP's. {interval_title(times)} below each. {sentence(how_known(times))}"
    )
    return Table(subject.identifier("e2e-local"), caption, columns, groups, tuple(notes.texts), dense=True)


def _row(method: str, figures: dict[str, Figure], notes: Notes) -> tuple[Text, ...]:
    marks = [notes.mark(f"{SOURCES[method]}.")] if method in SOURCES else []
    flags = dict.fromkeys(
        clean(flag) for name in ("time", "loss", "diverged") if name in figures
        for evidence in figures[name].evidence for flag in evidence.flags
    )  # fmt: skip
    marks += [notes.mark(sentence("; ".join(flags)))] if flags else []
    speed, loss = figures.get("speedup"), figures.get("loss_ratio")
    first = Text("1", tone="muted") if method == SYNCHRONOUS else NONE
    return (
        Text(_named(method), mark=", ".join(marks)),
        _number(figures.get("tokens_of_all")),
        ratio(speed.interval) if speed else first, _number(figures.get("sent")), _number(figures.get("wait")),
        _loss(figures), _ratio(loss) if loss else first,
    )  # fmt: skip


def _number(figure: Figure | None) -> Text:
    return number(figure.interval, figure) if figure else NONE


def _ratio(figure: Figure) -> Text:
    """Of losses: a thousandth counts."""
    known = figure.interval
    return Text(f"{known.value:.3f}", f"[{known.low:.3f}, {known.high:.3f}]" if known.low != known.high else "")


def _loss(figures: dict[str, Figure]) -> Text:
    loss, lost = figures.get("loss"), figures.get("diverged")
    said = f"{lost.interval.value:.0f} diverged" if lost else ""
    if loss is None:
        return Text(said, tone="alarm") if said else NONE
    ends = f"[{loss.interval.low:.3f}, {loss.interval.high:.3f}]" if loss.interval.low != loss.interval.high else ""
    return Text(f"{loss.interval.value:.3f}", ", ".join(part for part in (ends, said) if part))
