"""Curves of time against message size: out of a run's records, or out of a log of nccl-tests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from clusters.nccl_tests.rows import Log, Table
from costmodels.segments import Point
from harness.records import Cadence, Origin, Params
from harness.statistics import median_interval
from harness.summary import Cell, Figure

AT_ONCE = "a within-run interval: one launch cannot show what changes from one to the next"


@dataclass(frozen=True)
class Trace:
    """One curve as measured. params: what all of its points share, so without `size`. factor: busbw / algbw;
    None where there is no bus bandwidth. flags: what a reader must know, in words."""

    benchmark: str
    params: Params
    cadence: Cadence | None
    origin: Origin
    factor: float | None
    points: tuple[Point, ...]
    flags: tuple[str, ...] = ()


def of_cells(cells: Iterable[Cell]) -> list[Trace]:
    """One curve for each operation with all its parameters but `size`, and each cadence. Cells without a
    size or a bus bandwidth (barriers, products) have none, and the map of pairs is another thing."""
    groups: dict[str, list[tuple[Figure, float, float, float]]] = {}
    for cell in cells:
        for figure in cell.figures:
            rates = [_rate(cell, name, figure) for name in ("algbw", "busbw")]
            if figure.name == "time" and "size" in cell.params and not figure.pairs and all(rates):
                shared = _shared(figure.params)
                key = f"{cell.benchmark} {cell.version} {sorted(shared.items())} {figure.cadence}"
                algbw, busbw = (rate.interval.value for rate in rates if rate)
                moved = all(rate.derived for rate in rates if rate)  # else a log's, which rounds it, even to 0
                size = algbw * figure.interval.value if moved else float(figure.params["size"] or 0)
                groups.setdefault(key, []).append((figure, size, busbw, algbw))
    return [_trace(held) for held in groups.values()]


def of_log(log: Log) -> list[Trace]:
    """One curve for each data type, reduction, root and way (in place or not) of each table."""
    return [trace for table in log.tables for trace in _of_table(table)]


def _shared(params: Params) -> Params:
    return {name: value for name, value in params.items() if name != "size"}


def _rate(cell: Cell, name: str, time: Figure) -> Figure | None:
    fits = (f for f in cell.figures if (f.name, f.cadence, f.own) == (name, time.cadence, time.own))
    return next(fits, None)


def _trace(held: list[tuple[Figure, float, float, float]]) -> Trace:
    """held: the time of each size with the bytes that were moved (which may be fewer than asked for), bus and algorithm
    bandwidth; where both are greatest, their ratio is known best."""
    first = held[0][0]
    *_, busbw, algbw = max(held, key=lambda one: one[3])
    factor = busbw / algbw if algbw else None
    points: dict[float, Point] = {}
    for figure, size, *_ in held:
        known = figure.interval
        launches = tuple(median_interval(samples).value for samples in figure.samples)
        points.setdefault(round(size), Point(round(size), known.value, known.low, known.high, launches))
    across = all(figure.summary.across_launches for figure, *_ in held)
    flags = () if across or first.origin is not Origin.MEASURED else (AT_ONCE,)
    return Trace(
        first.benchmark, _shared(first.params), first.cadence, first.origin, factor, tuple(points.values()), flags
    )


def _of_table(table: Table) -> list[Trace]:
    groups: dict[tuple[str, str, int | None, bool], dict[int, list[float]]] = {}
    unchecked = False
    for row in table.rows:
        if row.size > 0 and row.time is not None:
            sizes = groups.setdefault((row.dtype, row.redop, row.root, row.in_place), {})
            sizes.setdefault(row.size, []).append(row.time)
            unchecked = unchecked or row.wrong is None
    flags = ("results were not checked, or not all",) if unchecked else ()
    return [_parsed(table, *key, sizes, flags) for key, sizes in groups.items()]


def _parsed(
    table: Table, dtype: str, redop: str, root: int | None, in_place: bool, sizes: dict[int, list[float]],
    flags: tuple[str, ...],
) -> Trace:  # fmt: skip
    named: Params = {
        "operation": table.operation, "dtype": dtype, "reduction": redop if redop not in ("", "none") else None,
        "root": root if root is not None and root >= 0 else None, "ranks": table.ranks, "nodes": table.nodes,
    }  # fmt: skip
    params: Params = {name: value for name, value in named.items() if value is not None}
    params["in_place"] = in_place
    if table.operation is None:
        flags = (*flags, "the log does not say which operation this is")
    tool = "rccl-tests" if "rccl-tests" in table.versions or "RCCL" in table.versions else "nccl-tests"
    points = tuple(_point(size, times) for size, times in sizes.items())
    return Trace(tool, params, Cadence.STREAMING, Origin.PARSED, table.factor, points, flags)


def _point(size: int, times: list[float]) -> Point:
    """An average says nothing of its own spread; several of them do."""
    if len(times) == 1:
        return Point(size, times[0])
    known = median_interval(times)
    return Point(size, known.value, known.low, known.high)
