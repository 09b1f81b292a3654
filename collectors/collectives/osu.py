"""OSU micro-benchmarks, versions 5 to 7 (util/osu_util.c: print_header): point to point and collectives, from host or
device memory. Sizes are B, latencies µs, bandwidths MB/s of 10^6 B."""

from __future__ import annotations

import re

from collectors.numbers import value
from collectors.parser import Found, Kind, Reader, Sink, parsed
from harness.records import Measurement, Params
from harness.units import Unit

TITLE = re.compile(
    r"# OSU (?P<library>MPI|NCCL|RCCL|XCCL|OPENSHMEM|UPC)?(?P<device>-CUDA|-ROCM|-SYCL|-OPENACC)? ?(?P<test>.+?)"
    r"(?: Test)?"
    r" v(?P<version>\d[\w.]*)\s*$"
)
OPERATIONS = {
    "allreduce": "all_reduce", "allgather": "all_gather", "reduce_scatter": "reduce_scatter", "alltoall": "all_to_all",
    "broadcast": "broadcast", "reduce": "reduce", "gather": "gather", "scatter": "scatter",
    "all_to_all_personalized_exchange": "all_to_all", "barrier": "barrier",
}  # fmt: skip
LATENCY = {
    "avg latency(us)": "time", "latency (us)": "time", "avg lat(us)": "time", "latency(us)": "time",
    "min latency(us)": "time_min", "max latency(us)": "time_max", "p50 tail lat(us)": "time_p50",
    "p90 tail lat(us)": "time_p90", "p99 tail lat(us)": "time_p99", "p99.9 tail lat(us)": "time_p999",
    "overall(us)": "time", "compute(us)": "time_compute", "pure comm.(us)": "time_transfer",
}  # fmt: skip
RATES = {"bandwidth (mb/s)": ("bandwidth", Unit.BYTE_PER_SECOND, 1e6), "mb/s": ("bandwidth", Unit.BYTE_PER_SECOND, 1e6),
         "messages/s": ("message_rate", Unit.PER_SECOND, 1.0), "overlap(%)": ("overlap", Unit.RATIO, 0.01)}  # fmt: skip
SHAPE = re.compile(r"# \[ pairs: (\d{1,7}) \](?: \[ window size: (\d{1,7}) \])?")
ROW = re.compile(r"\s*\d{1,18}(?:\.\d{2,})?(?:\s+(?:\d+\.\d{2,}|\d{1,18}|Pass|Fail|-))*\s*")
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
            if title["library"] and title["library"] != "MPI":
                self._params["library"] = title["library"].lower()
            if title["device"]:
                self._params["buffers"] = title["device"][1:].lower()
            self._columns = []
            return True
        if text.startswith("#Using ") and text.rstrip() in ("#Using NCCL", "#Using RCCL"):
            return True  # each rank of osu_xccl_* says so
        if not self._params:
            return False
        if text.lstrip().startswith("#"):
            return self._comment(text.strip())
        if not self._columns or not text.strip() or not text.strip()[0].isdigit():
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
        elif shape := SHAPE.match(text):
            self._params["pairs"] = int(shape[1])
            self._params |= {"window": int(shape[2])} if shape[2] else {}
        elif text.startswith(("# Size", "# Avg Latency(us)", "# Overall(us)")):
            self._columns = [part.lower() for part in re.split(r"\s{2,}", text[1:].strip())]
        return True

    def _row(self, words: list[str], line: int) -> None:
        sized = self._columns[0] == "size"  # a barrier has none
        if len(words) > len(self._columns) or words[0].isdigit() is not sized:
            self._sink.warn(line, f"{len(words)} values under {len(self._columns)} columns: left out")
            return
        if len(words) < len(self._columns):
            self._sink.warn(line, f"{len(words)} values under {len(self._columns)} columns: read are those")
        held: list[Measurement] = []
        failed = ""
        for column, said in zip(self._columns[sized:], words[sized:], strict=False):
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
            params = self._params | ({"size": int(words[0])} if sized else {})
            self._sink.found(Found("collectives.osu", params, tuple(held), line, line, failed=failed))


def reader(sink: Sink) -> Reader:
    return Osu(sink)


KIND = Kind("osu", "OSU micro-benchmarks: point to point and collectives", ("# OSU ",), reader)
