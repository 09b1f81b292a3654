"""What a log claims, held against what follows from its own other numbers.

Printed numbers are rounded, so two contradict each other only where no value that rounds to the one leads to a value
that rounds to the other. A contradiction is a sentence with both numbers; '' where there is none.
"""

from __future__ import annotations

from collections.abc import Sequence

from collectors.numbers import Number
from harness.units import Unit, show

SLACK = 0.005
"""Relative: what programs lose between the numbers that they print, by averaging and conversion."""


def exact(value: float) -> Number:
    """A number that was not rounded: a size, a count."""
    return Number(value, 0.0)


def differs(claimed: Number, low: float, high: float, slack: float = SLACK) -> bool:
    """Whether the claimed number cannot be one in [low, high]."""
    return claimed.high < low - slack * abs(low) or claimed.low > high + slack * abs(high)


def quotient(
    name: str, claimed: Number, unit: Unit, over: Number, under: Number, why: str, slack: float = SLACK
) -> str:  # fmt: skip
    """claimed = over / under, as bandwidth = size / time, in base units. why: 'size over time'."""
    if under.low <= 0 or over.low < 0:
        return ""
    low, high = over.low / under.high, over.high / under.low
    return _said(name, claimed.value, over.value / under.value, unit, why) if differs(claimed, low, high, slack) else ""


def product(name: str, claimed: Number, unit: Unit, one: Number, two: Number, why: str, slack: float = SLACK) -> str:
    """claimed = one * two, as busbw = algbw * factor."""
    low, high = one.low * two.low, one.high * two.high
    return _said(name, claimed.value, one.value * two.value, unit, why) if differs(claimed, low, high, slack) else ""


def average(name: str, claimed: Number, unit: Unit, rows: Sequence[float], why: str, slack: float = SLACK) -> str:
    """claimed = mean of the rows."""
    if not rows:
        return ""
    mean = sum(rows) / len(rows)
    return _said(name, claimed.value, mean, unit, why) if differs(claimed, mean, mean, slack) else ""


def above(name: str, claimed: float, most: float, unit: Unit, why: str) -> str:
    """More than there can be, such as a rate above a peak."""
    return _said(name, claimed, most, unit, why) if claimed > most else ""


def _said(name: str, claimed: float, follows: float, unit: Unit, why: str) -> str:
    return f"the log claims {name} {show(claimed, unit, 4)}, and {why} gives {show(follows, unit, 4)}"
