"""What follows from a run's training records, in the terminal: utilisation, noise scale and critical batch."""

from __future__ import annotations

import math

from bench.critical_batch import critical_batches
from harness.statistics import Interval
from harness.store import Run
from harness.summary import Cell
from harness.units import digits
from reports.chapters.e2e.batch import title
from reports.chapters.e2e.jobs import jobs, line, setting
from reports.chapters.e2e.throughput import AGAINST, noise_scale
from reports.critical_batch_model import CriticalBatchModel
from reports.shares import Share
from reports.subject import Subject
from reports.utilisation import HARDWARE, MODEL, NAMES, of_job


def lines(run: Run) -> list[str]:
    """A line for each job of `e2e.mfu` and each cell of `e2e.cbs`; the reasons for what is n/a are in the report."""
    subject = Subject(run, "terminal")
    said = []
    for job in jobs(subject, subject.measured):
        parts = [_utilisation(subject, job.cell, rate) for rate in (MODEL, HARDWARE)]
        scale = noise_scale(job.cell)
        parts.append(f"noise scale {'n/a' if isinstance(scale, str) else _interval(scale) + ' sequences'}")
        said.append(f"{line(job)} ({setting(job.cell.params)}): {'; '.join(parts)}")
    models = critical_batches(run)
    return said + [_critical(model, models) for model in models]


def _utilisation(subject: Subject, cell: Cell, rate: str) -> str:
    found = of_job(subject, cell, rate)
    shares = [f"{_share(share)} {of}" for share, of in zip(found.all, AGAINST, strict=True)]
    return f"{NAMES[rate]} {', '.join(shares)}"


def _share(share: Share) -> str:
    if share.ratio is None:
        return "n/a"
    return f"{share.ratio:.1%}{' (above 100 %: an error)' if share.alarm else ''}"


def _critical(model: CriticalBatchModel, among: tuple[CriticalBatchModel, ...]) -> str:
    name = f"critical batch, {title(model, among)}"
    if model.fitted is None:
        return f"{name}: n/a: {model.reason}"
    return f"{name}: B* {_interval(model.fitted.b_star)}, b_crit {_interval(model.fitted.b_crit)} {model.unit}"


def _interval(known: Interval) -> str:
    value, low, high = ("inf" if math.isinf(part) else digits(part) for part in (known.value, known.low, known.high))
    return f"{value} [{low}, {high}]"
