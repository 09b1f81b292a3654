"""What has no number, and why: skipped, failed, incomplete and never reached. A skip is a result."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.records import Failed, Incomplete, Ok, Outcome, Params, Skipped, cell_name
from harness.store import Planned
from harness.summary import Cell
from reports.model import Chapter, Column, Group, Table, Tally, Text
from reports.reading import grouped, say, spoken_place, squared
from reports.subject import Subject
from reports.text import clean, counted, listed, sentence

KINDS: tuple[tuple[type[Skipped | Failed | Incomplete], str], ...] = (
    (Failed, "Failed"), (Incomplete, "Incomplete"), (Skipped, "Skipped"),
)  # fmt: skip
MOST_PROBLEMS = 30
MOST_VALUES = 5  # of one parameter, in one line


def tally(subject: Subject) -> Tally:
    """Cells by outcome; a cell counts as its worst launch."""
    counts = {kind: sum(isinstance(cell.outcome, kind) for cell in subject.cells) for kind in (Ok, *_types())}
    return Tally(counts[Ok], counts[Skipped], counts[Failed], counts[Incomplete], len(_missing(subject)))


def _types() -> tuple[type[Outcome], ...]:
    return tuple(kind for kind, _ in KINDS)


def _missing(subject: Subject) -> list[Planned]:
    """Planned cells without any record."""
    seen = {cell_name(record.benchmark, record.params) for record in subject.run.records}
    return [planned for planned in subject.run.info.cells if planned.label not in seen]


def problems(subject: Subject) -> tuple[str, ...]:
    """What keeps this from being the whole run: lines that could not be read, launches not reached."""
    said = [clean(problem) for problem in subject.run.problems[:MOST_PROBLEMS]]
    if len(subject.run.problems) > MOST_PROBLEMS:
        said.append(f"{len(subject.run.problems) - MOST_PROBLEMS} more lines of the store could not be read")
    missing = _missing(subject)
    if missing:
        said.append(
            f"{counted(len(missing), 'planned cell')} not reached: the run ended before; --resume measures them"
        )
    wanted = subject.run.info.launches
    short = [cell for cell in subject.cells if isinstance(cell.outcome, Ok) and len(cell.outcomes) < wanted]
    if short:
        said.append(f"{counted(len(short), 'cell')} with fewer than the {wanted} launches that were asked for")
    if not subject.run.records:
        said.append("there is no record: nothing was measured")
    return tuple(sentence(text) for text in said)


def chapter(subject: Subject) -> Chapter:
    """One table, grouped by kind; cells with the same reason share a row."""
    groups = [Group(title, rows) for kind, title in KINDS if (rows := _rows(subject.cells, kind))]
    missing = _missing(subject)
    if missing:
        held = grouped(missing, lambda planned: planned.benchmark)
        reason = Text("the run ended before it came to these")
        groups.append(
            Group("Not reached", tuple(_row(n, [p.params for p in those], reason) for n, those in held.items()))
        )
    name, title = subject.identifier("outcomes"), "Skipped and failed"
    if not groups:
        return Chapter(name, title, "Nothing was skipped and nothing failed: every planned cell has its number.")
    columns = (
        Column("Benchmark", share=22),
        Column("Cells", share=26),
        Column("", numeric=True, share=6),
        Column("Reason", share=46),
    )
    count = tally(subject)
    parts = {
        "failed": count.failed,
        "incomplete": count.incomplete,
        "skipped": count.skipped,
        "not reached": count.missing,
    }
    intro = f"Of {counted(count.planned, 'cell')}: " + ", ".join(f"{n} {word}" for word, n in parts.items() if n) + "."
    table = Table(subject.identifier("outcomes-table"), "Cells without a number, and why.", columns, tuple(groups))
    return Chapter(name, title, intro, tables=(table,))


def _rows(cells: Iterable[Cell], kind: type[Skipped | Failed | Incomplete]) -> tuple[tuple[Text, ...], ...]:
    held: dict[tuple[str, str], list[Params]] = {}
    for cell in cells:
        for index, outcome in enumerate(cell.outcomes):
            if isinstance(outcome, kind):
                reasons = held.setdefault((cell.benchmark, _reason(outcome)), [])
                if index == 0 or cell.params not in reasons:
                    reasons.append(cell.params)
    return tuple(_row(benchmark, params, Text(reason)) for (benchmark, reason), params in held.items())


def _reason(outcome: Skipped | Failed | Incomplete) -> str:
    reason = clean(outcome.reason) or "no reason was recorded"
    if isinstance(outcome, Incomplete) and outcome.missing:
        ranks = ", ".join(str(rank) for rank in outcome.missing[:12]) + (" …" if len(outcome.missing) > 12 else "")
        return f"{reason} (no result from rank {ranks})"
    return reason


def _row(benchmark: str, params: Sequence[Params], reason: Text) -> tuple[Text, ...]:
    return Text(clean(benchmark)), Text(span(params)), Text(f"{len(params):,}"), reason


def span(several: Sequence[Params]) -> str:
    """Several cells' parameters in one line: 'float16, n = 128 to 2,048'."""
    said, held = [], [squared(params) for params in several]
    for key in sorted({key: None for params in held for key in params}, key=spoken_place):
        values = list(dict.fromkeys(params[key] for params in held if key in params))
        numbers = [value for value in values if isinstance(value, (int, float)) and not isinstance(value, bool)]
        if len(values) > 2 and len(numbers) == len(values):
            most = say("size", max(numbers)) if key == "size" else f"{max(numbers):,}"
            said.append(f"{say(key, min(numbers))} to {most}")
        else:
            more = [f"{len(values) - MOST_VALUES} more"] if len(values) > MOST_VALUES else []
            words = [word for value in values[:MOST_VALUES] if (word := say(key, value))]
            said.append(listed([*words, *more]))
    return ", ".join(part for part in said if part)
