"""torchtitan's lines of metrics (torchtitan/components/metrics.py: MetricsProcessor.log), of all its versions: wps
before 2024-12, tps after; and what it says of the job before (train.py, parallel_dims.py)."""

from __future__ import annotations

import re

from collectors import checks
from collectors.numbers import Number, number
from collectors.parser import About, Kind, Reader, Sink
from collectors.training.steps import Steps
from harness.records import Params
from harness.units import Unit

STEP = re.compile(r"\bstep: +(\d+) +")
FIELD = re.compile(r"(loss|grad_norm|memory|tps|wps|tflops|mfu): +(\S+)")
MEMORY = re.compile(r"([\d.]+\d)GiB\(\d+\.\d+%\)")
PARALLEL = re.compile(r"\b(pp|dp_replicate|dp_shard|cp|tp|ep|dp)=(-?\d+)")
MODEL = re.compile(r"Model (\S+) (\S+) size: ([\d,]+) total parameters")
PEAK = re.compile(r"Peak FLOPS used for computing MFU: (\d\.\d+e\+\d\d)\b")
DEGREES = {"pp": "pipeline", "cp": "context", "tp": "tensor", "ep": "expert", "dp": "data"}
KNOWN = (
    "[titan]", "[GC] ", "torchtitan", "Training starts at step", "CUDA capacity:", "HIP capacity:", "Applied ",
    "Compiling each", "CUDA memory usage for model", "Trainer is initialized", "Training completed",
)  # fmt: skip


class Torchtitan:
    def __init__(self, sink: Sink) -> None:
        self._params: Params = sink.shared.setdefault("params", {"framework": "torchtitan"})
        self._shared, self._sink = sink.shared, sink
        self._steps = Steps(sink, self._params)

    def feed(self, text: str, line: int) -> bool:
        found = STEP.search(text)
        if found is not None:
            return self._step(int(found[1]), text[found.end() :], line)
        if "Building " in text and "device mesh" in text:
            self._mesh(text)
        elif peak := PEAK.search(text):
            self._shared["peak"] = number(peak[1])
        elif model := MODEL.search(text):
            self._steps.close()
            self._params["model"] = f"{model[1]} {model[2]}"
            self._params["parameters"] = int(model[3].replace(",", ""))
        else:
            return any(known in text for known in KNOWN)
        return True

    def close(self) -> None:
        self._steps.close()

    def _mesh(self, text: str) -> None:
        self._steps.close()
        ranks = 1
        for name, size in PARALLEL.findall(text):
            degree = int(size)
            ranks *= max(degree, 1) if name != "ep" else 1  # experts share the ranks of data
            if name in DEGREES:
                self._params[DEGREES[name]] = degree
            elif degree > 1:
                self._params[name] = degree
        self._params["ranks"] = ranks
        self._steps.about = About(ranks=ranks)

    def _step(self, at: int, rest: str, line: int) -> bool:
        values: dict[str, float] = {}
        printed: dict[str, Number] = {}
        for found in FIELD.finditer(rest):
            name, said = found[1], found[2]
            if found.end() == len(rest) and self._sink.torn and not said.endswith("%"):
                break  # the file ends within this number
            self._value("tps" if name == "wps" else name, said, values, printed)
        if not values:
            return False
        self._steps.add(at, values, line)
        peak = self._shared.get("peak")
        if peak is not None and "tflops" in printed and "mfu" in printed:
            why = f"{printed['tflops'].value / 1e12:g} TFLOP/s over the peak of {peak.value / 1e12:g}"
            self._steps.contradict(
                checks.quotient("MFU", printed["mfu"], Unit.RATIO, printed["tflops"], checks.exact(peak.value), why)
            )
        return True

    def _value(self, name: str, said: str, values: dict[str, float], printed: dict[str, Number]) -> None:
        if name == "memory":
            memory = MEMORY.fullmatch(said)
            if memory:
                values["memory"] = float(memory[1]) * 2**30
            return
        known = number(said.removesuffix("%"))
        if known is None or (name == "mfu" and not said.endswith("%")):
            return
        scale, metric = {"tps": (1.0, "tokens"), "tflops": (1e12, "flops"), "mfu": (0.01, "mfu")}.get(name, (1.0, name))
        printed[name] = known.scaled(scale)
        values[metric] = known.value * scale


def reader(sink: Sink) -> Reader:
    return Torchtitan(sink)


KIND = Kind(
    "torchtitan", "torchtitan: step, loss, memory, tokens per second, TFLOP/s, MFU",
    ("step: ", "[titan]", "torchtitan", "device mesh with parallelism", "Building ", "Peak FLOPS used for"), reader,
)  # fmt: skip
