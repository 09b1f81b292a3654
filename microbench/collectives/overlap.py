"""A matrix product and a collective at once: what each costs the other.

Training hides communication behind computation, and both then share what they run on: a GPU's
multiprocessors and memory, a CPU's cores. Each is timed alone and beside the other, in turns, and the
slow-down is the ratio of the two times of one turn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from harness.accelerator import Operation
from harness.records import Better, Cadence, Evidence, Measurement
from harness.registry import benchmark
from harness.units import Bytes, Unit
from microbench.collectives import GroupParams, team_of
from microbench.collectives.formulas import whole_elements

if TYPE_CHECKING:
    from harness.context import Context
    from harness.sampling import Task

COVER = 3.0
"""The other work lasts this many times as long as what is timed: it is still there at the end of a
timed operation that it slows down up to threefold."""

LEAST, MOST = 6, 200  # turns
WARMUP = 2  # of each alone

PARTS = ("gemm_alone", "gemm_beside", "collective_alone", "collective_beside")


class OverlapParams(GroupParams, frozen=True, kw_only=True):
    """An all-reduce of `size` B beside square products of edge `m`, both in `dtype`."""

    size: Bytes
    m: Annotated[int, msgspec.Meta(ge=16)] = 1024
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"

    def __post_init__(self) -> None:
        whole_elements(self.size, self.dtype)


@benchmark("collectives.overlap", version=1, params=OverlapParams, scope="group", rate="gemm_slowdown")
def overlap(ctx: Context, params: OverlapParams) -> Sequence[Measurement]:
    """A matrix product and an all-reduce at once: how much each one slows the other down."""
    from microbench.collectives.operations import build, operation
    from microbench.gemm.product import GemmParams
    from microbench.gemm.product import build as product

    team = team_of(ctx, params)
    ctx.require(Operation("step", "overlap", params.dtype, ranks=team.size))
    made = operation(ctx, "all_reduce", params.dtype, params.size, team)
    collective = build(ctx, made, team, params.size)
    multiply = product(replace(ctx, arena=ctx.arena.apart()), GemmParams(m=params.m, dtype=params.dtype))
    gemm = replace(multiply, team=team)
    ctx.ready()
    for task in (collective, gemm):
        ctx.meter.verify(task)
    return _measurements(ctx, _turns(ctx, gemm, collective), collective.flags)


@dataclass
class _Background:
    """Work that goes on beside the timed operation, and must have ended before the next."""

    ctx: Context
    wait: Callable[[], None] | None = None

    def start(self, task: Task, times: int) -> None:
        """`times` operations of a task that was prepared for as many."""

        def work() -> None:
            for index in range(times):
                task.step(index)

        self.wait = self.ctx.accelerator.beside(work)

    def end(self) -> None:
        if self.wait is not None:
            self.wait()
            self.wait = None


def _beside(ctx: Context, timed: Task, other: Task, times: int) -> tuple[Task, _Background]:
    """The task `timed` with `times` operations of the other one started just before it."""
    background = _Background(ctx)

    def prepare(operations: int) -> None:
        background.end()
        other.prepare(times)
        timed.prepare(operations)

    def step(index: int) -> None:
        background.start(other, times)
        timed.step(index)

    return replace(timed, prepare=prepare, step=step), background


def _turns(ctx: Context, gemm: Task, collective: Task) -> dict[str, list[float]]:
    """Times of the four parts in s, one of each for every turn, in alternating order (METHOD 13)."""

    def take(task: Task) -> float:
        return ctx.meter.block(task, Cadence.ISOLATED, 1, 1).samples[0]

    alone = [min(take(task) for _ in range(WARMUP + 1)) for task in (gemm, collective)]
    gemm_beside, first = _beside(ctx, gemm, collective, _times(collective, alone[0] / alone[1]))
    collective_beside, second = _beside(ctx, collective, gemm, _times(gemm, alone[1] / alone[0]))
    tasks = dict(zip(PARTS, (gemm, gemm_beside, collective, collective_beside), strict=True))
    taken: dict[str, list[float]] = {name: [] for name in PARTS}
    begin = ctx.meter.now()
    while len(taken[PARTS[0]]) < MOST:
        turn = list(tasks.items())
        for name, task in turn if len(taken[PARTS[0]]) % 2 else reversed(turn):
            taken[name].append(take(task))
            first.end()
            second.end()
        if len(taken[PARTS[0]]) >= LEAST and ctx.meter.now() - begin > 2 * ctx.policy.cap:
            break
    return taken


def _times(task: Task, ratio: float) -> int:
    """Operations that last `COVER` times as long as the timed one, within what the operands last."""
    wanted = max(1, math.ceil(COVER * ratio))
    return wanted if task.lasting is None else max(1, min(wanted, task.lasting))


def _measurements(ctx: Context, taken: dict[str, list[float]], flags: tuple[str, ...]) -> list[Measurement]:
    from harness.statistics import median_interval

    flags = (*flags, "starting the other work is part of the time beside it")
    turns = len(taken[PARTS[0]])

    def measurement(metric: str, unit: Unit, samples: Sequence[float], cadence: Cadence | None) -> Measurement:
        evidence = Evidence(WARMUP, width=median_interval(samples).width, stopped=f"{turns} turns", flags=flags)
        return Measurement(
            metric, unit, Better.LOWER, tuple(samples), ctx.meter.origin, cadence, evidence=evidence
        )  # fmt: skip

    times = [
        measurement(f"{name}.{Cadence.ISOLATED}", Unit.SECOND, taken[name], Cadence.ISOLATED) for name in PARTS
    ]  # fmt: skip
    ratios = []
    for what in ("gemm", "collective"):
        pairs = zip(taken[f"{what}_beside"], taken[f"{what}_alone"], strict=True)
        ratios.append(measurement(f"{what}_slowdown", Unit.RATIO, [beside / alone for beside, alone in pairs], None))
    return [*ratios, *times]
