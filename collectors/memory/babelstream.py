"""BabelStream: its table, in text and as CSV (src/main.cpp), of all versions since 1.0. Rates are MB/s of 10^6 B, or
MiB/s where the heading says so (--mibibytes); times are s."""

from __future__ import annotations

import re

from collectors import checks
from collectors.numbers import Number, number, value
from collectors.parser import DERIVED, About, Found, Kind, Reader, Sink, parsed
from harness.records import Params
from harness.units import Unit

LOOPS = ("Copy", "Mul", "Add", "Triad", "Dot", "Nstream")
HEAD = re.compile(r"Function\s+M(i?)Bytes/sec\s+Min \(sec\)\s+Max\s+Average\s*")
TIME = r"\s+(\d{1,15}\.\d{5})"
ROW = re.compile(rf"({'|'.join(LOOPS)})\s+(\d{{1,15}}\.\d{{3}}){TIME}{TIME}{TIME}\s*")
SIZE = re.compile(r"Array size: (\d{1,15}\.\d+) ([KM]i?)B \(=.*\)")
SIZES = {"K": 1e3, "M": 1e6, "Ki": 2.0**10, "Mi": 2.0**20}
ARRAYS = {"Copy": 2, "Mul": 2, "Add": 3, "Triad": 3, "Dot": 2, "Nstream": 4}  # that BabelStream counts
OTHER = re.compile(r"(?:Running (?:kernels|triad) \d+ times|Total size: .*|Driver: .*|(?:Init|Read): .*MBytes/sec\))")
RESULTS = "Platform,Device,ECC,Copy,Mul,Add,Triad,Best GB/s,Peak,Percentage"
COLLECTED = f"{DERIVED}the unit MB/s, from the column 'Best GB/s'"
CSV = "function,num_times,n_elements,sizeof,max_mbytes_per_sec,min_runtime,max_runtime,avg_runtime"
CSV_MIB = CSV.replace("mbytes", "mibytes")
DTYPES = {"double": "float64", "float": "float32", "8": "float64", "4": "float32"}


class Babelstream:
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._clear("")

    def _clear(self, version: str) -> None:
        self._params: Params = {}
        self._scale, self._csv, self._results = 0.0, False, False
        self._size: Number | None = None  # B of an array, as printed
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
        elif text == RESULTS:
            self._results = True
        elif self._results and text.count(",") == RESULTS.count(","):
            self._collected(text.split(","), line)
        elif self._scale and text.startswith(LOOPS):
            self._row(text, line)
        else:
            return self._context(text)
        return True

    def close(self) -> None:
        """Rows are given as they come."""

    def _context(self, text: str) -> bool:
        name, _, said = text.partition(": ")
        if text in ("BabelStream", "GPU-STREAM"):
            self._clear("")
        elif name == "Version":
            self._version = said
        elif name == "Implementation":
            self._params["implementation"] = said.strip()
        elif name == "Precision":
            self._params["dtype"] = DTYPES.get(said.strip(), said.strip())
        elif size := SIZE.match(text):
            printed = number(size[1])
            self._size = printed.scaled(SIZES[size[2]]) if printed else None
            self._params["array"] = round(float(size[1]) * SIZES[size[2]])
        elif text.startswith(("Using CUDA device ", "Using HIP device ", "Using OpenCL device ")):
            vendor = "amd" if "HIP" in text or "AMD" in text else "nvidia"
            self._about = About(((text.split(" device ", 1)[1], vendor),))
        else:
            return OTHER.fullmatch(text) is not None
        return True

    def _row(self, text: str, line: int) -> None:
        row = ROW.fullmatch(text)
        if row is None:
            self._sink.warn(line, "a row that is not whole: left out")
            return
        said = ""
        rate, least = number(row[2]), number(row[3])
        if self._size is not None and rate is not None and least is not None:
            moved = self._size.scaled(ARRAYS[row[1]])
            rate, why = rate.scaled(self._scale), "bytes over the least time"
            said = checks.quotient("bandwidth", rate, Unit.BYTE_PER_SECOND, moved, least, why)
        self._give(row[1], [float(part) for part in row.groups()[1:]], line, said)

    def _collected(self, words: list[str], line: int) -> None:
        """A row of the results of version 1.0, collected by hand: a device, and the rate of each loop."""
        about = About(((words[1], words[0].lower()),)) if words[0] in ("AMD", "NVIDIA") else About()
        for loop, word in zip(LOOPS, words[3:7], strict=False):
            if (rate := value(word)) is not None:
                params: Params = {"op": loop.lower(), "device": words[1], "ecc": words[2] == "On"}
                held = (parsed("bandwidth", Unit.BYTE_PER_SECOND, rate * 1e6, flags=(COLLECTED,)),)
                self._sink.found(Found("memory.babelstream", params, held, line, line, about))

    def _csv_row(self, words: list[str], line: int) -> bool:
        if words[0] not in LOOPS:
            return False
        numbers = [value(word) for word in words[1:]]
        known = [one for one in numbers if one is not None]
        if self._sink.torn or len(known) != len(numbers) or max(known) > 1e18:
            self._sink.warn(line, "a row that is not whole: left out")
            return True
        self._params |= {"dtype": DTYPES.get(words[3], words[3]), "array": round(known[1] * known[2])}
        self._give(words[0], known[3:], line)
        return True

    def _give(self, loop: str, numbers: list[float], line: int, said: str = "") -> None:
        rate, least, most, mean = numbers
        held = (
            parsed("bandwidth", Unit.BYTE_PER_SECOND, rate * self._scale, flags=("of the fastest repetition",)),
            parsed("time_min", Unit.SECOND, least),
            parsed("time_max", Unit.SECOND, most),
            parsed("time", Unit.SECOND, mean, flags=("a mean",)),
        )
        about = About(self._about.devices, (("BabelStream", self._version),) if self._version else ())
        params: Params = {"op": loop.lower(), **self._params}
        contradictions = (said,) if said else ()
        self._sink.found(Found("memory.babelstream", params, held, line, line, about, contradictions))


def reader(sink: Sink) -> Reader:
    return Babelstream(sink)


MARKS = ("BabelStream", "GPU-STREAM", RESULTS, "MBytes/sec  Min", "MiBytes/sec", CSV, CSV_MIB)
KIND = Kind("babelstream", "BabelStream: table and CSV", MARKS, reader)
