"""Step time at any batch, from those that were measured at a few: t(B) for each number of devices.

Between two measured batches t is taken as a straight line in B: a fixed cost, and so much for each sample. Nothing is
read across numbers of devices: their communication differs. Outside the measured batches the line of the two outermost
is followed, no flatter than a fixed time and no steeper than t ∝ B, and the caller is told how far.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.statistics import Interval

NORMAL = 1.96  # standard deviations to either end of a 95 % interval

Array = NDArray[np.float64]


@dataclass(frozen=True)
class StepTime:
    """One measured step. batch: global, in the unit of the critical batch; devices: that share it; time: s, with its
    interval; low and high equal the value where there is none."""

    batch: float
    devices: int
    time: Interval

    def __post_init__(self) -> None:
        held = (self.batch, self.time.low, self.time.value, self.time.high)
        ordered = self.time.low <= self.time.value <= self.time.high
        if not (all(math.isfinite(value) and value > 0 for value in held) and self.devices >= 1 and ordered):
            raise ValueError(f"{self}: accepted are finite numbers above 0, low to high, and at least 1 device")


@dataclass(frozen=True)
class Times:
    """Step times at one number of devices. x: batch, ascending; y: ln s; noise: standard deviation of y; (K,)."""

    devices: int
    x: Array
    y: Array
    noise: Array

    def drawn(self, rng: np.random.Generator, count: int) -> Array:
        """(count + 1, K): times (s) that the intervals allow; the first row is the measured one."""
        drawn = self.y + self.noise * rng.standard_normal((count + 1, len(self.x)))
        drawn[0] = self.y
        times: Array = np.exp(drawn)
        return times

    def at(self, batches: Array, drawn: Array) -> Array:
        """s at `batches` (M,), of each row: (R, M)."""
        if len(self.x) == 1:  # nothing tells how it grows: as the batch above, not at all below
            alone: Array = drawn * np.maximum(batches / self.x, 1.0)
            return alone
        left = np.clip(np.searchsorted(self.x, batches, side="right") - 1, 0, len(self.x) - 2)
        slope = (drawn[:, left + 1] - drawn[:, left]) / (self.x[left + 1] - self.x[left])
        start = np.where(batches > self.x[-1], left + 1, left)
        outside = (batches < self.x[0]) | (batches > self.x[-1])
        slope = np.where(outside, np.clip(slope, 0.0, drawn[:, start] / self.x[start]), slope)
        times: Array = drawn[:, start] + slope * (batches - self.x[start])
        return times

    def beyond(self, batch: float) -> float:
        """The factor by which a batch lies outside those measured; 1 inside."""
        return max(1.0, batch / float(self.x[-1]), float(self.x[0]) / batch)


def by_devices(times: Sequence[StepTime]) -> tuple[Times, ...]:
    """Ascending in devices. ValueError for no time at all, and for two of one batch and number of devices."""
    if not times:
        raise ValueError("no step time: measure one at several batches and numbers of devices")
    found = []
    for devices in sorted({one.devices for one in times}):
        those = sorted((one for one in times if one.devices == devices), key=lambda one: one.batch)
        batches = [one.batch for one in those]
        if len(set(batches)) < len(batches):
            raise ValueError(f"two step times of one batch at {devices} device(s): give one each")
        ends = np.array([[one.time.low, one.time.value, one.time.high] for one in those])
        noise = np.log(ends[:, 2] / ends[:, 0]) / (2 * NORMAL)
        found.append(Times(devices, np.array(batches), np.log(ends[:, 1]), noise))
    return tuple(found)
