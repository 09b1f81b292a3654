"""Numbers as logs print them: with separators, units behind, rounded, or missing."""

from __future__ import annotations

import math
import re
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

MISSING = frozenset({"", "n/a", "na", "nan", "-nan", "none", "null", "-", "--", "[n/a]", "[not supported]", "unknown",
                     "[unknown error]", "not supported", "not available", "inf", "-inf", "infinity"})  # fmt: skip
_PLAIN = re.compile(r"[+-]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,30})?(?:\.[0-9]{0,30})?(?:[eE][+-]?[0-9]{1,3})?")


class Number(NamedTuple):
    """A printed number. half: half a unit of its last digit, the most that rounding took away."""

    value: float
    half: float

    def scaled(self, factor: float) -> Number:
        return Number(self.value * factor, self.half * factor)

    @property
    def low(self) -> float:
        return self.value - self.half

    @property
    def high(self) -> float:
        return self.value + self.half


def number(text: str) -> Number | None:
    """'1,234.50', '5.25e3'; None for what is missing ('N/A', 'nan') or no number."""
    text = text.strip()
    if not any(map(str.isdigit, text)) or not _PLAIN.fullmatch(text):
        return None
    try:
        exact = Decimal(text.replace(",", ""))
    except InvalidOperation:
        return None
    exponent = exact.as_tuple().exponent
    value = float(exact)
    if not isinstance(exponent, int) or not math.isfinite(value):
        return None
    return Number(value, 0.5 * 10.0 ** min(exponent, 300))


def value(text: str) -> float | None:
    """The number alone; None where there is none."""
    known = number(text)
    return None if known is None else known.value


def missing(text: str) -> bool:
    """Whether the text says that there is no number, rather than being none."""
    return text.strip().lower() in MISSING


def whole(text: str) -> int | None:
    """'1,024' as 1024; None for what is no whole number, or longer than 18 digits."""
    text = text.strip().replace(",", "")
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,18}", text) else None
