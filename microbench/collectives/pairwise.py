"""The map of a fabric: every pair of ranks swaps buffers, both ways at once.

Small messages give the latency of each path, large ones its bandwidth. Which pairs, ranks, nodes or
rails stand out is decided on read (harness.outliers).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.accelerator import Operation
from harness.errors import Skip
from harness.operands import Operands, Spec
from harness.ranks import Team
from harness.records import Better, Cadence, Evidence, Measurement, Rate, Struct
from harness.registry import benchmark
from harness.units import Bytes, Unit
from microbench.collectives.formulas import COLLECTIVES, ITEM, Piece, whole_elements
from microbench.collectives.groups import nodes_of
from microbench.collectives.rounds import Pair, Round, rounds

if TYPE_CHECKING:
    from harness.context import Context
    from harness.sampling import Task
    from microbench.collectives.operations import Buffers

EXCHANGE = COLLECTIVES["exchange"]
DTYPE = "float32"

PASSES = 3  # over all rounds at least, so that a pair's samples are spread over the cell's time
LEAST, MOST = 3, 5  # samples of a pair in each pass: those of one pass share a busy moment
FOUND = 1.15  # passes go on until a pair whose times are longer by this ratio would be found nine times in ten
MANY = 200  # samples of a pair, at most
WARMUP = 2  # operations of a round before its first samples: the first one connects the pair


class PairwiseParams(Struct, frozen=True):
    """size: each way. alone: one pair at a time; else each rank is in one pair of every round, so that
    paths which share a switch are loaded together."""

    size: Bytes
    ranks: int
    alone: bool = False

    def __post_init__(self) -> None:
        whole_elements(self.size, DTYPE)
        if self.ranks < 2:
            raise ValueError(f"ranks={self.ranks}: a pair needs 2")


@benchmark("collectives.pairwise", version=1, params=PairwiseParams, scope="group", rate="busbw")
def pairwise(ctx: Context, params: PairwiseParams) -> Sequence[Measurement]:
    """Bandwidth and latency of every pair of ranks, both ways at once: a map in which slow paths stand out."""
    if params.ranks > ctx.ranks.world:
        raise Skip(f"{params.ranks} ranks, and the launch has {ctx.ranks.world}")
    if params.ranks > ctx.per_node and params.ranks % ctx.per_node:
        raise Skip(f"{params.ranks} ranks are no whole nodes of {ctx.per_node}")
    order = rounds(params.ranks, ctx.per_node)
    if params.alone:
        order = [(pair,) for pairs in order for pair in pairs]
    tasks = list(_tasks(ctx, order, params.size))
    ctx.ready()
    for task in tasks:
        ctx.meter.verify(task)
    taken, stopped = _sample(ctx, tasks)
    return [_measurement(ctx, params, taken, stopped)]


def _tasks(ctx: Context, order: Sequence[Round], size: int) -> Iterator[Task]:
    """One task for each round, all over the same operands."""
    import torch

    from microbench.collectives.operations import Buffers

    count = size // ITEM[DTYPE]
    ctx.require(_operation(ctx, order[0], size))
    sets = ctx.operands(Spec((count,), DTYPE), Spec((count,), DTYPE))
    token = Buffers(torch.zeros(1, device=ctx.device), torch.zeros(1, device=ctx.device))
    for pairs in order:
        yield _task(ctx, pairs, _operation(ctx, pairs, size), sets, token)


def _operation(ctx: Context, pairs: Round, size: int) -> Operation:
    nodes = nodes_of(pairs[0], ctx.per_node)
    return Operation(
        "collective", "exchange", DTYPE, bytes=float(size), ranks=2, nodes=nodes, groups=len(pairs)
    )  # fmt: skip


def _task(ctx: Context, pairs: Round, made: Operation, sets: Operands, token: Buffers) -> Task:
    """All pairs of one round at once. Only the two ranks of a pair are brought to one moment."""
    from harness.sampling import Task
    from microbench.collectives.operations import Buffers, swap, verify
    from microbench.collectives.patterns import Wanted

    own = next((pair for pair in pairs if ctx.ranks.rank in pair), None)
    if own is None:
        return Task(made, lambda _: None, (), team=Team(pairs, None))
    rank = own.index(ctx.ranks.rank)
    other, team = own[1 - rank], Team(pairs, rank, own)
    met = replace(EXCHANGE, received=lambda _, __, count: iter((Piece(other, 0, count),)))
    wanted = Wanted(met, ctx.ranks.rank, ctx.ranks.world, int(made.bytes) // ITEM[DTYPE])

    def operate(buffers: Buffers) -> None:
        swap(1 - rank, 1 - rank, team, buffers)

    def step(index: int) -> None:
        into, out_of = sets[index]
        operate(Buffers(into, out_of))

    def check() -> None:
        sets.prepare(1)
        into, out_of = sets[0]
        verify(wanted, operate, Buffers(into, out_of))

    aligned = replace(team, align=lambda: operate(token))
    return Task(made, step, (), sets.prepare, check, sets.count, team=aligned)


def _sample(ctx: Context, tasks: Sequence[Task]) -> tuple[dict[Pair, list[float]], str]:
    """Durations of each pair in s, the slower of its two ranks, and why sampling ended. Passes over all rounds,
    each in an order of its own (METHOD 13), until a slow pair would be found or the visit's time is over. Looks
    come when the passes have doubled: one over many pairs takes as long as a pass."""
    taken: dict[Pair, list[float]] = {}
    begin = ctx.meter.now()
    for task in tasks:
        ctx.meter.by_rank(task, Cadence.ISOLATED, WARMUP)
    warm = ctx.meter.now()
    left, each = 2 * ctx.policy.cap - (warm - begin), (warm - begin) / WARMUP
    samples = max(LEAST, min(MOST, int(left / PASSES / max(each, 1e-9))))
    look = PASSES
    for passing in range(MANY // samples):
        _pass(ctx, tasks, passing, samples, taken)
        done, late = passing + 1, ctx.meter.now() - begin >= 2 * ctx.policy.cap
        if done >= look or (late and done >= PASSES):
            if _found(ctx, taken):
                return taken, "width reached"
            look *= 2
        if late and done >= PASSES:
            return taken, "time cap"
    return taken, "sample cap"


def _pass(ctx: Context, tasks: Sequence[Task], passing: int, samples: int, taken: dict[Pair, list[float]]) -> None:
    """Some samples of every round more."""
    order = list(tasks)
    random.Random(ctx.seed + passing).shuffle(order)  # noqa: S311 (an order, not a secret)
    for task in order:
        assert task.team is not None
        durations = ctx.meter.by_rank(task, Cadence.ISOLATED, samples)
        for at, pair in enumerate(task.team.members):
            both = zip(durations[2 * at], durations[2 * at + 1], strict=True)
            taken.setdefault((pair[0], pair[1]), []).extend(map(max, both))


def _found(ctx: Context, taken: dict[Pair, list[float]]) -> bool:
    """Whether a pair slower by `FOUND` would be found nine times in ten; also where no more samples can help."""
    from harness.outliers import slow_pairs

    pairs = sorted(taken)
    smallest = slow_pairs(pairs, [taken[pair] for pair in pairs], ctx.per_node).smallest
    return smallest.get("pair", 1.0) <= FOUND


def _measurement(ctx: Context, params: PairwiseParams, taken: dict[Pair, list[float]], stopped: str) -> Measurement:
    from harness.statistics import median_interval

    every = params.ranks * (params.ranks - 1) // 2
    flags = [f"{ctx.per_node} ranks on each node; each way at once; rates are of one way"]
    if len(taken) < every:
        flags.append(f"{len(taken)} of {every} pairs: all inside nodes, and every two nodes over every rail")
    if not params.alone:
        flags.append("pairs of a round run at the same time and share what they share")
    samples = tuple(sample for pair in sorted(taken) for sample in taken[pair])
    rates = tuple(Rate(name, float(params.size), Unit.BYTE_PER_SECOND) for name in ("algbw", "busbw"))
    evidence = Evidence(WARMUP, width=median_interval(samples).width, stopped=stopped, flags=tuple(flags))
    return Measurement(
        "time.isolated", Unit.SECOND, Better.LOWER, samples, ctx.meter.origin, Cadence.ISOLATED, rates, evidence,
        pairs=tuple(sorted(taken)),
    )  # fmt: skip
