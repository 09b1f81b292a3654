"""nvbandwidth's matrices (output.cpp: recordBandwidthMatrix) and sums, and its JSON (-j: json_output.cpp). GB/s is 10^9
B/s there; latencies are ns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from collectors import checks
from collectors.numbers import missing, number, value
from collectors.parser import About, Found, Kind, Reader, Sink, parsed
from collectors.values import real, row
from harness.records import Measurement, Params
from harness.units import Unit

RUNNING = re.compile(r"Running (\w+)\.\s*")
MATRIX = re.compile(r"mem.*? ([A-Z]\w*)\(row\) (->|<-|<->) ([A-Z]\w*)\(column\)(?: .*?)? \((GB/s|ns)\)\s*")
"""The arrow says which end of a pair is the source; with two heads both are, and row and column keep their order."""
UNITS = {"GB/s": (Unit.BYTE_PER_SECOND, 1e9), "ns": (Unit.SECOND, 1e-9)}
COLUMNS = re.compile(r"\s*\d+(?:\s+\d+)*\s*")
ROW = re.compile(r"\s*(\d+)((?:\s+(?:\d{1,15}\.\d{2}|N/A))+)\s*")
SUM = re.compile(r"SUM (\w+) (\d{1,15}\.\d{2})\s*")
DEVICE = re.compile(r"Device (\d+): (.+?)(?: \([\da-fA-F:.]+\))?\s*")
VERSION = re.compile(r"nvbandwidth Version: (\S+)\s*")
KNOWN = (
    "CUDA Runtime Version:",
    "CUDA Driver Version:",
    "Driver Version:",
    "Built from Git version:",
    "Waived",
    "NOTE: The reported results may not",
    "Performance can vary with",
)


class Nvbandwidth:
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._version = ""
        self._devices: list[tuple[str, str]] = []
        self._end()

    def _end(self) -> None:
        self._test, self._unit = "", ""
        self._ends: tuple[str, str, str] = ("", "", "")
        self._whole = True
        self._columns: list[str] = []
        self._rates: list[float] = []

    def feed(self, text: str, line: int) -> bool:
        if running := RUNNING.fullmatch(text):
            self._end()
            self._test = running[1]
        elif (total := SUM.fullmatch(text)) is not None:
            self._total(total[1], total[2], line)
        elif version := VERSION.fullmatch(text):
            self._version = version[1]
        elif device := DEVICE.fullmatch(text):
            self._devices.append((device[2], "nvidia"))
        elif self._test and (matrix := MATRIX.fullmatch(text)):
            self._ends, self._unit, self._columns = (matrix[1], matrix[2], matrix[3]), matrix[4], []
        elif self._unit and not self._columns and COLUMNS.fullmatch(text):
            self._columns = text.split()
        elif self._columns and (cells := ROW.fullmatch(text)):
            self._row(cells[1], cells[2].split(), line)
        else:
            return text.startswith(KNOWN)
        return True

    def close(self) -> None:
        """Rows are given as they come."""

    def _row(self, source: str, words: list[str], line: int) -> None:
        if len(words) != len(self._columns):
            self._whole = False
            self._sink.warn(line, f"{len(words)} values under {len(self._columns)} columns: left out")
            return
        for target, said in zip(self._columns, words, strict=True):
            known = value(said)
            if known is not None:
                self._rates.append(known)
                params = _pair(self._test, self._ends, source, target)
                self._give(params, _measured(known, self._unit), line, "")
            elif not missing(said):
                self._sink.warn(line, f"'{said}' is no number: left out")

    def _total(self, test: str, said: str, line: int) -> None:
        known = number(said)
        if known is None or not self._unit:
            return
        held = _measured(known.value, self._unit, "_sum")
        contradiction = ""
        unit, scale = UNITS[self._unit]
        if test == self._test and self._whole and self._rates:
            total = sum(self._rates)
            claimed = known.scaled(scale)._replace(half=0.005 * scale * (1 + len(self._rates)))
            contradiction = checks.product(
                "the sum",
                claimed,
                unit,
                checks.exact(total * scale),
                checks.exact(1.0),
                "adding its cells",
            )
        self._give({"test": test}, held, line, contradiction)

    def _give(self, params: Params, held: Measurement, line: int, contradiction: str) -> None:
        about = About(tuple(self._devices), (("nvbandwidth", self._version),) if self._version else ())
        self._sink.found(
            Found("memory.nvbandwidth", params, (held,), line, line, about, (contradiction,) if contradiction else ())
        )


def _measured(known: float, unit: str, tail: str = "") -> Measurement:
    base, scale = UNITS[unit]
    return parsed(("latency" if unit == "ns" else "bandwidth") + tail, base, known * scale)


def _pair(test: str, ends: tuple[str, str, str], row: str, column: str) -> Params:
    one, two = f"{ends[0]} {row}", f"{ends[2]} {column}"
    source, target = (two, one) if ends[1] == "<-" else (one, two)
    return {"test": test, "source": source, "target": target, "bidirectional": ends[1] == "<->"}


def document(value_: object, sink: Sink, first: int, last: int) -> bool:
    """{"nvbandwidth": {"testcases": [{"name", "status", "bandwidth_matrix": [["369.36", ...]], "sum"}]}}."""
    body = value_.get("nvbandwidth") if isinstance(value_, dict) else None
    if not isinstance(body, dict) or not isinstance(body.get("testcases"), list):
        return False
    about = About(versions=(("nvbandwidth", str(body["version"])),) if "version" in body else ())
    for case in body["testcases"]:
        if isinstance(case, dict) and isinstance(name := case.get("name"), str):
            for found in _case(name, case, about, first, last):
                sink.found(found)
    return True


def _case(name: str, case: dict[str, Any], about: About, first: int, last: int) -> Iterator[Found]:
    """A test of the JSON; one that was waived holds no matrix, and one that is cut no word of its unit."""
    if case.get("status") == "Error" or "error" in case:
        reason = f"nvbandwidth reports {case.get('error', 'an error')}"
        yield Found("memory.nvbandwidth", {"test": name}, (), first, last, about, failed=reason)
    title = MATRIX.fullmatch(str(case.get("bandwidth_description", "")))
    if title is None:
        return
    for at, cells in enumerate(row(case.get("bandwidth_matrix"))):
        for peer, said in enumerate(row(cells)):
            if (known := value(str(said))) is not None:
                params = _pair(name, (title[1], title[2], title[3]), str(at), str(peer))
                yield Found("memory.nvbandwidth", params, (_measured(known, title[4]),), first, last, about)
    if (total := real(case.get("sum"))) is not None:
        yield Found("memory.nvbandwidth", {"test": name}, (_measured(total, title[4], "_sum"),), first, last, about)


def reader(sink: Sink) -> Reader:
    return Nvbandwidth(sink)


MARKS = ("nvbandwidth Version", "Running ", "memcpy CE ")
KIND = Kind("nvbandwidth", "nvbandwidth: matrices, sums, JSON", MARKS, reader, document)
