"""Provenance: all that is needed to run the same again and to know what the numbers belong to."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime

from harness.records import Provenance
from harness.units import show_duration
from reports.model import Chapter, Column, Fact, Group, Table, Text
from reports.subject import Subject
from reports.text import clean, counted

MOST = 40  # launches in the table


def chapter(subject: Subject) -> Chapter:
    info, launches = subject.run.info, subject.launches
    intro = f"{counted(len(launches), 'launch', 'launches')} of run {clean(info.id)}."
    facts = [
        Fact("Run", clean(info.id)),
        Fact("Created", when(info.created)),
        Fact("Command", command(info.command)),
        Fact(
            "Suite",
            f"{clean(info.suite)}, {counted(len(info.cells), 'cell')}, {counted(info.launches, 'launch', 'launches')}",
        ),
        Fact("Budget", "none" if info.budget is None else show_duration(info.budget)),
        Fact("Seed", str(info.seed)),
        *_software(launches[0] if launches else None),
    ]
    facts += [Fact(f"Source: {clean(name)}", clean(text)) for name, text in subject.cluster.sources.items()]
    tables = (_launches(subject),) if launches else ()
    return Chapter(subject.identifier("provenance"), "Provenance", intro, tables=tables, facts=tuple(facts))


def when(stamp: str) -> str:
    """'22 Nov 2026, 18:42 UTC' from ISO 8601; other text as it is."""
    try:
        moment = datetime.fromisoformat(stamp)
    except ValueError:
        return clean(stamp)
    moment = moment.astimezone(UTC) if moment.tzinfo else moment
    return f"{moment.day} {moment:%b %Y, %H:%M} UTC"


def command(words: tuple[str, ...]) -> str:
    return clean(shlex.join(words))


def _software(held: Provenance | None) -> list[Fact]:
    if held is None:
        return []
    commit = clean(held.commit or "unknown")
    state = {True: ", changed since", False: ", unchanged", None: ""}[held.dirty]
    versions = ", ".join(f"{clean(name)} {clean(version)}" for name, version in held.versions.items())
    environment = ", ".join(f"{clean(name)}={clean(value)}" for name, value in sorted(held.environment.items()))
    return [
        Fact("Commit", f"{commit}{state}"),
        Fact("Versions", versions or "none recorded"),
        Fact("Environment", environment or "no listed variable is set"),
        Fact("Definition", f"{clean(held.declared)}, digest {clean(held.definition)}"),
    ]


def _launches(subject: Subject) -> Table:
    columns = (
        Column("Launch", share=14), Column("Started", share=24), Column("Host", share=22),
        Column("Ranks", numeric=True, share=10), Column("Nodes", numeric=True, share=10), Column("Backend", share=20),
    )  # fmt: skip
    rows = tuple(_launch(held) for held in subject.launches[:MOST])
    more = f" {len(subject.launches) - MOST} more are in the store." if len(subject.launches) > MOST else ""
    return Table(subject.identifier("launches"), f"Launches.{more}", columns, (Group("", rows),))


def _launch(held: Provenance) -> tuple[Text, ...]:
    counts = [Text("n/a" if number is None else f"{number:,}") for number in (held.ranks, held.nodes)]
    return (Text(clean(held.id)), Text(when(held.started)), Text(clean(held.host)), *counts, Text(clean(held.backend)))
