"""`bench collect`: logs of other tools become records, in a run's folder that all other commands read."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import quantities
from bench.collected import Collected, info
from bench.output import Document, clean, emit, label, table
from collectors import kinds, reading, sources
from collectors.parser import Kind
from collectors.reading import Heard
from harness import summary, units
from harness.errors import UsageError
from harness.hardware import UNDECLARED, Cluster
from harness.records import Ok
from harness.summary import Cell

ROWS = 60  # figures, and warnings, that the terminal shows
EVERY = 2.0  # s between two words of progress


def collect(args: argparse.Namespace) -> int:
    """0 where anything was read; UsageError names what was tried where nothing was."""
    if args.telemetry:
        from bench.collect_telemetry import telemetry

        return telemetry(args)
    if args.kinds:
        return _listed(args.json)
    chosen = kinds.chosen(args.kind)
    if not args.files:
        raise UsageError("no file to read. Name files or folders, or - for standard input; --kinds lists what is read.")
    names, problems = sources.files(args.files)
    collected = Collected(info(_cluster(args.cluster), _command()), None if args.dry_run else Path(args.out))
    heard = [_one(collected, name, chosen, args.kind is not None, args.json) for name in names]
    records = collected.close()
    problems += [one.problem or _nothing(one, chosen) for one in heard if one.problem or not one.kinds]
    if not any(one.kinds for one in heard):
        raise UsageError("\n  ".join(["nothing could be read", *problems]))
    _tell(args.json, collected, summary.cells(records), heard, problems)
    return 0


def _one(collected: Collected, name: str, chosen: Sequence[Kind], forced: bool, quiet: bool) -> Heard:
    source = collected.source(name)
    began = told = time.monotonic()

    def tell(line: int) -> None:
        nonlocal told
        if not quiet and time.monotonic() - told > EVERY:
            told = time.monotonic()
            print(clean(f"{name}: {line:,} lines ({units.show_duration(told - began)})"), file=sys.stderr)

    heard = reading.read(name, chosen, source.take, forced, tell)
    source.settle()
    heard.kinds, heard.repeated = source.kinds, source.repeated
    return heard


def _cluster(name: str | None) -> Cluster:
    if name is None:
        return UNDECLARED
    from clusters import definition

    return definition.load(name)


def _command() -> tuple[str, ...]:
    return ("bench", *sys.argv[1:])


def _listed(as_json: bool) -> int:
    known = kinds.load()
    document = {"kinds": [{"name": kind.name, "title": kind.title} for kind in known]}
    emit(as_json, document, table(["kind", "what it is"], [[kind.name, kind.title] for kind in known]))
    return 0


def _nothing(heard: Heard, chosen: Sequence[Kind]) -> str:
    """Why a file gave no record."""
    tried = ", ".join(kind.name for kind in chosen)
    first = "".join(f"\n    line {line}: {text}" for line, text in (*heard.warnings, *heard.first_unread)[:3])
    held = f"{heard.lines:,} line(s), no record in them" if heard.lines else "it is empty"
    return f"{heard.source}: {held}; tried {tried}{first}"


def _tell(as_json: bool, collected: Collected, cells: list[Cell], heard: list[Heard], problems: list[str]) -> None:
    warnings = [f"{one.source}: line {line}: {text}" for one in heard for line, text in one.warnings]
    warnings += [f"{one.source}: {one.repeated} rows are there twice: counted once" for one in heard if one.repeated]
    warnings += collected.contradictions
    path = str(collected.store.path) if collected.store else None
    document: Document = {
        "run": path,
        "cluster": collected.info.cluster.name,
        "records": [described | _samples(cell, described) for cell, described in _pairs(cells)],
        "unread": [
            {"file": one.source, "line": line, "text": text} for one in heard for line, text in one.first_unread
        ],
        "unread_lines": sum(one.unread for one in heard),
        "warnings": warnings,
        "files": [_file(one) for one in heard],
        "problems": problems,
    }
    emit(as_json, document, "" if as_json else _text(path, cells, heard, warnings, problems))


def _pairs(cells: Sequence[Cell]) -> list[tuple[Cell, dict[str, Any]]]:
    return list(zip(cells, quantities.described(cells), strict=True))


def _samples(cell: Cell, described: dict[str, Any]) -> dict[str, Any]:
    """Quantities with the numbers that the log holds, and where in it they are."""
    held = {quantities.key(figure): [value for one in figure.samples for value in one] for figure in cell.figures}
    known = described["quantities"]
    return {
        "quantities": {name: quantity | {"samples": held[name]} for name, quantity in known.items()},
        "notes": list(cell.notes),
    }


def _file(heard: Heard) -> dict[str, Any]:
    return {
        "file": heard.source, "kinds": heard.kinds, "lines": heard.lines, "unread": heard.unread,
        "repeated": heard.repeated, "warnings": heard.warned, "problem": heard.problem,
    }  # fmt: skip


def _text(
    path: str | None, cells: Sequence[Cell], heard: Sequence[Heard], warnings: Sequence[str], problems: Sequence[str]
) -> str:  # fmt: skip
    figures = [figure for cell in cells for figure in cell.figures if not figure.derived]
    rows = [
        [
            label(figure.benchmark, figure.params), quantities.metric(figure),
            units.show(figure.interval.value, figure.unit), str(figure.summary.n),
        ]
        for figure in figures[:ROWS]
    ]  # fmt: skip
    lines = [table(["cell", "metric", "median", "n"], rows, right=[2, 3])] if rows else []
    if len(figures) > ROWS:
        rest = f"see `bench show {path}`" if path else "see --json"
        lines.append(f"… and {len(figures) - ROWS} more numbers: {rest}")
    lines += [
        f"no number: {cell.label}: {cell.outcome.reason}" for cell in cells if not isinstance(cell.outcome, Ok)
    ]  # fmt: skip
    lines += [f"warning: {warning}" for warning in warnings[:ROWS]]
    lines += [f"problem: {problem}" for problem in problems]
    for one in heard:
        found = ", ".join(f"{count} of {kind}" for kind, count in one.kinds.items()) or "nothing"
        lines.append(f"{one.source}: {one.lines:,} lines, records: {found}; {one.unread:,} lines unread")
        lines += [f"  line {line}: {text.strip()}" for line, text in one.first_unread[:3]] if one.kinds else []
    if path:
        lines.append(f"records in {path}; see `bench show`, `bench report`")
    return "\n".join(lines)
