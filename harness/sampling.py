"""How one cell is measured: warm up until it settles, take blocks until the median is known.

`measure` decides, a `Meter` takes the blocks. The real meter (harness.meter) times real work; a
scripted one tests every decision here, and a simulated one answers from a model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from harness.accelerator import Operation
from harness.policy import Policy
from harness.ranks import Team
from harness.records import Better, Cadence, Evidence, Measurement, Origin, Rate
from harness.statistics import median_interval, settled
from harness.units import Unit

Step = Callable[[int], None]

FEWEST = 3  # samples of an operation so long that the minimum does not fit in the cap


def _nothing(_: int) -> None:
    return


def _right() -> None:
    return


@dataclass(frozen=True)
class Task:
    """One cell's work.

    step(i): one operation on operand set i of the block. prepare(n): outside the timed region, before
    a block of n operations: fresh operand sets, destinations refilled. check(): runs the operation
    outside the timed region and raises WrongAnswer unless its result is right. lasting: operations
    after which `prepare` must come again, where results pile up in place and would overflow. team: the
    ranks that do it together; without one, each rank works by itself.
    """

    operation: Operation
    step: Step
    rates: tuple[Rate, ...]
    prepare: Step = _nothing
    check: Callable[[], None] = _right
    rotation: int = 1
    flags: tuple[str, ...] = ()
    lasting: int | None = None
    team: Team | None = None

    @property
    def idle(self) -> bool:
        """Whether this rank only waits for the others."""
        return self.team is not None and self.team.rank is None


@dataclass(frozen=True)
class Block:
    """What one block gave, the same on every rank. Durations are of one operation, in s, the maximum
    over ranks; skews are between the first and the last rank's arrival."""

    samples: list[float]
    rank_medians: list[float]
    wall: float
    skews: list[float] = field(default_factory=list)
    taint: str | None = None


class Meter(Protocol):
    """Takes blocks. `resolution` is the timer's, in s; 0 where there is no timer."""

    origin: Origin
    resolution: float

    def block(self, task: Task, cadence: Cadence, samples: int, operations: int) -> Block:
        """`samples` durations, each over `operations` operations and divided by them."""
        ...

    def by_rank(self, task: Task, cadence: Cadence, samples: int) -> list[list[float]]:
        """`samples` durations of one operation on each rank of the task's team, in the order of
        `Team.active`: for tasks whose groups are told apart."""
        ...

    def verify(self, task: Task) -> None:
        """Run the task's check on every rank; raise WrongAnswer on all of them if one found fault."""
        ...

    def now(self) -> float:
        """Wall time in s, rank 0's on every rank, so that all ranks decide alike."""
        ...


@dataclass
class _Taken:
    """What has been collected for one cadence of one cell."""

    samples: list[float] = field(default_factory=list)
    medians: list[list[float]] = field(default_factory=list)
    skews: list[float] = field(default_factory=list)
    tainted: list[str] = field(default_factory=list)  # why blocks were thrown away
    kept: list[str] = field(default_factory=list)  # what disturbed blocks that were kept all the same

    def add(self, block: Block) -> None:
        self.samples += block.samples
        self.medians.append(block.rank_medians)
        self.skews += block.skews
        self.kept += [block.taint] if block.taint is not None else []


def measure(meter: Meter, task: Task, cadence: Cadence, policy: Policy) -> Measurement:
    """Warm up, then sample until the interval is narrow enough or the visit's cap is reached."""
    operations, warmup, calm, each = _warm_up(meter, task, cadence, policy)
    meter.verify(task)
    taken, stopped = _collect(meter, task, cadence, policy, operations, each)
    meter.verify(task)
    return _measurement(meter, task, cadence, policy, taken, operations, warmup, calm, stopped)


def _warm_up(meter: Meter, task: Task, cadence: Cadence, policy: Policy) -> tuple[int, int, bool, float]:
    """(operations per sample, operations done, settled, seconds per operation).

    Blocks double in size until two successive ones agree; the first operation is never compared.
    """
    begin = meter.now()
    first = meter.block(task, cadence, 1, 1)
    done, size, previous = 1, policy.warmup_minimum, list[float]()
    each = first.samples[0]
    while True:
        block = meter.block(task, cadence, size, 1)
        done += size
        each = float(np.median(block.samples))
        if previous and settled(previous, block.samples):
            return _operations(meter, cadence, policy, each, task.lasting), done, True, each
        if done >= policy.warmup_maximum or meter.now() - begin > policy.warmup_cap:
            return _operations(meter, cadence, policy, each, task.lasting), done, False, each
        previous, size = block.samples, min(size * 2, policy.warmup_maximum - done) or 1


def _operations(meter: Meter, cadence: Cadence, policy: Policy, each: float, lasting: int | None) -> int:
    """Operations per sample: 1 in isolation unless too short for the timer (METHOD 4); when
    streaming, as many as fill a tenth of a look, and 2 to 5 of longer ones, so that the one
    synchronisation at the end weighs little."""
    for_timer = int(np.ceil(policy.resolutions * meter.resolution / max(each, 1e-12)))
    most = lasting or max(for_timer, 1000)
    if cadence is Cadence.ISOLATED:
        return min(max(1, for_timer), most)
    few = max(2, min(5, int(policy.cap / FEWEST / max(each, 1e-12))))
    return min(max(few, for_timer, min(1000, int(policy.block / 10 / max(each, 1e-12)))), most)


def _collect(
    meter: Meter, task: Task, cadence: Cadence, policy: Policy, operations: int, each: float
) -> tuple[_Taken, str]:
    begin, taken = meter.now(), _Taken()
    size = max(FEWEST, min(policy.minimum, int(policy.cap / max(each * operations, 1e-9))))
    wanted = policy.wanted(each)
    while True:
        block = meter.block(task, cadence, size, operations)
        elapsed = meter.now() - begin
        if block.taint is not None and len(taken.tainted) < policy.remeasure and elapsed < policy.cap:
            taken.tainted.append(block.taint)
            continue
        taken.add(block)
        count = len(taken.samples)
        if count >= policy.minimum and median_interval(taken.samples).width <= wanted:
            return taken, "width reached"
        if elapsed >= policy.cap:
            return taken, "time cap"
        if count >= policy.maximum:
            return taken, "sample cap"
        size = _next_size(policy, count, block.wall / size, policy.cap - elapsed)


def _next_size(policy: Policy, count: int, wall: float, left: float) -> int:
    """Samples until the next look: about `policy.block` seconds or a quarter of what is there,
    whichever is more, never past the caps."""
    aimed = max(int(policy.block / max(wall, 1e-9)), count // 4, 1)
    return max(1, min(aimed, policy.maximum - count, int(left / max(wall, 1e-9)) + 1))


def _measurement(
    meter: Meter, task: Task, cadence: Cadence, policy: Policy, taken: _Taken,
    operations: int, warmup: int, calm: bool, stopped: str,
) -> Measurement:  # fmt: skip
    flags = list(task.flags)
    if not calm:
        flags.append("warm-up did not settle before its cap")
    if taken.kept:
        flags.append(f"disturbed blocks among the samples: {len(taken.kept)} ({taken.kept[-1]})")
    evidence = Evidence(
        warmup=warmup,
        settled=calm,
        block=operations,
        width=median_interval(taken.samples).width,
        stopped=stopped,
        tainted=len(taken.tainted),
        rank_medians=tuple(float(value) for value in np.median(taken.medians, axis=0)),
        skew_median=float(np.median(taken.skews)) if taken.skews else None,
        skew_max=max(taken.skews, default=None),
        rotation=task.rotation,
        flags=tuple(flags),
    )
    return Measurement(
        metric=f"time.{cadence.value}",
        unit=Unit.SECOND,
        better=Better.LOWER,
        samples=tuple(taken.samples),
        origin=meter.origin,
        cadence=cadence,
        rates=task.rates,
        evidence=evidence,
    )
