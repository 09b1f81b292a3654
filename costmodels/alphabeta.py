"""Time of a collective from latency and bandwidth: t = α·steps + bytes/β.

The α–β model: Hockney, Parallel Computing 20 (1994). The algorithms and their costs: Thakur,
Rabenseifner & Gropp, IJHPCA 19 (2005): ring, and pairwise exchange for all-to-all; the double binary
tree: Sanders, Speck & Träff, Parallel Computing 35 (2009). Between algorithms and protocols the
fastest is taken, which is what NCCL's own tuner does; latencies and the share of bandwidth that a
protocol reaches are that tuner's: NCCL, src/graph/tuning.cc at commit 01afd20 (baseLat, hwLat for
NVLink and network, bandwidth factors of ncclTopoTuneModel). RCCL is a fork of NCCL and is taken to
be alike. The tuner's correction tables for medium sizes, in-network reduction (NVLS, SHARP) and
congestion are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.accelerator import UNEVEN

OVERHEAD = 15e-6
"""Of one call, beside the tuner's base latency, in s: an all-reduce of 1 KiB on 8 H100 takes 25.6 µs
(Azure AI benchmarking guide, ND H100 v5, nccl-tests), where the tuner's constants give 10.2 µs."""


@dataclass(frozen=True)
class Protocol:
    """How NCCL moves data. Latencies in s; share is of the bandwidth."""

    name: str
    base: float
    inside: float  # α of a step inside the node
    across: float  # α of a step over the network
    share: float


RING = (
    Protocol("ring LL", 3.6e-6, 0.47e-6, 2.7e-6, 1 / 4),
    Protocol("ring LL128", 10.0e-6, 1.9e-6, 4.0e-6, 0.92),
    Protocol("ring Simple", 8.4e-6, 3.4e-6, 9.6e-6, 1.0),
)
TREE = (
    Protocol("tree LL", 4.4e-6, 0.52e-6, 5.0e-6, 0.9 / 3.8),
    Protocol("tree LL128", 4.4e-6, 1.2e-6, 8.5e-6, 0.9 * 0.915),
    Protocol("tree Simple", 0.0, 28e-6, 50e-6, 0.9),
)


@dataclass(frozen=True)
class Layout:
    """Where the ranks of a collective sit, and what joins them. Rates in B/s, one direction, as
    reached by large messages.

    inside: out of one rank, to all others of its node at once. pair: to one other of its node.
    across: out of one rank over its share of the node's NICs; None inside one node.
    """

    per_node: int
    nodes: int
    inside: float
    pair: float
    across: float | None = None

    @property
    def ranks(self) -> int:
        return self.per_node * self.nodes

    @property
    def ring(self) -> float:
        """B/s of rings through all ranks: they use every link of the node, and leave it through all
        its NICs at once, so the node's whole rate bounds them."""
        return self.inside if self.across is None else min(self.inside, self.per_node * self.across)


def seconds(name: str, size: float, layout: Layout) -> float:
    """Time of the collective `name` over at least 2 ranks, in s. size: nccl-tests' S, in B.

    Raises KeyError for a name that is not in COLLECTIVES.
    """
    return OVERHEAD + COLLECTIVES[name](size, layout)


def _all_reduce(size: float, at: Layout) -> float:
    """Ring: 2(n-1) steps, 2·S·(n-1)/n per rank. Tree: up and down, logarithmic over nodes, 2·S."""
    hops = (at.nodes - 1).bit_length()  # log2, rounded up
    tree = min(
        kind.base + 2 * ((at.per_node - 1) * kind.inside + hops * kind.across) + 2 * size / (at.ring * kind.share)
        for kind in TREE
    )
    return min(_ring(2, 2 * size * (at.ranks - 1) / at.ranks, at), tree)


def _ring_once(size: float, at: Layout) -> float:
    """All-gather, reduce-scatter: n-1 steps, S·(n-1)/n per rank."""
    return _ring(1, size * (at.ranks - 1) / at.ranks, at)


def _pipeline(size: float, at: Layout) -> float:
    """Broadcast, reduce: a chain is filled in n-1 steps while S streams through it."""
    return _ring(1, size, at)


def _all_to_all(size: float, at: Layout) -> float:
    """Pairwise exchange: S/n to each of n-1 peers; links and NICs work at the same time."""
    part, outside = size / at.ranks, at.ranks - at.per_node
    moved = part * (at.per_node - 1) / at.inside
    if at.across is not None:
        moved = max(moved, part * outside / at.across)
    return min(
        kind.base + (at.per_node - 1) * kind.inside + outside * kind.across + moved / kind.share for kind in RING
    )


def _uneven(size: float, at: Layout) -> float:
    """All-to-all, until the busiest rank has received its share."""
    return _all_to_all(size * UNEVEN, at)


def _barrier(size: float, at: Layout) -> float:
    """NCCL has none: torch takes an all-reduce of one element."""
    return _all_reduce(4.0, at)


def _send_recv(size: float, at: Layout) -> float:
    """Each rank sends S to another one: the slowest pair counts, between two nodes if there are."""
    if at.across is None:
        return min(kind.base + kind.inside + size / (at.pair * kind.share) for kind in RING)
    return min(kind.base + kind.across + size / (min(at.pair, at.across) * kind.share) for kind in RING)


def _ring(rounds: int, moved: float, at: Layout) -> float:
    """`rounds` times round the ring, `moved` bytes out of each rank."""
    across = rounds * (at.nodes - 1)
    inside = rounds * (at.ranks - 1) - across
    return min(
        kind.base + inside * kind.inside + across * kind.across + moved / (at.ring * kind.share) for kind in RING
    )


COLLECTIVES: dict[str, Callable[[float, Layout], float]] = {
    "all_reduce": _all_reduce,
    "all_gather": _ring_once,
    "reduce_scatter": _ring_once,
    "broadcast": _pipeline,
    "reduce": _pipeline,
    "gather": _all_to_all,
    "scatter": _all_to_all,
    "all_to_all": _all_to_all,
    "all_to_all_uneven": _uneven,
    "send_recv": _send_recv,
    "exchange": _send_recv,
    "barrier": _barrier,
}
"""The root of a gather or scatter exchanges S/n with each of n-1 peers, as each rank of an all-to-all does."""
