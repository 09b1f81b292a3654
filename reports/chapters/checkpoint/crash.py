"""What a restart found after faults: engine, fault, and how often each outcome came, nothing left out."""

from __future__ import annotations

from collections.abc import Sequence

from harness.summary import Cell, Figure
from reports.model import Column, Group, Notes, Picture, Table, Text
from reports.numbers import GAP
from reports.reading import figures_of, grouped, say
from reports.subject import Subject
from reports.text import clean, counted, sentence

GOOD, ALARMS = "newest complete loaded, right", {
    "durable checkpoint lost", "hung", "crashed without a word", "wrong state loaded silently",
}  # fmt: skip
TITLES = {
    GOOD: "Newest loaded, right",
    "damage reported, previous loaded": "Reported, previous loaded",
    "damage reported, none left": "Reported, none left",
    "durable checkpoint lost": "Durable one lost",
    "hung": "Hung",
    "crashed without a word": "Crashed without a word",
    "wrong state loaded silently": "Wrong state, silently",
}
FAULTS = {
    "kill": "killed in a save", "full": "disk full", "truncated": "file cut short", "flipped": "bit flipped",
}  # fmt: skip
EXAMPLE = "for example: "


def sections(subject: Subject, cells: Sequence[Cell]) -> tuple[list[Picture], list[Table]]:
    """One table; a row for each cell of checkpoint.crash."""
    tried = [cell for cell in cells if cell.benchmark == "checkpoint.crash" and figures_of([cell], "outcomes")]
    if not tried:
        return [], []
    notes, groups = Notes(), []
    for fault, those in sorted(grouped(tried, lambda cell: str(cell.params.get("fault"))).items(), key=_place):
        groups.append(Group(sentence(FAULTS.get(fault, clean(fault)))[:-1], tuple(_row(cell, notes) for cell in those)))
    columns = (
        Column("Engine", share=16), Column("Trials", numeric=True, share=8),
        *(Column(title, numeric=True, share=11) for title in TITLES.values()),
    )  # fmt: skip
    caption = (
        "Checkpoints under faults, and what a restart then loaded, compared bit for bit; how many trials came out how. "
        "Killed: SIGKILL of all ranks at random moments of a save; what the system holds in its page cache survives "
        "that, and a loss of power was not tried. Cut and flipped: one random file of the newest checkpoint, at a "
        "random place; full: the second save has room for 5 to 90 % of itself. In red what an engine must never do."
    )
    name = subject.identifier("checkpoint-crash")
    return [], [Table(name, caption, columns, tuple(groups), tuple(notes.texts))]


def _place(item: tuple[str, list[Cell]]) -> int:
    return [*FAULTS].index(item[0]) if item[0] in FAULTS else len(FAULTS)


def _row(cell: Cell, notes: Notes) -> tuple[Text, ...]:
    counts = {str(figure.own.get("outcome")): figure for figure in figures_of([cell], "outcomes")}
    total = sum(map(_count, counts.values()))
    numbers = [_number(outcome, counts.get(outcome), notes) for outcome in TITLES]
    size = say("size", cell.params.get("size", 0))
    setting = ", ".join(part for part in (size, _ranks(cell)) if part)
    return Text(clean(cell.params.get("engine", "?")), setting), Text(f"{total:,}"), *numbers


def _ranks(cell: Cell) -> str:
    processes = cell.params.get("processes")
    return counted(processes, "rank").replace(" ", GAP) if isinstance(processes, int) else ""


def _count(figure: Figure) -> int:
    """Over all launches."""
    return round(sum(map(sum, figure.samples)))


def _number(outcome: str, figure: Figure | None, notes: Notes) -> Text:
    count = _count(figure) if figure else 0
    if not count or figure is None:
        return Text("–", tone="muted")
    said = next((flag for held in figure.evidence for flag in held.flags if flag.startswith(EXAMPLE)), "")
    engine = clean(figure.params.get("engine", "?"))
    mark = (
        notes.mark(sentence(f"with {engine}: {clean(said.removeprefix(EXAMPLE), 300)}"))
        if said and outcome != GOOD
        else ""
    )
    return Text(f"{count:,}", mark=mark, tone="alarm" if outcome in ALARMS else "")
