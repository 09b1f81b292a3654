"""PARAM comms (comms.py: printPreamble, reportBenchTime...) and its replay of traces (commsTraceReplay.py, later
comm_replay.py: reportBenchTime). Latencies are µs over the ranks, bandwidths GB/s of 10^9 B.

A row says by its decimals which table it is of, so that none needs its header: sizes and counts have none, latencies
have one, bandwidths three, TFLOP/s five.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from clusters.nccl_tests.rows import bus_factor
from collectors import checks
from collectors.collectives import implied
from collectors.numbers import Number, number
from collectors.parser import DERIVED, About, Found, Kind, Reader, Sink, parsed
from harness.records import Measurement, Params
from harness.units import Unit, show

NAME = "collectives.param"
MARKS = ("COMMS-RES", "PARAM COMM", "MPI environment: {", "Performance of replayed comms", "Replayed ")
ROW = re.compile(
    r"\s*COMMS-RES(?P<quant>-QUANT)?(?:-(?P<op>[a-z][a-z0-9_]*))?(?:-(?P<dtype>[a-z][a-z0-9_.]*))?(?:-(?P<tag>\S+))?"
    r"(?P<numbers>(?:\s+-?[0-9]{1,18}(?:\.[0-9]{1,6})?){6,})\s*"
)
WORLD = re.compile(r"'world_size': ([0-9]{1,7})\b|\bworld_size: ([0-9]{1,7})\b")
SETTINGS = re.compile(r"\s*backend: (?P<backend>\S+) nw-stack: \S+ mode: ")
OLD_DTYPE = re.compile(r"args\.dtype: torch\.(\w+) ")
REPLAYED = re.compile(r" *Replayed (?P<count>[0-9]{1,12}) (?P<op>\w+) \([0-9.]+%\): *")
REPLAY = re.compile(r" *[0-9]{1,18}\.[0-9]{2}(?: +[0-9]{1,18}\.[0-9]{2}){5} *")
TRACE = re.compile(
    r" *(?:E2E latency \(us\): (?P<total>[0-9.]{1,30}) for (?P<count>[0-9]{1,12}) iters, +"
    r"(?P<each>[0-9]{1,18}\.[0-9]{2}) per iter in avg|Total latency \(us\) of comms in trace (?P<once>[0-9.]{1,30}): *)"
)
BUSES = {"all_to_allv": "all_to_all", "all_to_all_single": "all_to_all"}
"""Operations that have another's factor of the bus; those that end in _base or _v have that of the name before."""


class Column(NamedTuple):
    metric: str
    unit: Unit
    scale: float


_LATENCY, _RATE, _FLOPS = (Unit.SECOND, 1e-6), (Unit.BYTE_PER_SECOND, 1e9), (Unit.FLOP_PER_SECOND, 1e12)


def _columns(names: str, kind: tuple[Unit, float]) -> tuple[Column, ...]:
    return tuple(Column(name, *kind) for name in names.split())


_TIMES = _columns("time time_p75 time_p95", _LATENCY)
_ALL = (*_TIMES, *_columns("time_min time_max", _LATENCY))
_BUS = _columns("algbw busbw", _RATE)
_POINT = (
    *_columns("latency latency_p75 latency_p95 round_trip round_trip_p75 round_trip_p95", _LATENCY),
    *_columns("bandwidth bandwidth_both_ways bandwidth_total bandwidth_total_both_ways", _RATE),
)
_QUANT = _columns("time_quantise_p95 time_transfer_p95 time_dequantise_p95 time_p95", _LATENCY)
_WITH_WORK = _columns("time_total time_compute", _LATENCY)
_TFLOPS = _columns("flops", _FLOPS)

QUANTISED = "001111"
LAYOUTS: dict[str, tuple[int, tuple[Column, ...]]] = {
    "00111333": (2, (*_TIMES, *_BUS)),  # the first version: without least and greatest, and with one element behind
    "001111133": (2, (*_ALL, *_BUS)),
    "0001111133": (3, (*_ALL, *_BUS)),  # two operations at once
    "01111113333": (1, _POINT),
    QUANTISED: (2, _QUANT),
}
"""Decimals of each number of a row: how many whole numbers it begins with, and its columns."""
TAILS = {"": (), "1": (), "11": _WITH_WORK, "5": _TFLOPS, "115": (*_WITH_WORK, *_TFLOPS)}
"""What stands behind the bandwidths in mode comms-compute; in mode compute a 0.0 takes the place of TFLOP/s, a
slip of the program's format, which is no number."""


def layout(numbers: list[str], quantised: bool) -> tuple[int, tuple[Column, ...]] | None:
    """Of a row; None where it is of none, as a row that was cut. quantised: it says so, and others have no such row."""
    shape = "".join(str(len(text.partition(".")[2])) for text in numbers)
    for head, (whole, columns) in LAYOUTS.items():
        tail = shape.removeprefix(head)
        if quantised != (head == QUANTISED):
            continue
        if shape.startswith(head) and tail in TAILS and (not tail or head in ("001111133", "0001111133")):
            return whole, (*columns, *TAILS[tail])
    return None


class Param:
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._ranks: int | None = None
        self._dtype = self._backend = self._op = ""
        self._replay: tuple[Params, int] | None = None

    def feed(self, text: str, line: int) -> bool:
        if "COMMS-RES" in text:
            return self._comms(text, line)
        if self._replay is not None and REPLAY.fullmatch(text):
            self._replayed(text, line)
            return True
        if "Replayed " in text and (found := REPLAYED.fullmatch(text)):
            self._replay = {"test": "replay", "operation": found["op"], "count": int(found["count"])}, line
            return True
        if "atency (us)" in text and (found := TRACE.fullmatch(text)):
            self._trace(found, line)
            return True
        if " environment: {" in text or "nw-stack: " in text or "master_ip" in text:
            return self._context(text)
        return (
            (self._replay is not None and text.split()[:2] in (["Total", "Max."], ["Latency", "(us)"]))
            or "= Performance of replayed comms =" in text
            or (text.startswith("[Rank ") and " allSizes: [" in text)
        )

    def close(self) -> None:
        """Rows are given as they come."""

    def _context(self, text: str) -> bool:
        """Ranks, data type and backend; a launch that begins anew says them anew."""
        if world := WORLD.search(text):
            self._ranks = int(world[1] or world[2])
        settings = SETTINGS.match(text)
        if settings is not None:
            self._backend = settings["backend"]
            dtype = OLD_DTYPE.search(text)
            self._dtype = dtype[1] if dtype else ""
        return settings is not None or world is not None

    def _comms(self, text: str, line: int) -> bool:
        found = ROW.fullmatch(text)
        numbers = found["numbers"].split() if found else []
        known = layout(numbers, bool(found and found["quant"]))
        if found is None or known is None:
            if "(us)" in text or not text.lstrip().startswith("COMMS-RES"):
                return "size (B)" in text
            self._sink.warn(line, "a row that is not whole, or of a table that is not known: left out")
            return True
        whole, columns = known
        held = {
            column.metric: one.scaled(column.scale)
            for column, one in zip(columns, map(number, numbers[whole:]), strict=False)
            if one is not None and one.value >= 0
        }
        units = {column.metric: column.unit for column in columns}
        self._give(found, [int(text) for text in numbers[:whole]], held, units, line)
        return True

    def _give(
        self, row: re.Match[str], counts: list[int], held: dict[str, Number], units: dict[str, Unit], line: int
    ) -> None:  # fmt: skip
        operation, ranks, flags = row["op"] or "", self._ranks, list[str]()
        if ranks is None and {"algbw", "busbw"} <= held.keys():
            ranks = implied.ranks(held["busbw"], held["algbw"], _bus(operation))
            flags += [f"{DERIVED}ranks, from bus over algorithm bandwidth"] if ranks else []
        named: Params = {
            "operation": operation or None, "size": counts[0], "dtype": row["dtype"] or self._dtype or None,
            "ranks": ranks, "backend": self._backend or None, "tag": row["tag"],
            "quantised": True if row["quant"] else None, "paired": True if len(counts) == 3 else None,
        }  # fmt: skip
        params: Params = {name: value for name, value in named.items() if value is not None}
        measurements = tuple(parsed(name, units[name], one.value, flags=flags) for name, one in held.items())
        said = _contradictions(operation, counts, held, self._ranks)
        self._sink.found(Found(NAME, params, measurements, line, line, About(ranks=ranks), said))

    def _trace(self, found: re.Match[str], line: int) -> None:
        """All of a trace that was replayed: its time, and the mean of one turn of several."""
        params: Params = {"test": "replay"} | ({"count": int(found["count"])} if found["count"] else {})
        if self._ranks:
            params["ranks"] = self._ranks
        said = {"time_total": number(found["total"] or found["once"]), "time": number(found["each"] or "")}
        held = [parsed(name, Unit.SECOND, one.value * 1e-6) for name, one in said.items() if one is not None]
        if held:
            self._sink.found(Found(NAME, params, tuple(held), line, line))

    def _replayed(self, text: str, line: int) -> None:
        assert self._replay is not None
        params, first = self._replay
        names = ("time_total", "time_max", "time_min", "time", "time_p50", "time_p95")
        numbers = [number(word) for word in text.split()]
        held = {name: one.scaled(1e-6) for name, one in zip(names, numbers, strict=True) if one is not None}
        said = checks.quotient(
            "the average latency", held["time"], Unit.SECOND, held["time_total"],
            checks.exact(float(str(params["count"]))), "the total over the count",
        ) if params["count"] else ""  # fmt: skip
        measurements: list[Measurement] = [parsed(name, Unit.SECOND, one.value) for name, one in held.items()]
        if self._ranks:
            params["ranks"] = self._ranks
        self._sink.found(Found(NAME, params, tuple(measurements), first, line, contradictions=(said,) if said else ()))
        self._replay = None


def _bus(operation: str) -> str:
    return BUSES.get(operation, operation.removesuffix("_base").removesuffix("_v"))


def _contradictions(operation: str, counts: list[int], held: dict[str, Number], ranks: int | None) -> tuple[str, ...]:
    """algbw is of one rank's mean time or of the middle one, so that it lies between those of all ranks."""
    said: list[str] = []
    algbw, busbw = held.get("algbw"), held.get("busbw")
    least, most = held.get("time_min"), held.get("time_max")
    if algbw and least and most and least.low > 0 and len(counts) == 2:
        low, high = counts[0] / most.high, counts[0] / least.low
        if checks.differs(algbw, low, high):
            unit = Unit.BYTE_PER_SECOND
            said.append(
                f"the log claims algbw {show(algbw.value, unit, 4)}, and size over its greatest and least latency "
                f"gives {show(low, unit, 4)} to {show(high, unit, 4)}"
            )
    if algbw and busbw and ranks and operation:
        factor, why = checks.exact(bus_factor(_bus(operation), ranks)), f"algbw times the factor over {ranks} ranks"
        said.append(checks.product("busbw", busbw, Unit.BYTE_PER_SECOND, algbw, factor, why))
    return tuple(one for one in said if one)


def reader(sink: Sink) -> Reader:
    return Param(sink)


KIND = Kind("param", "PARAM comms: collectives, point to point, replayed traces", MARKS, reader)
