"""`bench fit alphabeta`: latency, bandwidth and the sizes to use, from a run or from a log of nccl-tests."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.curves import Trace, of_cells, of_log
from bench.main import RUNS
from bench.output import emit, label, table
from costmodels.segments import Curve, Point, describe, predict
from harness import store, summary
from harness.errors import UsageError
from harness.records import Origin
from harness.statistics import Interval
from harness.units import Unit, show, show_interval, show_size

Fitted = tuple[Trace, Curve]
Skipped = tuple[Trace, str]

SEGMENTS = ["curve", "segment", "α", "95 % interval", "β", "95 % interval"]
SIZES = ["curve", "points", "peak busbw", "95 % interval", "n½", "95 % interval", "90 % from", "95 % interval", "error"]


def alphabeta(args: argparse.Namespace) -> int:
    """Fit every curve of the source; 0, also where one could not be fitted: it says so."""
    traces, warnings = _read(args.source)
    fitted, skipped = list[Fitted](), list[Skipped]()
    for trace in traces:
        try:
            if trace.factor is None:
                raise ValueError("there is no bus bandwidth in it: a single rank sends nothing")
            fitted.append((trace, describe(trace.points, trace.factor)))
        except ValueError as error:
            skipped.append((trace, str(error)))
    if not fitted:
        reasons = [f"{_label(trace)}: {reason}" for trace, reason in skipped] or ["no collective over sizes is in it"]
        raise UsageError("\n  ".join([f"{args.source}: no curve that can be fitted", *reasons, *warnings]))
    document = {
        "source": args.source,
        "curves": [_document(trace, curve) for trace, curve in fitted],
        "skipped": [
            {"benchmark": trace.benchmark, "params": trace.params, "reason": reason} for trace, reason in skipped
        ],
        "warnings": list(warnings),
    }
    emit(args.json, document, _text(args.source, fitted, skipped, warnings))
    return 0


def _read(source: str) -> tuple[list[Trace], Sequence[str]]:
    """Curves of a run's folder (or its name under ./runs), or of a file; and what could not be read."""
    path = Path(source)
    run = next((place for place in (path, Path(RUNS) / source) if store.is_run(place)), None)
    if run is not None:
        read = store.read(run)
        return of_cells(summary.cells(read.records)), read.problems
    from clusters import nccl_tests

    try:
        text = path.read_bytes().decode(errors="replace")
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise UsageError(
            f"{source}: {said}. Accepted: a run's folder or its name (`bench list runs`), or a file of nccl-tests or "
            "rccl-tests: what they print, or their JSON."
        ) from error
    log = nccl_tests.read(text, source)
    return of_log(log), log.warnings


def _label(trace: Trace) -> str:
    words = {
        name: value for name, value in trace.params.items() if name != "operation" and (name, value) != ("nodes", 1)
    }
    name = str(trace.params.get("operation", trace.benchmark))
    short = label(name if trace.origin is Origin.PARSED else trace.benchmark.removeprefix("collectives."), words)
    return f"{short} {trace.cadence.value}" if trace.cadence and trace.origin is not Origin.PARSED else short


def _document(trace: Trace, curve: Curve) -> dict[str, Any]:
    def quantity(known: Interval, unit: Unit) -> dict[str, Any]:
        ends = {"value": known.value, "low": known.low, "high": known.high}
        return ends | {"unit": unit.value, "origin": trace.origin.value}

    parameters, derived = dict[str, Any](), {"peak": quantity(curve.peak, Unit.BYTE_PER_SECOND)}
    for number, segment in enumerate(curve.segments, start=1):
        parameters[f"alpha.{number}"] = quantity(segment.alpha, Unit.SECOND)
        if segment.beta and segment.n_half:
            parameters[f"beta.{number}"] = quantity(segment.beta, Unit.BYTE_PER_SECOND)
            derived[f"n_half.{number}"] = quantity(segment.n_half, Unit.BYTE)
    for number, place in enumerate(curve.breakpoints, start=1):
        parameters[f"breakpoint.{number}"] = quantity(place, Unit.BYTE)
    sizes = {"n_half": curve.n_half, "ninety": curve.ninety}
    derived |= {name: quantity(size, Unit.BYTE) for name, size in sizes.items() if size}
    return {
        "benchmark": trace.benchmark,
        "params": trace.params,
        "cadence": trace.cadence.value if trace.cadence else None,
        "origin": trace.origin.value,
        "factor": curve.factor,
        "parameters": parameters,
        "derived": derived,
        "segments": [{"first": round(s.first), "last": round(s.last), "points": s.points} for s in curve.segments],
        "error": {"median": curve.error, "worst": curve.worst, "r2": curve.r2},
        "points": [
            _measured(point) | {"model": quantity(predict(curve, point.size, extrapolate=True), Unit.SECOND)}
            for point in sorted(trace.points, key=lambda point: point.size)
        ],
        "flagged": _flagged(trace, curve),
    }


def _measured(point: Point) -> dict[str, Any]:
    ends = {} if point.low is None else {"low": point.low, "high": point.high}
    return {"size": point.size, "time": point.time} | ends


def _flagged(trace: Trace, curve: Curve) -> list[str]:
    """What a reader must know of a fit: points that were left out, and what it cannot tell."""
    left = {point.size: point.time for point in trace.points if point.size in curve.outliers}
    said = [
        f"{show_size(size)}: {show(time, Unit.SECOND)} where the model has "
        f"{show(predict(curve, size, extrapolate=True).value, Unit.SECOND)}: left out"
        for size, time in left.items()
    ]
    return [*said, *curve.notes, *trace.flags]


def _text(source: str, fitted: Sequence[Fitted], skipped: Sequence[Skipped], warnings: Sequence[str]) -> str:
    origins = ", ".join(dict.fromkeys(trace.origin.value for trace, _ in fitted))
    lines = [f"{source}: {len(fitted)} curve{'s' if len(fitted) > 1 else ''} ({origins}), t = α + S·factor/β", ""]
    lines.append(table(SEGMENTS, [row for one in fitted for row in _segments(*one)], right=[2, 3, 4, 5]))
    lines += ["", table(SIZES, [_sizes(*one) for one in fitted], right=list(range(1, len(SIZES))))]
    lines += ["", "90 % from: the smallest message that reaches 90 % of the peak: fuse buffers up to this size"]
    flags: dict[str, list[str]] = {}
    for trace, curve in fitted:
        for flag in _flagged(trace, curve):
            flags.setdefault(flag, []).append(_label(trace))
    for flag, labels in flags.items():
        lines.append(f"{'all curves' if len(labels) == len(fitted) > 1 else '; '.join(labels)}: {flag}")
    lines += [f"not fitted: {_label(trace)}: {reason}" for trace, reason in skipped]
    return "\n".join([*lines, *(f"warning: {warning}" for warning in warnings)])


def _segments(trace: Trace, curve: Curve) -> list[list[str]]:
    rows = []
    for number, segment in enumerate(curve.segments):
        span = f"{show_size(segment.first)} to {show_size(segment.last)}"
        alpha, beta = _shown(segment.alpha, Unit.SECOND), _shown(segment.beta, Unit.BYTE_PER_SECOND)
        rows.append(["" if number else _label(trace), span, *alpha, *beta])
    return rows


def _sizes(trace: Trace, curve: Curve) -> list[str]:
    return [
        _label(trace), str(len(trace.points)), *_shown(curve.peak, Unit.BYTE_PER_SECOND), *_size(curve.n_half),
        *_size(curve.ninety), f"{curve.error:.1%}",
    ]  # fmt: skip


def _shown(known: Interval | None, unit: Unit) -> tuple[str, str]:
    if known is None:
        return "n/a", ""
    return show(known.value, unit), show_interval(known.low, known.high, unit, known.value)


def _size(known: Interval | None) -> tuple[str, str]:
    if known is None:
        return "n/a", ""
    return show_size(known.value), f"[{show_size(known.low)}, {show_size(known.high)}]"
