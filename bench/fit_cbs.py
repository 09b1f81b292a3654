"""`bench fit cbs`: critical batch size from steps (or samples) to a target loss at several batch sizes."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import Any

from bench.cbs_runs import Group, Source, gathered
from bench.fit_cbs_text import flagged, outcomes, text
from bench.output import emit
from costmodels.critical_batch import CriticalBatch, fit
from costmodels.critical_batch_trend import PUBLISHED, Sized, Trend, trends
from harness.errors import UsageError
from harness.statistics import Interval
from harness.units import Unit

Fitted = tuple[Group, CriticalBatch]
Skipped = tuple[Group, str]


def cbs(args: argparse.Namespace) -> int:
    """Fit every curve of the file; 0, also where one of several could not be fitted: it says so."""
    for name in ("reference_batch", "overhead"):
        value = getattr(args, name)
        if value is not None and not (math.isfinite(value) and value > 0):
            raise UsageError(f"--{name.replace('_', '-')} {value:g}: accepted is a finite number above 0")
    source = gathered(args.source, args.map)
    reference, chosen = args.reference_batch, args.reference_batch is None
    if chosen:  # of all curves, so that they can be compared
        batches = [run.batch for group in source.groups for run in group.runs if not run.diverged]
        reference = min(batches, default=None)
    fitted, skipped = list[Fitted](), list[Skipped]()
    for group in source.groups:
        try:
            fitted.append((group, fit(group.runs, reference, args.overhead)))
        except ValueError as error:
            skipped.append((group, str(error)))
    if not fitted:
        reasons = [f"{group.label}: {reason}" if group.label else reason for group, reason in skipped]
        raise UsageError(f"{args.source}: " + ("\n  ".join(reasons) if len(reasons) == 1 else
                         "\n  ".join([f"none of {len(reasons)} curves can be fitted", *reasons])))  # fmt: skip
    laws = _laws(fitted)
    emit(args.json, _document(args.source, source, fitted, skipped, laws, chosen),
         text(args.source, source, fitted, skipped, laws, chosen))  # fmt: skip
    return 0


def _laws(fitted: Sequence[Fitted]) -> list[tuple[str, Trend]]:
    """Power laws with the target they are of: all curves together where each size has one curve."""
    sizes = [(group.parameters, group.tokens) for group, _ in fitted]
    if len(set(sizes)) == len(sizes):
        return [("", law) for law in trends([_sized(one) for one in fitted])]
    targets = dict.fromkeys(group.target for group, _ in fitted)
    return [
        (target, law) for target in targets
        for law in trends([_sized(one) for one in fitted if one[0].target == target])
    ]  # fmt: skip


def _sized(one: Fitted) -> Sized:
    group, found = one
    return Sized(found, _size(group.tokens), _size(group.parameters))


def _size(said: str) -> float | None:
    """A size as a number; None for a name, such as that of a model."""
    try:
        size = float(said)
    except ValueError:
        return None
    return size if math.isfinite(size) and size > 0 else None


def quantity(known: Interval, unit: Unit, origin: str) -> dict[str, Any]:
    """An open end is null."""
    ends = {"value": known.value, "low": known.low, "high": known.high if math.isfinite(known.high) else None}
    return ends | {"unit": unit.value, "origin": origin}


def _document(source: str, held: Source, fitted: Sequence[Fitted], skipped: Sequence[Skipped],
              laws: Sequence[tuple[str, Trend]], chosen: bool) -> dict[str, Any]:  # fmt: skip
    groups = [_group(group, found, held) for group, found in fitted]
    one = groups[0] if len(fitted) == 1 else None
    points = [point for group, found in fitted for point in _points(group, found, held)]
    return {
        "source": source,
        "reference_batch": {"value": fitted[0][1].reference, "chosen": chosen},
        "overhead": fitted[0][1].overhead,
        "parameters": one["parameters"] if one else {},
        "derived": one["derived"] if one else _across(laws, held),
        "groups": groups,
        "trends": [_law(target, law, held) for target, law in laws],
        "points": points,
        "flagged": [*held.notes, *(line for entry in groups for line in entry["flagged"])],
        "skipped": [{"group": group.label, "reason": reason} for group, reason in skipped],
    }


def _group(group: Group, found: CriticalBatch, held: Source) -> dict[str, Any]:
    origin, prefix = held.origin.value, f"{group.label}: " if group.label else ""
    derived = {
        "b_star": (found.b_star, held.unit), "b_crit": (found.b_crit, held.unit),
        "e_min": (found.b, held.unit), "s_min": (found.a, Unit.COUNT),
    }  # fmt: skip
    return {
        "target": group.target or None,
        "model": group.parameters or None,
        "tokens": group.tokens or None,
        "parameters": {
            "a": quantity(found.a, Unit.COUNT, origin), "b": quantity(found.b, held.unit, origin),
        },
        "derived": {name: quantity(value, unit, origin) for name, (value, unit) in derived.items()},
        "runs": len(found.runs),
        "error": found.error,
        "flagged": [prefix + line for line in flagged(found)],
    }  # fmt: skip


def _points(group: Group, found: CriticalBatch, held: Source) -> list[dict[str, Any]]:
    batches = {run.batch for run in found.runs}
    model = {batch: quantity(found.steps(batch), Unit.COUNT, held.origin.value) for batch in batches}
    return [
        {
            "name": run.name,
            "group": group.label,
            "batch": run.batch,
            "seed": run.seed or None,
            "outcome": said,
            "steps": None if run.diverged else run.steps,
            "samples": None if run.diverged else run.steps * run.batch,
            "model": model[run.batch],
            "factor": None if run.diverged else run.steps / expected,
        }
        for run, said, expected in zip(found.runs, outcomes(found), found.expected, strict=True)
    ]


def _across(laws: Sequence[tuple[str, Trend]], held: Source) -> dict[str, Any]:
    """The power laws by name where they are of one set of curves: b_star.exponent.tokens, b_star.coefficient."""
    found = dict[str, Any]()
    for target, law in laws:
        if not target:
            of = "" if len(law.exponents) > 1 else f".{next(iter(law.exponents))}"
            found[f"{law.batch}.coefficient{of}"] = quantity(law.coefficient, held.unit, held.origin.value)
            for name, value in law.exponents.items():
                found[f"{law.batch}.exponent.{name}"] = quantity(value, Unit.RATIO, held.origin.value)
    return found


def _law(target: str, law: Trend, held: Source) -> dict[str, Any]:
    origin = held.origin.value
    return {
        "target": target or None,
        "batch": law.batch,
        "curves": law.count,
        "coefficient": quantity(law.coefficient, held.unit, origin),
        "exponents": {name: quantity(value, Unit.RATIO, origin) for name, value in law.exponents.items()},
        "scatter": law.scatter,
        "published": [
            {"size": name, "exponent": value, "source": said}
            for name in law.exponents
            for said, value in PUBLISHED[law.batch, name]
        ],
        "flagged": list(law.notes),
    }
