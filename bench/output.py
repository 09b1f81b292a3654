"""What commands print: one JSON document, or aligned text; nothing else on standard output."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from harness.records import SIZES, USUAL, Params
from harness.units import show_size

Document = dict[str, Any]


def emit(as_json: bool, document: Document, text: str) -> None:
    """The document with --json, else the text."""
    if as_json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
        sys.stdout.buffer.flush()
    else:
        print(clean(text))


def clean(text: str) -> str:
    """Without control characters: names and reasons come from outside, and a terminal obeys them."""
    return "".join(char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Columns aligned by spaces; `right` lists the columns that hold numbers."""
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        fitted = (c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True)))
        return "  ".join(fitted).rstrip()

    return "\n".join([line(lines[0]), "  ".join("─" * width for width in widths), *map(line, lines[1:])])


def label(benchmark: str, params: Params) -> str:
    """A cell in short: sizes in powers of two, parameters that say nothing left out."""
    parts = [benchmark]
    for key, value in params.items():
        if value == USUAL.get(key, ...):
            continue
        if key in SIZES and isinstance(value, int) and value > 0:
            parts.append(f"{SIZES[key]}{show_size(value)}")
        elif isinstance(value, bool):
            parts += [key] if value else []
        elif value is not None:
            parts.append(str(value) if isinstance(value, str) else f"{key}={value}")
    return " ".join(parts)
