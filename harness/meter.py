"""Takes blocks of real work: the timed loops, and the agreement of ranks between them.

Inside a timed region there is the operation and nothing else: operand sets are readied before, ranks
exchange results after, the garbage collector rests. Group operations start from an alignment (a one
element all-reduce on the same queue), and the time each rank waits in it gives the arrival skew
without any clock being compared between hosts: the last to arrive waits least.
"""

from __future__ import annotations

import gc
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
    import torch

Align = Callable[[], None]


class TorchMeter:
    """Times torch operations on this rank's device, in step with the other ranks."""

    origin = Origin.MEASURED

    def __init__(self, accelerator: Accelerator, ranks: Ranks, policy: Policy, align: Align, sampler: Sampler) -> None:
        self._accelerator, self._ranks, self._policy = accelerator, ranks, policy
        self._align, self._sampler = align, sampler
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

    def block(self, task: Task, cadence: Cadence, samples: int, operations: int) -> Block:
        """One block, its operands readied anew as often as they wear out in it."""
        each = samples if task.lasting is None else max(1, task.lasting // operations)
        waits, durations, begin = list[float](), list[float](), time.perf_counter()
        for done in range(0, samples, each):
            regions = self._regions(task, cadence, min(each, samples - done), operations)
            waits += regions[0::2]
            durations += [region / operations for region in regions[1::2]]
        return self._merge(waits, durations, begin, time.perf_counter(), task.operation.kind == "collective")

    def _regions(self, task: Task, cadence: Cadence, samples: int, operations: int) -> list[float]:
        """Seconds of alignment and of work in turn, of each sample."""
        task.prepare(samples * operations)
        watch = self._accelerator.stopwatch(2 * samples)
        take = self._isolated if cadence is Cadence.ISOLATED else self._streaming
        align = self._align if task.operation.kind == "collective" else None
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

    def _merge(self, waits: list[float], durations: list[float], begin: float, end: float, aligned: bool) -> Block:
        """One exchange: maxima of durations, both ends of the waits, wall time and disturbance."""
        taint = self._sampler.disturbed(begin, end, self._policy)
        count = len(durations)
        own = [*durations, *waits, *(-wait for wait in waits), end - begin, float(taint is not None)]
        merged = self._ranks.maximum(own)
        longest, shortest = np.array(merged[count : 2 * count]), -np.array(merged[2 * count : 3 * count])
        disturbed = merged[-1] > 0
        return Block(
            samples=merged[:count],
            rank_medians=self._ranks.column(float(np.median(durations))),
            wall=merged[-2],
            skews=(longest - shortest).tolist() if aligned and self._ranks.world > 1 else [],
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


def aligner(device: torch.device) -> Align:
    """A one-element all-reduce over all ranks, on the queue that the timed operation will use."""
    import torch
    import torch.distributed as dist

    token = torch.zeros(1, device=device)
    return lambda: dist.all_reduce(token)
