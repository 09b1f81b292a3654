"""Low-communication training on links that the kernel shapes: what it gains over DDP, and what it costs in loss.

`python benchmarks/low_communication.py [--json]`. Four gloo ranks train a small model, each on a host of its own (a
network namespace of this machine), joined by links of 4, 20 and 100 MB/s each way. For every link: tokens per second
over DDP's, from rounds in turns. For the slowest also with that bandwidth only declared, on a fast link, as
`bench run --only e2e.local_steps --set bandwidth=4e6` has it. Then the held-out loss over DDP's at equal tokens, seed
by seed, and what the network interfaces counted over what the benchmark counts as sent (more than 1: headers, and what
TCP sends again). Nothing is asserted. Takes ten minutes or so; needs root and iproute2.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import links
import msgspec
import torch.distributed as dist
from common import Row, row, show, wants_json
from links import Hosts

from e2e.asked import Asked
from e2e.local.courses import Course
from e2e.local.job import Turns, trained
from e2e.local.told import METHODS, SYNCHRONOUS, Job, Told
from e2e.local.wire import Wire
from harness.context import Context
from harness.models import Model
from harness.statistics import ratio_interval

RANKS, H = 4, 8
RATES = (4e6, 20e6, 100e6)  # B/s
FASTEST = 1e9  # B/s of a link that is left as it is: far more than the ranks ask of it
SECONDS = 40.0  # of timed rounds on each link
SEEDS, ROUNDS = 5, 10
OTHERS = tuple(name for name in METHODS if name != SYNCHRONOUS)
SMALL = Model(
    title="a decoder of three hundred thousand weights", source="made up: the proportions of Llama 3 at a width of 96",
    layers=2, hidden=96, heads=6, kv_heads=2, head_dim=16, ffn=336, vocabulary=256, context=512,
)  # fmt: skip


def compared(ctx: Context, hosts: Hosts) -> Iterator[Row]:
    """All rows."""
    asked = Asked("torch", SMALL, 32, RANKS * 2, 2, dtype="float32", learning_rate=3e-3, seed=1)
    job = Job(asked, ctx.accelerator.name, H, 0.0, SECONDS, ROUNDS, tuple(range(1, SEEDS + 1)))
    for rate in RATES:
        yield from speedups(ctx, hosts, job, rate, "shaped", rate)
    slowest = min(RATES)
    yield from speedups(ctx, hosts, msgspec.structs.replace(job, bandwidth=slowest), FASTEST, "declared", slowest)
    losses, spread = trained(job, ctx.ranks, ctx.device)
    for method in OTHERS:
        pairs = [pair for pair in zip(losses[method], losses[SYNCHRONOUS], strict=True) if None not in pair]
        note = f"{SEEDS} seeds, {ROUNDS * H * asked.batch * asked.sequence} tokens"
        if method == "noloco":
            note += f"; weights spread {spread[method]:.2g} over ranks"
        if pairs:
            yield row(f"held-out loss of {method}", tuple(zip(*pairs, strict=True)), note)
    yield from on_the_wire(ctx, job)


def speedups(ctx: Context, hosts: Hosts, job: Job, link: float, how: str, rate: float) -> Iterator[Row]:
    """Tokens per second over DDP's, on links of `link` B/s."""
    if ctx.ranks.rank == 0:
        for one, other in permutations(range(RANKS), 2):
            hosts.slow(one, other, hosts.rate / link)
    ctx.ranks.barrier()
    told: Told = Turns(job, ctx.accelerator, ctx.ranks, ctx.device).take()
    base = told.times[SYNCHRONOUS]
    each = H * job.asked.batch * job.asked.sequence
    for method in OTHERS:
        taken = told.times[method]
        note = f"{each * len(taken) / sum(taken):.0f} against {each * len(base) / sum(base):.0f} token/s of all ranks"
        yield Row(f"{method} at {rate / 1e6:g} MB/s, {how}", ratio_interval(base, taken), pairs=len(taken), note=note)


def on_the_wire(ctx: Context, job: Job) -> Iterator[Row]:
    """B that the interfaces sent over B counted, for a few rounds of each method; of all ranks together."""
    counter = Path("/sys/class/net/eth0/statistics/tx_bytes")
    for method in METHODS:
        wire = Wire(ctx.ranks.rank, RANKS)
        course = Course(method, job.asked, ctx.device, wire, H)
        seen, counted = [], []
        for _ in range(6):
            course.round()
            course.drain()
            ctx.ranks.barrier()
            before, sent = int(counter.read_text()), wire.sent
            ctx.ranks.barrier()
            course.round()
            course.drain()
            ctx.ranks.barrier()
            both = (float(int(counter.read_text()) - before), wire.sent - sent)
            sums = [sum(column) for column in zip(*ctx.ranks.rows(both), strict=True)]
            seen.append(sums[0])
            counted.append(sums[1])
        yield row(f"{method}: B on the wire over B counted", (seen, counted), f"{counted[-1] / RANKS:.0f} B a rank")


def main() -> int:
    as_json = wants_json(__doc__)

    def work(ctx: Context, hosts: Hosts) -> None:
        rows = []
        for one in compared(ctx, hosts):
            rows.append(one)
            if ctx.ranks.rank == 0:
                print(f"{one.name}: {one.ratio.value:.3f}", file=sys.stderr, flush=True)
        dist.barrier()
        if dist.get_rank() == 0:
            show(f"over DDP, {RANKS} ranks, {H} local steps", rows, as_json)

    said = "Links cannot be shaped here; e2e.local_steps has declared ones."
    return links.over(RANKS, FASTEST, said, work)


if __name__ == "__main__":
    sys.exit(main())
