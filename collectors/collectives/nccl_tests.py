"""nccl-tests and rccl-tests: their table and JSON, read by `clusters.nccl_tests`, and CSV, as records of each row."""

from __future__ import annotations

import json

from clusters.nccl_tests import documents
from clusters.nccl_tests.printed import Reader as Printed
from clusters.nccl_tests.rows import Row, Table, bus_factor
from collectors import checks
from collectors.collectives import implied, rccl_csv
from collectors.numbers import Number
from collectors.parser import DERIVED, About, Found, Kind, Reader, Sink, parsed
from harness.errors import UsageError
from harness.records import Params
from harness.units import Unit

MARKS = (
    "size         count      type", "# nThread ", "nccl-tests version", "rccl-tests: Version", "_perf", "Using devices",
    " sum      -1 ", " none      -1 ", " none       0 ", " sum       0 ", "count    type   redop",
    rccl_csv.MARK,
)  # fmt: skip
HUNDREDTH = 0.005e9  # B/s: half of the last digit of a bandwidth, in GB/s with two decimals


def _time(row: Row) -> Number:
    """µs with two decimals, one from 1,000, none from 10,000 (src/util.cu: writeBenchmarkLineBody)."""
    time = row.time or 0.0
    return Number(time, 0.5e-6 if time >= 0.01 else 0.05e-6 if time >= 0.001 else 0.005e-6)


def derived_ranks(table: Table, operation: str) -> int | None:
    """What the row with the highest bandwidth implies: its rounding is the least."""
    both = [(row.busbw, row.algbw) for row in table.rows if row.algbw and row.busbw]
    if not both:
        return None
    busbw, algbw = max(both)
    return implied.ranks(Number(busbw, HUNDREDTH), Number(algbw, HUNDREDTH), operation)


def give(sink: Sink, table: Table) -> None:
    """A record for each row of a table, out of place and in place apart."""
    said = table.operation
    ranks = table.ranks or (derived_ranks(table, said) if said else None)
    flags = []
    if ranks and not table.ranks:
        flags.append(f"{DERIVED}ranks, from bus over algorithm bandwidth")
    if any(table.rows) and said is None:
        sink.warn(table.line, "the log does not say which operation this table is of")
    amd = any("rccl" in name.lower() for name in table.versions) or any("AMD" in name for name in table.devices)
    devices = tuple((name, "amd" if amd else "nvidia") for name in table.devices)
    about = About(devices, tuple(table.versions.items()), ranks, table.nodes)
    for row in table.rows:
        _give(sink, table, row, ranks, about, flags)


def _give(sink: Sink, table: Table, row: Row, ranks: int | None, about: About, flags: list[str]) -> None:
    named: Params = {
        "operation": table.operation, "size": row.size, "dtype": row.dtype, "ranks": ranks, "nodes": table.nodes,
        "reduction": row.redop if row.redop not in ("", "none") else None,
        "root": row.root if row.root is not None and row.root >= 0 else None,
    }  # fmt: skip
    params: Params = {name: value for name, value in named.items() if value is not None}
    params["in_place"] = row.in_place
    line = row.line or table.line
    if row.time is None or row.algbw is None or row.busbw is None:
        sink.found(
            Found(
                "collectives.nccl_tests", params, (), line, line, about, (), f"{row.wrong} wrong values in the result"
            )
        )
        return
    marks = [*flags, *([] if row.wrong is not None else ["the result was not checked"])]
    measurements = (
        parsed("time", Unit.SECOND, row.time, flags=marks),
        parsed("algbw", Unit.BYTE_PER_SECOND, row.algbw, flags=marks),
        parsed("busbw", Unit.BYTE_PER_SECOND, row.busbw, flags=marks),
    )
    found = Found("collectives.nccl_tests", params, measurements, line, line, about, _contradictions(table, row))
    sink.found(found)


def _contradictions(table: Table, row: Row) -> tuple[str, ...]:
    assert row.algbw is not None
    assert row.busbw is not None
    algbw, busbw = Number(row.algbw, HUNDREDTH), Number(row.busbw, HUNDREDTH)
    said = [
        checks.quotient("algbw", algbw, Unit.BYTE_PER_SECOND, checks.exact(row.size), _time(row), "size over time")
    ]  # fmt: skip
    if table.operation and table.ranks:
        factor = checks.exact(bus_factor(table.operation, table.ranks))
        why = f"algbw times the factor of {table.operation} over {table.ranks} ranks"
        said.append(checks.product("busbw", busbw, Unit.BYTE_PER_SECOND, algbw, factor, why))
    if row is table.rows[-1] and table.average is not None:
        rates = [one.busbw for one in table.rows if one.busbw is not None]
        claimed = Number(table.average, 2 * HUNDREDTH)
        said.append(checks.average("average busbw", claimed, Unit.BYTE_PER_SECOND, rates, "the mean of its rows"))
    return tuple(one for one in said if one)


class NcclTests:
    """The printed tables of one stream."""

    def __init__(self, sink: Sink) -> None:
        self._sink, self._printed, self._warned = sink, Printed(), 0

    def feed(self, text: str, line: int) -> bool:
        if '",' in text:
            alone = rccl_csv.table(text, line)
            if alone is not None:
                give(self._sink, alone)
                return True
        if rccl_csv.header(text):
            return True
        before = len(self._printed.tables)
        taken = self._printed.raw(text, line)
        if self._sink.torn:
            self._unmarked(line)
        if len(self._printed.tables) > before > 0:  # the table before has its rows now
            self._flush(self._printed.tables[-2:-1])
            del self._printed.tables[:-1]
        return taken

    def _unmarked(self, line: int) -> None:
        """Leave out what may have lost its last sign: the old column `error` marks a wrong result by a * behind."""
        rows = self._printed.rows
        if "error" in self._printed.columns and rows and rows[-1].line == line and rows[-1].in_place:
            rows.pop()
            self._sink.warn(line, "the file ends where a wrong result would be marked: left out")

    def close(self) -> None:
        log = self._printed.log()
        self._flush(list(log.tables))

    def _flush(self, tables: list[Table]) -> None:
        for table in tables:
            give(self._sink, table)
        for warning in self._printed.warnings[self._warned :]:
            place, _, said = warning.partition(": ")
            number = place.removeprefix("line ")
            self._sink.warn(int(number) if number.isdigit() else 0, said)
        self._warned = len(self._printed.warnings)


def reader(sink: Sink) -> Reader:
    return NcclTests(sink)


def document(value: object, sink: Sink, first: int, last: int) -> bool:
    """nccl-tests -J (one object) and rccl-tests -Z json (a list of rows)."""
    ours = (isinstance(value, dict) and {"nccl_version", "results"} <= value.keys()) or (
        isinstance(value, list) and bool(value) and isinstance(value[0], dict) and {"algBw", "redop"} <= value[0].keys()
    )
    if not ours:
        return False
    try:
        log = documents.read(json.dumps(value), "the JSON")
    except UsageError as error:
        sink.warn(first, str(error))
        return True
    for table in log.tables:
        give(sink, table)
    for warning in log.warnings:
        sink.warn(first, warning)
    return True


KIND = Kind("nccl-tests", "nccl-tests and rccl-tests: table, JSON, CSV", MARKS, reader, document)
