"""What a report is handed with its records: the model of each curve, and what the curve should reach."""

from __future__ import annotations

from bench import curves
from bench.curves import Trace
from costmodels import datasheet, segments
from harness.accelerator import Operation
from harness.errors import Skip
from harness.hardware import Cluster
from harness.statistics import Interval
from harness.store import Run
from harness.summary import cells
from microbench.collectives.formulas import COLLECTIVES
from microbench.collectives.groups import Placement, members, nodes_of
from reports.curve_model import CurveModel, Expectation, Piece

LEAST = 4  # sizes from which a curve is worth a model


def models(run: Run) -> tuple[CurveModel, ...]:
    """A model of every curve of collectives that has enough sizes, in the order of its cells."""
    named = {f"collectives.{name}" for name in COLLECTIVES}
    traces = (trace for trace in curves.of_cells(cells(run.records)) if trace.benchmark in named)
    return tuple(_model(run.info.cluster, trace) for trace in traces if len(trace.points) >= LEAST)


def _model(cluster: Cluster, trace: Trace) -> CurveModel:
    factor = trace.factor or 1.0
    curve = segments.describe(trace.points, factor)
    first = min(trace.points, key=lambda point: point.size)
    low, high = (first.time if end is None else end for end in (first.low, first.high))
    return CurveModel(
        benchmark=trace.benchmark,
        params=trace.params,
        cadence=trace.cadence,
        pieces=tuple(Piece(piece.first, piece.last, piece.alpha, piece.beta) for piece in curve.segments),
        peak=curve.peak,
        first_time=Interval(first.time, low, high),
        n_half=curve.n_half,
        ninety=curve.ninety,
        error=curve.error,
        expected=_expected(cluster, trace, (curve.first, curve.last)),
        notes=curve.notes,
    )


def _expected(cluster: Cluster, trace: Trace, ends: tuple[float, float]) -> Expectation:
    """From the model of the declared hardware. Its latencies are good inside a node only."""
    params = trace.params
    placement: Placement = "rail" if params.get("placement") == "rail" else "packed"
    ranks, groups = int(params["ranks"] or 0), int(params.get("groups") or 1)
    name, timing = trace.benchmark.partition(".")[2], datasheet.timing(cluster)
    cpu = cluster.accelerator == "cpu"  # where any number of ranks share the one device
    world, held = (ranks * groups,) * 2 if cpu else (cluster.devices, cluster.node.devices)
    try:
        nodes = nodes_of(members(placement, ranks, groups, world, held)[0], held)
        small, large = (
            timing(Operation("collective", name, str(params["dtype"]), size, ranks=ranks, nodes=nodes, groups=groups))
            for size in ends
        )
    except Skip as reason:
        return Expectation(None, reason=str(reason))
    return Expectation(ends[1] * (trace.factor or 1.0) / large, small if nodes == 1 else None)
