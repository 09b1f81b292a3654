"""Time of one operation on a declared cluster, from its datasheet with stated deratings.

gemm:       launch + max(flops / (peak·share), bytes / (bandwidth·share)): the roofline (Williams,
            Waterman & Patterson, CACM 52, 2009), where each operand moves once.
stream:     launch + bytes / (bandwidth·share).
collective: α–β over the best of NCCL's algorithms (`alphabeta`): inside a node at (n-1)·B_link
            where devices are fully connected, across nodes at the rate of the NICs.

Shares of peak come from `deratings`. Everything here is `modelled`. What the definition does not
give raises harness.errors.Skip, which names it: there is no default for missing hardware.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from costmodels import alphabeta, deratings
from costmodels.deratings import Derating
from harness.accelerator import Operation
from harness.errors import Skip
from harness.hardware import Cluster, Peak
from harness.units import Unit, show

LAUNCH = 5e-6
"""Start of one kernel, in s: 1024³ and 2048³ in FP8 on H100 take 7.8 and 17.0 µs, where the rate of
large products gives 1.6 and 12.5 (Azure AI benchmarking guide, ND H100 v5)."""

PAIRED = ("send_recv", "exchange")
"""Operations in which a device sends to one other at a time."""

_ELEMENT = {
    "float64": 8.0, "float32": 4.0, "tf32": 4.0, "float16": 2.0, "bfloat16": 2.0, "float8": 1.0, "int8": 1.0,
    "float6": 0.75, "float4": 0.5,
}  # fmt: skip


def timing(cluster: Cluster) -> Callable[[Operation], float]:
    """A function from an operation to its seconds on `cluster`; it raises Skip for what the definition lacks."""
    models = {"gemm": gemm, "stream": stream, "collective": collective}

    def seconds(operation: Operation) -> float:
        if operation.kind not in models:
            raise Skip(f"no model of {operation.name}: modelled are {', '.join(models)} operations, one at a time")
        return models[operation.kind](cluster, operation)

    return seconds


def gemm(cluster: Cluster, operation: Operation) -> float:
    """A matrix product on one device. Without a shape (three edges) it is taken as a cube, which moves least."""
    dtype = operation.dtype
    peak = cluster.device.peaks.get(dtype)
    if peak is None:
        raise Skip(f"no dense {dtype} peak known for {cluster.device.name}")
    if dtype not in _ELEMENT:
        raise Skip(f"no element size known for {dtype}; known: {', '.join(_ELEMENT)}")
    m, n, k = operation.shape if len(operation.shape) == 3 else (math.cbrt(operation.flops / 2),) * 3
    compute = operation.flops / (peak.value * deratings.gemm(cluster, dtype).share)
    moved = operation.bytes or _ELEMENT[dtype] * (m * n + n * k + m * k)
    return LAUNCH + max(compute, moved / _memory(cluster, "mm"))


def stream(cluster: Cluster, operation: Operation) -> float:
    """An operation bound by the memory of one device. Caches are not modelled."""
    return LAUNCH + operation.bytes / _memory(cluster, operation.name)


def collective(cluster: Cluster, operation: Operation) -> float:
    """A collective over `operation.ranks` devices on `operation.nodes` nodes. Groups that run at once do
    not disturb each other: links and rails are each group's own."""
    name, ranks, held = operation.name, operation.ranks, cluster.node.devices
    if name not in alphabeta.COLLECTIVES:
        raise Skip(f"no model of {name}; modelled: {', '.join(alphabeta.COLLECTIVES)}")
    if cluster.accelerator == "cpu":
        raise Skip("no latency constants known for gloo: collectives are modelled for NCCL and RCCL")
    if ranks < 2:
        raise Skip(f"{name} over {ranks} rank moves nothing")
    if ranks > cluster.devices:
        raise Skip(f"{name} over {ranks} ranks: {cluster.name} has {cluster.devices} devices")
    nodes = max(operation.nodes, math.ceil(ranks / held))
    per_node = 1 if ranks == nodes else min(ranks, held)  # one on each node: along a rail
    inside = _inside(cluster, name, per_node)
    layout = alphabeta.Layout(
        per_node=per_node,
        nodes=nodes,
        inside=inside,
        pair=_inside(cluster, name, min(2, held)) if name in PAIRED and nodes == 1 else inside,
        across=_across(cluster, name) if nodes > 1 else None,
    )
    return alphabeta.seconds(name, operation.bytes, layout)


def assumptions(cluster: Cluster) -> tuple[str, ...]:
    """What the model takes for granted, one sentence each, for the report."""
    device, link, network = cluster.device, cluster.node.link, cluster.node.network
    said = _products(cluster)
    if device.bandwidth:
        said.append(_reached("Memory streams", device.bandwidth, deratings.stream(cluster, "triad")))
    said.append(f"Every kernel takes {LAUNCH * 1e6:g} µs to start; caches, clocks and throttling are not modelled.")
    if cluster.accelerator == "cpu":
        return *said, "Collectives are not modelled: no latency constants are known for gloo."
    if link and (rated := cluster.links_bandwidth(cluster.node.devices)):
        whole = Peak(rated, Unit.BYTE_PER_SECOND, f"{link.kind}, out of one device", link.kind)
        said.append(_reached("All-reduces inside a node", whole, deratings.links(cluster, "all_reduce")))
    if network and cluster.nodes > 1:
        whole = Peak(network.nics * network.rate.value, Unit.BYTE_PER_SECOND, "all NICs of a node", network.kind)
        said.append(_reached("All-reduces across nodes", whole, deratings.network(cluster, "all_reduce")))
    return (
        *said,
        "Collectives take the fastest of NCCL's ring and tree in its LL, LL128 and Simple protocols, with the "
        f"latencies of NCCL's own tuner and {alphabeta.OVERHEAD * 1e6:g} µs a call; congestion is not modelled.",
        "Ranks fill one node after another, or one device of each node along a rail, which has that device's share "
        "of the NICs; groups that run at once do not slow each other down.",
    )


def _products(cluster: Cluster) -> list[str]:
    """One sentence for all data types that share a derating."""
    types: dict[Derating, list[str]] = {}
    for dtype in cluster.device.peaks:
        types.setdefault(deratings.gemm(cluster, dtype), []).append(dtype)
    return [
        f"Matrix products in {', '.join(held)} reach {derating.share:.0%} of their dense peak where large: "
        f"{derating.source}."
        for derating, held in types.items()
    ]


def _reached(what: str, peak: Peak, derating: Derating) -> str:
    rated = f"{show(peak.value, peak.unit)} ({peak.basis})"
    return f"{what} reach {derating.share:.0%} of {rated} where large: {derating.source}."


def _memory(cluster: Cluster, name: str) -> float:
    """B/s that the device's memory reaches."""
    if cluster.device.bandwidth is None:
        raise Skip(f"no memory bandwidth known for {cluster.device.name}")
    return cluster.device.bandwidth.value * deratings.stream(cluster, name).share


def _inside(cluster: Cluster, name: str, ranks: int) -> float:
    """B/s out of one device to ranks - 1 others of its node; without end where it is the only one. In a
    node with links of several rates it depends on which devices they are, and is not known."""
    if ranks < 2:
        return math.inf
    link, rated = cluster.node.link, cluster.links_bandwidth(ranks)
    if link is None:
        raise Skip(f"the definition of {cluster.name} gives no links inside a node (node.link)")
    if rated is None:
        raise Skip(
            f"the definition of {cluster.name} does not say what {ranks} of a node's devices share ({link.kind})"
        )
    return rated * deratings.links(cluster, name).share


def _across(cluster: Cluster, name: str) -> float:
    """B/s out of one device over its share of the node's NICs."""
    network = cluster.node.network
    if network is None:
        raise Skip(f"the definition of {cluster.name} gives no network between nodes (node.network)")
    return network.nics * network.rate.value / cluster.node.devices * deratings.network(cluster, name).share
