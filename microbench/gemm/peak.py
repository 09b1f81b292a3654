"""The peak finder: the best rate over a range of shapes, searched for within a budget.

The winner is measured anew, since the luckiest trial looks better than it is. Every trial is kept, as a
time without a rate: it is a bid, not a result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import msgspec

from harness.errors import Skip
from harness.records import Cadence, Measurement, Params, Struct
from harness.registry import benchmark
from microbench.gemm.product import FLOAT8_MULTIPLE, Dtype, GemmParams, build, precision

if TYPE_CHECKING:
    from harness.context import Context
    from harness.sampling import Task
    from microbench.gemm.search import Shape

Edge = Annotated[int, msgspec.Meta(ge=1)]

VISITS = 4  # caps in a cell's share of the budget: harness.visits cuts the cap to a quarter of it
EXPLORING, RACING = 0.55, 0.8  # of the budget: where the two stages end; the rest is the winner's
BRIEF = {"minimum": 3, "maximum": 3, "warmup_minimum": 1, "warmup_maximum": 3, "cap": 0.1, "warmup_cap": 0.1}
"""One trial: three samples. What another shape tells is worth more than a narrow interval of this one."""


class PeakParams(Struct, frozen=True):
    """m, n and k each take low, low + step, and so on up to high. seconds: for searching and measuring
    together; 0 stands for the cell's even share of the run's budget."""

    dtype: Dtype = "float32"
    low: Edge = 256
    high: Edge = 4096
    step: Edge = 256
    seconds: Annotated[float, msgspec.Meta(ge=0)] = 0.0

    def __post_init__(self) -> None:
        if self.high < self.low:
            raise ValueError(f"low={self.low} lies above high={self.high}")
        if self.dtype == "float8" and (self.low % FLOAT8_MULTIPLE or self.step % FLOAT8_MULTIPLE):
            raise ValueError(f"float8 needs low and step to be multiples of {FLOAT8_MULTIPLE}")

    @property
    def edges(self) -> range:
        return range(self.low, self.high + 1, self.step)


@benchmark("gemm.peak", version=1, params=PeakParams, scope="device", rate="flops")
def peak(ctx: Context, params: PeakParams) -> Sequence[Measurement]:
    """The best rate over a range of shapes, searched for within a budget; every trial is kept."""
    with precision(params.dtype):
        return Finder(ctx, params).find()


class Finder:
    """Times shapes, keeps what it timed, and watches the clock. All ranks take the same steps: the meter
    gives them the same samples and the same time."""

    def __init__(self, ctx: Context, params: PeakParams) -> None:
        self._ctx, self._params = ctx, params
        self._begin, self._seconds = ctx.meter.now(), params.seconds or VISITS * ctx.policy.cap
        self._brief = msgspec.structs.replace(ctx.policy, **BRIEF)
        self._taken: dict[Shape, list[Measurement]] = {}
        self._refusal = ""

    def find(self) -> list[Measurement]:
        """The best shape's measurement, then the trials."""
        from microbench.gemm.search import explore, race

        self._build((self._params.low,) * 3)  # a type that the device lacks ends it here, for all ranks
        self._ctx.ready()
        known = explore(self._params.edges, self.trial, self._until(EXPLORING), self._ctx.seed)
        if not self._taken:
            raise Skip(f"none of {len(known)} shapes that were tried: {self._refusal}")
        best = race(known, self.trial, self._until(RACING))
        return [self._measure(best), *(_bid(shape, taken) for shape, taken in self._taken.items())]

    def trial(self, shape: Shape) -> list[float]:
        """Seconds of one FLOP, a few samples; none where some rank cannot make this product."""
        from harness.sampling import measure

        task = self._agreed(shape)
        if task is None:
            return []
        taken = measure(self._ctx.meter, task, Cadence.STREAMING, self._brief)
        self._taken.setdefault(shape, []).append(taken)
        return [sample / task.operation.flops for sample in taken.samples]

    def _agreed(self, shape: Shape) -> Task | None:
        """The task, or None on every rank where one rank has to skip it."""
        task, refusal = None, ""
        try:
            task = self._build(shape)
        except Skip as reason:
            refusal = str(reason)
        said = [text for text in self._ctx.ranks.words(refusal) if text]
        self._refusal = said[0] if said else self._refusal
        return None if said else task

    def _build(self, shape: Shape) -> Task:
        return build(self._ctx, GemmParams(*shape, self._params.dtype))

    def _until(self, share: float) -> Callable[[], bool]:
        """Whether that share of the time is still to come."""
        end = self._begin + share * self._seconds
        return lambda: self._ctx.meter.now() < end

    def _measure(self, best: Shape) -> Measurement:
        """Fresh samples of the winner in the time that is left."""
        from harness.sampling import measure

        left = self._begin + self._seconds - self._ctx.meter.now()
        cap = max(self._brief.cap, min(self._ctx.policy.cap, left))
        policy = msgspec.structs.replace(self._ctx.policy, cap=cap)
        taken = measure(self._ctx.meter, self._build(best), Cadence.STREAMING, policy)
        shapes, tried = len(self._params.edges) ** 3, len(self._taken)
        flag = f"best of {tried} shapes timed, {tried / shapes:.2g} of {shapes}, within {self._seconds:.3g} s"
        evidence = msgspec.structs.replace(taken.evidence, flags=(*taken.evidence.flags, flag))
        return msgspec.structs.replace(taken, params=_named(best), evidence=evidence)


def _named(shape: Shape) -> Params:
    return dict(zip("mnk", shape, strict=True))


def _bid(shape: Shape, taken: Sequence[Measurement]) -> Measurement:
    """A shape's samples of all its trials, as the evidence of the last has it. Without a width: no later
    visit is to narrow a bid."""
    last, samples = taken[-1], tuple(sample for one in taken for sample in one.samples)
    flags = tuple(dict.fromkeys(flag for one in taken for flag in one.evidence.flags))
    evidence = msgspec.structs.replace(last.evidence, width=None, stopped="trial", flags=flags)
    return msgspec.structs.replace(
        last, metric=f"trial.{Cadence.STREAMING}", samples=samples, rates=(), evidence=evidence, params=_named(shape)
    )
