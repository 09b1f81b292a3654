"""A report before it is rendered: what is said, in which order, without any markup.

Every text in here has been through `reports.text.clean`; HTML, PDF and Markdown are three ways to
write the same `Document`.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Text:
    """One cell of a table. sub: a second, smaller line. mark: number of a note below the table."""

    main: str
    sub: str = ""
    mark: str = ""
    tone: str = ""  # "", "muted", "alarm"


@dataclass(frozen=True)
class Column:
    """A table's column. numeric: aligned to the right, figures of one width. share: of the width."""

    title: str
    unit: str = ""
    numeric: bool = False
    share: float = 10


@dataclass(frozen=True)
class Group:
    """Rows that belong together under one title; the title may be empty."""

    title: str
    rows: tuple[tuple[Text, ...], ...]


@dataclass(frozen=True)
class Table:
    """The first column of each row names it. dense: small type, for long tables."""

    identifier: str
    caption: str
    columns: tuple[Column, ...]
    groups: tuple[Group, ...]
    notes: tuple[str, ...] = ()  # numbered from 1
    dense: bool = False


@dataclass(frozen=True)
class Picture:
    """A figure: SVG text that stands alone, what it shows, and the same in words for those who
    cannot see it."""

    identifier: str
    svg: str
    caption: str
    alt: str


@dataclass(frozen=True)
class Fact:
    term: str
    detail: str


@dataclass(frozen=True)
class Chapter:
    identifier: str
    title: str
    intro: str
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()
    remarks: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()


@dataclass(frozen=True)
class Hero:
    """One of the few numbers on the first page."""

    label: str
    value: str
    unit: str
    interval: str
    context: str  # which cell it comes from
    share: str  # of the datasheet's peak, or ""


@dataclass(frozen=True)
class Tally:
    """How many cells came out how."""

    measured: int
    skipped: int
    failed: int
    incomplete: int
    missing: int  # planned, and never reached

    @property
    def planned(self) -> int:
        return self.measured + self.skipped + self.failed + self.incomplete + self.missing

    @property
    def shares(self) -> tuple[tuple[str, str, int], ...]:
        """(style, words, count) of each outcome that occurs."""
        every = (
            ("done", "with a number", self.measured), ("skipped", "skipped", self.skipped),
            ("incomplete", "incomplete", self.incomplete), ("failed", "failed", self.failed),
            ("not-reached", "not reached", self.missing),
        )  # fmt: skip
        return tuple(share for share in every if share[2])


@dataclass(frozen=True)
class Part:
    """The report of one run."""

    identifier: str
    title: str
    subtitle: str
    run: str
    created: str
    verb: str  # "measured", "modelled" or "parsed": what was done to the cells that have numbers
    banner: str  # said on every page where numbers are modelled, else ""
    summary: str
    facts: tuple[Fact, ...]
    tally: Tally
    heroes: tuple[Hero, ...]
    headline: Table
    alarms: tuple[str, ...]  # utilisation above 100 %, each with both sides and their sources
    problems: tuple[str, ...]  # what could not be read or was not reached
    chapters: tuple[Chapter, ...]  # families of benchmarks, then outcomes, method, provenance, all cells


@dataclass(frozen=True)
class Document:
    title: str
    parts: tuple[Part, ...]

    @property
    def created(self) -> str:
        """Of the latest run, ISO 8601: a report has no date of its own, so that it can be rebuilt."""
        return max(part.created for part in self.parts)


@dataclass
class Notes:
    """Collects the notes below one table; the same note is numbered once."""

    texts: list[str] = field(default_factory=list)

    def mark(self, text: str) -> str:
        if text not in self.texts:
            self.texts.append(text)
        return str(self.texts.index(text) + 1)
