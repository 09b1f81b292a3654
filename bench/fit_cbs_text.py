"""What `bench fit cbs` says to people: a table of curves, the batches of a single one, and what to make of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from bench.cbs_runs import Group, Source
from bench.output import table
from costmodels.critical_batch import CriticalBatch
from costmodels.critical_batch_trend import PUBLISHED, Trend
from harness.statistics import Interval
from harness.units import Unit, digits

Fitted = tuple[Group, CriticalBatch]

CURVES = ["curve", "batches", "runs", "b_star", "95 % interval", "b_crit", "95 % interval", "s_min", "95 % interval",
          "e_min", "95 % interval"]  # fmt: skip
BATCHES = ["batch", "runs", "steps", "model", "95 % interval", "off", "samples", "e_min ×"]
MOST = 60  # batch sizes, for a line each
SYMBOLS = {"tokens": "D", "parameters": "N"}


def outcomes(found: CriticalBatch) -> list[str]:
    """What came of each run, in one word."""
    said = ["diverged" if run.diverged else "reached" if run.reached else "censored" for run in found.runs]
    for at in found.outliers:
        said[at] = "outlier"
    return said


def flagged(found: CriticalBatch) -> list[str]:
    """What a reader must know: runs that are left out, or that say less, by name; and what the fit cannot tell."""
    lines = []
    for at in found.outliers:
        run, factor = found.runs[at], found.runs[at].steps / found.expected[at]
        times = f"{digits(factor)} times" if factor > 1 else f"1/{digits(1 / factor)} of"
        lines.append(
            f"{run.label}: {run.steps:.6g} steps, {times} what the curve has ({found.expected[at]:.4g}): left out"
        )
    lines += [f"{found.runs[at].label}: diverged: not in the fit" for at in found.diverged]
    lines += [
        f"{found.runs[at].label}: target not reached after {found.runs[at].steps:.6g} steps: it counts as needing more"
        for at in found.censored
    ]
    return [*lines, *found.notes]


def text(source: str, held: Source, fitted: Sequence[Fitted], skipped: Sequence[tuple[Group, str]],
         laws: Sequence[tuple[str, Trend]], chosen: bool) -> str:  # fmt: skip
    unit = "tokens" if held.unit is Unit.TOKEN else "sequences"
    runs = sum(len(found.runs) for _, found in fitted)
    many = f"{len(fitted)} curves" if len(fitted) > 1 else "1 curve"
    lines = [f"{source}: {many} of {runs} runs ({held.origin.value}), S(B) = a + b/B; batch in {unit}", ""]
    lines += [table(CURVES, [_curve(*one) for one in fitted], right=list(range(1, len(CURVES))))]
    if len(fitted) == 1 and len({run.batch for run in fitted[0][1].runs}) <= MOST:
        found = fitted[0][1]
        lines += ["", table(BATCHES, list(_batches(found)), right=list(range(len(BATCHES))))]
    lines += ["", *_verdict(fitted, unit, chosen)]
    for target, law in laws:
        lines += ["", *_law(target, law)]
    notes = [*held.notes, *_flags(fitted)]
    lines += ["", *notes] if notes else []
    return "\n".join([*lines, *(f"not fitted: {group.label}: {reason}" for group, reason in skipped)])


def _flags(fitted: Sequence[Fitted]) -> Iterator[str]:
    """What is flagged, once, with the curves it is of."""
    said: dict[str, list[str]] = {}
    for group, found in fitted:
        for line in flagged(found):
            said.setdefault(line, []).append(group.label)
    for line, labels in said.items():
        if len(fitted) == 1 or len(labels) == len(fitted):
            yield line
        else:
            yield f"{'; '.join(labels)}: {line}"


def _curve(group: Group, found: CriticalBatch) -> list[str]:
    batches = {run.batch for run in found.runs if not run.diverged}
    shown = [part for known in (found.b_star, found.b_crit, found.a, found.b) for part in _shown(known)]
    return [group.label or "all runs", str(len(batches)), str(len(found.runs)), *shown]


def _batches(found: CriticalBatch) -> Iterator[list[str]]:
    those: dict[float, list[tuple[str, float]]] = {}
    for run, word in zip(found.runs, outcomes(found), strict=True):
        those.setdefault(run.batch, []).append((word, run.steps))
    for batch in sorted(those):
        said = [word for word, _ in those[batch]]
        steps = [steps for word, steps in those[batch] if word == "reached"]
        model, samples = found.steps(batch), found.samples(batch)
        others = [f"{said.count(word)} {word}" for word in ("outlier", "censored", "diverged") if word in said]
        middle = float(np.median(steps)) if steps else math.nan
        counts = ", ".join([*([str(len(steps))] if steps else []), *others])
        yield [
            f"{batch:g}", counts, _number(middle) if steps else "n/a",
            *_shown(model), f"{middle / model.value - 1:+.1%}" if steps else "n/a", _number(samples.value),
            f"{samples.value / found.b.value:.2f}",
        ]  # fmt: skip


def _verdict(fitted: Sequence[Fitted], unit: str, chosen: bool) -> Iterator[str]:
    first = fitted[0][1]
    if len(fitted) == 1:
        low, high = _number(first.b_star.low), _number(first.b_star.high)
        yield (
            f"Up to a batch of {_number(first.b_star.value)} [{low}, {high}] {unit}, steps stay within "
            f"{first.overhead:.0%} of linear scaling."
        )
    yield (
        f"b_star: where steps are {first.overhead:.0%} more than linear scaling from a batch of {first.reference:g}"
        f"{', the smallest of the data (--reference-batch sets another)' if chosen else ''}. b_crit: where steps and "
        "samples are twice their least."
    )


def _law(target: str, law: Trend) -> Iterator[str]:
    powers = " · ".join(f"{SYMBOLS[name]}^{value.value:.3f}" for name, value in law.exponents.items())
    of = f"target {target}: " if target else ""
    yield f"{of}{law.batch} = {law.coefficient.value:.3g} · {powers} over {law.count} curves"
    for name, value in law.exponents.items():
        ends = f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]"
        published = "; ".join(f"{exponent:g} ({said})" for said, exponent in PUBLISHED[law.batch, name])
        yield f"  exponent of {SYMBOLS[name]}: {ends}; published: {published}"
    yield from (f"  {note}" for note in law.notes)


def _number(value: float) -> str:
    """Four digits, plain as long as it is short."""
    if math.isinf(value):
        return "∞"
    return f"{value:.4g}" if value < 1e4 or value >= 1e7 else f"{value:.0f}"


def _shown(known: Interval) -> tuple[str, str]:
    return _number(known.value), f"[{_number(known.low)}, {_number(known.high)}]"
