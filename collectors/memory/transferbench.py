"""TransferBench's peer-to-peer tables (src/client/Presets/PeerToPeer.hpp), one way and both ways. GB/s is 10^9 B/s."""

from __future__ import annotations

import re

from collectors import checks
from collectors.numbers import number, value
from collectors.parser import About, Found, Kind, Reader, Sink, parsed
from harness.records import Params
from harness.units import Unit

VERSION = re.compile(r"\s*TransferBench v(\S+)\s*")
SIZE = re.compile(r"\s*Bytes Per Direction (\d{1,18})\s*")
TITLE = re.compile(
    r"\s*(Unidirectional|Bidirectional) copy peak bandwidth GB/s\s+\[(.+?)\] \((?:GPU-Executor|.*?): (\w+)\)\s*"
)
PLACE = r"(?:CPU|GPU) \d+"
HEAD = re.compile(rf"\s*SRC(?:\+EXE)?\\DST((?:\s+{PLACE})+)\s*")
ROW = re.compile(rf"\s*({PLACE})\s+(->|<-|<->)((?:\s+(?:\d{{1,15}}\.\d{{2}}|N/A))+)\s*")
GUTTER = r"\s*[|│]\s*"
TIMED = rf"{GUTTER}(\d{{1,15}}\.\d{{3}}) GB/s{GUTTER}(\d{{1,15}}\.\d{{3}}) ms{GUTTER}(\d{{1,18}}) bytes{GUTTER}"
EXECUTOR = re.compile(rf"\s*Executor: (\w+ \d+){TIMED}\d{{1,15}}\.\d{{3}} GB/s \(sum\)\s*")
TRANSFER = re.compile(rf"\s*Transfer (\d{{1,9}})\s*{TIMED}(\S.*?) -> (\w+:\d+) -> (\S.*?)\s*")
AGGREGATE = re.compile(rf"\s*Aggregate \(CPU\)\s*{TIMED}Overhead.*")
WAYS = {"->": "forward", "<-": "back", "<->": "both"}
KNOWN = ("[Common]", "[P2P Related]", "Averages (During", "CPU->CPU", "=====")


class Transferbench:
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._version = ""
        self._params: Params = {}
        self._title: Params = {}
        self._columns: list[str] = []

    def feed(self, text: str, line: int) -> bool:
        if version := VERSION.fullmatch(text):
            self._version = version[1]
        elif size := SIZE.fullmatch(text):
            self._params["size"] = int(size[1])
        elif title := TITLE.fullmatch(text):
            self._title = {"test": title[1].lower(), "access": title[2].lower(), "executor": title[3]}
            self._columns = []
        elif self._title and (head := HEAD.fullmatch(text)):
            self._columns = re.findall(PLACE, head[1])
        elif self._columns and (row := ROW.fullmatch(text)):
            self._row(row[1], row[2], row[3].split(), line)
        elif " GB/s" in text and self._timed(text, line):
            return True
        elif self._columns and re.match(rf"\s*{PLACE}\s+(?:->|<-|<->)", text):
            self._sink.warn(line, "a row that is not whole: left out")
        else:
            return text.strip().startswith(KNOWN)
        return True

    def close(self) -> None:
        """Rows are given as they come."""

    def _timed(self, text: str, line: int) -> bool:
        """A line of a test's results (Utilities.hpp: PrintResults): rate, time and bytes of an executor's, a transfer's
        or all work."""
        if found := TRANSFER.fullmatch(text):
            params: Params = {"transfer": int(found[1]), "source": found[5], "executor": found[6], "target": found[7]}
            numbers = found.groups()[1:4]
        elif found := EXECUTOR.fullmatch(text):
            params, numbers = {"executor": found[1]}, found.groups()[1:4]
        elif found := AGGREGATE.fullmatch(text):
            params, numbers = {"executor": "all"}, found.groups()
        else:
            return False
        rate, time, size = number(numbers[0]), number(numbers[1]), number(numbers[2])
        if rate is None or time is None or size is None:
            return False
        rate, time = rate.scaled(1e9), time.scaled(1e-3)
        said = checks.quotient(
            "bandwidth", rate, Unit.BYTE_PER_SECOND, checks.exact(size.value), time, "bytes over time"
        )
        held = (parsed("bandwidth", Unit.BYTE_PER_SECOND, rate.value), parsed("time", Unit.SECOND, time.value))
        about = About(versions=(("TransferBench", self._version),) if self._version else ())
        params = {**params, "size": int(size.value)}
        self._sink.found(Found("memory.transferbench", params, held, line, line, about, (said,) if said else ()))
        return True

    def _row(self, source: str, way: str, words: list[str], line: int) -> None:
        if len(words) != len(self._columns):
            self._sink.warn(line, f"{len(words)} values under {len(self._columns)} columns: left out")
            return
        about = About(versions=(("TransferBench", self._version),) if self._version else ())
        for target, said in zip(self._columns, words, strict=True):
            known = value(said)
            if known is not None:
                params = {**self._params, **self._title, "source": source, "target": target, "way": WAYS[way]}
                held = (parsed("bandwidth", Unit.BYTE_PER_SECOND, known * 1e9),)
                self._sink.found(Found("memory.transferbench", params, held, line, line, about))


def reader(sink: Sink) -> Reader:
    return Transferbench(sink)


MARKS = ("Aggregate (CPU)", "Executor: ", "TransferBench v", "directional copy peak bandwidth", "Bytes Per Direction")
KIND = Kind("transferbench", "TransferBench: peer-to-peer tables", MARKS, reader)
