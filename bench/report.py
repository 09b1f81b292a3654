"""`bench report`: records into HTML, PDF or Markdown."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from bench.main import RUNS
from bench.output import emit
from bench.show import find
from harness import store
from harness.errors import UsageError
from harness.units import parse_duration

FORMATS = ("html", "pdf")
ACCEPTED = ("html", "pdf", "md")


def report(args: argparse.Namespace) -> int:
    """Write the report of one run, or of several side by side, next to the (first) run."""
    formats = [text.strip() for text in args.format.split(",")]
    wrong = [text for text in formats if text not in ACCEPTED]
    if wrong:
        raise UsageError(f"--format {', '.join(wrong)}: accepted are {', '.join(ACCEPTED)}")
    mtbf = _mtbf(args.mtbf)
    paths = [find(name, Path(RUNS)) for name in args.run]
    written = write(paths, formats, Path(args.out) if args.out else paths[0], mtbf)
    emit(args.json, {"reports": [str(path) for path in written]}, "\n".join(map(str, written)))
    return 0


def _mtbf(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise UsageError(f"--mtbf: {error}") from error


def write(
    paths: Sequence[Path], formats: Sequence[str], folder: Path, mtbf: float | None = None
) -> list[Path]:  # fmt: skip
    """Report files of the runs in `paths`, written under `folder`. mtbf: mean time between interruptions of the job
    that checkpoints are for, s; without one, definitions say."""
    from bench.critical_batch import critical_batches
    from bench.expectations import models
    from bench.goodput import goodputs
    from reports.write import write as write_reports

    runs = [store.read(path) for path in paths]
    return write_reports(runs, formats, folder, [
        (*models(run), *goodputs(run, mtbf), *critical_batches(run)) for run in runs
    ])  # fmt: skip
