"""Memory: its bandwidth by working set and access pattern, its latency, and copies between memories."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from harness.errors import Skip
from harness.records import Cadence, Measurement
from harness.registry import benchmark
from microbench.memory import access, latency, native, nodes, transfers
from microbench.memory import streams as swept

if TYPE_CHECKING:
    from harness.context import Context


@benchmark("memory.stream", version=2, params=swept.StreamParams, scope="device", rate="bandwidth")
def stream(ctx: Context, params: swept.StreamParams) -> Sequence[Measurement]:
    """Memory bandwidth of every device, from its caches to its memory: copy, scale, add, triad, read, write."""
    if params.kernel == "torch":
        return ctx.time(swept.build(ctx, params), [Cadence.STREAMING])
    return native.timed(ctx, params.threads, partial(swept.build_compiled, ctx, params))


@benchmark("memory.numa", version=1, params=nodes.NumaParams, scope="device", rate="bandwidth")
def numa(ctx: Context, params: nodes.NumaParams) -> Sequence[Measurement]:
    """Memory bandwidth of the cores of each NUMA node on the memory of each."""
    from clusters.accelerators.host import Host

    return nodes.measure(ctx, params, Host().numa_nodes())


@benchmark("memory.strided", version=1, params=access.StridedParams, scope="device", rate="bandwidth")
def strided(ctx: Context, params: access.StridedParams) -> Sequence[Measurement]:
    """Pieces of memory at a constant stride, copied side by side."""
    return _pieces(ctx, params)


@benchmark("memory.random", version=1, params=access.RandomParams, scope="device", rate="bandwidth")
def random(ctx: Context, params: access.RandomParams) -> Sequence[Measurement]:
    """Pieces of memory in a random order, copied side by side: a gather."""
    return _pieces(ctx, params)


def _pieces(ctx: Context, params: access.RandomParams) -> Sequence[Measurement]:
    if ctx.device.type == "meta":
        raise Skip("nothing models memory that is not read in order: a datasheet gives the bandwidth of a stream")
    if params.kernel == "torch":
        return ctx.time(access.build(ctx, params), [Cadence.STREAMING])
    return native.timed(ctx, params.threads, partial(access.build_compiled, ctx, params))


@benchmark("memory.latency", version=1, params=latency.LatencyParams, scope="device", rate="time")
def chase(ctx: Context, params: latency.LatencyParams) -> Sequence[Measurement]:
    """Time of one load that depends on the load before it, over a working set; on processors."""
    return native.timed(ctx, 1, partial(latency.build, ctx, params))


@benchmark("memory.transfer", version=1, params=transfers.TransferParams, scope="device", rate="bandwidth")
def transfer(ctx: Context, params: transfers.TransferParams) -> Sequence[Measurement]:
    """Copies between the host and every device, both ways at once, within a device, and to another device."""
    return ctx.time(transfers.build(ctx, params))
