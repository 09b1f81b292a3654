"""The map of all pairs: is a link that is truly slower found and named, and is there silence where none is?

`python benchmarks/detection_links.py [--json]`. Four gloo ranks, each on a host of its own (a network namespace of
this machine), joined by links whose rate the kernel holds; 20 trials of each kind. A slow pair has a link at 1/1.2 of
the rate, both ways or one; a slow rank has all its links so, as a bad adapter would make them. A trial counts as
found where exactly what was planted is named, and nothing else. The last rows are maps of 64 ranks whose samples are
those of healthy pairs, as the real ranks measured them. Needs root and iproute2.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import permutations
from typing import Any

import links
import numpy as np
import torch.distributed as dist
from common import wants_json
from links import Hosts
from trials import SLOWER, TRIALS, Row, Where, named, said, show

from harness.context import Context
from harness.outliers import Findings, slow_pairs
from harness.policy import Policy
from microbench.collectives.pairwise import PairwiseParams, pairwise

RANKS, MANY = 4, 64  # ranks here, and of the maps that are put together from real samples
KEPT, MAPS = 15, 4  # samples of a healthy pair, and how many such make up a pair of a large map
RATE = 50e6  # B/s of a healthy link: slow enough that it, and not the processors, decides
SWAP = 1 << 20  # B each way
POLICY = Policy(cap=4.0)  # s: one that a busy machine seldom comes to

Link = tuple[int, int]  # from, to


def maps(ctx: Context, hosts: Hosts) -> Iterator[Row]:
    """Slow ranks and pairs in maps of real links, then in large maps put together from them."""
    rng, healthy, rows = random.Random(1), list[Findings](), list[np.ndarray]()
    hits = dict.fromkeys(("slow rank", "slow pair, both ways", "slow pair, one way"), 0)
    for trial in range(TRIALS):
        found, samples = one_map(ctx, hosts, "nothing", trial, [])
        healthy.append(found)
        rows.extend(samples / np.median(samples))
        rank, (a, b) = rng.randrange(RANKS), rng.sample(range(RANKS), 2)
        around = [link for link in permutations(range(RANKS), 2) if rank in link]
        pair = [("pair", (min(a, b), max(a, b)))]
        plans: dict[str, tuple[list[Link], list[Where]]] = {
            "slow rank": (around, [("rank", (rank,))]),
            "slow pair, both ways": ([(a, b), (b, a)], pair),
            "slow pair, one way": ([(a, b)], pair),
        }
        for kind, (slow, wanted) in plans.items():
            found, _ = one_map(ctx, hosts, f"{kind} {wanted[0][1]}", trial, slow)
            hits[kind] += named(found) == wanted
    alarms = sum(bool(found.faults) for found in healthy)
    for kind, count in hits.items():
        least = [found.smallest["rank" if kind == "slow rank" else "pair"] for found in healthy]
        yield Row(f"pair map: {kind}", count, alarms, float(np.median(least)))
    yield from together(np.array([row[:KEPT] for row in rows if len(row) >= KEPT]))


def one_map(ctx: Context, hosts: Hosts, what: str, trial: int, slow: list[Link]) -> tuple[Findings, np.ndarray]:
    """What is found while these links are slow, and the samples, (pairs, samples)."""
    shape(ctx, lambda: [hosts.slow(*link, SLOWER) for link in slow])
    made = pairwise(replace(ctx, seed=trial, policy=POLICY), PairwiseParams(size=SWAP, ranks=RANKS))[0]
    shape(ctx, lambda: [hosts.slow(*link, 1.0) for link in slow])
    samples = np.reshape(made.samples, (len(made.pairs), -1))
    found = slow_pairs(made.pairs, samples, 1)
    if ctx.ranks.rank == 0:
        known = f"{samples.shape[1]} samples of each pair, {made.evidence.stopped}"
        print(f"trial {trial + 1} of {TRIALS}: {what}: {said(found)} ({known})", file=sys.stderr, flush=True)
    return found, samples


def shape(ctx: Context, change: Callable[[], object]) -> None:
    """One rank changes the links while all wait."""
    if ctx.ranks.rank == 0:
        change()
    ctx.ranks.barrier()


def together(rows: np.ndarray) -> Iterator[Row]:
    """Maps of MANY ranks: each pair's samples are those of some healthy pairs of real maps. rows: (pairs of all
    maps, samples), in units of their map's median."""
    rng = np.random.default_rng(1)
    pairs = [(a, b) for a in range(MANY) for b in range(a + 1, MANY)]
    ends, count, least = np.array(pairs), {"rank": 0, "pair": 0, "alarm": 0}, list[dict[Any, float]]()
    for _ in range(TRIALS):
        rank, pair = int(rng.integers(MANY)), pairs[int(rng.integers(len(pairs)))]
        faults: dict[str, tuple[np.ndarray | None, list[Where]]] = {
            "alarm": (None, []),
            "rank": ((ends == rank).any(axis=1), [("rank", (rank,))]),
            "pair": ((ends == pair).all(axis=1), [("pair", pair)]),
        }
        for kind, (chosen, wanted) in faults.items():
            samples = rows[rng.integers(len(rows), size=(len(pairs), MAPS))].reshape(len(pairs), -1)
            if chosen is not None:
                samples[chosen] *= SLOWER
            found = slow_pairs(pairs, samples, MANY)
            count[kind] += named(found) == wanted if wanted else bool(found.faults)
            least += [found.smallest] if not wanted else []
    for kind in ("rank", "pair"):
        smallest = float(np.median([one[kind] for one in least]))
        yield Row(f"map of {MANY}: slow {kind}", count[kind], count["alarm"], smallest)


def main() -> int:
    as_json = wants_json(__doc__)

    def work(ctx: Context, hosts: Hosts) -> None:
        rows = list(maps(ctx, hosts))
        dist.barrier()
        if dist.get_rank() == 0:
            show(rows, as_json)

    return links.over(RANKS, RATE, "The map cannot be tried over real links here.", work)


if __name__ == "__main__":
    sys.exit(main())
