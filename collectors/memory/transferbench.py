"""TransferBench's peer-to-peer tables (src/client/Presets/PeerToPeer.hpp), one way and both ways. GB/s is 10^9 B/s."""

from __future__ import annotations

import re

from collectors.numbers import value
from collectors.parser import About, Found, Kind, Reader, Sink, parsed
from harness.records import Params
from harness.units import Unit

VERSION = re.compile(r"\s*TransferBench v(\S+)\s*")
SIZE = re.compile(r"\s*Bytes Per Direction (\d+)\s*")
TITLE = re.compile(
    r"\s*(Unidirectional|Bidirectional) copy peak bandwidth GB/s\s+\[(.+?)\] \((?:GPU-Executor|.*?): (\w+)\)\s*"
)
PLACE = r"(?:CPU|GPU) \d+"
HEAD = re.compile(rf"\s*SRC(?:\+EXE)?\\DST((?:\s+{PLACE})+)\s*")
ROW = re.compile(rf"\s*({PLACE})\s+(->|<-|<->)((?:\s+(?:\d+\.\d{{2}}|N/A))+)\s*")
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
        elif self._columns and re.match(rf"\s*{PLACE}\s+(?:->|<-|<->)", text):
            self._sink.warn(line, "a row that is not whole: left out")
        else:
            return text.strip().startswith(KNOWN)
        return True

    def close(self) -> None:
        """Rows are given as they come."""

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


MARKS = ("TransferBench v", "directional copy peak bandwidth", "Bytes Per Direction")
KIND = Kind("transferbench", "TransferBench: peer-to-peer tables", MARKS, reader)
