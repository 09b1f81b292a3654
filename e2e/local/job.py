"""One rank of a comparison: every method in turns for its speed, then each from the start for its loss. The entry of
`harness.together`."""

from __future__ import annotations

import gc
import math
import os
from typing import TYPE_CHECKING

import msgspec
import torch

from e2e.job import TIMEOUT
from e2e.local.courses import Course
from e2e.local.told import LEAST, METHODS, SYNCHRONOUS, Job, Told
from e2e.local.wire import Wire
from harness.child import Place
from harness.statistics import ratio_interval

if TYPE_CHECKING:
    from harness.accelerator import Accelerator
    from harness.ranks import Ranks

MOST = 400  # turns
WIDTH = 0.02  # half width of a ratio's interval that ends the turns, where all have reached it


def compare(place: Place) -> Told:
    """Every rank returns the same but for nothing: rank 0's word counts."""
    from clusters import accelerators
    from harness.ranks import TorchRanks

    job, local = place.read(Job), int(os.environ["LOCAL_RANK"])
    accelerator = accelerators.create(job.accelerator)
    device = accelerator.bind(local, int(os.environ.get("OMP_NUM_THREADS", "1")))
    ranks = TorchRanks(accelerator.backend(), place.rank, place.world, local, TIMEOUT)
    try:
        return measured(job, accelerator, ranks, device)
    finally:
        ranks.barrier()
        ranks.close()


def measured(job: Job, accelerator: Accelerator, ranks: Ranks, device: torch.device) -> Told:
    """Both parts, on every rank of a world that torch.distributed has begun in."""
    speed = Turns(job, accelerator, ranks, device).take()
    gc.collect()
    accelerator.release()
    losses, spread = trained(job, ranks, device)
    return msgspec.structs.replace(speed, losses=losses, spread=spread)


class Turns:
    """Rounds of all methods in turns. Each first takes a round that is not timed: caches are its own again, and the
    overlapped method has a transfer on its way, as in the middle of a long job. What is on its way at the end of its
    turn arrives before the next method's begins, and is used in its own next turn."""

    def __init__(self, job: Job, accelerator: Accelerator, ranks: Ranks, device: torch.device) -> None:
        self._job, self._accelerator, self._ranks = job, accelerator, ranks
        self._wire = Wire(ranks.rank, ranks.world, job.bandwidth)
        self._courses = [Course(one, job.asked, device, self._wire, job.local_steps) for one in METHODS]
        self._times: dict[str, list[float]] = {one: [] for one in METHODS}
        self._waited: dict[str, list[float]] = {one: [] for one in METHODS}
        self._sent: dict[str, float] = dict.fromkeys(METHODS, 0.0)

    def take(self) -> Told:
        for course in self._courses:  # what is compiled and allocated on first use
            self._timed(course)
        done, stopped = 0, ""
        while not stopped:
            for course in self._courses if done % 2 else reversed(self._courses):
                seconds, waited, sent = self._timed(course)
                self._times[course.method].append(seconds)
                self._waited[course.method].append(waited)
                self._sent[course.method] += sent
            done += 1
            stopped = self._ended(done)
        seen = self._accelerator.backend() == "gloo"  # elsewhere it is the device's queue that waits, not the host
        return Told(
            parameters=sum(one.numel() for one in self._courses[0].replica.parameters),
            stopped=f"{stopped} after {done} turns",
            times={name: tuple(taken) for name, taken in self._times.items()},
            waited={name: tuple(taken) for name, taken in self._waited.items() if name != SYNCHRONOUS and seen},
            sent={name: sent / done for name, sent in self._sent.items()},
        )  # fmt: skip

    def _timed(self, course: Course) -> tuple[float, float, float]:
        """s of a round and s waited in it, the greatest over ranks; B sent in it, the mean over ranks. From one outer
        step's end to the next one's, on each rank: a barrier in between would queue behind the transfer that the round
        is there to hide, and hide it itself."""
        watch = self._accelerator.stopwatch(1)
        course.round()
        waited, sent = self._wire.waited, self._wire.sent
        watch.start(0)
        course.round()
        watch.stop(0)
        seconds, waited = self._ranks.maximum([*watch.seconds(), self._wire.waited - waited])
        sent = sum(self._ranks.column(self._wire.sent - sent)) / self._ranks.world
        course.drain()
        self._ranks.barrier()
        return seconds, waited, sent

    def _ended(self, done: int) -> str:
        """Why the turns end here, by numbers that are the same on all ranks; else ''."""
        base = self._times[SYNCHRONOUS]
        widths = [ratio_interval(base, taken).width for name, taken in self._times.items() if name != SYNCHRONOUS]
        if done >= LEAST and max(widths) <= WIDTH:
            return "width reached"
        spent = sum(map(sum, self._times.values()))
        if done >= LEAST and spent > self._job.seconds:
            return "time cap"
        return "turn cap" if done >= MOST else ""


def trained(
    job: Job, ranks: Ranks, device: torch.device
) -> tuple[dict[str, tuple[float | None, ...]], dict[str, float | None]]:  # fmt: skip
    """(held-out losses by method, one a seed; spread by method, of the last seed). The link is as it is: how fast
    weights come does not change what they are."""
    held: dict[str, tuple[float | None, ...]] = {}
    spread: dict[str, float | None] = {}
    for seed in job.seeds:
        asked = msgspec.structs.replace(job.asked, seed=seed)
        for method in METHODS:
            course = Course(method, asked, device, Wire(ranks.rank, ranks.world), job.local_steps)
            for _ in range(job.rounds):
                course.round()
            course.finish()
            loss = sum(ranks.column(course.held_out())) / ranks.world
            held[method] = (*held.get(method, ()), _number(loss))
            spread[method] = _number(course.spread())
    return held, spread


def _number(value: float) -> float | None:
    """None where training diverged: JSON has no word for such a number."""
    return value if math.isfinite(value) else None
