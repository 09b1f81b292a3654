"""`bench show`: the numbers of a run in the terminal, and the headline that ends a run."""

from __future__ import annotations

import argparse
import fnmatch
from collections.abc import Sequence
from pathlib import Path

from bench import quantities
from bench.output import emit, label, table
from harness import store, summary, units
from harness.errors import UsageError
from harness.records import Ok, Origin, Params
from harness.store import Run
from harness.summary import Cell, Figure

HEAD = ["cell", "metric", "median", "95 % interval", "n", "launches", "rate", "rate's interval"]


def show(args: argparse.Namespace) -> int:
    """Every cell of a run; 0, also where cells were skipped or failed: it says so."""
    run = store.read(find(args.run, Path(args.out)))
    cells = [cell for cell in summary.cells(run.records) if _chosen(cell, args.only)]
    if args.only and not cells:
        raise UsageError(f"no cell of {run.path} matches {', '.join(args.only)}")
    document = {
        "run": str(run.path),
        "cluster": run.info.cluster.name,
        "suite": run.info.suite,
        "records": quantities.described(cells),
        "problems": list(run.problems),
    }
    emit(args.json, document, _text(run, cells))
    return 0


def find(name: str, folder: Path) -> Path:
    """A run's folder, given as a path or by its name under `folder`."""
    places = [Path(name), folder / name]
    for place in places:
        if store.is_run(place):
            return place
    raise UsageError(f"no run '{name}' ({' or '.join(map(str, places))}). See `bench list runs`.")


def _chosen(cell: Cell, patterns: Sequence[str]) -> bool:
    return not patterns or any(
        fnmatch.fnmatchcase(cell.benchmark, pattern) or cell.benchmark.startswith(f"{pattern}.") for pattern in patterns
    )


def _text(run: Run, cells: Sequence[Cell]) -> str:
    lines = [f"{run.info.id}: {run.info.cluster.title}, suite {run.info.suite}, {run.info.created}"]
    rows = [_row(*each) for cell in cells for each in _measured(cell) if each[0].name != "trial"]
    if rows:
        lines.append(table(HEAD, rows, right=[2, 3, 4, 5, 6, 7]))
    lines += _training(run, cells)
    lines += [_reason(cell) for cell in cells if not isinstance(cell.outcome, Ok)]
    lines += [f"problem: {problem}" for problem in run.problems]
    missing = len(run.info.cells) * run.info.launches - len(run.finished)
    if missing > 0:
        lines.append(f"{missing} cells are not measured; continue with `bench run --resume {run.path}`")
    return "\n".join(lines)


def _training(run: Run, cells: Sequence[Cell]) -> list[str]:
    """What follows from training jobs, where there are some; to say it takes more than listing numbers does."""
    if not any(cell.benchmark.startswith("e2e.") for cell in cells):
        return []
    from bench.training_text import lines

    return lines(run)


def _reason(cell: Cell) -> str:
    outcome = cell.outcome
    reason = "" if isinstance(outcome, Ok) else outcome.reason
    return f"{type(outcome).__name__.lower()}: {cell.label}: {reason}"


def _measured(cell: Cell) -> list[tuple[Figure, Figure | None]]:
    """What was measured, each with the last rate that follows from it."""
    held: list[tuple[Figure, Figure | None]] = []
    for figure in cell.figures:
        held = [*held[:-1], (held[-1][0], figure)] if figure.derived else [*held, (figure, None)]
    return held


def _row(figure: Figure, rate: Figure | None) -> list[str]:
    known = figure.interval
    return [
        label(figure.benchmark, figure.params),
        f"{quantities.metric(figure)}{' (modelled)' if figure.origin is Origin.MODELLED else ''}",
        units.show(known.value, figure.unit),
        units.show_interval(known.low, known.high, figure.unit, known.value),
        str(figure.summary.n),
        str(figure.summary.launches),
        f"{units.show(rate.interval.value, rate.unit)} {rate.name}" if rate else "",
        units.show_interval(rate.interval.low, rate.interval.high, rate.unit, rate.interval.value) if rate else "",
    ]


def _kind(params: Params) -> str:
    return " ".join(str(params[key]) for key in ("op", "dtype") if key in params)


def headline(run: Run) -> str:
    """The report's headline in the terminal: what a run ends with."""
    from reports.headline import rows
    from reports.subject import Subject

    best = rows(Subject(run, "headline"))
    if not best:
        found = "no rate to lead with; see the numbers" if run.records else "nothing was measured; see"
        return "\n".join([f"{found} with `bench show {run.path}`", *_training(run, summary.cells(run.records))])
    lines = [
        [
            row.figure.benchmark, _kind(row.figure.params),
            f"{units.show(row.figure.interval.value, row.figure.unit)} {row.figure.name}",
            units.show_interval(
                row.figure.interval.low, row.figure.interval.high, row.figure.unit, row.figure.interval.value
            ),
            label("", row.figure.params).strip(), row.figure.cadence.value if row.figure.cadence else "",
            "n/a" if row.peak.ratio is None else f"{row.peak.ratio:.0%}", row.figure.origin.value,
        ]
        for row in best
    ]  # fmt: skip
    across = all(row.figure.summary.across_launches for row in best)
    ranked = table(
        ["benchmark", "kind", "rate", "95 % interval" if across else "95 % within-run interval", "at", "cadence",
         "of peak", "origin"], lines, right=[2, 3, 6],
    )  # fmt: skip
    return "\n".join([ranked, *_training(run, summary.cells(run.records))])
