"""Where an operation stands under the roofline (Williams, Waterman & Patterson, CACM 52, 2009).

A device that computes P FLOP/s and moves B bytes/s reaches at most min(P, I·B) at the arithmetic intensity
I = FLOP / bytes; the ridge, P / B, is where one limit takes over from the other. The bytes are those
that must move, each operand once, so that a share is of what is attainable by any kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.statistics import Interval


@dataclass(frozen=True)
class Place:
    """intensity, ridge: FLOP/B. attainable: FLOP/s. share: of it that was reached, as a ratio. bound: the
    limit that is nearer; 'either' where the ridge's interval holds the intensity."""

    intensity: float
    ridge: Interval
    bound: Literal["compute", "memory", "either"]
    attainable: Interval
    share: Interval


def place(flops: float, moved: float, rate: Interval, peak: Interval, bandwidth: Interval) -> Place:
    """One operation of `flops` FLOP and `moved` bytes that reached `rate` (FLOP/s), on a device with a
    measured `peak` (FLOP/s, of the same type) and `bandwidth` (B/s, of its memory).

    A quotient of two intervals spans its extremes: wider than it need be, and never too narrow. Raises
    ValueError where an amount or a limit is not positive.
    """
    if min(flops, moved, rate.low, peak.low, bandwidth.low) <= 0:
        raise ValueError("a roofline needs work, traffic, a rate, a peak and a bandwidth above 0")
    intensity, ridge = flops / moved, _over(peak, bandwidth)
    attainable = Interval(
        min(peak.value, intensity * bandwidth.value),
        min(peak.low, intensity * bandwidth.low),
        min(peak.high, intensity * bandwidth.high),
    )
    bound: Literal["compute", "memory", "either"] = "either"
    if intensity > ridge.high:
        bound = "compute"
    elif intensity < ridge.low:
        bound = "memory"
    return Place(intensity, ridge, bound, attainable, _over(rate, attainable))


def _over(a: Interval, b: Interval) -> Interval:
    return Interval(a.value / b.value, a.low / b.high, a.high / b.low)
