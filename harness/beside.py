"""Two kinds of work at once: what each costs the other.

Each is timed alone and beside the other, in turns, and the slow-down is the ratio of the two times of one turn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.records import Better, Cadence, Evidence, Measurement
from harness.units import Unit

if TYPE_CHECKING:
    from harness.context import Context
    from harness.sampling import Task

COVER = 3.0
"""The other work lasts this many times as long as what is timed: it is still there at the end of a
timed operation that it slows down up to threefold."""

LEAST, MOST = 6, 200  # turns
WARMUP = 2  # of each alone

Start = Callable[[Callable[[], None]], Callable[[], None]]


@dataclass(frozen=True)
class Work:
    """start: begins it beside what this rank does next, and gives what waits for its end; the accelerator's own where
    there is none."""

    task: Task
    start: Start | None = None


@dataclass
class _Background:
    """Work that goes on beside the timed operation, and must have ended before the next."""

    start: Start
    wait: Callable[[], None] | None = None

    def begin(self, task: Task, times: int) -> None:
        """`times` operations of a task that was prepared for as many."""

        def work() -> None:
            for index in range(times):
                task.step(index)

        self.wait = self.start(work)

    def end(self) -> None:
        if self.wait is not None:
            self.wait()
            self.wait = None


def turns(ctx: Context, both: Mapping[str, Work]) -> dict[str, list[float]]:
    """Times in s of two works, under 'NAME_alone' and 'NAME_beside': one of each for every turn, in alternating order
    (METHOD 13)."""

    def take(task: Task) -> float:
        return ctx.meter.block(task, Cadence.ISOLATED, 1, 1).samples[0]

    (first, one), (second, two) = both.items()
    alone = [min(take(work.task) for _ in range(WARMUP + 1)) for work in (one, two)]
    grounds = [_Background(work.start or ctx.accelerator.beside) for work in (two, one)]
    one_beside = _beside(one.task, two.task, _times(two.task, alone[0] / alone[1]), grounds[0])
    two_beside = _beside(two.task, one.task, _times(one.task, alone[1] / alone[0]), grounds[1])
    tasks = {
        f"{first}_alone": one.task, f"{first}_beside": one_beside, f"{second}_alone": two.task,
        f"{second}_beside": two_beside,
    }  # fmt: skip
    taken: dict[str, list[float]] = {name: [] for name in tasks}
    begin, done = ctx.meter.now(), 0
    while done < MOST:
        turn = list(tasks.items())
        for name, task in turn if done % 2 else reversed(turn):
            taken[name].append(take(task))
            for ground in grounds:
                ground.end()
        done += 1
        if done >= LEAST and ctx.meter.now() - begin > 2 * ctx.policy.cap:
            break
    return taken


def _beside(timed: Task, other: Task, times: int, background: _Background) -> Task:
    """The task `timed` with `times` operations of the other one started just before it."""

    def prepare(operations: int) -> None:
        background.end()
        other.prepare(times)
        timed.prepare(operations)

    def step(index: int) -> None:
        background.begin(other, times)
        timed.step(index)

    return replace(timed, prepare=prepare, step=step)


def _times(task: Task, ratio: float) -> int:
    """Operations that last `COVER` times as long as the timed one, within what the operands last."""
    wanted = max(1, math.ceil(COVER * ratio))
    return wanted if task.lasting is None else max(1, min(wanted, task.lasting))


def measurements(ctx: Context, taken: Mapping[str, Sequence[float]], flags: tuple[str, ...]) -> list[Measurement]:
    """The slow-down of each, then the four times."""
    from harness.statistics import median_interval

    flags = (*flags, "starting the other work is part of the time beside it")
    count = len(next(iter(taken.values())))

    def measurement(metric: str, unit: Unit, samples: Sequence[float], cadence: Cadence | None) -> Measurement:
        evidence = Evidence(WARMUP, width=median_interval(samples).width, stopped=f"{count} turns", flags=flags)
        return Measurement(
            metric, unit, Better.LOWER, tuple(samples), ctx.meter.origin, cadence, evidence=evidence
        )  # fmt: skip

    times = [
        measurement(f"{name}.{Cadence.ISOLATED}", Unit.SECOND, samples, Cadence.ISOLATED)
        for name, samples in taken.items()
    ]
    ratios = []
    for what in dict.fromkeys(name.rpartition("_")[0] for name in taken):
        pairs = zip(taken[f"{what}_beside"], taken[f"{what}_alone"], strict=True)
        ratios.append(measurement(f"{what}_slowdown", Unit.RATIO, [beside / alone for beside, alone in pairs], None))
    return [*ratios, *times]
