"""Detectors: is a planted fault found and named, and is there silence where nothing was planted?

`python benchmarks/detection.py [--json]`. Four gloo ranks on this machine, 20 trials of each kind. A slow rank or pair
is one whose operations are followed by a busy wait of a fifth of their own duration; a wrong answer is one element of
a result, changed on one rank. A trial counts as found where exactly what was planted is named, and nothing else. The
last rows are maps of 64 ranks whose samples are those of healthy pairs, as the real ranks measured them.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from time import perf_counter
from typing import Any
from unittest.mock import patch

import numpy as np
import ranks
import torch.distributed as dist
from common import wants_json
from place import context

from harness.context import Context
from harness.errors import WrongAnswer
from harness.outliers import Findings, slow_pairs, slow_ranks
from harness.records import Cadence
from harness.sampling import Step, Task
from microbench.collectives import operations
from microbench.collectives.pairwise import PairwiseParams, pairwise
from microbench.gemm import SquareParams
from microbench.gemm.product import build as product
from microbench.memory.streams import StreamParams
from microbench.memory.streams import build as stream

RANKS, TRIALS, SLOWER = 4, 20, 1.2
FOUND, ALARMS = 19, 1  # of TRIALS: at least, at most
SWAP, LAUNCHES = 256 << 10, 3  # B each way, maps whose samples are put together, as those of launches are
MANY = 64  # ranks of the maps that are put together from real samples
PRODUCTS, STREAMS, SAMPLES = (96, 128, 160, 192), ("copy", "scale", "triad"), 60
WARMUP = 10  # operations
WORKING = 1 << 20  # B that a stream reads and writes
OPERATIONS = ("all_reduce", "all_gather", "reduce_scatter", "broadcast", "all_to_all", "send_recv")

Slow = Callable[[Task], bool]
Where = tuple[str, tuple[int, ...]]


@dataclass(frozen=True)
class Row:
    """What came of the trials of one kind; None where the kind was not tried."""

    name: str
    found: int | None
    alarms: int | None
    smallest: float | None = None

    @property
    def met(self) -> bool:
        return (self.found is None or self.found >= FOUND) and (self.alarms is None or self.alarms <= ALARMS)


class Slowed:
    """A meter under which some tasks take a fifth longer."""

    def __init__(self, meter: Any, slow: Slow) -> None:
        self._meter, self._slow = meter, slow

    def __getattr__(self, name: str) -> Any:
        return getattr(self._meter, name)

    def by_rank(self, task: Task, cadence: Cadence, samples: int) -> list[list[float]]:
        return self._meter.by_rank(self._made(task), cadence, samples)

    def block(self, task: Task, cadence: Cadence, samples: int, count: int) -> Any:
        return self._meter.block(self._made(task), cadence, samples, count)

    def _made(self, task: Task) -> Task:
        return replace(task, step=_longer(task.step)) if self._slow(task) else task


def _longer(step: Step) -> Step:
    def slow(index: int) -> None:
        begin = perf_counter()
        step(index)
        end = begin + SLOWER * (perf_counter() - begin)
        while perf_counter() < end:
            pass

    return slow


def swaps(ctx: Context, slow: Slow) -> tuple[Sequence[tuple[int, int]], np.ndarray]:
    """Pairs, and (pairs, samples) of one map."""
    params, ctx = PairwiseParams(size=SWAP, ranks=RANKS, alone=True), replace(ctx, meter=Slowed(ctx.meter, slow))
    made = [pairwise(replace(ctx, seed=launch), params)[0] for launch in range(LAUNCHES)]
    pairs = made[0].pairs
    return pairs, np.concatenate([np.reshape(one.samples, (len(pairs), -1)) for one in made], axis=1)


def named(found: Findings) -> list[Where]:
    return [(fault.kind, fault.where) for fault in found.faults]


def maps(ctx: Context, say: Callable[[str], None]) -> Iterator[Row]:
    """Slow ranks and pairs in pairwise maps, real ones and then large ones put together from real samples."""
    rng, me, healthy = random.Random(1), ctx.ranks.rank, list[Findings]()
    rows = list[np.ndarray]()

    def find(what: str, trial: int, slow: Slow) -> Findings:
        pairs, samples = swaps(ctx, slow)
        found = slow_pairs(pairs, samples, RANKS)
        say(f"{what}, trial {trial + 1} of {TRIALS}: {', '.join(fault.label for fault in found.faults) or 'nothing'}")
        rows.extend(samples / np.median(samples) if what == "pair map, healthy" else [])
        return found

    for trial in range(TRIALS):
        healthy.append(find("pair map, healthy", trial, lambda _: False))
    alarms = sum(bool(found.faults) for found in healthy)
    hits = dict.fromkeys(("slow rank", "slow pair, both ways", "slow pair, one way"), 0)
    for trial in range(TRIALS):
        rank, pair = rng.randrange(RANKS), tuple(sorted(rng.sample(range(RANKS), 2)))
        found = find(f"rank {rank} slow", trial, lambda task, r=rank: r in task.team.own)
        hits["slow rank"] += named(found) == [("rank", (rank,))]
        for kind, who in (("slow pair, both ways", pair), ("slow pair, one way", pair[1:])):
            found = find(f"pair {pair[0]}–{pair[1]} slow", trial, _in(pair, me in who))
            hits[kind] += named(found) == [("pair", pair)]
    for kind, count in hits.items():
        least = float(np.median([found.smallest["rank" if kind == "slow rank" else "pair"] for found in healthy]))
        yield Row(f"pair map: {kind}", count, alarms, least)
    if me == 0:
        yield from together(np.array(rows), say)


def _in(pair: tuple[int, ...], mine: bool) -> Slow:
    return lambda task: mine and task.team.own == pair


def together(rows: np.ndarray, say: Callable[[str], None]) -> Iterator[Row]:
    """Maps of MANY ranks: each pair's samples are those of some healthy pair of a real map. rows: (pairs of all
    maps, samples), in units of their map's median."""
    rng = np.random.default_rng(1)
    pairs = [(a, b) for a in range(MANY) for b in range(a + 1, MANY)]
    ends, count, least = np.array(pairs), {"rank": 0, "pair": 0, "alarm": 0}, list[dict[Any, float]]()
    for trial in range(TRIALS):
        rank, pair = int(rng.integers(MANY)), pairs[int(rng.integers(len(pairs)))]
        faults: dict[str, tuple[np.ndarray | None, list[Where]]] = {
            "alarm": (None, []),
            "rank": ((ends == rank).any(axis=1), [("rank", (rank,))]),
            "pair": ((ends == pair).all(axis=1), [("pair", pair)]),
        }
        for kind, (chosen, wanted) in faults.items():
            samples = rows[rng.integers(len(rows), size=len(pairs))]
            if chosen is not None:
                samples[chosen] *= SLOWER
            found = slow_pairs(pairs, samples, MANY)
            count[kind] += named(found) == wanted if wanted else bool(found.faults)
            least += [found.smallest] if not wanted else []
        say(f"maps of {MANY} ranks, trial {trial + 1} of {TRIALS}")
    for kind in ("rank", "pair"):
        yield Row(
            f"map of {MANY}: slow {kind}", count[kind], count["alarm"], float(np.median([one[kind] for one in least]))
        )


def alone(ctx: Context, say: Callable[[str], None]) -> Iterator[Row]:
    """A slow rank by what ranks do by themselves: small products, and streams in a cache."""
    makers = [partial(product, ctx, SquareParams(m=edge), rotate=False) for edge in PRODUCTS]
    makers += [partial(stream, ctx, StreamParams(op=op, size=WORKING)) for op in STREAMS]
    rng, hits, healthy = random.Random(2), 0, list[Findings]()

    def find(trial: int, slow: int) -> Findings:
        meter, medians = Slowed(ctx.meter, lambda _: ctx.ranks.rank == slow), []
        for maker in makers:
            task = maker()  # one at a time: all lie over the same memory
            meter.block(task, Cadence.ISOLATED, WARMUP, 1)
            medians.append(meter.block(task, Cadence.ISOLATED, SAMPLES, 1).rank_medians)
        found = slow_ranks(medians)
        said = ", ".join(fault.label for fault in found.faults) or "nothing"
        say(f"rank {slow if slow >= 0 else 'none'} slow by itself, trial {trial + 1} of {TRIALS}: {said}")
        return found

    for trial in range(TRIALS):
        healthy.append(find(trial, -1))
        rank = rng.randrange(RANKS)
        hits += named(find(trial, rank)) == [("rank", (rank,))]
    alarms = sum(bool(found.faults) for found in healthy)
    yield Row("rank medians: slow rank", hits, alarms, float(np.median([found.smallest["rank"] for found in healthy])))


def wrong(ctx: Context, say: Callable[[str], None]) -> Iterator[Row]:
    """One element of a collective's result, changed on one rank: the check must name rank and element."""
    rng, team, hits, alarms = random.Random(3), ctx.team((tuple(range(RANKS)),)), 0, 0
    for trial in range(TRIALS):
        name, rank, place = rng.choice(OPERATIONS), rng.randrange(RANKS), rng.randrange(1 << 10)
        made = operations.operation(ctx, name, "float32", 16 << 10, team)
        alarms += fault(ctx, operations.build(ctx, made, team, 16 << 10)) != ""
        with changed(ctx.ranks.rank == rank, place):
            said = fault(ctx, operations.build(ctx, made, team, 16 << 10))
        hits += said.startswith(f"rank {rank}: {name}: element {place} of") and ";" not in said
        say(f"wrong answer, trial {trial + 1} of {TRIALS}: {said or 'nothing'}")
    yield Row("check: wrong answer", hits, alarms)


def fault(ctx: Context, task: Task) -> str:
    try:
        ctx.meter.verify(task)
    except WrongAnswer as error:
        return str(error)
    return ""


@contextmanager
def changed(here: bool, place: int) -> Iterator[None]:
    """Collectives that are built in here give one wrong element."""
    plain = operations.call

    def call(*args: Any) -> operations.Call:
        operate = plain(*args)

        def altered(buffers: operations.Buffers) -> None:
            operate(buffers)
            if here:
                buffers.into[place] += 1

        return altered

    with patch.object(operations, "call", call):
        yield


def at_once() -> None:
    """Let a rank that is woken run at once, as where each has a core of its own: four of them share what
    cores there are, and a scheduler's time slice is longer than a swap. Needs root; else it is left."""
    with suppress(PermissionError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


def rank() -> list[Row]:
    at_once()
    ctx = context(threads=1)

    def say(text: str) -> None:
        if ctx.ranks.rank == 0:
            print(text, file=sys.stderr, flush=True)

    rows = [*wrong(ctx, say), *alone(ctx, say), *maps(ctx, say)]
    dist.barrier()
    return rows


def show(rows: Sequence[Row], as_json: bool) -> None:
    if as_json:
        print(json.dumps([asdict(row) | {"met": row.met} for row in rows], indent=1))
        return
    print(f"detectors: found and named, and alarms without a fault, of {TRIALS} trials each")
    for row in rows:
        least = f"smallest found 9 times in 10: {100 * (row.smallest - 1):.0f} %" if row.smallest else ""
        print(f"  {row.name:<34} found {row.found:>2} (target {FOUND})  alarms {row.alarms:>2} (at most {ALARMS})  "
              f"{'met' if row.met else 'MISSED':<6} {least}")  # fmt: skip


def main() -> int:
    as_json = wants_json(__doc__)
    if not ranks.is_rank():
        return ranks.start(RANKS)
    rows = rank()
    if dist.get_rank() == 0:
        show(rows, as_json)
    dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
