"""amd-smi: the monitor's table, blocks of `GPU: n` (list, static, metric), processes as CSV, and JSON (amdsmi_cli)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from collectors.numbers import value
from collectors.parser import Found, Kind, Reader, Sink, parsed
from collectors.series import Series
from harness.records import Better, Measurement, Params
from harness.units import Unit

UNITS: dict[str, tuple[Unit, float]] = {
    "W": (Unit.WATT, 1.0), "C": (Unit.CELSIUS, 1.0), "%": (Unit.RATIO, 0.01), "MHz": (Unit.HERTZ, 1e6),
    "MB": (Unit.BYTE, 2.0**20), "GB": (Unit.BYTE, 2.0**30), "J": (Unit.JOULE, 1.0), "": (Unit.COUNT, 1.0),
}  # fmt: skip
NAMES = {
    "POWER": "power", "GPU_TEMP": "temperature", "GPU_T": "temperature", "MEM_TEMP": "memory_temperature",
    "MEM_T": "memory_temperature", "GFX_UTIL": "utilisation", "GFX%": "utilisation", "MEM_UTIL": "memory_utilisation",
    "MEM%": "memory_utilisation", "GFX_CLOCK": "clock", "GFX_CLK": "clock", "MEM_CLOCK": "memory_clock",
    "MEM_CLK": "memory_clock", "VRAM_USED": "memory_used", "VRAM_TOTAL": "memory_total",
    "POWER.SOCKET_POWER": "power", "USAGE.GFX_ACTIVITY": "utilisation", "USAGE.UMC_ACTIVITY": "memory_utilisation",
    "TEMPERATURE.HOTSPOT": "temperature", "TEMPERATURE.MEM": "memory_temperature",
    "TEMPERATURE.EDGE": "edge_temperature",
    "CLOCK.GFX_0.CLK": "clock", "CLOCK.MEM_0.CLK": "memory_clock", "MEM_USAGE.USED_VRAM": "memory_used",
    "MEM_USAGE.TOTAL_VRAM": "memory_total", "ENERGY.TOTAL_ENERGY_CONSUMPTION": "energy",
    "ECC.TOTAL_CORRECTABLE_COUNT": "ecc_corrected", "ECC.TOTAL_UNCORRECTABLE_COUNT": "ecc",
    "BUS.MAX_PCIE_WIDTH": "pcie_width_max", "PCIE.WIDTH": "pcie_width",
}  # fmt: skip
FACTS = {"BDF": "bus", "BUS.BDF": "bus", "ASIC.MARKET_NAME": "name", "UUID": "uuid"}
CELL = re.compile(r"(N/A|-?\d+(?:\.\d+)?)(?: ?(W|°C|C|%|MHz|MB|GB|J))?(?=\s|$)")
BLOCK = re.compile(r"GPU: (\d{1,4})\s*")
ENTRY = re.compile(r"( +)([A-Z][A-Z0-9_]*):(?: (.*?))?\s*")
PROCESSES = "gpu,name,pid,"
LESS = (Unit.WATT, Unit.CELSIUS, Unit.COUNT, Unit.JOULE, Unit.BYTE)


def measured(name: str, said: str) -> tuple[str, Unit, float] | None:
    """(metric, unit, number) of '182 W' under a name that is known; None for all else."""
    metric = NAMES.get(name)
    found = CELL.fullmatch(said.strip())
    known = value(found[1]) if found else None
    if metric is None or found is None or known is None:
        return None
    unit, scale = UNITS[(found[2] or "").removeprefix("°")]
    return metric, unit, known * scale


class AmdSmi:
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._columns: list[str] = []
        self._csv: list[str] = []
        self._held: dict[int, dict[tuple[str, Unit], Series]] = {}
        self._facts: dict[int, Params] = {}
        self._path: list[tuple[int, str]] = []
        self._device: int | None = None
        self._first = self._last = 0

    def feed(self, text: str, line: int) -> bool:
        words = text.split()
        if words[:1] == ["GPU"] and any(word in NAMES for word in words):
            self._columns, self._device, self._csv = words[1:], None, []
        elif text.startswith(PROCESSES):
            self._csv, self._columns, self._device = text.strip().split(","), [], None
        elif block := BLOCK.fullmatch(text):
            self._device, self._path, self._columns, self._csv = int(block[1]), [], [], []
            self._seen(self._device, line)
        elif self._columns and words[:1] and words[0].isdigit():
            self._row(int(words[0]), text.split(None, 1)[1] if len(words) > 1 else "", line)
        elif self._csv and text.count(",") == len(self._csv) - 1:
            return self._process(dict(zip(self._csv, text.strip().split(","), strict=True)), line)
        elif self._device is not None and (entry := ENTRY.fullmatch(text)):
            self._entry(len(entry[1]), entry[2], entry[3] or "", line)
        else:
            return text.strip() == "[output truncated]"
        return True

    def close(self) -> None:
        for device, series in self._held.items():
            held: list[Measurement] = [
                parsed(
                    name, unit, one.samples, Better.LOWER if unit in LESS else Better.HIGHER, block=one.block
                )
                for (name, unit), one in series.items()
            ]  # fmt: skip
            facts = self._facts.get(device, {})
            params: Params = {"tool": "amd-smi", "device": device, **facts}
            if facts:  # a list of devices holds no other number
                held.append(parsed("listed", Unit.COUNT, 1.0))
            if not held:
                continue
            self._sink.found(Found("smi.device", params, tuple(held), self._first, self._last))
        self._held = {}

    def _seen(self, device: int, line: int) -> dict[tuple[str, Unit], Series]:
        self._first, self._last = self._first or line, line
        return self._held.setdefault(device, {})

    def _row(self, device: int, rest: str, line: int) -> None:
        cells = CELL.findall(rest)
        if len(cells) != len(self._columns) or self._sink.torn:
            self._sink.warn(line, f"{len(cells)} values where the head names {len(self._columns)}: left out")
            return
        for name, (said, unit) in zip(self._columns, cells, strict=True):
            self._add(device, name, f"{said} {unit}".strip(), line)

    def _add(self, device: int, name: str, said: str, line: int) -> None:
        known = measured(name, said)
        if known is not None:
            self._seen(device, line).setdefault((known[0], known[1]), Series()).add(known[2])

    def _entry(self, indent: int, name: str, said: str, line: int) -> None:
        assert self._device is not None
        self._path = [part for part in self._path if part[0] < indent]
        full = ".".join([*(part for _, part in self._path), name])
        if not said:
            self._path.append((indent, name))
        elif self._sink.torn:
            return
        elif full in FACTS:
            self._facts.setdefault(self._device, {})[FACTS[full]] = said
        else:
            self._add(self._device, full, said, line)

    def _process(self, row: dict[str, str], line: int) -> bool:
        device, memory = row["gpu"], value(row.get("vram_mem", ""))
        if not device.isdigit():
            return False
        if memory is not None and not self._sink.torn:
            params: Params = {"tool": "amd-smi", "device": int(device), "process": row["name"], "pid": row["pid"]}
            self._sink.found(Found("smi.process", params, (parsed("memory_used", Unit.BYTE, memory),), line, line))
        return True


def reader(sink: Sink) -> Reader:
    return AmdSmi(sink)


def document(found: object, sink: Sink, first: int, last: int) -> bool:
    """`amd-smi metric --json`: a list of {"gpu": 0, "power": {"socket_power": {"value": 182, "unit": "W"}}}."""
    body = found.get("gpu_data") if isinstance(found, dict) else found
    if not (isinstance(body, list) and body and all(isinstance(one, dict) and "gpu" in one for one in body)):
        return False
    for one in body:
        held = [
            parsed(metric, unit, number)
            for path, said in _leaves(one) if (known := measured(path, said)) is not None
            for metric, unit, number in [known]
        ]  # fmt: skip
        if held and isinstance(one["gpu"], int):
            sink.found(Found("smi.device", {"tool": "amd-smi", "device": one["gpu"]}, tuple(held), first, last))
    return True


def _leaves(value_: object, path: str = "") -> Iterator[tuple[str, str]]:
    """('POWER.SOCKET_POWER', '182 W') of each number with its unit."""
    if not isinstance(value_, dict):
        yield path, str(value_)
    elif value_.keys() == {"value", "unit"}:
        yield path, f"{value_['value']} {value_['unit']}"
    else:
        for name, inner in value_.items():
            yield from _leaves(inner, f"{path}.{name}".strip(".").upper())


MARKS = ("GPU: ", "GPU  POWER", "GPU_TEMP", "GFX_UTIL", PROCESSES)
KIND = Kind("amd-smi", "amd-smi: monitor, list, static, metric, process; JSON", MARKS, reader, document)
