"""Ratios and sums of numbers that were measured apart, with intervals made from theirs.

The distances from a value to its interval's ends add in squares, of logarithms for a ratio (variance
estimates recovery: Zou and Donner, Statistics in Medicine 27, 2008); the numbers are taken as independent.
"""

from __future__ import annotations

import math

from harness.statistics import Interval
from harness.units import Unit
from reports.model import Text
from reports.numbers import GAP, shown


def ratio(one: Interval, other: Interval) -> Interval:
    """one / other, all ends positive."""
    value = one.value / other.value
    below = math.hypot(math.log(one.value / one.low), math.log(other.high / other.value))
    above = math.hypot(math.log(one.high / one.value), math.log(other.value / other.low))
    return Interval(value, value * math.exp(-below), value * math.exp(above))


def total(one: Interval, other: Interval) -> Interval:
    """one + other."""
    value = one.value + other.value
    below = math.hypot(one.value - one.low, other.value - other.low)
    above = math.hypot(one.high - one.value, other.high - other.value)
    return Interval(value, value - below, value + above)


def times(found: Interval) -> str:
    """'1.82 × [1.80, 1.85]'."""
    number = shown(found, Unit.RATIO)
    return f"{number.value}{GAP}× {number.interval}"


def share(found: Interval) -> Text:
    """'74.6 %' with its interval below."""
    number = shown(Interval(100 * found.value, 100 * found.low, 100 * found.high), Unit.RATIO)
    return Text(f"{number.value}{GAP}%", number.interval)
