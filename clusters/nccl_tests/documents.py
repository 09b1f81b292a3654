"""The JSON of nccl-tests (-J, layout version 1: src/util.cu) and of rccl-tests (-Z json: Reporter in
src/common.cu). Times are in µs and bandwidths in GB/s there too, with more digits than the table has.

nccl-tests writes the whole environment into its file. Nothing of it is read here.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated, Any

import msgspec

from clusters.nccl_tests.rows import Log, Row, Table, Way, nccl_version, operation_named, row
from harness.errors import UsageError

LAYOUT = 1
_GAP = re.compile(r"[\s,]*")
_RESULTS = re.compile(r'"results"\s*:\s*\[')


_Count = Annotated[int, msgspec.Meta(ge=1)]


class _Way(msgspec.Struct):
    time: float
    alg_bw: float
    bus_bw: float
    nwrong: float | None


class _Result(msgspec.Struct):
    size: int
    count: int
    type: str
    redop: str
    root: str
    out_of_place: _Way | None = None
    in_place: _Way | None = None


class _Device(msgspec.Struct):
    group: int
    hostname: str
    device_info: str


class _Config(msgspec.Struct):
    nthreads: _Count
    ngpus: _Count
    devices: list[_Device]


class _Document(msgspec.Struct):
    version: int
    args: list[str]
    nccl_version: int
    config: _Config
    results: list[_Result]


class _Entry(msgspec.Struct, rename="camel"):
    """One line of rccl-tests. ranks, gpus_per_rank: with MPI; gpus: without."""

    name: str
    size: int
    type: str
    redop: str
    in_place: int
    time: float
    alg_bw: float
    bus_bw: float
    wrong: str | int
    ranks: _Count = 1
    nodes: _Count = 1
    gpus_per_rank: _Count = 1
    gpus: _Count = 1


def read(text: str, name: str) -> Log:
    """The tables of a JSON file called `name`; UsageError names what in it is not as it should be."""
    found, warnings = _decoded(text, name)
    try:
        if isinstance(found, list):
            tables = list(_by_table(msgspec.convert(found, list[_Entry])))
        elif found.get("version") != LAYOUT:
            raise ValueError(f"layout version {found.get('version')}, and read is {LAYOUT}")
        else:
            tables = [_table(msgspec.convert(found, _Document))]
    except (msgspec.ValidationError, ValueError) as error:
        raise UsageError(f"{name}: no JSON of nccl-tests -J or rccl-tests -Z json: {error}") from error
    rows = [row for table in tables for row in table.rows]
    if not rows:
        raise UsageError(f"{name}: JSON without a single result: the program ended before the first size")
    warnings += [f"{row.label}: the result was wrong, so it has no number" for row in rows if row.wrong]
    return Log(tuple(tables), tuple(warnings))


def _decoded(text: str, name: str) -> tuple[Any, list[str]]:
    """The document; of one that was cut off, the results that are whole."""
    try:
        return json.loads(text), []
    except (ValueError, RecursionError) as error:
        fault = error
    listed = text.lstrip().startswith("[")
    start = re.search(r"\[", text) if listed else _RESULTS.search(text)
    results = list(_whole(text, start.end())) if start else []
    head: Any = None
    if start and not listed:
        with suppress(ValueError, RecursionError):
            head = json.loads(f'{text[: start.start()]}"results":[]}}')
    if not results or not (listed or isinstance(head, dict)):
        raise UsageError(f"{name}: no JSON, nor the beginning of one: {fault}. The printed table will do.")
    warnings = [f"the JSON was cut off: {len(results)} results of it are whole"]
    return results if listed else head | {"results": results}, warnings


def _whole(text: str, at: int) -> Iterator[Any]:
    """Elements of the list that begins at `at`, up to the first that is not whole."""
    decoder = json.JSONDecoder()
    while True:
        try:
            element, at = decoder.raw_decode(text, _GAP.match(text, at).end())  # type: ignore[union-attr]
        except (ValueError, RecursionError):
            return
        yield element


def _table(document: _Document) -> Table:
    """Every process lists its first device only, so that ranks are counted by processes."""
    config = document.config
    group = [device for device in config.devices if device.group == config.devices[0].group]
    return Table(
        operation_named(document.args[0]) if document.args else None,
        len(group) * config.nthreads * config.ngpus or None,
        len({device.hostname for device in group}) or None,
        tuple(dict.fromkeys(device.device_info for device in group)),
        {"NCCL": nccl_version(document.nccl_version)},
        tuple(row for result in document.results for row in _ways(result)),
    )


def _ways(result: _Result) -> Iterator[Row]:
    for in_place, way in ((False, result.out_of_place), (True, result.in_place)):
        if way is not None and _is_time(way.time):
            wrong = None if way.nwrong is None else math.ceil(way.nwrong)
            measured = Way(way.time, way.alg_bw, way.bus_bw, wrong)
            yield row(result.size, result.count, result.type, result.redop, int(result.root), in_place, measured)


def _by_table(entries: list[_Entry]) -> Iterator[Table]:
    """One table for each operation and number of ranks, in the order of the file."""
    groups: dict[tuple[str, int, int], list[_Entry]] = {}
    for entry in entries:
        ranks = entry.ranks * max(entry.gpus_per_rank, entry.gpus)
        groups.setdefault((entry.name, ranks, entry.nodes), []).append(entry)
    for (name, ranks, nodes), held in groups.items():
        rows = tuple(_entry_row(entry) for entry in held if _is_time(entry.time))
        yield Table(operation_named(name), ranks, nodes, (), {}, rows)


def _entry_row(entry: _Entry) -> Row:
    way = Way(entry.time, entry.alg_bw, entry.bus_bw, None if entry.wrong == "N/A" else int(entry.wrong))
    return row(entry.size, 0, entry.type, entry.redop, None, bool(entry.in_place), way)


def _is_time(value: float) -> bool:
    return math.isfinite(value) and value > 0
