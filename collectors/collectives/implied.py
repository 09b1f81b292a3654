"""The number of ranks, where a log does not say it and only one fits what it prints."""

from __future__ import annotations

from clusters.nccl_tests.rows import bus_factor
from collectors.numbers import Number

MOST = 1 << 20  # ranks that are told apart from any number of them


def ranks(busbw: Number, algbw: Number, operation: str) -> int | None:
    """The number of ranks n of which bus over algorithm bandwidth is the factor, as 2 (n - 1) / n of all_reduce; None
    where the factor is that of any n, or where the rounding of the two leaves more than one."""
    if algbw.low <= 0 or bus_factor(operation, 2) == 1.0 == bus_factor(operation, 4):
        return None
    low, high, scale = busbw.low / algbw.high, busbw.high / algbw.low, bus_factor(operation, MOST)
    ratio = busbw.value / algbw.value
    if low <= 0 or ratio >= scale or high >= scale * (MOST - 1) / MOST:
        return None
    near = round(scale / (scale - ratio))
    fits = [n for n in range(max(2, near - 1), near + 2) if low <= bus_factor(operation, n) <= high]
    return fits[0] if fits == [near] else None
