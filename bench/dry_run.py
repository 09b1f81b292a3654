"""`bench run --dry-run`: every cell, with the argv and environment that would measure it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from bench import catalog
from bench.execute import start
from bench.output import emit, label, table
from bench.plan import Group, Plan
from harness.job import Job
from harness.units import show_duration

FOLDER = Path("RUN/logs/LAUNCH")


def print_plan(plan: Plan, as_json: bool, budget: float | None, simulate: bool) -> int:
    """Print the plan; starts nothing and writes nothing. Exit code 0."""
    most = plan.seconds(plan.cells) * plan.suite.launches
    total = most if budget is None else min(most, budget)
    share = total / most
    starts = {group.name: start(_job(plan, group, simulate), FOLDER) for group in plan.groups}
    cells: list[dict[str, Any]] = [
        {
            "benchmark": cell.benchmark,
            "version": cell.version,
            "params": cell.params,
            "launches": plan.suite.launches,
            "ranks": group.world.ranks,
            "nodes": group.world.nodes,
            "argv": starts[group.name][0],
            "environment": starts[group.name][1],
            "seconds": share * plan.seconds([cell]),
        }
        for group in plan.groups
        for cell in group.cells
    ]
    document = {
        "cluster": plan.cluster.name,
        "devices": plan.cluster.devices,
        "suite": plan.suite.name,
        "launches": plan.suite.launches,
        "seconds": total,
        "cells": cells,
    }
    emit(as_json, document, _text(plan, starts, total, share))
    return 0


def _job(plan: Plan, group: Group, simulate: bool) -> Job:
    return Job(
        run="RUN",
        launch=0,
        modules=catalog.modules(),
        platform="",
        accelerator=plan.cluster.accelerator,
        cluster=plan.cluster,
        cells=group.cells,
        seed=0,
        policy=plan.suite.policy,
        nodes=group.world.nodes,
        ranks_per_node=group.world.ranks_per_node,
        threads=group.world.threads,
        timeout=plan.suite.timeout,
        command=(),
        timing="simulated" if simulate else "",
    )


def _text(plan: Plan, starts: dict[str, tuple[tuple[str, ...], dict[str, str]]], total: float, share: float) -> str:
    cluster, suite = plan.cluster, plan.suite
    lines = [
        f"{cluster.title}: {cluster.nodes} nodes, {cluster.devices} devices",
        f"suite {suite.name}: {len(plan.cells)} cells, {suite.launches} launch(es), at most {show_duration(total)}",
    ]
    for group in plan.groups:
        argv, environment = starts[group.name]
        lines += ["", f"{group.world.ranks} ranks on {group.world.nodes} node(s), started on each node by"]
        lines += [f"  {' '.join(f'{key}={shlex.quote(value)}' for key, value in sorted(environment.items()))} \\"]
        lines += [f"  {shlex.join(argv)}", ""]
        rows = [[label(cell.benchmark, cell.params), f"{share * plan.seconds([cell]):.2g} s"] for cell in group.cells]
        lines.append(table(["cell", "about, at most"], rows, right=[1]))
    return "\n".join(lines)
