"""What is being measured, how far it is, what is left, and how well the last cell is known.

A live line on a terminal; plain lines, at most one in ten seconds, where the output is none.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Protocol

from bench.output import clean, label
from harness.records import Failed, Incomplete, Ok, Record, Skipped, cell_name
from harness.statistics import summarise
from harness.store import Planned
from harness.units import show, show_duration

PLAIN_EVERY = 10.0  # s


class Progress(Protocol):
    def began(self, cell: Planned, launch: int, passing: int) -> None: ...

    def said(self, text: str) -> None: ...

    def measured(self, record: Record) -> None: ...


class Silent:
    """For --json: standard output belongs to the document."""

    def began(self, cell: Planned, launch: int, passing: int) -> None:
        return

    def said(self, text: str) -> None:
        return

    def measured(self, record: Record) -> None:
        return


class _Count:
    """Cells done of all, and the time left: by the budget where there is one, else by pace."""

    def __init__(self, cells: int, budget: float | None) -> None:
        self.cells, self.budget = cells, budget
        self.done: set[tuple[str, int]] = set()
        self.begin = time.monotonic()

    def add(self, record: Record) -> None:
        self.done.add((cell_name(record.benchmark, record.params), record.launch))

    def left(self) -> str:
        spent = time.monotonic() - self.begin
        pace = spent / len(self.done) * (self.cells - len(self.done)) if self.done else None
        if self.budget is not None:
            most = max(0.0, self.budget - spent)
            return f"at most {show_duration(most)} left" if pace is None else f"~{show_duration(max(pace, most))} left"
        return "" if pace is None else f"~{show_duration(pace)} left"


def told(record: Record, rate: str) -> str:
    """A finished cell in a few words: the rate of that name with the width reached, or why there is none."""
    match record.outcome:
        case Skipped(reason):
            return f"skipped: {reason}"
        case Failed(reason) | Incomplete(reason):
            return f"{record.outcome.__class__.__name__.upper()}: {reason}"
        case Ok():
            pass
    measurement = next((m for m in record.measurements if m.samples and not m.metric.startswith("trial")), None)
    if measurement is None:
        return "no samples"
    known = summarise([measurement.samples], measurement.statistic).interval
    for each in (each for each in measurement.rates if each.name == rate):
        return f"{show(known.over(each.amount).value, each.unit)} {rate} ±{known.width:.1%}"
    return f"{show(known.value, measurement.unit)} ±{known.width:.1%}"


class Plain:
    """Lines for a log file. rates: the headline rate of each benchmark."""

    def __init__(self, cells: int, budget: float | None, rates: Mapping[str, str]) -> None:
        self._count, self._said, self._rates = _Count(cells, budget), 0.0, rates

    def began(self, cell: Planned, launch: int, passing: int) -> None:
        return

    def said(self, text: str) -> None:
        if time.monotonic() - self._said >= PLAIN_EVERY:
            self._said = time.monotonic()
            print(f"[{len(self._count.done)}/{self._count.cells}] {clean(text)}", file=sys.stderr)

    def measured(self, record: Record) -> None:
        self._count.add(record)
        calm = isinstance(record.outcome, (Ok, Skipped))
        if calm and time.monotonic() - self._said < PLAIN_EVERY:
            return
        self._said = time.monotonic()
        name, rate = label(record.benchmark, record.params), self._rates.get(record.benchmark, "")
        words = f"{name}: {told(record, rate)} ({self._count.left()})"
        print(f"[{len(self._count.done)}/{self._count.cells}] {clean(words)}", file=sys.stderr)


class Live:
    """A bar on a terminal (rich), with the cell at work and the last result."""

    def __init__(self, cells: int, budget: float | None, rates: Mapping[str, str]) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as Bar

        self._count, self._rates, self._last = _Count(cells, budget), rates, ""
        self._bar = Bar(
            BarColumn(24), MofNCompleteColumn(), TextColumn("{task.fields[left]}", style="dim"),
            TextColumn("{task.description}", markup=False), console=Console(stderr=True), transient=True,
        )  # fmt: skip
        self._task = self._bar.add_task("starting the ranks", total=cells, left="")

    def __enter__(self) -> Live:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:  # fmt: skip
        self._bar.stop()

    def began(self, cell: Planned, launch: int, passing: int) -> None:
        again = f" (again, pass {passing})" if passing > 1 else ""
        text = f"{label(cell.benchmark, cell.params)}{again}{self._last}"
        self._bar.update(self._task, description=text, left=self._count.left())

    def said(self, text: str) -> None:
        self._bar.update(self._task, description=clean(text), left=self._count.left())

    def measured(self, record: Record) -> None:
        self._count.add(record)
        name, rate = label(record.benchmark, record.params), self._rates.get(record.benchmark, "")
        self._bar.update(self._task, completed=len(self._count.done), left=self._count.left())
        self._last = f" · before: {told(record, rate)}"
        if isinstance(record.outcome, (Failed, Incomplete)):
            self._bar.console.print(f"{name}: {told(record, rate)}", markup=False, highlight=False)
