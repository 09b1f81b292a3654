"""Runs into one document: what is said and in which order, before any markup."""

from __future__ import annotations

from collections.abc import Sequence

from harness.errors import UsageError
from harness.store import Run
from harness.units import show_duration
from reports import appendix, hardware, headline, method, modes, origins, outcomes, utilisation
from reports.chapters import chapters
from reports.model import Chapter, Document, Fact, Part, Tally
from reports.subject import Model, Subject
from reports.text import clean, counted

BANNER = "Modelled, not measured"


def build(runs: Sequence[Run], models: Sequence[tuple[Model, ...]] = ()) -> Document:
    """The report of one run, or of several as parts one after the other; models: of each run, as Subject has them.
    UsageError for none."""
    if not runs:
        raise UsageError("no run to report on. See `bench list runs`, then `bench report RUN`.")
    held = [*models, *([()] * (len(runs) - len(models)))]
    parts = tuple(
        _part(Subject(run, f"r{number}", held[number - 1])) for number, run in enumerate(runs, start=1)
    )  # fmt: skip
    title = parts[0].title if len(parts) == 1 else f"{len(parts)} runs"
    return Document(title, parts)


def _part(subject: Subject) -> Part:
    made, info, count = headline.rows(subject), subject.run.info, outcomes.tally(subject)
    return Part(
        identifier=subject.name,
        title=_title(subject),
        subtitle="Hardware report: modelled" if subject.modelled else "Hardware report",
        run=clean(info.id),
        created=clean(info.created),
        verb=headline.verb(subject),
        banner=BANNER if subject.modelled else "",
        summary=_summary(subject, count),
        facts=(*hardware.facts(subject), *_facts(subject)),
        tally=count,
        heroes=headline.heroes(subject, made),
        headline=headline.table(subject, made),
        alarms=tuple(dict.fromkeys((*headline.alarms(made), *utilisation.alarms(subject)))),
        problems=outcomes.problems(subject),
        chapters=_chapters(subject),
    )


def _title(subject: Subject) -> str:
    title = clean(subject.cluster.title, 140) or clean(subject.cluster.name, 140)
    return title[:1].upper() + title[1:]


def _chapters(subject: Subject) -> tuple[Chapter, ...]:
    two = modes.chapter(subject)
    return (
        hardware.chapter(subject), *chapters(subject), *([two] if two else []), outcomes.chapter(subject),
        method.chapter(subject), origins.chapter(subject), *([appendix.chapter(subject)] if subject.measured else []),
    )  # fmt: skip


def _facts(subject: Subject) -> tuple[Fact, ...]:
    info = subject.run.info
    budget = "" if info.budget is None else f", budget {show_duration(info.budget)}"
    suite = f"{clean(info.suite)}: {counted(info.launches, 'launch', 'launches')}{budget}"
    return Fact("Suite", suite), Fact("Command", origins.command(info.command))


def _summary(subject: Subject, count: Tally) -> str:
    """What this is, and how much of it has a number."""
    verb = headline.verb(subject)
    text = f"{count.measured:,} of {counted(count.planned, 'cell')} {verb}"
    if subject.modelled:
        return f"{text}: every number comes from a model of the declared cluster."
    if verb == headline.PARSED:
        return f"{counted(count.measured, 'cell')} parsed: every number is one that a log of another tool holds."
    if subject.run.info.launches == 1:
        return f"{text} in one launch: intervals are within the run."
    return f"{text} in {subject.run.info.launches} launches of fresh processes."
