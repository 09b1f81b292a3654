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

FORMATS = ("html", "pdf")
ACCEPTED = ("html", "pdf", "md")


def report(args: argparse.Namespace) -> int:
    """Write the report of one run, or of several side by side, next to the (first) run."""
    formats = [text.strip() for text in args.format.split(",")]
    wrong = [text for text in formats if text not in ACCEPTED]
    if wrong:
        raise UsageError(f"--format {', '.join(wrong)}: accepted are {', '.join(ACCEPTED)}")
    paths = [find(name, Path(RUNS)) for name in args.run]
    written = write(paths, formats, Path(args.out) if args.out else paths[0])
    emit(args.json, {"reports": [str(path) for path in written]}, "\n".join(map(str, written)))
    return 0


def write(paths: Sequence[Path], formats: Sequence[str], folder: Path) -> list[Path]:
    """Report files of the runs in `paths`, written under `folder`."""
    from bench.expectations import models
    from bench.goodput import goodputs
    from reports.write import write as write_reports

    runs = [store.read(path) for path in paths]
    return write_reports(runs, formats, folder, [(*models(run), *goodputs(run)) for run in runs])
