"""The memory nodes of a host: each node's cores on each node's memory.

A host with several memory nodes has several memories, one near and the others behind a link. Pages are
touched first by a core of the node that shall hold them, then swept by all cores of one node.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from harness.errors import Skip
from harness.records import Cadence, Measurement, Struct
from harness.units import Bytes
from microbench.memory import native
from microbench.memory.crew import Crew
from microbench.memory.streams import StreamParams, loop_over, specs

if TYPE_CHECKING:
    from harness.context import Context


class NumaParams(Struct, frozen=True):
    """size: the working set over all arrays of the loop; `memory.stream` has the same."""

    size: Bytes
    op: Literal["copy", "scale", "add", "triad", "read", "write"] = "triad"
    dtype: Literal["float32", "float64"] = "float32"

    def __post_init__(self) -> None:
        self.loop()

    def loop(self) -> StreamParams:
        return StreamParams(self.size, self.op, self.dtype, "compiled")


def measure(ctx: Context, params: NumaParams, nodes: dict[int, list[int]]) -> list[Measurement]:
    """One measurement for each pair of nodes, with params `cores` and `memory`, their numbers."""
    if len(nodes) < 2:
        raise Skip("this host has one memory node: memory.stream measures it" if nodes else "no memory nodes are told")
    if ctx.per_node > 1:
        raise Skip(f"{ctx.per_node} ranks share this host's memory nodes: start one rank on each host")
    ctx.ready()
    counts = ctx.ranks.column(float(len(nodes)))
    if min(counts) < max(counts):
        raise Skip(f"hosts differ in their memory nodes: {min(counts):.0f} to {max(counts):.0f}")
    return [found for cores in nodes for memory in nodes for found in _pair(ctx, params.loop(), nodes, cores, memory)]


def _pair(
    ctx: Context, params: StreamParams, nodes: dict[int, list[int]], cores: int, memory: int
) -> Sequence[Measurement]:
    with Crew(nodes[memory][:1]) as near:
        sets = native.operands(ctx, specs(params), near)
    with Crew(nodes[cores]) as crew:
        task, sweeps = loop_over(ctx, params, crew, sets)
        found = native.per_sweep(ctx.time(task, [Cadence.STREAMING]), sweeps)
    return [msgspec.structs.replace(one, params={"cores": cores, "memory": memory}) for one in found]
