"""Takes blocks of real work: the timed loops, and the agreement of ranks between them.

Inside a timed region there is the operation and nothing else: operand sets are readied before, ranks
exchange results after, the garbage collector rests. Group operations start from an alignment
(`Team.align`), and the time each rank waits in it gives the arrival skew without any clock being compared
between hosts: the last to arrive waits least.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from harness.accelerator import Accelerator, Stopwatch
from harness.errors import WrongAnswer
from harness.policy import Policy
from harness.ranks import Ranks
from harness.records import Cadence, Origin, TimerHonesty
from harness.sampling import Block, Task
from harness.telemetry import Sampler

if TYPE_CHECKING:
    pass

Align = Callable[[], None]


class TorchMeter:
    """Times torch operations on this rank's device, in step with the other ranks."""

    origin = Origin.MEASURED

    def __init__(self, accelerator: Accelerator, ranks: Ranks, policy: Policy, sampler: Sampler) -> None:
        self._accelerator, self._ranks, self._policy = accelerator, ranks, policy
        self._sampler = sampler
        self.timer = timer_honesty(accelerator)
        self.resolution = max(ranks.maximum([self.timer.resolution]))  # all ranks take equal samples

    def now(self) -> float:
        return self._ranks.agree(time.perf_counter())

    def verify(self, task: Task) -> None:
        fault = ""
        try:
            task.check()
        except WrongAnswer as error:
            fault = str(error) or "wrong result"
        faults = [f"rank {rank}: {text}" for rank, text in enumerate(self._ranks.words(fault)) if text]
        if faults:
            raise WrongAnswer("; ".join(faults[:3]))

    def by_rank(self, task: Task, cadence: Cadence, samples: int) -> list[list[float]]:
        assert task.team is not None
        _, durations = self._durations(task, cadence, samples, 1)
        table = self._ranks.rows(durations)
        return [table[rank] for rank in task.team.active]

    def block(self, task: Task, cadence: Cadence, samples: int, operations: int) -> Block:
        begin = time.perf_counter()
        waits, durations = self._durations(task, cadence, samples, operations)
        return self._merge(task, waits, durations, begin, time.perf_counter())

    def _durations(
        self, task: Task, cadence: Cadence, samples: int, operations: int
    ) -> tuple[list[float], list[float]]:  # fmt: skip
        """(waits in alignment, durations of one operation) of this rank, in s. Operands are readied anew
        as often as they wear out."""
        each = samples if task.lasting is None else max(1, task.lasting // operations)
        waits, durations = list[float](), list[float]()
        for done in range(0, samples, each):
            regions = self._regions(task, cadence, min(each, samples - done), operations)
            waits += regions[0::2]
            durations += [region / operations for region in regions[1::2]]
        return waits, durations

    def _regions(self, task: Task, cadence: Cadence, samples: int, operations: int) -> list[float]:
        """Seconds of alignment and of work in turn, of each sample; of a rank that only waits, nothing
        that would count."""
        if task.idle:
            self._ranks.barrier()
            return [-math.inf, 0.0] * samples
        task.prepare(samples * operations)
        watch = self._accelerator.stopwatch(2 * samples)
        take = self._isolated if cadence is Cadence.ISOLATED else self._streaming
        align = task.team.align if task.team is not None else None
        self._accelerator.synchronise()
        self._ranks.barrier()
        with _no_collection():
            take(task, watch, samples, operations, align)
        return watch.seconds()

    def _isolated(self, task: Task, watch: Stopwatch, samples: int, operations: int, align: Align | None) -> None:
        """Each operation ends before the next begins. More than one makes a sample only where a
        single one is too short for the timer."""
        step, synchronise, start, stop = task.step, self._accelerator.synchronise, watch.start, watch.stop
        for index in range(samples):
            start(2 * index)
            if align is not None:
                align()
            stop(2 * index)
            first = index * operations
            if operations == 1:
                start(2 * index + 1)
                step(first)
                stop(2 * index + 1)
                synchronise()
                continue
            start(2 * index + 1)
            for at in range(first, first + operations):
                step(at)
                synchronise()
            stop(2 * index + 1)

    def _streaming(self, task: Task, watch: Stopwatch, samples: int, operations: int, align: Align | None) -> None:
        """Operations back to back; one synchronisation per sample."""
        step, start, stop = task.step, watch.start, watch.stop
        for index in range(samples):
            start(2 * index)
            if align is not None:
                align()
            stop(2 * index)
            first = index * operations
            start(2 * index + 1)
            for at in range(first, first + operations):
                step(at)
            stop(2 * index + 1)
            self._accelerator.synchronise()

    def _merge(self, task: Task, waits: list[float], durations: list[float], begin: float, end: float) -> Block:
        """One exchange: maxima of durations, both ends of the waits, wall time and disturbance."""
        taint = None if task.idle else self._sampler.disturbed(begin, end, self._policy)
        count = len(durations)
        shortest_waits = waits if task.idle else [-wait for wait in waits]
        own = [*durations, *waits, *shortest_waits, end - begin, float(taint is not None)]
        merged = self._ranks.maximum(own)
        longest, shortest = np.array(merged[count : 2 * count]), -np.array(merged[2 * count : 3 * count])
        disturbed, medians = merged[-1] > 0, self._ranks.column(float(np.median(durations)))
        return Block(
            samples=merged[:count],
            rank_medians=[medians[rank] for rank in task.team.active] if task.team else medians,
            wall=merged[-2],
            skews=(longest - shortest).tolist() if task.team is not None else [],
            taint=(taint or "another rank was disturbed") if disturbed else None,
        )


@contextmanager
def _no_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def timer_honesty(accelerator: Accelerator, regions: int = 2000) -> TimerHonesty:
    """Resolution and cost of the device's timer, from empty regions (METHOD 4)."""
    watch = accelerator.stopwatch(regions)
    for index in range(regions):
        watch.start(index)
        watch.stop(index)
    seconds = np.array(watch.seconds())
    steps = np.diff(np.unique(np.round(seconds, 12)))  # a picosecond: below it there is only rounding
    return TimerHonesty(
        resolution=float(steps.min()) if len(steps) else float(seconds.max()),
        overhead=float(np.median(seconds)),
    )
