"""Threads that run one compiled loop side by side, each pinned to a core of its own.

A block of steps is armed first: every thread then waits inside the compiled code, spinning, and a step
begins and ends for all of them within a microsecond. Between blocks they sleep, and the thread that
measures, which does the first share, runs wherever it did before: libraries start threads of their own
from it, which inherit the cores that it is allowed.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Sequence
from itertools import pairwise
from queue import SimpleQueue
from typing import TYPE_CHECKING

from harness.errors import Skip
from microbench.memory.kernels import STATE, STOP, Kernel
from microbench.memory.loops import SLOTS, TURN

if TYPE_CHECKING:
    import torch

    from harness.context import Context

Order = tuple[Kernel, int, int, int]  # a kernel, the first step, how many, the address of a job


class Crew:
    """One thread for each of `cpus`, of which the caller's is the first. Used as a context manager."""

    def __init__(self, cpus: Sequence[int]) -> None:
        self.cpus = tuple(cpus)
        self._state = (ctypes.c_int64 * STATE)()
        self._place = ctypes.addressof(self._state)
        self._orders = [SimpleQueue[Order | None]() for _ in self.cpus[1:]]
        self._threads = [threading.Thread(target=self._serve, args=(orders,), daemon=True) for orders in self._orders]
        self._before: set[int] | None = None  # where this thread may run when it leads nothing
        self._begun = self._armed = 0
        self._kernel: Kernel | None = None
        self._job = 0

    def __len__(self) -> int:
        return len(self.cpus)

    def __enter__(self) -> Crew:
        for thread, cpu in zip(self._threads, self.cpus[1:], strict=True):
            thread.start()
            os.sched_setaffinity(thread.native_id or 0, {cpu})
        return self

    def __exit__(self, *_: object) -> None:
        self._state[STOP] = 1  # a block may have been given up in its middle
        for orders, thread in zip(self._orders, self._threads, strict=True):
            orders.put(None)
            thread.join()
        self._release()

    def arm(self, kernel: Kernel, jobs: Sequence[ctypes.Array[ctypes.c_int64]], steps: int) -> None:
        """Ready all threads for the next `steps` calls of `step`, each with its own of `jobs`."""
        if self._armed:
            raise RuntimeError(f"{self._armed} steps of the block before are still to be done")
        places = [ctypes.addressof(job) for job in jobs]
        for orders, place in zip(self._orders, places[1:], strict=True):
            orders.put((kernel, self._begun, steps, place))
        self._kernel, self._job, self._armed = kernel, places[0], steps
        self._begun += steps
        self._before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, self.cpus[:1])

    def step(self) -> None:
        """Run the loop once on every thread; returns when all have done their share."""
        if not self._armed or self._kernel is None:
            raise RuntimeError("no step is armed: the other threads sleep")
        self._kernel.lead(self._place, len(self._orders), self._job)
        self._armed -= 1
        if not self._armed:
            self._release()

    def _release(self) -> None:
        if self._before is not None:
            os.sched_setaffinity(0, self._before)
            self._before = None

    def _serve(self, orders: SimpleQueue[Order | None]) -> None:
        while (order := orders.get()) is not None:
            kernel, first, steps, place = order
            kernel.serve(self._place, first, steps, place)


class Work:
    """A kernel over up to three arrays, its units cut among a crew; `count` sweeps a step.

    results: (threads, 16) int32, what each thread left.
    """

    def __init__(self, crew: Crew, kernel: Kernel, arrays: Sequence[torch.Tensor], units: int, count: int) -> None:
        import torch

        self._crew, self._kernel, self._arrays = crew, kernel, tuple(arrays)
        self.results = torch.zeros(len(crew), 16, dtype=torch.int32)
        addresses = [array.data_ptr() for array in arrays] + [0] * (3 - len(arrays))
        self._jobs = [
            (ctypes.c_int64 * len(SLOTS))(*addresses, result.data_ptr(), begin, end, count)
            for result, (begin, end) in zip(self.results, shares(units, len(crew)), strict=True)
        ]

    def prepare(self, steps: int) -> None:
        self._crew.arm(self._kernel, self._jobs, steps)

    def step(self, _: int = 0) -> None:
        self._crew.step()


def shares(units: int, threads: int) -> list[tuple[int, int]]:
    """First unit of each thread's share, and the one after its last: whole turns of a loop."""
    ends = [units // TURN * at // threads * TURN for at in range(threads + 1)]
    return list(pairwise(ends))


def cpus_of(ctx: Context, threads: int) -> list[int]:
    """The CPU of each thread: a core of its own as far as there are so many. Ranks of one host take
    different ones, where they are not pinned apart already. threads: 0 stands for all of the rank's."""
    import torch

    from clusters.accelerators.host import Host

    held = Host().by_core()
    wanted = threads or min(torch.get_num_threads(), len(held))
    if wanted > len(held):
        raise Skip(f"{wanted} threads asked for, and this rank may use {len(held)} CPUs")
    first = ctx.ranks.local * wanted
    return [held[(first + at) % len(held)] for at in range(wanted)]
