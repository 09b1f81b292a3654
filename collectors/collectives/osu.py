"""OSU micro-benchmarks, versions 5 to 7 (util/osu_util.c: print_header): point to point and collectives, from host or
device memory. Sizes are B, latencies µs, bandwidths MB/s of 10^6 B."""

from __future__ import annotations

import re

from collectors.numbers import value
from collectors.parser import Found, Kind, Reader, Sink, parsed
from harness.records import Measurement, Params
from harness.units import Unit

TITLE = re.compile(
    r"# OSU (?:MPI|NCCL|RCCL|XCCL|OPENSHMEM|UPC)?(?P<device>-CUDA|-ROCM|-SYCL|-OPENACC)? ?(?P<test>.+?)(?: Test)?"
    r" v(?P<version>\d[\w.]*)\s*$"
)
OPERATIONS = {
    "allreduce": "all_reduce", "allgather": "all_gather", "reduce_scatter": "reduce_scatter", "alltoall": "all_to_all",
    "broadcast": "broadcast", "reduce": "reduce", "gather": "gather", "scatter": "scatter",
}  # fmt: skip
LATENCY = {
    "avg latency(us)": "time", "latency (us)": "time", "avg lat(us)": "time", "latency(us)": "time",
    "min latency(us)": "time_min", "max latency(us)": "time_max", "p50 tail lat(us)": "time_p50",
    "p90 tail lat(us)": "time_p90", "p99 tail lat(us)": "time_p99", "p99.9 tail lat(us)": "time_p999",
}  # fmt: skip
RATES = {"bandwidth (mb/s)": ("bandwidth", Unit.BYTE_PER_SECOND, 1e6), "mb/s": ("bandwidth", Unit.BYTE_PER_SECOND, 1e6),
         "messages/s": ("message_rate", Unit.PER_SECOND, 1.0)}  # fmt: skip
ROW = re.compile(r"\s*\d{1,18}(?:\s+(?:\d+\.\d{2,}|\d{1,18}|Pass|Fail|-))+\s*")
WHOLE = re.compile(r"\d+\.\d{2,}")


class Osu:
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._params: Params = {}
        self._columns: list[str] = []

    def feed(self, text: str, line: int) -> bool:
        title = TITLE.match(text.strip())
        if title is not None:
            name = title["test"].removesuffix(" Latency").strip().lower().replace("-", "_").replace(" ", "_")
            self._params = {"test": title["test"].lower(), "version": title["version"]}
            if name in OPERATIONS:
                self._params["operation"] = OPERATIONS[name]
            if title["device"]:
                self._params["buffers"] = title["device"][1:].lower()
            self._columns = []
            return True
        if not self._params:
            return False
        if text.lstrip().startswith("#"):
            return self._comment(text.strip())
        if not self._columns or not text.strip() or not text.split()[0].isdigit():
            return False
        if ROW.fullmatch(text):
            self._row(text.split(), line)
        else:
            self._sink.warn(line, "a row that is not whole: left out")
        return True

    def close(self) -> None:
        """Rows are given as they come."""

    def _comment(self, text: str) -> bool:
        if text.startswith("# Datatype: "):
            self._params["dtype"] = text.partition(": ")[2].strip(". ")
        elif text.startswith("# Size"):
            self._columns = [part.lower() for part in re.split(r"\s{2,}", text[1:].strip())]
        return True

    def _row(self, words: list[str], line: int) -> None:
        if len(words) != len(self._columns):
            self._sink.warn(line, f"{len(words)} values under {len(self._columns)} columns: left out")
            return
        held: list[Measurement] = []
        failed = ""
        for column, said in zip(self._columns[1:], words[1:], strict=True):
            known = value(said)
            if column == "validation" and said == "Fail":
                failed = "the check of the data failed"
            if known is None or not WHOLE.fullmatch(said):
                continue
            if column in LATENCY:
                held.append(parsed(LATENCY[column], Unit.SECOND, known * 1e-6))
            elif column in RATES:
                name, unit, scale = RATES[column]
                held.append(parsed(name, unit, known * scale))
        if held:
            params = self._params | {"size": int(words[0])}
            self._sink.found(Found("collectives.osu", params, tuple(held), line, line, failed=failed))


def reader(sink: Sink) -> Reader:
    return Osu(sink)


KIND = Kind("osu", "OSU micro-benchmarks: point to point and collectives", ("# OSU ",), reader)
