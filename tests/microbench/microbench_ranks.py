"""One of a few gloo ranks that try every collective once, for test_microbench_collectives.

`python microbench_ranks.py FOLDER [PART]`, started with RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT; writes what
came of each case to FOLDER/rank-N.json.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec
import torch
import torch.distributed as dist

from clusters import local
from clusters.platforms import real
from harness import registry
from harness.context import Context
from harness.errors import Skip, WrongAnswer
from harness.job import Job
from harness.operands import Arena
from harness.platform import Platform
from harness.policy import Policy
from harness.ranks import Members
from harness.records import Struct
from harness.sampling import Task
from microbench import BENCHMARKS
from microbench.collectives import operations
from microbench.collectives.formulas import COLLECTIVES, ITEM
from microbench.collectives.groups import members

SIZES = (24, 1 << 10, (1 << 20) + 24)  # B; the last is no multiple of what a pattern is tiled with
CACHE = 1 << 20  # B: a small one, so that no case fills memory to get past it
BRIEF = Policy(minimum=6, maximum=12, cap=0.2, warmup_cap=0.1)

Call = operations.Call
Buffers = operations.Buffers


class Case(Struct, frozen=True):
    """One cell: an operation on real data, checked and stepped."""

    name: str
    dtype: str
    size: int
    in_place: bool = False
    reduction: str = ""

    @property
    def label(self) -> str:
        words = (self.name, self.reduction, self.dtype, str(self.size), "in place" if self.in_place else "")
        return " ".join(filter(None, words))


def cases() -> Iterator[Case]:
    for collective, dtype, size in itertools.product(COLLECTIVES.values(), ITEM, SIZES):
        if dtype == "float8" and collective.name not in ("send_recv", "exchange"):
            continue  # gloo has none
        for reduction in ("sum", "max", "avg") if collective.reduces else ("",):
            if reduction != "avg" or dtype != "int64":
                yield Case(collective.name, dtype, size, False, reduction)
        if collective.buffers == "nested":
            yield Case(collective.name, dtype, size, in_place=True)


def _nothing(buffers: Buffers) -> None:
    """The operation that was forgotten."""


def _greatest(buffers: Buffers) -> None:
    dist.all_reduce(buffers.into, op=dist.ReduceOp.MAX)


def _twice(buffers: Buffers) -> None:
    dist.all_reduce(buffers.into)
    buffers.into.mul_(2)


def _other_root(buffers: Buffers) -> None:
    dist.broadcast(buffers.into, src=1)


def _own_data(buffers: Buffers) -> None:
    buffers.into.copy_(buffers.out_of)


def _reversed_parts(right: Call) -> Call:
    def call(buffers: Buffers) -> None:
        right(buffers)
        if buffers.into.numel():
            buffers.into.copy_(torch.cat(buffers.into.chunk(dist.get_world_size())[::-1]))

    return call


def _other_part(buffers: Buffers) -> None:
    dist.all_reduce(buffers.out_of)
    buffers.into.copy_(buffers.out_of.chunk(dist.get_world_size())[dist.get_rank() - 1])


def _last_wrong_on(rank: int) -> Callable[[Call], Call]:
    def plant(right: Call) -> Call:
        def call(buffers: Buffers) -> None:
            right(buffers)
            if dist.get_rank() == rank:
                buffers.into[-1] += 1

        return call

    return plant


AT_ROOT = ("reduce", "gather")
PLANTED: dict[str, tuple[str, Callable[[Call], Call]]] = {
    **{f"{name}: nothing done": (name, lambda _: _nothing) for name in COLLECTIVES},
    **{f"{name}: last element wrong": (name, _last_wrong_on(0 if name in AT_ROOT else 1)) for name in COLLECTIVES},
    "all_reduce: the greatest": ("all_reduce", lambda _: _greatest),
    "all_reduce: twice the sum": ("all_reduce", lambda _: _twice),
    "all_gather: parts reversed": ("all_gather", _reversed_parts),
    "gather: parts reversed": ("gather", _reversed_parts),
    "reduce_scatter: another part": ("reduce_scatter", lambda _: _other_part),
    "broadcast: another root": ("broadcast", lambda _: _other_root),
    "all_to_all: own data": ("all_to_all", lambda _: _own_data),
    "all_to_all: parts reversed": ("all_to_all", _reversed_parts),
    "send_recv: own data": ("send_recv", lambda _: _own_data),
}
"""Wrong operations by name: (the operation, what makes the wrong call of the right one)."""


class NotGloo:
    """The platform's accelerator with another backend's name, so that in place is tried as well."""

    def __init__(self, accelerator: object) -> None:
        self._accelerator = accelerator

    def __getattr__(self, name: str) -> object:
        return getattr(self._accelerator, name)

    def backend(self) -> str:
        return "nccl"


def _outcome(action: Callable[[], object]) -> str:
    try:
        action()
    except WrongAnswer as wrong:
        return f"wrong: {wrong}"
    except Skip as reason:
        return f"skip: {reason}"
    return "ok"


def _task(ctx: Context, case: Case, groups: Members) -> Task:
    team = ctx.team(groups)
    made = operations.operation(ctx, case.name, case.dtype, case.size, team, case.reduction)
    return operations.build(ctx, made, team, case.size, case.in_place)


def _try(ctx: Context, case: Case, groups: Members) -> None:
    """Check, then step over several sets of a block, then check again."""
    task = _task(ctx, case, groups)
    ctx.meter.verify(task)
    if not task.idle:
        task.prepare(3)
        for index in range(3):
            task.step(index)
    ctx.meter.verify(task)


def _with_fault(ctx: Context, name: str, fault: Callable[[Call], Call]) -> str:
    right = operations.call
    operations.call = lambda *place: fault(right(*place))
    try:
        task = _task(ctx, Case(name, "float32", 1 << 12), _everyone(ctx))
    finally:
        operations.call = right
    return _outcome(lambda: ctx.meter.verify(task))


def _everyone(ctx: Context) -> Members:
    return members("packed", ctx.ranks.world, 1, ctx.ranks.world, ctx.per_node)


def _in_groups(ctx: Context) -> dict[str, str]:
    """Every operation in a part of the ranks, in all pairs at once, and on a rail of a pretended cluster
    with two ranks on each node."""
    several = {"the last two": ((ctx.ranks.world - 2, ctx.ranks.world - 1),)}
    if ctx.ranks.world == 4:
        apart = replace(ctx, per_node=2)
        several["pairs"] = members("packed", 2, 2, 4, apart.per_node)
        several["rails"] = members("rail", 2, 2, 4, apart.per_node)
        several["one rail"] = members("rail", 2, 1, 4, apart.per_node)
    return {
        f"{name} {place}": _outcome(partial(_try, ctx, Case(name, "float32", 1 << 12), groups))
        for place, groups in several.items()
        for name in COLLECTIVES
    }


def _params(entry: registry.Benchmark, given: dict[str, object]) -> object:
    return msgspec.convert({k: v for k, v in given.items() if k in entry.params.__struct_fields__}, entry.params)


def _records(ctx: Context) -> dict[str, object]:
    """Each benchmark as a run calls it: rates and samples."""
    known, found = registry.load(BENCHMARKS), {}
    given = {"size": 1 << 14, "ranks": ctx.ranks.world, "dtype": "bfloat16", "m": 64}
    for name in (*COLLECTIVES, "barrier", "pairwise", "overlap"):
        entry = known[f"collectives.{name}"]
        found[name] = msgspec.to_builtins(list(entry.run(ctx, _params(entry, given))))
    in_part = known["collectives.all_reduce"]
    found["in part"] = msgspec.to_builtins(list(in_part.run(ctx, _params(in_part, given | {"ranks": 2}))))
    return found


def _platform(world: int) -> Platform:
    return real(
        Job(
            run="test", launch=0, modules=BENCHMARKS, platform="", accelerator="cpu", cluster=local.detect(), cells=(),
            seed=1, policy=BRIEF, nodes=1, ranks_per_node=world, threads=1, timeout=60.0, command=(),
        )
    )  # fmt: skip


def main(folder: Path, only: str) -> None:
    platform = _platform(int(os.environ["WORLD_SIZE"]))
    accelerator, ranks, meter = platform.accelerator, platform.ranks, platform.meter
    arena = Arena(torch.device("cpu"), accelerator.memory_free, CACHE, ranks.world, seed=ranks.rank)
    ctx = Context(accelerator, ranks, meter, BRIEF, arena, seed=1, per_node=ranks.world)
    everyone = _everyone(ctx)
    apart = replace(ctx, accelerator=NotGloo(accelerator))  # type: ignore[arg-type]
    parts: dict[str, Callable[[], object]] = {
        "cases": lambda: {case.label: _outcome(partial(_try, apart, case, everyone)) for case in cases()},
        "groups": lambda: _in_groups(ctx),
        "planted": lambda: {label: _with_fault(ctx, name, fault) for label, (name, fault) in PLANTED.items()},
        "in place on gloo": lambda: _outcome(
            lambda: _task(ctx, Case("all_gather", "float32", 1024, True), _everyone(ctx))
        ),
        "too small": lambda: _outcome(partial(_task, ctx, Case("all_gather", "float32", 4), everyone)),
        "no float8": lambda: _outcome(partial(_task, ctx, Case("all_gather", "float8", 1024), everyone)),
        "too many": lambda: _outcome(lambda: members("packed", 2, 4, ctx.ranks.world, ctx.per_node)),
        "no rail": lambda: _outcome(lambda: members("rail", 2, 1, ctx.ranks.world, ctx.per_node)),
        "records": lambda: _records(ctx),
    }
    found = {name: part() for name, part in parts.items() if only in ("", name)}
    (folder / f"rank-{ctx.ranks.rank}.json").write_text(json.dumps(found))
    platform.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
