"""nvidia-smi --query-gpu=... --format=csv: a head line of names with units, then a line for each device and reading."""

from __future__ import annotations

import re

from collectors.numbers import value
from collectors.parser import About, Found, Kind, Reader, Sink, parsed
from collectors.series import Series
from harness.records import Better, Params
from harness.units import Unit

FIELDS: dict[str, tuple[str, Unit, float]] = {
    "power.draw": ("power", Unit.WATT, 1.0),
    "power.draw.instant": ("power_instant", Unit.WATT, 1.0),
    "power.limit": ("power_limit", Unit.WATT, 1.0),
    "temperature.gpu": ("temperature", Unit.CELSIUS, 1.0),
    "temperature.memory": ("memory_temperature", Unit.CELSIUS, 1.0),
    "utilization.gpu": ("utilisation", Unit.RATIO, 0.01),
    "utilization.memory": ("memory_utilisation", Unit.RATIO, 0.01),
    "memory.used": ("memory_used", Unit.BYTE, 2.0**20),
    "memory.total": ("memory_total", Unit.BYTE, 2.0**20),
    "memory.free": ("memory_free", Unit.BYTE, 2.0**20),
    "clocks.current.sm": ("clock", Unit.HERTZ, 1e6),
    "clocks.sm": ("clock", Unit.HERTZ, 1e6),
    "clocks.current.memory": ("memory_clock", Unit.HERTZ, 1e6),
    "clocks.mem": ("memory_clock", Unit.HERTZ, 1e6),
    "clocks.current.graphics": ("graphics_clock", Unit.HERTZ, 1e6),
    "clocks.gr": ("graphics_clock", Unit.HERTZ, 1e6),
    "clocks.max.sm": ("clock_max", Unit.HERTZ, 1e6),
    "ecc.errors.corrected.volatile.total": ("ecc_corrected", Unit.COUNT, 1.0),
    "ecc.errors.uncorrected.volatile.total": ("ecc", Unit.COUNT, 1.0),
    "fan.speed": ("fan", Unit.RATIO, 0.01),
}
HEAD = re.compile(r"[a-z]\w*(?:\.\w+)*(?: \[[^\]]+\])?")
LOWER = (Unit.COUNT, Unit.WATT, Unit.CELSIUS, Unit.BYTE)
DEVICES = 1024


class NvidiaQuery:
    """Readings of each device, in order; a device is told by its index, else by bus address or UUID, else as 0."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._columns: list[str] = []
        self._held: dict[str, dict[str, Series]] = {}
        self._names: dict[str, str] = {}
        self._first = self._last = 0

    def feed(self, text: str, line: int) -> bool:
        words = [word.strip() for word in text.split(",")]
        if any(word.partition(" [")[0] in FIELDS for word in words) and all(map(HEAD.fullmatch, words)):
            self.close()
            self._columns = [word.partition(" [")[0] for word in words]
            return True
        if not self._columns or len(words) < 2:
            return False
        if len(words) != len(self._columns) or self._sink.torn:
            if len(words) > len(self._columns) // 2:
                self._sink.warn(line, f"{len(words)} values where the head names {len(self._columns)}: left out")
                return True
            return False
        self._row(dict(zip(self._columns, words, strict=True)), line)
        return True

    def close(self) -> None:
        for device, series in self._held.items():
            measurements = tuple(
                parsed(
                    name, unit, series[name].samples, Better.LOWER if unit in LOWER else Better.HIGHER,
                    block=series[name].block,
                )
                for name, unit, _ in dict.fromkeys(FIELDS.values()) if name in series
            )  # fmt: skip
            params: Params = {"tool": "nvidia-smi", "device": int(device) if device.isdigit() else device}
            name = self._names.get(device, "")
            about = About(((name, "nvidia"),) if name else ())
            if measurements:
                self._sink.found(Found("smi.device", params, measurements, self._first, self._last, about))
        self._held, self._first = {}, 0

    def _row(self, row: dict[str, str], line: int) -> None:
        device = next((row[key] for key in ("index", "pci.bus_id", "gpu_bus_id", "uuid") if row.get(key)), "0")
        if device not in self._held and len(self._held) >= DEVICES:
            return
        self._first, self._last = self._first or line, line
        held = self._held.setdefault(device, {})
        self._names[device] = row.get("name", row.get("gpu_name", ""))
        for field, said in row.items():
            if field in FIELDS:
                name, _, scale = FIELDS[field]
                known = value(said.split(" ")[0])
                if known is not None:
                    held.setdefault(name, Series()).add(known * scale)


def reader(sink: Sink) -> Reader:
    return NvidiaQuery(sink)


MARKS = ("power.draw", "utilization.gpu", "temperature.gpu", "memory.used", "clocks.", "memory.total")
KIND = Kind("nvidia-smi", "nvidia-smi --query-gpu ... --format=csv", MARKS, reader)
