"""JSON values as tools write them: what is no number, or no object, is absent rather than an error."""

from __future__ import annotations

import math
from typing import Any


def real(value: object) -> float | None:
    """The number; None for what is none, is not finite, or too large for one."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def table(value: object) -> dict[str, Any]:
    """The object; empty where it is none."""
    return value if isinstance(value, dict) else {}


def row(value: object) -> list[Any]:
    """The array; empty where it is none."""
    return value if isinstance(value, list) else []
