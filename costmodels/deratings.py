"""How much of a datasheet figure is reached, and where that share comes from.

A published measured figure in the definition (`reference`) gives the share for what it measures;
else a default from the published figures named here stands in, and the report says so. A share of
links may exceed 1: bus bandwidth counts the traffic of a ring, and a switch that reduces moves less.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.errors import UsageError
from harness.hardware import Cluster, Reference


@dataclass(frozen=True)
class Derating:
    """share: reached / datasheet. source: in words, for the report."""

    share: float
    source: str


GEMM = Derating(
    0.78,
    "median of the best bf16 rates found on twelve accelerators, which span 51 % to 97 % of peak "
    "(S. Bekman, Machine Learning Engineering, MAMF table)",
)
STREAM = Derating(
    0.88,
    "middle of 82 % (MI300X, arXiv 2511.17127) and 95 % (H100 dot, Azure AI benchmarking guide, ND H100 v5)",
)
LINKS = Derating(
    0.80,
    "rings of 8 devices reach 76 % to 82 % (A100, H200, B200: S. Bekman, Machine Learning Engineering, network)",
)
NETWORK = Derating(
    0.95,
    "a ring over 4 nodes of 8 B200 reaches 382 of 400 GB/s (S. Bekman, Machine Learning Engineering, network)",
)


def gemm(cluster: Cluster, dtype: str) -> Derating:
    """Share of the dense peak that a large matrix product of this type reaches; needs the peak.

    A type that nobody published takes the best share of another type on the same device.
    """
    shares = dict[str, Derating]()
    for found in cluster.reference:
        kind, peak = str(found.params.get("dtype")), cluster.device.peaks.get(str(found.params.get("dtype")))
        if found.benchmark.startswith("gemm") and found.rate == "flops" and peak is not None:
            reached = _physical(cluster, found, peak.value, f"dense {kind} peak")
            shares[kind] = max(reached, shares.get(kind, reached), key=_share)
    if dtype in shares or not shares:
        return shares.get(dtype, GEMM)
    other = max(shares, key=lambda kind: shares[kind].share)
    return Derating(shares[other].share, f"taken to be as for {other}, {shares[other].source}")


def stream(cluster: Cluster, name: str) -> Derating:
    """Share of the memory's bandwidth that an operation on large arrays reaches; needs the bandwidth."""
    rated = cluster.device.bandwidth
    held = [r for r in cluster.reference if r.benchmark.startswith("memory") and r.rate == "bandwidth"]
    fits = [r for r in held if r.params.get("op") == name] or [r for r in held if "op" not in r.params]
    if not fits or rated is None:
        return STREAM
    return max((_physical(cluster, r, rated.value, "memory bandwidth") for r in fits), key=_share)


def links(cluster: Cluster, name: str) -> Derating:
    """Share of a device's links, (n-1)·B_link or the switched rate, as bus bandwidth inside a node.

    A collective that nobody published reaches the default, but no more than the cluster's all-reduce.
    """
    found = _collective(cluster, name, one_node=True)
    if found is None:
        return LINKS if name == "all_reduce" else min(LINKS, links(cluster, "all_reduce"), key=_share)
    ranks = found.params.get("ranks")
    rated = cluster.links_bandwidth(ranks if isinstance(ranks, int) else cluster.node.devices)
    return LINKS if rated is None else Derating(found.value / rated, _cited(cluster, found))


def network(cluster: Cluster, name: str) -> Derating:
    """Share of a node's NICs together, as bus bandwidth over several nodes; the default as in `links`."""
    found, joined = _collective(cluster, name, one_node=False), cluster.node.network
    if found is None:
        return NETWORK if name == "all_reduce" else min(NETWORK, network(cluster, "all_reduce"), key=_share)
    if joined is None:
        return NETWORK
    return Derating(found.value / (joined.nics * joined.rate.value), _cited(cluster, found))


def _collective(cluster: Cluster, name: str, one_node: bool) -> Reference | None:
    """The best published bus bandwidth; one that names no ranks is taken as one whole node's."""

    def fits(reference: Reference) -> bool:
        ranks = reference.params.get("ranks", cluster.node.devices)
        return isinstance(ranks, int) and ranks > 1 and (ranks <= cluster.node.devices) is one_node

    held = [r for r in cluster.reference if r.benchmark == f"collectives.{name}" and r.rate == "busbw" and fits(r)]
    return max(held, key=lambda reference: reference.value, default=None)


def _physical(cluster: Cluster, found: Reference, peak: float, what: str) -> Derating:
    """A measured rate above its peak is an error in one of the two (METHOD 17)."""
    if found.value > peak:
        raise UsageError(
            f"{cluster.name}: published {found.benchmark} {found.value:g} {found.unit} ({found.source}) lies above "
            f"the {what}, {peak:g}: one of them is wrong. Correct the definition."
        )
    return Derating(found.value / peak, _cited(cluster, found))


def _cited(cluster: Cluster, found: Reference) -> str:
    return "; ".join(filter(None, (cluster.sources.get(found.source, found.source), found.note)))


def _share(derating: Derating) -> float:
    return derating.share
