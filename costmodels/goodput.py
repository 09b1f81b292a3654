"""How often to write a checkpoint, and what share of the time is then useful: from what a checkpoint costs.

Interruptions come at random (exponential) with a mean time M between them. Between two saves training runs for the
interval τ; then it stands still for the blocked time δ. A save that goes on in the background for the lag w slows
steps by the factor r meanwhile, so that w·(1 - 1/r) of the interval is lost, and it counts only once it is durable: an
interruption before that goes back one checkpoint further. After an interruption the restore takes R, and may be
interrupted itself. One renewal from restore to interruption takes M·e^(R/M) with the restore, and completes
e^(-(τ+δ+w)/M) / (1 - e^(-(τ+δ)/M)) saves, hence

    goodput(τ) = (τ - w·(1 - 1/r)) · e^(-w/M) / (M · e^(R/M) · (e^((τ+δ)/M) - 1))

Without lag that is the complete model of Daly, Future Generation Computer Systems 22 (2006), eq. 20; the lag is this
project's addition. The first period after a restore has no save behind it, and is counted as if it had: goodput is
a little understated. The best interval is found by one equation, with Young's (CACM 17, 1974) and Daly's (eq. 37)
closed forms beside it; what drag costs counts as blocked there, since it is lost once for each save.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from harness.statistics import Interval

LATEST = 700.0  # intervals in units of the mean time between interruptions beyond which e^x has no double


@dataclass(frozen=True)
class Costs:
    """What one checkpoint costs, in s. blocked: training stands still. lag: from there until it is durable, in the
    background. slowdown: how much longer a step takes during the lag, at least 1. restore: from an interruption to
    the first new step."""

    blocked: float
    lag: float
    slowdown: float
    restore: float

    def __post_init__(self) -> None:
        held = (self.blocked, self.lag, self.slowdown, self.restore)
        if not all(map(math.isfinite, held)) or min(self.blocked, self.lag, self.restore) < 0 or self.slowdown < 1:
            raise ValueError(f"{self}: accepted are finite times from 0 s on, and a slowdown from 1 on")

    @property
    def dragged(self) -> float:
        """Training time lost to slower steps, s a checkpoint."""
        return self.lag * (1 - 1 / self.slowdown)

    @property
    def lost(self) -> float:
        """Training time that one checkpoint costs in all, s."""
        return self.blocked + self.dragged


@dataclass(frozen=True)
class Measured:
    """The four times of a checkpoint as measured (s; drag is a ratio of step times), each with its interval. drag:
    None where a save does nothing in the background."""

    blocked: Interval
    durable: Interval
    restore: Interval
    drag: Interval | None = None

    @property
    def value(self) -> Costs:
        return self._costs(lambda interval: interval.value)

    @property
    def cheapest(self) -> Costs:
        """Every cost at the lower end of its interval."""
        return self._costs(lambda interval: interval.low)

    @property
    def dearest(self) -> Costs:
        return self._costs(lambda interval: interval.high)

    def _costs(self, end: Callable[[Interval], float]) -> Costs:
        """Noise may leave a drag below 1 or a lag below 0: no save makes steps faster, or is durable before it
        lets go."""
        blocked = max(end(self.blocked), 0.0)
        lag = max(end(self.durable) - blocked, 0.0)
        return Costs(blocked, lag, max(end(self.drag), 1.0) if self.drag else 1.0, max(end(self.restore), 0.0))


@dataclass(frozen=True)
class Plan:
    """interval: of training between two saves that gives the most goodput, s. young, daly: the same by the closed
    forms. goodput: at the best interval. Each from the lower to the upper ends of all costs at once, which is wider
    than 95 %."""

    interval: Interval
    young: Interval
    daly: Interval
    goodput: Interval


def young(lost: float, mtbf: float) -> float:
    """Young's interval, s: √(2·δ·M). Good where `lost` is far less than `mtbf`."""
    return math.sqrt(2 * lost * _mean(mtbf))


def daly(lost: float, mtbf: float) -> float:
    """Daly's higher order interval, s. Where a save costs over twice the time between interruptions, that time."""
    ratio = lost / (2 * _mean(mtbf))
    if ratio >= 1:
        return mtbf
    return math.sqrt(2 * lost * mtbf) * (1 + math.sqrt(ratio) / 3 + ratio / 9) - lost


def best_interval(costs: Costs, mtbf: float) -> float:
    """The interval with the most goodput, s, not under the lag: one save ends before the next begins.

    With x = (τ+δ)/M the slope of goodput is zero where x - 1 + e^(-x) is `lost` / M; the left side grows with x.
    """
    wanted = costs.lost / _mean(mtbf)
    low, high = wanted, wanted + 1.0  # x - 1 < left side < x
    for _ in range(200):
        x = (low + high) / 2
        low, high = (x, high) if x + math.expm1(-x) < wanted else (low, x)
    return max(high * mtbf - costs.blocked, costs.lag)


def goodput(costs: Costs, mtbf: float, interval: float) -> float:
    """Useful over wall time, 0 to 1, with `interval` s of training between saves; ValueError where the interval is
    shorter than the lag, and for 0 s without any cost."""
    mean = _mean(mtbf)
    if not interval > 0 or interval < costs.lag:
        raise ValueError(f"an interval of {interval:g} s: accepted is over 0 s, and no less than the lag {costs.lag:g}")
    period = (interval + costs.blocked) / mean
    if period > LATEST or costs.restore / mean > LATEST:
        return 0.0
    useful = (interval - costs.dragged) / mean
    return useful * math.exp(-(costs.lag + costs.restore) / mean) / math.expm1(period)


def curve(measured: Measured, mtbf: float, interval: float) -> Interval:
    """Goodput at one interval, from the dearest to the cheapest costs; where the interval is shorter than the lag,
    saves follow each other without a pause."""
    costs = (measured.value, measured.dearest, measured.cheapest)
    value, low, high = (goodput(each, mtbf, max(interval, each.lag)) for each in costs)
    return Interval(value, min(low, value), max(high, value))


def plan(measured: Measured, mtbf: float) -> Plan:
    """What to do with a checkpoint of these costs, where interruptions of the whole job are `mtbf` s apart."""
    costs = (measured.value, measured.cheapest, measured.dearest)
    if not all(each.lost > 0 for each in costs):
        raise ValueError("a checkpoint that costs nothing has no best interval: its blocked time must be above 0 s")
    at = [best_interval(each, mtbf) for each in costs]
    value, high, low = (goodput(each, mtbf, interval) for each, interval in zip(costs, at, strict=True))
    return Plan(
        _around(at), _around([young(each.lost, mtbf) for each in costs]),
        _around([daly(each.lost, mtbf) for each in costs]), Interval(value, min(low, value), max(high, value)),
    )  # fmt: skip


def of_job(per_device: float, devices: int) -> float:
    """Mean time between interruptions of a job, s: any of its devices interrupts it. per_device: that of one, s."""
    return _mean(per_device) / devices


def _around(values: list[float]) -> Interval:
    return Interval(values[0], min(values), max(values))


def _mean(mtbf: float) -> float:
    if not (math.isfinite(mtbf) and mtbf > 0):
        raise ValueError(f"a mean time between interruptions of {mtbf:g} s: accepted is a finite number above 0")
    return mtbf
