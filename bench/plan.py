"""From what was asked to what will run: cells, the launches that share a world, and their cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench import catalog, parameters, placement
from bench.suites import Suite
from bench.world import World, device_world, holding, host_world, widest
from harness import registry
from harness.errors import UsageError
from harness.hardware import Cluster
from harness.registry import Benchmark
from harness.store import Planned

START_UP = 6.0  # s that a launch takes to start, about


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

    def seconds(self, cells: Iterable[Planned]) -> float:
        """What cells take in one launch: each at most at both caps in both cadences, or about what its work takes."""
        most = 2 * (self.suite.policy.cap + self.suite.policy.warmup_cap)
        return sum(self.benchmarks[cell.benchmark].takes(cell.params) or most for cell in cells)


def budget(plan: Plan) -> float:
    """s that a run may take where none are asked for: the suite's, or what these cells take where that is less."""
    return min(plan.suite.budget, plan.suite.launches * (plan.seconds(plan.cells) + START_UP * len(plan.groups)))


def make(
    suite: Suite, cluster: Cluster, patterns: Sequence[str], settings: Mapping[str, Sequence[str]]
) -> Plan:  # fmt: skip
    """The plan of a run; UsageError where a pattern, a setting or a parameter is wrong."""
    known = catalog.benchmarks()
    chosen = registry.select(patterns, known) if patterns else list(known.values())
    parameters.check_settings(settings, chosen)
    world = widest(cluster, settings.get("ranks", ()))
    cells: dict[str, Planned] = {}
    for benchmark in chosen:
        for grid in _grids(suite, cluster, benchmark, parameters.own_values(settings, benchmark, chosen)):
            least = parameters.fewest_ranks(benchmark)
            placed = placement.grids(grid, world, least) if least else [grid]
            cells |= {cell.label: cell for one in placed for cell in parameters.expand(benchmark, one)}
    if not cells:
        raise UsageError(f"suite {suite.name} has no cell for this choice on {cluster.accelerator}")
    return of_cells(suite, cluster, list(cells.values()))


def of_cells(suite: Suite, cluster: Cluster, cells: Sequence[Planned]) -> Plan:
    """The plan for given cells: those that need the same world share a launch. Cells of hosts come first, then
    small worlds: they settle soonest, and what they leave of the budget goes to the widest intervals of the last."""
    known = catalog.benchmarks()
    scopes: dict[str, list[Planned]] = {}
    for cell in cells:
        scopes.setdefault(registry.find(cell.benchmark, known).scope, []).append(cell)
    worlds: dict[World, list[Planned]] = {}
    for scope in ("device", "group"):
        if scope in scopes:
            worlds.setdefault(_world(scope, cluster, scopes[scope]), []).extend(scopes[scope])
    groups = [Group(f"{world.ranks}-ranks", world, tuple(held)) for world, held in sorted(worlds.items(), key=_size)]
    if "host" in scopes:
        groups.insert(0, Group("hosts", host_world(cluster), tuple(scopes["host"])))
    return Plan(suite, cluster, tuple(groups), known)


def _world(scope: str, cluster: Cluster, cells: Sequence[Planned]) -> World:
    """The world that cells of one scope need."""
    return holding(cluster, cells) if scope == "group" else device_world(cluster)


def _size(entry: tuple[World, object]) -> int:
    return entry[0].ranks


def _grids(
    suite: Suite, cluster: Cluster, benchmark: Benchmark, settings: Mapping[str, Sequence[str]]
) -> list[dict[str, Sequence[object]]]:  # fmt: skip
    """The suite's grids for a benchmark, with what the user set in their place. A benchmark that the
    suite does not list runs with the settings alone."""
    entries = [c for c in suite.cells if benchmark.name in c.benchmarks and (not c.on or cluster.accelerator in c.on)]
    own = {key: value for key, value in settings.items() if key in parameters.fields(benchmark.params)}
    if any(not value for value in own.values()):
        return []  # none of the values is for this one, and others take them
    if not entries:
        return [dict(own)] if own else []
    return [{**entry.grid, **own} for entry in entries]
