"""From what was asked to what will run: cells, the launches that share a world, and their cost."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench import catalog, parameters
from bench.suites import Suite
from harness import registry
from harness.errors import UsageError
from harness.hardware import Cluster
from harness.registry import Benchmark
from harness.store import Planned

CPU_RANKS_PER_CORE = 8  # more measure the scheduler
CPU_RANKS = 2  # gloo needs two processes to have a collective at all
DIGITS = 9  # of a number of ranks: more are a slip


@dataclass(frozen=True)
class World:
    """Ranks that a launch starts."""

    nodes: int
    ranks_per_node: int
    threads: int  # per rank

    @property
    def ranks(self) -> int:
        return self.nodes * self.ranks_per_node


@dataclass(frozen=True)
class Group:
    """Cells that share a world, and so a launch."""

    name: str
    world: World
    cells: tuple[Planned, ...]


@dataclass(frozen=True)
class Plan:
    suite: Suite
    cluster: Cluster
    groups: tuple[Group, ...]
    benchmarks: dict[str, Benchmark]

    @property
    def cells(self) -> tuple[Planned, ...]:
        return tuple(cell for group in self.groups for cell in group.cells)

    def most_seconds(self) -> float:
        """What the run can take at most: every cell of every launch at both caps, in both cadences."""
        policy = self.suite.policy
        return len(self.cells) * self.suite.launches * 2 * (policy.cap + policy.warmup_cap)


def make(
    suite: Suite, cluster: Cluster, patterns: Sequence[str], settings: Mapping[str, Sequence[str]]
) -> Plan:  # fmt: skip
    """The plan of a run; UsageError where a pattern, a setting or a parameter is wrong."""
    known = catalog.benchmarks()
    chosen = registry.select(patterns, known) if patterns else list(known.values())
    parameters.check_settings(settings, chosen)
    ranks = [world.ranks for world in group_worlds(cluster, settings.get("ranks", ()))]
    cells: dict[str, Planned] = {}
    for benchmark in chosen:
        for grid in _grids(suite, cluster, benchmark, settings):
            cells |= {cell.label: cell for cell in parameters.expand(benchmark, grid | {"ranks": ranks})}
    if not cells:
        raise UsageError(f"suite {suite.name} has no cell for this choice on {cluster.accelerator}")
    return of_cells(suite, cluster, list(cells.values()))


def of_cells(suite: Suite, cluster: Cluster, cells: Sequence[Planned]) -> Plan:
    """The plan for given cells: those that need the same world share a launch. Small worlds come first:
    they settle soonest, and what they leave of the budget goes to the widest intervals of the last."""
    known = catalog.benchmarks()
    worlds: dict[World, list[Planned]] = {}
    for cell in cells:
        worlds.setdefault(_world(cell, known, cluster), []).append(cell)
    groups = tuple(
        Group(f"{world.ranks}-ranks", world, tuple(held)) for world, held in sorted(worlds.items(), key=_size)
    )
    return Plan(suite, cluster, groups, known)


def _size(entry: tuple[World, object]) -> int:
    return entry[0].ranks


def _world(cell: Planned, known: Mapping[str, Benchmark], cluster: Cluster) -> World:
    if registry.find(cell.benchmark, dict(known)).scope == "device":
        return device_world(cluster)
    ranks = cell.params.get("ranks")
    return group_worlds(cluster, [str(ranks)] if ranks else [])[0]


def group_world(cluster: Cluster) -> World:
    """One rank per device; on CPU a few processes that share the cores."""
    default = CPU_RANKS if cluster.accelerator == "cpu" else cluster.node.devices
    ranks = cluster.launch.ranks_per_node or default
    return World(cluster.nodes, ranks, _threads(ranks))


def group_worlds(cluster: Cluster, wanted: Sequence[str]) -> list[World]:
    """The cluster's world, or one world for each number of ranks that the user set."""
    return [_sized(cluster, text) for text in wanted] or [group_world(cluster)]


def _sized(cluster: Cluster, text: str) -> World:
    """`text` ranks on as few nodes as hold them; UsageError for a number that does not fill whole nodes."""
    ranks, held = int(text) if text.isdecimal() and len(text) <= DIGITS else 0, cluster.node.devices
    if cluster.accelerator == "cpu":
        held = most = CPU_RANKS_PER_CORE * max(2, len(os.sched_getaffinity(0)))  # processes share the cores
    else:
        most = cluster.devices
    nodes = -(-ranks // held)
    if not 2 <= ranks <= most or ranks % nodes:
        whole = f", and whole nodes of {held} where it is more than one" if most > held else ""
        raise UsageError(f"--set ranks={text}: a whole number of at least 2 and at most {most}{whole}")
    return World(nodes, ranks // nodes, _threads(ranks // nodes))


def device_world(cluster: Cluster) -> World:
    """One rank per device, each by itself; on CPU one process with every core."""
    if cluster.accelerator != "cpu":
        return group_world(cluster)
    return World(cluster.nodes, 1, _threads(1))


def _threads(ranks: int) -> int:
    return max(1, len(os.sched_getaffinity(0)) // ranks)


def _grids(
    suite: Suite, cluster: Cluster, benchmark: Benchmark, settings: Mapping[str, Sequence[str]]
) -> list[dict[str, Sequence[object]]]:  # fmt: skip
    """The suite's grids for a benchmark, with what the user set in their place. A benchmark that the
    suite does not list runs with the settings alone."""
    entries = [c for c in suite.cells if benchmark.name in c.benchmarks and (not c.on or cluster.accelerator in c.on)]
    own = {key: value for key, value in settings.items() if key in parameters.fields(benchmark.params)}
    if not entries:
        return [dict(own)] if own else []
    return [{**entry.grid, **own} for entry in entries]
