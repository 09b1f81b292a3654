"""How many ranks a launch starts, on how many nodes, with how many threads."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.hardware import Cluster
from harness.store import Planned
from microbench.collectives.groups import needed

CPU_RANKS_PER_CORE = 8  # more measure the scheduler
CPU_RANKS = 2  # gloo needs two processes to have a collective at all


@dataclass(frozen=True)
class World:
    """Ranks that a launch starts."""

    nodes: int
    ranks_per_node: int
    threads: int  # per rank

    @property
    def ranks(self) -> int:
        return self.nodes * self.ranks_per_node


def group_world(cluster: Cluster) -> World:
    """One rank per device; on CPU a few processes that share the cores."""
    default = CPU_RANKS if cluster.accelerator == "cpu" else cluster.node.devices
    return _world(cluster.nodes, cluster.launch.ranks_per_node or default)


def widest(cluster: Cluster, wanted: Sequence[str]) -> World:
    """The world in which groups of `wanted` ranks (texts) are sought: the cluster's; on CPU, where
    processes share the cores, as many as the largest number asks for, up to what is sensible."""
    world = group_world(cluster)
    if cluster.accelerator != "cpu":
        return world
    most = CPU_RANKS_PER_CORE * max(2, _cores())
    asked = max((int(text) for text in wanted if text.isdecimal() and len(text) < 9), default=0)
    return _world(world.nodes, max(world.ranks_per_node, min(asked, most))) if world.nodes == 1 else world


def holding(cluster: Cluster, cells: Iterable[Planned]) -> World:
    """The smallest world, of whole nodes where it is more than one, that holds the groups of all cells."""
    whole = group_world(cluster)
    most = max((_needed(cell, whole.ranks_per_node) for cell in cells), default=0) or whole.ranks
    if cluster.accelerator == "cpu" and whole.nodes == 1:
        return _world(1, most)
    nodes = -(-most // whole.ranks_per_node)
    return _world(nodes, whole.ranks_per_node if nodes > 1 else most)


def _needed(cell: Planned, per_node: int) -> int:
    ranks, groups, placement = (cell.params.get(key) for key in ("ranks", "groups", "placement"))
    if not isinstance(ranks, int):
        return 0
    groups = groups if isinstance(groups, int) else 1
    return needed("rail" if placement == "rail" else "packed", ranks, groups, per_node)


def device_world(cluster: Cluster) -> World:
    """One rank per device, each by itself; on CPU one process with every core."""
    if cluster.accelerator != "cpu":
        return group_world(cluster)
    return _world(cluster.nodes, 1)


def host_world(cluster: Cluster) -> World:
    """One process on every node, with every core: it starts others as it needs them."""
    return _world(cluster.nodes, 1)


def _world(nodes: int, ranks_per_node: int) -> World:
    return World(nodes, ranks_per_node, max(1, _cores() // ranks_per_node))


def _cores() -> int:
    return len(os.sched_getaffinity(0))
