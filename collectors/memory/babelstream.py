"""BabelStream: its table, in text and as CSV (src/main.cpp), of all versions since 1.0. Rates are MB/s of 10^6 B, or
MiB/s where the heading says so (--mibibytes); times are s."""

from __future__ import annotations

import re

from collectors.numbers import value
from collectors.parser import About, Found, Kind, Reader, Sink, parsed
from harness.records import Params
from harness.units import Unit

LOOPS = ("Copy", "Mul", "Add", "Triad", "Dot", "Nstream")
HEAD = re.compile(r"Function\s+M(i?)Bytes/sec\s+Min \(sec\)\s+Max\s+Average\s*")
ROW = re.compile(rf"({'|'.join(LOOPS)})\s+(\d+\.\d{{3}})\s+(\d+\.\d{{5}})\s+(\d+\.\d{{5}})\s+(\d+\.\d{{5}})\s*")
SIZE = re.compile(r"Array size: ([\d.]+) (M|Mi)B\b")
CSV = "function,num_times,n_elements,sizeof,max_mbytes_per_sec,min_runtime,max_runtime,avg_runtime"
CSV_MIB = CSV.replace("mbytes", "mibytes")
DTYPES = {"double": "float64", "float": "float32", "8": "float64", "4": "float32"}


class Babelstream:
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._clear("")

    def _clear(self, version: str) -> None:
        self._params: Params = {}
        self._scale, self._csv = 0.0, False
        self._about = About()
        self._version = version

    def feed(self, text: str, line: int) -> bool:
        text = text.strip()
        head = HEAD.fullmatch(text)
        if head is not None:
            self._scale, self._csv = (2.0**20 if head[1] else 1e6), False
        elif text in (CSV, CSV_MIB):
            self._scale, self._csv = (2.0**20 if text == CSV_MIB else 1e6), True
        elif self._csv and text.count(",") == CSV.count(","):
            return self._csv_row(text.split(","), line)
        elif self._scale and text.startswith(LOOPS):
            self._row(text, line)
        else:
            return self._context(text)
        return True

    def close(self) -> None:
        """Rows are given as they come."""

    def _context(self, text: str) -> bool:
        name, _, said = text.partition(": ")
        if text == "BabelStream":
            self._clear("")
        elif name == "Version":
            self._version = said
        elif name == "Implementation":
            self._params["implementation"] = said.strip()
        elif name == "Precision":
            self._params["dtype"] = DTYPES.get(said.strip(), said.strip())
        elif size := SIZE.match(text):
            self._params["array"] = round(float(size[1]) * (2.0**20 if size[2] == "Mi" else 1e6))
        elif text.startswith(("Using CUDA device ", "Using HIP device ", "Using OpenCL device ")):
            vendor = "amd" if "HIP" in text or "AMD" in text else "nvidia"
            self._about = About(((text.split(" device ", 1)[1], vendor),))
        else:
            return text.startswith(("Running kernels ", "Running ", "Total size: ", "Driver: "))
        return True

    def _row(self, text: str, line: int) -> None:
        row = ROW.fullmatch(text)
        if row is None:
            self._sink.warn(line, "a row that is not whole: left out")
            return
        self._give(row[1], [float(part) for part in row.groups()[1:]], line)

    def _csv_row(self, words: list[str], line: int) -> bool:
        if words[0] not in LOOPS:
            return False
        numbers = [value(word) for word in words[1:]]
        known = [one for one in numbers if one is not None]
        if self._sink.torn or len(known) != len(numbers):
            self._sink.warn(line, "a row that is not whole: left out")
            return True
        self._params |= {"dtype": DTYPES.get(words[3], words[3]), "array": round(known[1] * known[2])}
        self._give(words[0], known[3:], line)
        return True

    def _give(self, loop: str, numbers: list[float], line: int) -> None:
        rate, least, most, mean = numbers
        held = (
            parsed("bandwidth", Unit.BYTE_PER_SECOND, rate * self._scale, flags=("of the fastest repetition",)),
            parsed("time_min", Unit.SECOND, least),
            parsed("time_max", Unit.SECOND, most),
            parsed("time", Unit.SECOND, mean, flags=("a mean",)),
        )
        about = About(self._about.devices, (("BabelStream", self._version),) if self._version else ())
        self._sink.found(Found("memory.babelstream", {"op": loop.lower(), **self._params}, held, line, line, about))


def reader(sink: Sink) -> Reader:
    return Babelstream(sink)


MARKS = ("BabelStream", "MBytes/sec  Min", "MiBytes/sec", CSV, CSV_MIB)
KIND = Kind("babelstream", "BabelStream: table and CSV", MARKS, reader)
