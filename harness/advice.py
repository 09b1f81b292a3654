"""One line of advice on a width, from the gains that were measured around it (gemm.rule)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.statistics import Interval

MARGIN = 0.01  # a gain below 1 % is not worth another width


@dataclass(frozen=True)
class Advice:
    """to: the width to take, `width` itself where no other is faster. gain: time of `width` over that of
    `to`; where the advice is to stay, over that of `beside`, the other width that comes nearest."""

    width: int
    to: int
    beside: int
    gain: Interval

    @property
    def stays(self) -> bool:
        return self.to == self.width


def advise(width: int, gains: Mapping[int, Interval]) -> Advice:
    """The narrowest of the widths that are clearly faster, and not clearly slower than the fastest.

    gains: by width, its interval of 95 %: time of `width` over time of that one. Raises ValueError
    where there are none.
    """
    if not gains:
        raise ValueError(f"no other width was measured beside {width}")
    best = max(gains, key=lambda other: gains[other].value)
    faster = [other for other in sorted(gains) if gains[other].low > 1 + MARGIN]
    fit = [other for other in faster if gains[other].high >= gains[best].value]
    to = fit[0] if fit else width
    beside = fit[0] if fit else best
    return Advice(width, to, beside, gains[beside])
