"""`bench list`: what can be measured, on what, in which suites, and what was."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.output import clean, emit, table

Rows = list[dict[str, Any]]


def listing(args: argparse.Namespace) -> int:
    """One kind, or all; imports no torch."""
    kinds: dict[str, Callable[[], Rows]] = {
        "benchmarks": _benchmarks,
        "clusters": _clusters,
        "suites": _suites,
        "runs": lambda: _runs(Path(args.out)),
    }
    chosen = [args.kind] if args.kind else list(kinds)
    document = {kind: kinds[kind]() for kind in chosen}
    emit(args.json, document, "\n\n".join(_text(kind, rows) for kind, rows in document.items()))
    return 0


def _benchmarks() -> Rows:
    from bench import catalog

    return [
        {"name": b.name, "version": b.version, "scope": b.scope, "summary": b.summary}
        for b in catalog.benchmarks().values()
    ]


def _clusters() -> Rows:
    from clusters import definition

    shipped = definition.titles().items()
    rows: Rows = [{"name": name, "devices": devices, "title": title} for name, (devices, title) in shipped]
    return [*rows, {"name": definition.LOCAL, "devices": None, "title": "this machine, as it is found"}]


def _suites() -> Rows:
    from bench import suites

    return [{"name": name, "title": title} for name, title in suites.titles().items()]


def _runs(folder: Path) -> Rows:
    from harness import store

    infos, problems = store.list_runs(folder)
    for problem in problems:
        print(f"bench: {clean(problem)}", file=sys.stderr)
    return [
        {"name": info.id, "created": info.created, "cluster": info.cluster.name, "suite": info.suite} for info in infos
    ]


def _text(kind: str, rows: Rows) -> str:
    if not rows:
        return f"{kind}: none yet"
    heads = list(rows[0])
    body = [["" if row[head] is None else str(row[head]) for head in heads] for row in rows]
    return table([kind, *heads[1:]], body)
