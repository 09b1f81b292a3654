"""Several tasks in turns, there and back again, so that what drifts falls on all alike (METHOD 13).

A lap takes one sample of each task; the next lap goes the other way round: A B C, C B A. Samples of one
lap are held against each other, lap by lap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.policy import Policy
from harness.records import Cadence, Evidence
from harness.sampling import FEWEST, Block, Meter, Task
from harness.statistics import Interval, median_interval, ratio_interval, settled

LAPS = 6  # the fewest from which the median has an interval of 95 %
FIRST = 2  # operations of each task, that say how many make a sample
LONGEST = 1000  # operations of one sample


@dataclass(frozen=True)
class Laps:
    """Durations in s, (tasks, laps), and how they came about. blocks: operations of one sample of each
    task; warmup: laps before the first sample."""

    samples: tuple[tuple[float, ...], ...]
    medians: tuple[tuple[float, ...], ...]  # (tasks, ranks)
    blocks: tuple[int, ...]
    warmup: int
    settled: bool
    tainted: int
    kept: int  # disturbed laps among the samples
    stopped: str

    def gain(self, task: int) -> tuple[float, ...]:
        """Time of the first task over that of this one, lap by lap."""
        return tuple(first / own for first, own in zip(self.samples[0], self.samples[task], strict=True))

    def evidence(self, task: Task, at: int) -> Evidence:
        flags = [] if self.settled else ["warm-up did not settle before its cap"]
        flags += [f"disturbed laps among the samples: {self.kept}"] if self.kept else []
        return Evidence(
            warmup=FIRST + self.warmup * self.blocks[at],
            settled=self.settled,
            block=self.blocks[at],
            width=median_interval(self.samples[at]).width,
            stopped=self.stopped,
            tainted=self.tainted,
            rank_medians=self.medians[at],
            rotation=task.rotation,
            flags=(*task.flags, *flags),
        )


def take(meter: Meter, tasks: Sequence[Task], policy: Policy, seconds: float) -> Laps:
    """Laps until every gain's interval is half as wide as a time's may be, or the seconds are over."""
    blocks = [_operations(meter, task, policy) for task in tasks]
    warmup, calm = _warm_up(meter, tasks, blocks, policy)
    for task in tasks:
        meter.verify(task)
    laps, tainted, kept, begin, stopped = list[list[Block]](), 0, 0, meter.now(), ""
    while not stopped:
        lap = _lap(meter, tasks, blocks, back=len(laps) % 2 == 1)
        over = meter.now() - begin >= seconds
        if any(block.taint for block in lap):
            if tainted < policy.remeasure and not over:
                tainted += 1
                continue
            kept += 1
        laps.append(lap)
        stopped = _stopped(laps, policy, over)
    for task in tasks:
        meter.verify(task)
    return Laps(
        tuple(tuple(lap[at].samples[0] for lap in laps) for at in range(len(tasks))),
        tuple(_rank_medians([lap[at] for lap in laps]) for at in range(len(tasks))),
        tuple(blocks), warmup, calm, tainted, kept, stopped,
    )  # fmt: skip


def _operations(meter: Meter, task: Task, policy: Policy) -> int:
    """Operations of one sample: enough for the timer, and for a tenth of a look."""
    each = max(min(meter.block(task, Cadence.STREAMING, FIRST, 1).samples), 1e-9)
    return max(1, min(LONGEST, math.ceil(max(policy.resolutions * meter.resolution, policy.block / 10) / each)))


def _warm_up(meter: Meter, tasks: Sequence[Task], blocks: Sequence[int], policy: Policy) -> tuple[int, bool]:
    """(laps, settled): until two successive laps agree, or the warm-up's cap."""
    begin, before, laps = meter.now(), list[float](), 0
    while True:
        now = [block.samples[0] for block in _lap(meter, tasks, blocks, back=laps % 2 == 1)]
        laps += 1
        if before and settled(before, now):
            return laps, True
        if meter.now() - begin > policy.warmup_cap:
            return laps, False
        before = now


def _lap(meter: Meter, tasks: Sequence[Task], blocks: Sequence[int], back: bool) -> list[Block]:
    order = range(len(tasks))[::-1] if back else range(len(tasks))
    taken = {at: meter.block(tasks[at], Cadence.STREAMING, 1, blocks[at]) for at in order}
    return [taken[at] for at in range(len(tasks))]


def _stopped(laps: Sequence[Sequence[Block]], policy: Policy, over: bool) -> str:
    """Why it ends here, or nothing."""
    if len(laps) >= LAPS and max(gain.width for gain in _gains(laps)) <= policy.width / 2:
        return "width reached"
    if over and len(laps) >= FEWEST:
        return "time cap"
    return "sample cap" if len(laps) >= policy.maximum else ""


def _gains(laps: Sequence[Sequence[Block]]) -> list[Interval]:
    times = np.array([[block.samples[0] for block in lap] for lap in laps])
    return [ratio_interval(times[:, 0], times[:, at]) for at in range(1, times.shape[1])]


def _rank_medians(blocks: Sequence[Block]) -> tuple[float, ...]:
    return tuple(float(value) for value in np.median([block.rank_medians for block in blocks], axis=0))
