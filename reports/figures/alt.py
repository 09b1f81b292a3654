"""Figures in words, from the same data: what a reader who cannot see them is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from reports.numbers import plain
from reports.reading import Curve
from reports.text import clean, listed


def of_curves(title: str, curves: Sequence[Curve], place: Callable[[float], str]) -> str:
    """'all-reduce: float32, isolated: 12.1 MB/s at 1 KiB to 3.02 GB/s at 256 MiB, best 3.04 GB/s at ...'"""
    return f"{clean(title)}: " + "; ".join(_curve(curve, place) for curve in curves) + "."


def _curve(curve: Curve, place: Callable[[float], str]) -> str:
    first, last = curve.figures[0], curve.figures[-1]
    name = ", ".join(part for part in (curve.key, curve.cadence.value if curve.cadence else "") if part)
    ends = [f"{plain(first.interval.value, first.unit)} at {place(curve.xs[0])}"]
    if len(curve.xs) > 1:
        ends.append(f"{plain(last.interval.value, last.unit)} at {place(curve.xs[-1])}")
    best = curve.best
    top = f", best {plain(best.interval.value, best.unit)} at {place(curve.xs[curve.figures.index(best)])}"
    return f"{name}: {' to '.join(ends)}{'' if best in (first, last) else top}"


def joined(parts: Sequence[str], lead: str) -> str:
    return f"{lead} {' '.join(parts)}"


def names(curves: Sequence[Curve]) -> str:
    """The keys of some curves as a list of words."""
    return listed(list(dict.fromkeys(curve.key for curve in curves)))
