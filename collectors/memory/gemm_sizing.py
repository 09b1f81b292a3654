"""The matrix products of EleutherAI cookbook's benchmarks/sizing (mm_flops.py, bmm_flops.py, transformer_flops.py).

Layout: pairs of 'Elapsed time for SHAPE: s' and 'Throughput (in TFLOP/s) for SHAPE: ...' of its megatron/utils and
of the copies of it that are about; a name may stand before a shape in brackets, and newer ones print µs, a bandwidth
and the arithmetic intensity. Seconds have three decimals, so that a short product is timed as 0.000: no time then.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from collectors import checks, numbers
from collectors.numbers import Number
from collectors.parser import Found, Kind, Sink, parsed
from harness.records import Measurement, Params
from harness.units import Unit

_LINE = re.compile(
    r"(?P<what>Elapsed time(?: \(in us\))?|Throughput \(in TFLOP/s\)|Bandwidth \(in GB/s\)"
    r"|Arithmetic Intensity \(in FLOPs/B\)) for (?:(?P<label>[\w .+-]+) \()?(?P<shape>\d+(?:x\d+)+)"
    r"(?:, b=(?P<b>\d+))?\)? ?: (?P<number>\d+(?:\.\d+)?(?:e-?\d+)?)\s*"
)
_KNOWN = {
    "Elapsed time": ("time", Unit.SECOND, 1.0), "Elapsed time (in us)": ("time", Unit.SECOND, 1e-6),
    "Throughput (in TFLOP/s)": ("flops", Unit.FLOP_PER_SECOND, 1e12),
    "Bandwidth (in GB/s)": ("bandwidth", Unit.BYTE_PER_SECOND, 1e9),
    "Arithmetic Intensity (in FLOPs/B)": ("intensity", Unit.RATIO, 1.0),
}  # fmt: skip
_MARKS = tuple(f"{what} for " for what in _KNOWN if what != "Elapsed time")


@dataclass
class _Product:
    """Lines about one shape that follow each other."""

    key: tuple[str, str | None]
    first: int
    last: int
    label: str = ""
    held: dict[str, Number] = field(default_factory=dict)


class Reader:
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._now: _Product | None = None

    def feed(self, text: str, line: int) -> bool:
        if text.startswith("-----") and not text.strip("- \t"):
            self.close()
            return True
        if " for " not in text or (found := _LINE.fullmatch(text)) is None:
            return False
        key = (found["shape"], found["b"])
        metric, _, scale = _KNOWN[found["what"]]
        if self._now is None or self._now.key != key or metric in self._now.held:
            self.close()
            self._now = _Product(key, line, line)
        self._now.label, self._now.last = found["label"] or self._now.label, line
        number = numbers.number(found["number"])
        if self._sink.torn:
            self._sink.warn(line, "the file ends within this line: its number may be half of one and is left out")
        elif number is not None and number.value:
            self._now.held[metric] = number.scaled(scale)
        return True

    def close(self) -> None:
        now, self._now = self._now, None
        if now is None or not now.held:
            return
        params = _params(now)
        said = _checked(now, params)
        measurements = tuple(_measured(metric, number) for metric, number in now.held.items())
        self._sink.found(
            Found("gemm.sizing", params, measurements, now.first, now.last, contradictions=(said,) if said else ())
        )


def _measured(metric: str, number: Number) -> Measurement:
    return parsed(metric, next(unit for name, unit, _ in _KNOWN.values() if name == metric), number.value)


def _params(now: _Product) -> Params:
    """m, n and k (and the batch before them) of a product; the shape alone of what may be none, such as a norm."""
    shape, batch = now.key
    sides = [int(side[:18]) for side in shape.split("x")]
    params: Params = {"label": now.label} if now.label else {}
    if len(sides) == 4 and batch is None and not now.label:
        batch, sides = str(sides[0]), sides[1:]
    if len(sides) != 3 or (now.label and batch is None):
        return {**params, "shape": shape}
    params.update(zip("mnk", sides, strict=True))
    if batch is not None:
        params["batch"] = int(batch[:18])
    return params


def _checked(now: _Product, params: Params) -> str:
    """2mnk for each product of the batch, over the time."""
    if "m" not in params or not {"time", "flops"} <= now.held.keys():
        return ""
    work = 2.0
    for side in ("m", "n", "k", "batch"):
        amount = params.get(side, 1)
        work *= amount if isinstance(amount, int) else 1
    why = "2 m n k over the time"
    return checks.quotient("flops", now.held["flops"], Unit.FLOP_PER_SECOND, checks.exact(work), now.held["time"], why)


KIND = Kind(
    "gemm-sizing", "EleutherAI cookbook, benchmarks/sizing",
    ("Elapsed time for ", "Elapsed time (in us) for ", *_MARKS), Reader,
)  # fmt: skip
