"""nvbandwidth's matrices (output.cpp: recordBandwidthMatrix) and sums, and its JSON (-j: json_output.cpp). GB/s is 10^9
B/s there; latencies are ns."""

from __future__ import annotations

import re

from collectors import checks
from collectors.numbers import missing, number, value
from collectors.parser import About, Found, Kind, Reader, Sink, parsed
from harness.records import Measurement, Params
from harness.units import Unit

RUNNING = re.compile(r"Running (\w+)\.\s*")
MATRIX = re.compile(r".*\b(?:bandwidth|latency)\b.*\((GB/s|ns)\)\s*")
COLUMNS = re.compile(r"\s*\d+(?:\s+\d+)*\s*")
ROW = re.compile(r"\s*(\d+)((?:\s+(?:\d+\.\d{2}|N/A))+)\s*")
SUM = re.compile(r"SUM (\w+) (\d+\.\d{2})\s*")
DEVICE = re.compile(r"Device (\d+): (.+?)(?: \([\da-fA-F:.]+\))?\s*")
VERSION = re.compile(r"nvbandwidth Version: (\S+)\s*")
KNOWN = (
    "CUDA Runtime Version:",
    "CUDA Driver Version:",
    "Driver Version:",
    "Built from Git version:",
    "Waived",
    "NOTE: ",
)


class Nvbandwidth:
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._version = ""
        self._devices: list[tuple[str, str]] = []
        self._end()

    def _end(self) -> None:
        self._test, self._unit = "", ""
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
            self._unit, self._columns = matrix[1], []
        elif self._unit and not self._columns and COLUMNS.fullmatch(text):
            self._columns = text.split()
        elif self._columns and (row := ROW.fullmatch(text)):
            self._row(row[1], row[2].split(), line)
        else:
            return text.startswith(KNOWN)
        return True

    def close(self) -> None:
        """Rows are given as they come."""

    def _row(self, source: str, words: list[str], line: int) -> None:
        if len(words) != len(self._columns):
            self._sink.warn(line, f"{len(words)} values under {len(self._columns)} columns: left out")
            return
        for target, said in zip(self._columns, words, strict=True):
            known = value(said)
            if known is not None:
                self._rates.append(known)
                params: Params = {"test": self._test, "row": int(source), "column": int(target)}
                self._give(params, _measured(known, self._unit), line, "")
            elif not missing(said):
                self._sink.warn(line, f"'{said}' is no number: left out")

    def _total(self, test: str, said: str, line: int) -> None:
        known = number(said)
        if known is None or not self._unit:
            return
        held = _measured(known.value, self._unit)
        contradiction = ""
        if test == self._test and self._unit == "GB/s":
            total = sum(self._rates)
            claimed = known.scaled(1e9)._replace(half=0.01e9 * (1 + len(self._rates)))
            contradiction = checks.product(
                "the sum",
                claimed,
                Unit.BYTE_PER_SECOND,
                checks.exact(total * 1e9),
                checks.exact(1.0),
                "adding its cells",
            )
        self._give({"test": test, "row": "sum"}, held, line, contradiction)

    def _give(self, params: Params, held: Measurement, line: int, contradiction: str) -> None:
        about = About(tuple(self._devices), (("nvbandwidth", self._version),) if self._version else ())
        self._sink.found(
            Found("memory.nvbandwidth", params, (held,), line, line, about, (contradiction,) if contradiction else ())
        )


def _measured(known: float, unit: str) -> Measurement:
    if unit == "ns":
        return parsed("latency", Unit.SECOND, known * 1e-9)
    return parsed("bandwidth", Unit.BYTE_PER_SECOND, known * 1e9)


def document(value_: object, sink: Sink, first: int, last: int) -> bool:
    """{"nvbandwidth": {"testcases": [{"name", "status", "bandwidth_matrix": [["369.36", ...]], "sum"}]}}."""
    body = value_.get("nvbandwidth") if isinstance(value_, dict) else None
    if not isinstance(body, dict) or not isinstance(body.get("testcases"), list):
        return False
    for case in body["testcases"]:
        matrix = case.get("bandwidth_matrix") if isinstance(case, dict) else None
        name = case.get("name") if isinstance(case, dict) else None
        if not isinstance(matrix, list) or not isinstance(name, str):
            continue
        for source, row in enumerate(matrix):
            for target, said in enumerate(row if isinstance(row, list) else []):
                known = value(str(said))
                if known is not None:
                    params: Params = {"test": name, "row": source, "column": target}
                    unit = "ns" if "latency" in name else "GB/s"
                    sink.found(Found("memory.nvbandwidth", params, (_measured(known, unit),), first, last))
    return True


def reader(sink: Sink) -> Reader:
    return Nvbandwidth(sink)


MARKS = ("nvbandwidth Version", "Running ", "memcpy CE ")
KIND = Kind("nvbandwidth", "nvbandwidth: matrices, sums, JSON", MARKS, reader, document)
