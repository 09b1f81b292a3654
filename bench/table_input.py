"""Tables from anyone: CSV, JSON or JSON lines, with columns found by what they are called.

A command says which columns it takes and how each may be called; a name fits whatever its case, spaces and
punctuation. What is not found so, the user maps: `--map "batch=Batch Size"`. Every message names the file, and the
line or entry.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.units import show_size

LARGEST = 64 * 2**20  # B: a file that is a table of runs is far smaller
DELIMITERS = ",;\t|"
YES, NO = ("true", "yes", "1", "1.0", "y"), ("false", "no", "0", "0.0", "n", "")
ACCEPTED = "Accepted: a CSV file with a head line, a JSON list of objects, or one JSON object a line."

Aliases = Mapping[str, Sequence[str]]
"""What a command takes: the column's role, and the names it goes by, first the best one."""


@dataclass(frozen=True)
class Row:
    """One line of the table. name: 'line 7', or 'entry 3' of a list."""

    name: str
    cells: Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    source: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Columns:
    """A table whose columns are known by role."""

    table: Table
    names: Mapping[str, str]  # role -> the column's own name

    def __contains__(self, role: str) -> bool:
        return role in self.names

    def text(self, row: Row, role: str) -> str:
        """The cell in words; empty where the column or the cell is missing."""
        value = row.cells.get(self.names[role]) if role in self.names else None
        return "" if value is None else f"{value:.12g}" if isinstance(value, float) else str(value).strip()

    def number(self, row: Row, role: str) -> float | None:
        """The cell as a number, which may be nan or infinite; None where it is empty. Raises UsageError."""
        said = self.text(row, role)
        if not said:
            return None
        try:
            return float(said)
        except ValueError:
            raise self.error(row, role, "accepted is a plain number such as 4096 or 1.5e9") from None

    def positive(self, row: Row, role: str) -> float | None:
        """The cell as a number above 0; None where it is empty. Raises UsageError."""
        found = self.number(row, role)
        if found is not None and not (math.isfinite(found) and found > 0):
            raise self.error(row, role, "accepted is a finite number above 0")
        return found

    def flag(self, row: Row, role: str) -> bool:
        said = self.text(row, role).lower()
        if said in YES or said in NO:
            return said in YES
        raise self.error(row, role, "accepted are true and false, yes and no, 1 and 0, or nothing for no")

    def error(self, row: Row, role: str, accepted: str) -> UsageError:
        said = self.text(row, role)[:60]
        return UsageError(f"{self.table.source}: {row.name}: {self.names[role]} is '{said}': {accepted}")


def columns(table: Table, aliases: Aliases, mapped: Iterable[str] = ()) -> Columns:
    """Which column has which role. mapped: 'role=column' as the user gave them, which win. Raises UsageError."""
    plain: dict[str, str] = {}
    for column in table.columns:
        plain.setdefault(_plain(column), column)
    found = {}
    for role, names in aliases.items():
        fits = (plain[_plain(name)] for name in names if _plain(name) in plain)
        if column := next(fits, ""):
            found[role] = column
    given = dict(_pair(entry, table, aliases) for entry in mapped)
    taken = set(given.values())
    return Columns(table, {role: column for role, column in found.items() if column not in taken} | given)


def missing(table: Table, role: str, aliases: Aliases) -> UsageError:
    """The error for a table without a column it must have."""
    return UsageError(
        f"{table.source}: no column for '{role}'. There is: {', '.join(table.columns)}. Accepted names: "
        f"{', '.join(aliases[role])}; or say which it is: --map '{role}=COLUMN'"
    )


def read(path: str) -> Table:
    """The table in a file. Raises UsageError where there is none."""
    text = _text(path)
    if not text.strip():
        raise UsageError(f"{path}: the file is empty. {ACCEPTED}")
    table = _json(path, text) if text.lstrip()[0] in "[{" else _csv(path, text)
    if not table.rows:
        raise UsageError(f"{path}: there is no row in it. {ACCEPTED}")
    return table


def _text(path: str) -> str:
    try:
        size = Path(path).stat().st_size
        if size > LARGEST:
            raise UsageError(f"{path}: {show_size(size)} is more than a table of runs, at most {show_size(LARGEST)}")
        return Path(path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: byte {error.start} is not UTF-8: save it as UTF-8 text. {ACCEPTED}") from error
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{path}: {said}. {ACCEPTED}") from error


def _csv(path: str, text: str) -> Table:
    start = 0
    while text.startswith("#", start) or text.startswith("\n", start):  # comments before the head
        start = text.find("\n", start) + 1 or len(text)
    skipped, head = text.count("\n", 0, start), text[start:].split("\n", 1)[0]
    delimiter = max(DELIMITERS, key=head.count)
    reader = csv.reader(io.StringIO(text[start:], newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    rows = list[Row]()
    try:
        names = [name.strip() for name in next(reader, [])]
        _distinct(path, names)
        for cells in reader:
            line = f"line {skipped + reader.line_num}"
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(names):
                raise UsageError(f"{path}: {line} has {len(cells)} cells, and the head line names {len(names)} columns")
            rows.append(Row(line, dict(zip(names, cells, strict=True))))
    except csv.Error as error:
        raise UsageError(f"{path}: line {skipped + reader.line_num}: {error}. {ACCEPTED}") from error
    return Table(path, tuple(names), tuple(rows))


def _distinct(path: str, names: Sequence[str]) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"{path}: two columns are called '{twice}'" if twice else f"{path}: a column has no name")


def _json(path: str, text: str) -> Table:
    try:
        held = json.loads(text)
        entries = [held] if isinstance(held, dict) else held
        word = "entry"
        lists = [value for value in held.values() if isinstance(value, list)] if isinstance(held, dict) else []
        if len(lists) == 1:  # {"points": [...]}
            entries = lists[0]
        numbered = list(enumerate(entries, start=1))
    except (ValueError, RecursionError) as error:
        word = "line"
        numbered = _lines(path, text, error)
    rows, names = list[Row](), dict[str, None]()
    for number, entry in numbered:
        if not isinstance(entry, dict):
            raise UsageError(f"{path}: {word} {number} is no object of named values. {ACCEPTED}")
        nested = next((key for key, value in entry.items() if isinstance(value, (dict, list))), None)
        if nested is not None:
            raise UsageError(f"{path}: {word} {number}: '{nested}' holds more than one value. {ACCEPTED}")
        rows.append(Row(f"{word} {number}", entry))
        names.update(dict.fromkeys(entry))
    return Table(path, tuple(names), tuple(rows))


def _lines(path: str, text: str, whole: Exception) -> list[tuple[int, Any]]:
    found = []
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            found += [(number, json.loads(line))] if line.strip() else []
        except (ValueError, RecursionError) as error:
            said = whole if number == 1 else f"line {number}: {error}"
            raise UsageError(f"{path}: no JSON: {said}. {ACCEPTED}") from error
    return found


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).lower()


def _pair(entry: str, table: Table, aliases: Aliases) -> tuple[str, str]:
    role, equals, column = (part.strip() for part in entry.partition("="))
    if not equals or not role or not column:
        raise UsageError(f"--map '{entry}': accepted is ROLE=COLUMN, such as 'batch=Batch Size'")
    if role not in aliases:
        raise UsageError(f"--map '{entry}': there is no '{role}' to map. Accepted: {', '.join(aliases)}")
    if column not in table.columns:
        near = difflib.get_close_matches(column, table.columns, n=3, cutoff=0.4)
        hint = f" Near: {', '.join(near)}." if near else ""
        raise UsageError(
            f"--map '{entry}': no column '{column}' in {table.source}.{hint} There is: {', '.join(table.columns)}"
        )
    return role, column
