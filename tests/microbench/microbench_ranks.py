"""One of a few gloo ranks that try every collective once, for test_microbench_collectives.

`python microbench_ranks.py FOLDER`, started with RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT; writes what
came of each case to FOLDER/rank-N.json.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator
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
from harness.records import Struct
from harness.sampling import Task
from microbench import BENCHMARKS
from microbench.collectives import operations
from microbench.collectives.formulas import COLLECTIVES, ITEM

SIZES = (24, 1 << 10, (1 << 20) + 24)  # B; the last is no multiple of what a pattern is tiled with
CACHE = 1 << 20  # B: a small one, so that no case fills memory to get past it
BRIEF = Policy(minimum=6, maximum=12, cap=0.2, warmup_cap=0.1)

Call = operations.Call


class Case(Struct, frozen=True):
    """One cell: an operation on real data, checked and stepped."""

    name: str
    dtype: str
    size: int
    in_place: bool

    @property
    def label(self) -> str:
        return f"{self.name} {self.dtype} {self.size}{' in place' if self.in_place else ''}"


def cases() -> Iterator[Case]:
    for collective, dtype, size in itertools.product(COLLECTIVES.values(), ITEM, SIZES):
        yield Case(collective.name, dtype, size, in_place=False)
        if collective.buffers == "nested":
            yield Case(collective.name, dtype, size, in_place=True)


def _nothing(into: torch.Tensor, out_of: torch.Tensor) -> None:
    """The operation that was forgotten."""


def _greatest(into: torch.Tensor, out_of: torch.Tensor) -> None:
    dist.all_reduce(into, op=dist.ReduceOp.MAX)


def _twice(into: torch.Tensor, out_of: torch.Tensor) -> None:
    dist.all_reduce(into)
    into.mul_(2)


def _other_root(into: torch.Tensor, out_of: torch.Tensor) -> None:
    dist.broadcast(into, src=1)


def _own_data(into: torch.Tensor, out_of: torch.Tensor) -> None:
    into.copy_(out_of)


def _reversed_parts(right: Call) -> Call:
    def call(into: torch.Tensor, out_of: torch.Tensor) -> None:
        right(into, out_of)
        into.copy_(torch.cat(into.chunk(dist.get_world_size())[::-1]))

    return call


def _other_part(into: torch.Tensor, out_of: torch.Tensor) -> None:
    dist.all_reduce(out_of)
    into.copy_(out_of.chunk(dist.get_world_size())[dist.get_rank() - 1])


def _last_wrong_on_1(right: Call) -> Call:
    def call(into: torch.Tensor, out_of: torch.Tensor) -> None:
        right(into, out_of)
        if dist.get_rank() == 1:
            into[-1] += 1

    return call


PLANTED: dict[str, tuple[str, Callable[[Call], Call]]] = {
    **{f"{name}: nothing done": (name, lambda _: _nothing) for name in COLLECTIVES},
    **{f"{name}: last element wrong on rank 1": (name, _last_wrong_on_1) for name in COLLECTIVES},
    "all_reduce: the greatest": ("all_reduce", lambda _: _greatest),
    "all_reduce: twice the sum": ("all_reduce", lambda _: _twice),
    "all_gather: parts reversed": ("all_gather", _reversed_parts),
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


def _try(ctx: Context, case: Case) -> None:
    """Check, then step over several sets of a block, then check again."""
    task = operations.build(ctx, case.name, case.dtype, case.size, case.in_place)
    ctx.meter.verify(task)
    task.prepare(3)
    for index in range(3):
        task.step(index)
    ctx.meter.verify(task)


def _with_fault(ctx: Context, name: str, fault: Callable[[Call], Call]) -> str:
    right = operations.call
    operations.call = lambda *place: fault(right(*place))
    try:
        task: Task = operations.build(ctx, name, "float32", 1 << 12, in_place=False)
    finally:
        operations.call = right
    return _outcome(lambda: ctx.meter.verify(task))


def _records(ctx: Context) -> dict[str, object]:
    """Each benchmark as a run calls it: rates and samples of both cadences."""
    known, found = registry.load(BENCHMARKS), {}
    for name in COLLECTIVES:
        entry = known[f"collectives.{name}"]
        params = msgspec.convert({"size": 1 << 14, "ranks": ctx.ranks.world, "dtype": "bfloat16"}, entry.params)
        found[name] = msgspec.to_builtins(list(entry.run(ctx, params)))
    return found


def _platform(world: int) -> Platform:
    return real(
        Job(
            run="test", launch=0, modules=BENCHMARKS, platform="", accelerator="cpu", cluster=local.detect(), cells=(),
            seed=1, policy=BRIEF, nodes=1, ranks_per_node=world, threads=1, timeout=60.0, command=(),
        )
    )  # fmt: skip


def main(folder: Path) -> None:
    platform = _platform(int(os.environ["WORLD_SIZE"]))
    accelerator, ranks, meter = platform.accelerator, platform.ranks, platform.meter
    arena = Arena(torch.device("cpu"), accelerator.memory_free, CACHE, ranks.world, seed=ranks.rank)
    ctx = Context(accelerator, ranks, meter, BRIEF, arena, seed=1)
    apart = Context(NotGloo(accelerator), ranks, meter, BRIEF, arena, seed=1)  # type: ignore[arg-type]
    found = {
        "cases": {case.label: _outcome(lambda case=case: _try(apart, case)) for case in cases()},
        "planted": {label: _with_fault(ctx, name, fault) for label, (name, fault) in PLANTED.items()},
        "in place on gloo": _outcome(lambda: operations.build(ctx, "all_gather", "float32", 1024, in_place=True)),
        "too small": _outcome(lambda: operations.build(ctx, "all_gather", "float32", 4, in_place=False)),
        "records": _records(ctx),
    }
    (folder / f"rank-{ctx.ranks.rank}.json").write_text(json.dumps(found))
    platform.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
