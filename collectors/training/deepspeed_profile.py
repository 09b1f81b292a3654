"""The summary of DeepSpeed's flops profiler (deepspeed/profiling/flops_profiler/profiler.py: print_model_profile)."""

from __future__ import annotations

import re

from collectors import checks
from collectors.numbers import Number, number, whole
from collectors.parser import About, Kind, Reader, Sink
from collectors.training.steps import Steps
from harness.records import Params
from harness.units import Unit

HEAD = "DeepSpeed Flops Profiler"
LINE = re.compile(r"(\S.*?): +(\d+(?:\.\d+)?)(?: +([A-Za-z]+))? *")
COUNTS = {"world size": "ranks", "data parallel size": "data", "model parallel size": "tensor",
          "batch size per GPU": "micro_batch"}  # fmt: skip
NUMBERS = {
    "fwd latency": "time_forward", "bwd latency": "time_backward", "step latency": "time_optimizer",
    "iter latency": "time", "fwd flops per GPU": "flop_forward", "samples/second": "samples_total",
    "fwd FLOPS per GPU = fwd flops per GPU / fwd latency": "flops_forward",
    "FLOPS per GPU = 3 * fwd flops per GPU / iter latency": "flops",
}  # fmt: skip
PREFIX = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}


class DeepSpeedProfile:
    def __init__(self, sink: Sink) -> None:
        self._sink, self._inside = sink, False
        self._clear()

    def _clear(self) -> None:
        self._params: Params = {"framework": "deepspeed"}
        self._values: dict[str, Number] = {}
        self._at, self._line = 0, 0

    def feed(self, text: str, line: int) -> bool:
        if HEAD in text:
            self.close()
            self._inside = True
        elif not self._inside:
            return False
        elif "Aggregated Profile" in text or "Detailed Profile" in text:
            self.close()
        elif step := re.match(r"Profile Summary at step (\d+):", text):
            self._at = int(step[1])
        elif (found := LINE.fullmatch(text)) and not self._sink.torn:
            self._number(found[1], found[2], found[3] or "", line)
        else:
            return text.startswith(("Notations", "data parallel", "number of", "fwd latency (", "step (", "params"))
        return True

    def close(self) -> None:
        if self._values:
            ranks = self._params.get("ranks")
            steps = Steps(self._sink, self._params, About(ranks=ranks if isinstance(ranks, int) else None))
            steps.add(self._at, {name: known.value for name, known in self._values.items()}, self._line)
            steps.contradict(self._contradiction())
            steps.close()
        self._inside = False
        self._clear()

    def _number(self, name: str, said: str, unit: str, line: int) -> None:
        if name in COUNTS:
            self._params[COUNTS[name]] = whole(said)
        elif name.lower() in ("params per gpu", "params per gpu (ds)"):
            self._params["parameters_per_device"] = round(float(said) * PREFIX.get(unit.upper(), 1.0))
        known = number(said)
        metric = NUMBERS.get(name)
        if known is None or metric is None:
            return
        scale = SECONDS.get(unit) if metric.startswith("time") else PREFIX.get(unit.removesuffix("FLOPS").upper())
        if scale is not None:
            self._values[metric] = known.scaled(scale)
            self._line = line

    def _contradiction(self) -> str:
        held = self._values
        if not {"flops_forward", "flop_forward", "time_forward"} <= held.keys():
            return ""
        return checks.quotient(
            "forward FLOP/s", held["flops_forward"], Unit.FLOP_PER_SECOND, held["flop_forward"], held["time_forward"],
            "FLOP over latency", slack=0.01,
        )  # fmt: skip


def reader(sink: Sink) -> Reader:
    return DeepSpeedProfile(sink)


KIND = Kind("deepspeed-profile", "DeepSpeed: the flops profiler's summary", (HEAD,), reader)
