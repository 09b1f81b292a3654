"""Numbers as a reader sees them: value and interval ends share their decimals and their unit."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from harness.statistics import Interval
from harness.units import Unit, digits, scale_of

SIGNIFICANT = 3
GAP = "\u00a0"  # a number and its unit are never parted by the end of a line
NO_INTERVAL = "no spread"


@dataclass(frozen=True)
class Scale:
    """The factor and the unit text that a whole column or axis is shown in."""

    factor: float
    unit: str


@dataclass(frozen=True)
class Shown:
    """A number and its interval as text. `interval` has no unit of its own."""

    value: str
    unit: str
    interval: str

    @property
    def text(self) -> str:
        return f"{self.value}{GAP}{self.unit}".strip()


def common_scale(values: Iterable[float], unit: Unit) -> Scale:
    """The scale for a column: that of the geometric middle of its ends, so that neither the small
    values lose their digits nor the large ones grow long."""
    held = [value for value in values if value > 0]
    return Scale(*scale_of(math.sqrt(min(held) * max(held)) if held else 1.0, unit))


def axis_scale(top: float, unit: Unit) -> Scale:
    """The scale for an axis that ends at `top`. Compute rates are counted in TFLOP/s up to 4 PFLOP/s,
    as datasheets do."""
    return Scale(*scale_of(top / 4 if unit is Unit.FLOP_PER_SECOND else top, unit))


def shown(interval: Interval, unit: Unit, scale: Scale | None = None) -> Shown:
    """Value and 95 % interval, with one decimal more where the interval's ends would look alike."""
    scale = scale or Scale(*scale_of(interval.value, unit))
    value, low, high = (part / scale.factor for part in (interval.value, interval.low, interval.high))
    decimals = _decimals(value)
    if interval.low == interval.high:
        return Shown(_grouped(value, decimals), scale.unit, NO_INTERVAL)
    if f"{low:.{decimals}f}" == f"{high:.{decimals}f}" and abs(value) < 10**SIGNIFICANT:
        decimals += 1
    ends = f"[{_grouped(low, decimals)}, {_grouped(high, decimals)}]"
    return Shown(_grouped(value, decimals), scale.unit, ends)


def plain(value: float, unit: Unit) -> str:
    """One number with its unit, without an interval: '1.31 PFLOP/s', '448 GB/s'."""
    factor, text = scale_of(value, unit)
    return f"{_grouped(value / factor, _decimals(value / factor))}{GAP}{text}".strip()


def declared(value: float, unit: Unit) -> str:
    """A figure from a document, with the digits that it has there: '1,307.4 TFLOP/s', '64 GB/s'."""
    factor, text = scale_of(value / 4, unit)
    return f"{value / factor:,.5g}{GAP}{text}".strip()


def percent(ratio: float) -> str:
    """A ratio as '74.6 %'."""
    return f"{digits(100 * ratio)}{GAP}%"


def plus_minus(width: float) -> str:
    """A relative half width as '± 1.8 %'."""
    if not math.isfinite(width):
        return "unknown"
    return f"±{GAP}{100 * width:.{2 if 0 < width < 0.001 else 1}f}{GAP}%"


def _decimals(value: float) -> int:
    if value == 0 or not math.isfinite(value):
        return 0
    rounded = float(f"{abs(value):.{SIGNIFICANT - 1}e}")
    return min(12, max(0, SIGNIFICANT - 1 - math.floor(math.log10(rounded))))


def _grouped(value: float, decimals: int) -> str:
    return f"{value:,.{decimals}f}"
