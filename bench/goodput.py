"""What measured checkpoints mean for a job: costs out of a run's records, interruptions out of a definition."""

from __future__ import annotations

import math
from collections.abc import Iterable

from clusters import definition
from costmodels import goodput
from costmodels.goodput import Measured
from harness.hardware import Cluster
from harness.store import Run
from harness.summary import Cell, cells
from reports.goodput_model import GoodputModel, Job

SAVES = "checkpoint.save"
PUBLISHED = "h100"
"""The definition whose devices' interruptions have been published; asked where a cluster's own are not known."""

SIZES = (1024, 16384)  # devices of the jobs that are looked at, beside the cluster itself
FREE = 0.1  # share of the blocked time; where a save goes on for longer in the background, that may cost something
UNDRAGGED = "written out after training has gone on, and what that costs steps was not measured: goodput is overstated"

REACH, POINTS = 30.0, 61  # a curve goes from the least best interval over REACH to the greatest times REACH


def goodputs(run: Run, mtbf: float | None = None) -> tuple[GoodputModel, ...]:
    """A model of every engine whose costs were measured, for each job. mtbf: of the whole job, s, where it is
    given."""
    held = [(cell, known) for cell in cells(run.records) if (known := measured(cell)) is not None]
    own, found = jobs(run.info.cluster, mtbf)
    return tuple(model for job in found for model in _of_job(held, job, own)) if held else ()


def measured(cell: Cell) -> Measured | None:
    """The costs of a save; None of another cell, or where one of them has no number."""
    found = [cell.figure(name) for name in ("blocked", "durable", "restore")]
    blocked, durable, restore = (figure.interval if figure else None for figure in found)
    if cell.benchmark != SAVES or blocked is None or durable is None or restore is None or blocked.low <= 0:
        return None
    drag = cell.figure("drag")
    return Measured(blocked, durable, restore, drag.interval if drag else None)


def jobs(cluster: Cluster, mtbf: float | None = None) -> tuple[bool, tuple[Job, ...]]:
    """Whether their interruptions are of such devices as these, and the jobs."""
    if mtbf is not None:
        return True, (Job(0, mtbf, "as given"),)
    known, named = cluster.device.interruptions, cluster
    if known is None:
        named = definition.load(PUBLISHED)
        known = named.device.interruptions
    if known is None:
        return False, ()
    own = named is cluster
    sizes = sorted({*SIZES, *([cluster.devices] if own and cluster.devices > 1 else [])})
    source = f"published for {named.device.name}: {named.sources.get(known.source, known.source)}"
    return own, tuple(Job(size, goodput.of_job(known.value, size), source) for size in sizes)


def _notes(known: Measured) -> tuple[str, ...]:
    free = known.drag is None and known.value.lag > FREE * known.value.blocked
    return (UNDRAGGED,) if free else ()


def _of_job(held: Iterable[tuple[Cell, Measured]], job: Job, own: bool) -> list[GoodputModel]:
    """All engines of a job over one range of intervals, so that they can share a figure."""
    plans = [(cell, known, goodput.plan(known, job.mtbf)) for cell, known in held]
    low = min(plan.interval.value for _, _, plan in plans) / REACH
    high = max(plan.interval.value for _, _, plan in plans) * REACH
    span = [low * math.exp(math.log(high / low) * index / (POINTS - 1)) for index in range(POINTS)]
    return [
        GoodputModel(
            cell.params, job, own, plan.interval, plan.young, plan.daly, plan.goodput,
            tuple((at, goodput.curve(known, job.mtbf, at)) for at in span if at >= known.value.lag), _notes(known),
        )
        for cell, known, plan in plans
    ]  # fmt: skip
