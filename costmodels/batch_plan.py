"""Which batch to train with, on how many devices: measured step times joined to the steps that a batch needs.

    wall(B, n) = S(B) · t(B, n)            device time(B, n) = n · wall(B, n)

A larger batch needs fewer steps, which take longer; past the critical batch the samples, and so the device time, grow
faster than the wall time falls (McCandlish et al. 2018, arXiv 1812.06162, section 2.3). Both intervals are carried:
each draw takes one curve of S and one set of step times that their intervals allow. Nothing is looked for outside the
measured batches unless they are asked for, and then it is said how far outside they lie.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from costmodels.batch_times import Array, StepTime, Times, by_devices
from costmodels.critical_batch import CriticalBatch
from harness.statistics import CONFIDENCE, Interval

BETWEEN = 16  # batches tried for each measured pair of neighbours
ROUNDING = 1e-9  # of a batch whose logarithm was taken
RETURN = 0.5  # more devices are worth having while n times as many divide the wall time by at least n^RETURN


@dataclass(frozen=True)
class Choice:
    """One batch on one number of devices. step: s; wall: s to the target; device_time: device-seconds to it. beyond:
    the factor by which the batch lies outside what was measured, of step times or of the fit; 1 inside."""

    batch: float
    devices: int
    step: Interval
    steps: Interval
    wall: Interval
    device_time: Interval
    beyond: float


@dataclass(frozen=True)
class Width:
    """The best that a number of devices does. fastest: at the batch that suits it. gain: ln of the speed-up over ln of
    the devices, from the next smaller number: 1 is perfect, 0 nothing; None for the smallest. efficiency: of the device
    time, over the smallest number's."""

    devices: int
    fastest: Choice
    gain: Interval | None
    efficiency: Interval


@dataclass(frozen=True)
class BatchPlan:
    """choices: all that were looked at, by devices, then batch. pareto: those that no other beats in both wall and
    device time, from the fastest to the cheapest. fastest_batch, cheapest_batch: the batch with the range in which the
    draws put it. worth: the largest number of devices worth having. notes: what a reader must know."""

    choices: tuple[Choice, ...]
    fastest: Choice
    fastest_batch: Interval
    cheapest: Choice
    cheapest_batch: Interval
    pareto: tuple[Choice, ...]
    widths: tuple[Width, ...]
    worth: Width
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Drawn:
    """Draws of all choices; the first row is the measured one. batch, devices: (C,); step, steps: (R, C)."""

    batch: Array
    devices: Array
    step: Array
    steps: Array

    @property
    def wall(self) -> Array:
        wall: Array = self.step * self.steps
        return wall


def plan(
    times: Sequence[StepTime], critical: CriticalBatch, batches: Sequence[float] | None = None,
    least_return: float = RETURN, seed: int = 0,
) -> BatchPlan:  # fmt: skip
    """The plan. times: at several batches and numbers of devices. batches: to look at, in place of those between the
    measured ones; they may lie outside. ValueError names what is wrong with them."""
    wrong = next((batch for batch in batches or () if not (math.isfinite(batch) and batch > 0)), None)
    if wrong is not None or (batches is not None and not batches):
        raise ValueError(f"batches to look at: {wrong if batches else 'none'}; accepted are finite numbers above 0")
    if not 0 < least_return <= 1:
        raise ValueError(f"a least return of {least_return:g}: accepted is above 0, up to 1")
    measured = by_devices(times)
    drawn = _drawn(measured, critical, batches, np.random.default_rng(seed))
    wall, device_time = drawn.wall, drawn.wall * drawn.devices
    choices = tuple(
        Choice(
            float(drawn.batch[at]), int(drawn.devices[at]), _interval(drawn.step[:, at]), _interval(drawn.steps[:, at]),
            _interval(wall[:, at]), _interval(device_time[:, at]), _beyond(measured, critical, drawn, at),
        ) for at in range(len(drawn.batch))
    )  # fmt: skip
    fastest, cheapest = wall.argmin(axis=1), device_time.argmin(axis=1)
    widths = tuple(_widths(choices, drawn))
    worth = _worth(widths, least_return)
    return BatchPlan(
        choices, choices[fastest[0]], _interval(drawn.batch[fastest]), choices[cheapest[0]],
        _interval(drawn.batch[cheapest]), _pareto(choices), widths, worth,
        tuple(_notes(choices, widths, worth, critical)),
    )  # fmt: skip


def _drawn(
    measured: Sequence[Times], critical: CriticalBatch, batches: Sequence[float] | None, rng: np.random.Generator
) -> _Drawn:
    count = len(critical.draws.a)
    tried, devices, step = list[Array](), list[Array](), list[Array]()
    for times in measured:
        batch = np.array(sorted(set(batches))) if batches is not None else _between(times)
        tried.append(batch)
        devices.append(np.full(len(batch), float(times.devices)))
        step.append(times.at(batch, times.drawn(rng, count)))
    batch = np.concatenate(tried)
    order = rng.permutation(count)  # of curves beside times: they know nothing of each other
    a = np.concatenate(([critical.a.value], critical.draws.a[order]))[:, None]
    b = np.concatenate(([critical.b.value], critical.draws.b[order]))[:, None]
    return _Drawn(batch, np.concatenate(devices), np.concatenate(step, axis=1), a + b / batch)


def _between(times: Times) -> Array:
    """The measured batches, and others between them."""
    if len(times.x) == 1:
        return times.x
    spans = [np.geomspace(low, high, BETWEEN, endpoint=False) for low, high in zip(times.x, times.x[1:], strict=False)]
    return np.concatenate([*spans, times.x[-1:]])


def _beyond(measured: Sequence[Times], critical: CriticalBatch, drawn: _Drawn, at: int) -> float:
    batch = float(drawn.batch[at])
    times = next(one for one in measured if one.devices == drawn.devices[at])
    beyond = max(times.beyond(batch), batch / critical.largest, critical.smallest / batch)
    return beyond if beyond > 1 + ROUNDING else 1.0


def _interval(draws: Array) -> Interval:
    """The first draw is the value."""
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], method="nearest")
    return Interval(float(draws[0]), min(float(low), float(draws[0])), max(float(high), float(draws[0])))


def _pareto(choices: Sequence[Choice]) -> tuple[Choice, ...]:
    kept, least = list[Choice](), math.inf
    for choice in sorted(choices, key=lambda one: (one.wall.value, one.device_time.value)):
        if choice.device_time.value < least:
            kept.append(choice)
            least = choice.device_time.value
    return tuple(kept)


def _widths(choices: Sequence[Choice], drawn: _Drawn) -> Iterator[Width]:
    """Each number of devices at the batch that is fastest for it, in every draw."""
    wall, numbers = drawn.wall, sorted({choice.devices for choice in choices})
    best = {number: wall[:, drawn.devices == number].min(axis=1) for number in numbers}
    for at, number in enumerate(numbers):
        gain, first = None, numbers[0]
        if at:
            before = numbers[at - 1]
            gain = _interval(np.log(best[before] / best[number]) / math.log(number / before))
        fastest = min((one for one in choices if one.devices == number), key=lambda one: one.wall.value)
        yield Width(number, fastest, gain, _interval(best[first] * first / (best[number] * number)))


def _worth(widths: Sequence[Width], least_return: float) -> Width:
    """The last of which every step towards it gave enough, and surely something."""
    worth = widths[0]
    for width in widths[1:]:
        if width.gain is None or width.gain.value < least_return or width.gain.low <= 0:
            break
        worth = width
    return worth


def _notes(
    choices: Sequence[Choice], widths: Sequence[Width], worth: Width, critical: CriticalBatch
) -> Iterator[str]:  # fmt: skip
    outside = [choice for choice in choices if choice.beyond > 1]
    if outside:
        far = max(outside, key=lambda one: one.beyond)
        yield (
            f"{len(outside)} of {len(choices)} choices lie outside the measured batches, by a factor of up to "
            f"{far.beyond:.3g} (batch {far.batch:.4g} on {far.devices} device(s)): extrapolated"
        )
    if len(widths) == 1:
        yield f"step times are of {worth.devices} device(s) alone: what more would give is not known"
    elif worth is widths[-1]:
        yield f"the largest number of devices, {worth.devices}, is still worth having: larger ones were not measured"
    for name, choice in (("fastest", min(choices, key=lambda one: one.wall.value)),
                         ("cheapest", min(choices, key=lambda one: one.device_time.value))):  # fmt: skip
        ends = sorted(one.batch for one in choices if one.devices == choice.devices)
        if len(ends) > 1 and choice.batch in (ends[0], ends[-1]):
            side = "smallest" if choice.batch == ends[0] else "largest"
            yield f"the {name} batch is the {side} that was looked at, {choice.batch:.4g}: the best may lie beyond"
    yield from critical.notes
