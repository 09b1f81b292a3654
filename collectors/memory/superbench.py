"""SuperBench: `results-summary.jsonl`, an object a node with 'bench[:variant]/metric[:rank]' keys; and the table of its
gpu-stream.

Units are those of its docs/user-tutorial/benchmarks, known where the benchmark and the metric's name tell them; of all
others the log gives no unit, and the number stands as it is.
"""

from __future__ import annotations

import re

from collectors.parser import Found, Kind, Sink, parsed
from collectors.values import real, table
from harness.records import Better, Measurement, Params
from harness.units import Unit

_KEY = re.compile(r"(?P<bench>[A-Za-z][\w.-]*)(?::(?P<variant>[\w.-]+))?/(?P<metric>[\w./-]+?)(?::(?P<rank>\d{1,9}))?")
_STREAM = re.compile(
    r"STREAM_(?P<op>COPY|SCALE|ADD|TRIAD)_(?P<dtype>double|float)_gpu_(?P<gpu>\d+)_buffer_(?P<size>\d+)"
    r"_block_(?P<block>\d+)\s+(?P<rate>\d{1,15}\.\d\d)\s+(?P<share>\d{1,15}\.\d\d)\s*"
)
_STREAM_OTHER = re.compile(
    r"(?:STREAM Benchmark|Buffer size\(bytes\): \d+|Number of warm up runs: \d+|Number of loops: \d+|Check data: \w+"
    r'|Device \d+: ".*" .*PEAK .*)\s*'
)
UNITLESS = "the log gives no unit"
_MICRO = ("nccl-bw", "rccl-bw", "cublas-function", "cudnn-function", "ib-traffic")
_MILLI = ("kernel-launch", "matmul", "sharding-matmul", "computation-communication-overlap", "dist-inference")


def document(value: object, sink: Sink, first: int, last: int) -> bool:
    known = table(value)
    keys = {key: match for key in known if (match := _KEY.fullmatch(key)) and real(known[key]) is not None}
    if not keys or not (isinstance(known.get("node"), str) or any(match["rank"] for match in keys.values())):
        return False
    for key, match in keys.items():
        number = real(known[key])
        if number is None or match["metric"] == "return_code":
            continue
        params: Params = {"metric": match["metric"]}
        if match["variant"]:
            params["variant"] = match["variant"]
        if match["rank"] is not None:
            params["rank"] = int(match["rank"])
        if isinstance(node := known.get("node"), str):
            params["node"] = node
        only = _measured(match["bench"], match["metric"], number)
        sink.found(Found(f"superbench.{match['bench']}", params, (only,), first, last))
    return True


def _measured(bench: str, metric: str, number: float) -> Measurement:
    last = metric.rpartition("_")[2]
    if last in ("busbw", "algbw", "bw") and not bench.startswith(("disk", "cpu-memory")):
        name = "bandwidth" if last == "bw" else last
        return parsed(name, Unit.BYTE_PER_SECOND, number * 1e9)
    if last == "time" and (metric.endswith("_step_time") or bench in _MILLI):
        return parsed("time", Unit.SECOND, number * 1e-3)
    if last == "time" and bench in _MICRO:
        return parsed("time", Unit.SECOND, number * 1e-6)
    if bench == "gemm-flops" and last == "flops":
        return parsed("flops", Unit.FLOP_PER_SECOND, number * 1e9)
    if bench in ("cublaslt-gemm", "hipblaslt-gemm") and last == "flops":
        return parsed("flops", Unit.FLOP_PER_SECOND, number * 1e12)
    if metric.endswith("_throughput") and bench.startswith("model-benchmarks"):
        return parsed("throughput", Unit.PER_SECOND, number)
    better = Better.LOWER if last in ("time", "lat", "latency") else Better.HIGHER
    return parsed("value", Unit.RATIO, number, better, flags=(UNITLESS,))


class Reader:
    """The table of gpu-stream: GB/s, and its share of the peak in per cent."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def feed(self, text: str, line: int) -> bool:
        found = _STREAM.fullmatch(text) if text.startswith("STREAM_") else None
        if found is None:
            return _STREAM_OTHER.fullmatch(text) is not None
        params: Params = {
            "op": found["op"].lower(), "dtype": "float64" if found["dtype"] == "double" else "float32",
            "rank": int(found["gpu"][:18]), "size": int(found["size"][:18]), "block": int(found["block"][:18]),
        }  # fmt: skip
        rate = parsed("bandwidth", Unit.BYTE_PER_SECOND, float(found["rate"]) * 1e9)
        share = parsed("peak_share", Unit.RATIO, float(found["share"]) / 100)
        self._sink.found(Found("superbench.gpu-stream", params, (rate, share), line, line))
        return True

    def close(self) -> None:
        return


KIND = Kind("superbench", "SuperBench, results JSONL and gpu-stream", ("STREAM_", "STREAM Benchmark"), Reader, document)
