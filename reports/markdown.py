"""The report in short, as GitHub's Markdown: for a pull request, an issue or a terminal.

All text is escaped: no character of it is markup, and nothing in it is a mention, a reference or a link.
"""

from __future__ import annotations

import re

from reports.model import Chapter, Document, Part, Table, Text
from reports.origins import when

MOST_ROWS = 60
_MARKUP = re.compile(r"([\\`*_\[\]<>|~$])")
_ACTIVE = re.compile(r"([@#]|:(?=//)|www(?=\.))")  # GitHub makes links of what follows these


def render(document: Document) -> str:
    """Headline and skips of every run; the whole is in the HTML and PDF."""
    return "\n".join(line for part in document.parts for line in _part(part)).rstrip() + "\n"


def _part(part: Part) -> list[str]:
    lines = [f"# {_escaped(part.title)}", ""]
    if part.banner:
        lines += [f"> **{part.banner}.** Every number here comes from a model.", ""]
    lines += [f"{_escaped(part.summary)} {_escaped(when(part.created))}, run {_escaped(part.run)}.", ""]
    lines += [f"> **Note:** {_escaped(problem)}" for problem in (*part.alarms, *part.problems)]
    lines += [""] if part.alarms or part.problems else []
    if part.headline.groups:
        lines += _table(part.headline)
        lines += [f"{number}. {_escaped(note)}" for number, note in enumerate(part.headline.notes, start=1)]
        lines.append("")
    outcomes = next(chapter for chapter in part.chapters if chapter.identifier.endswith("-outcomes"))
    return [*lines, *_outcomes(outcomes), ""]


def _outcomes(chapter: Chapter) -> list[str]:
    lines = [f"## {chapter.title}", "", _escaped(chapter.intro), ""]
    for table in chapter.tables:
        lines += _table(table)
    return lines


def _table(table: Table) -> list[str]:
    """A table, its caption below the title; groups become a bold row."""
    heads = [f"{column.title} {column.unit}".strip() or " " for column in table.columns]
    rule = ["---:" if column.numeric else "---" for column in table.columns]
    lines = [_escaped(table.caption), "", _row(heads), _row(rule)]
    rows = [(group.title, row) for group in table.groups for row in group.rows]
    last = ""
    for title, row in rows[:MOST_ROWS]:
        if title and title != last:
            lines.append(_row([f"**{_escaped(title)}**", *[""] * (len(heads) - 1)]))
            last = title
        lines.append(_row([_words(text) for text in row]))
    if len(rows) > MOST_ROWS:
        lines.append(_row([f"{len(rows) - MOST_ROWS} more", *[""] * (len(heads) - 1)]))
    return [*lines, ""]


def _words(text: Text) -> str:
    said = ", ".join(part for part in (text.main, text.sub) if part)
    return _escaped(said) + (f" ({text.mark})" if text.mark else "")


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    """An empty comment parts what would be a link, and is not seen."""
    return _ACTIVE.sub(r"\1<!-- -->", _MARKUP.sub(r"\\\1", text))
