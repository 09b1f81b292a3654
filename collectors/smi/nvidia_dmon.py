"""nvidia-smi dmon: a line for each device and second, under a head of names and one of units that come back often."""

from __future__ import annotations

import re

from collectors.numbers import value
from collectors.parser import Found, Kind, Reader, Sink, parsed
from collectors.series import Series
from harness.records import Better, Params
from harness.units import Unit

FIELDS: dict[tuple[str, str], tuple[str, Unit, float]] = {
    ("pwr", "W"): ("power", Unit.WATT, 1.0),
    ("gtemp", "C"): ("temperature", Unit.CELSIUS, 1.0),
    ("mtemp", "C"): ("memory_temperature", Unit.CELSIUS, 1.0),
    ("sm", "%"): ("utilisation", Unit.RATIO, 0.01),
    ("mem", "%"): ("memory_utilisation", Unit.RATIO, 0.01),
    ("mclk", "MHz"): ("memory_clock", Unit.HERTZ, 1e6),
    ("pclk", "MHz"): ("clock", Unit.HERTZ, 1e6),
    ("fb", "MB"): ("memory_used", Unit.BYTE, 2.0**20),
    ("rxpci", "MB/s"): ("pcie_received", Unit.BYTE_PER_SECOND, 2.0**20),
    ("txpci", "MB/s"): ("pcie_sent", Unit.BYTE_PER_SECOND, 2.0**20),
}
ROW = re.compile(r"\s*(?:\d{8}\s+)?(?:\d\d:\d\d:\d\d\s+)?\d{1,4}(?:\s+(?:-|\d+))+\s*")
LOWER = (Unit.WATT, Unit.CELSIUS, Unit.BYTE)


class NvidiaDmon:
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._names: list[str] = []
        self._units: list[str] = []
        self._held: dict[str, dict[tuple[str, Unit], Series]] = {}
        self._first = self._last = 0

    def feed(self, text: str, line: int) -> bool:
        words = text.split()
        if text.lstrip().startswith("#") and "gpu" in words:
            self._names, self._units = text.replace("#", " ").split(), []
        elif text.lstrip().startswith("#") and "Idx" in words and self._names:
            self._units = text.replace("#", " ").split()
        elif self._units and ROW.fullmatch(text):
            self._row(words, line)
        else:
            return False
        return True

    def close(self) -> None:
        for device, series in self._held.items():
            held = tuple(
                parsed(
                    name, unit, one.samples, Better.LOWER if unit in LOWER else Better.HIGHER, block=one.block
                )
                for (name, unit), one in series.items()
            )  # fmt: skip
            params: Params = {"tool": "nvidia-smi dmon", "device": int(device)}
            self._sink.found(Found("smi.device", params, held, self._first, self._last))

    def _row(self, words: list[str], line: int) -> None:
        if len(words) != len(self._names) or len(self._units) != len(self._names) or self._sink.torn:
            self._sink.warn(line, f"{len(words)} values where the head names {len(self._names)}: left out")
            return
        self._first, self._last = self._first or line, line
        row = dict(zip(zip(self._names, self._units, strict=True), words, strict=True))
        device = words[self._names.index("gpu")]
        for field, said in row.items():
            known = value(said) if field in FIELDS else None
            if known is not None:
                name, unit, scale = FIELDS[field]
                self._held.setdefault(device, {}).setdefault((name, unit), Series()).add(known * scale)


def reader(sink: Sink) -> Reader:
    return NvidiaDmon(sink)


KIND = Kind("nvidia-smi-dmon", "nvidia-smi dmon", ("# gpu ", "# gpu\t", "#Date  ", "# Time "), reader)
