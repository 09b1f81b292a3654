"""rocm-smi: --json and --csv, whose names hold their units: 'Temperature (Sensor junction) (C)' (rocm_smi.py)."""

from __future__ import annotations

import csv
import re

from collectors.numbers import value
from collectors.parser import Found, Kind, Reader, Sink, parsed
from harness.records import Measurement
from harness.units import Unit

NAMES: dict[str, tuple[str, Unit, float]] = {
    "temperature (sensor edge) (c)": ("edge_temperature", Unit.CELSIUS, 1.0),
    "temperature (sensor junction) (c)": ("temperature", Unit.CELSIUS, 1.0),
    "temperature (sensor memory) (c)": ("memory_temperature", Unit.CELSIUS, 1.0),
    "average graphics package power (w)": ("power", Unit.WATT, 1.0),
    "current socket graphics package power (w)": ("power", Unit.WATT, 1.0),
    "max graphics package power (w)": ("power_limit", Unit.WATT, 1.0),
    "gpu use (%)": ("utilisation", Unit.RATIO, 0.01),
    "gpu memory allocated (vram%)": ("memory_share", Unit.RATIO, 0.01),
    "vram total memory (b)": ("memory_total", Unit.BYTE, 1.0),
    "vram total used memory (b)": ("memory_used", Unit.BYTE, 1.0),
    "accumulated energy (uj)": ("energy", Unit.JOULE, 1e-6),
}
CARD = re.compile(r"card(\d{1,4})")


def give(sink: Sink, card: str, row: dict[str, str], first: int, last: int) -> None:
    held: list[Measurement] = []
    for name, said in row.items():
        known = value(said)
        if name.lower() in NAMES and known is not None:
            metric, unit, scale = NAMES[name.lower()]
            held.append(parsed(metric, unit, known * scale))
    found = CARD.fullmatch(card)
    if held and found:
        sink.found(Found("smi.device", {"tool": "rocm-smi", "device": int(found[1])}, tuple(held), first, last))


def document(found: object, sink: Sink, first: int, last: int) -> bool:
    if not (isinstance(found, dict) and any(CARD.fullmatch(str(name)) for name in found)):
        return False
    for card, row in found.items():
        if isinstance(row, dict):
            give(sink, str(card), {str(name): str(said) for name, said in row.items()}, first, last)
    return True


class RocmSmi:
    def __init__(self, sink: Sink) -> None:
        self._sink, self._columns = sink, list[str]()

    def feed(self, text: str, line: int) -> bool:
        if text.startswith("device,"):
            self._columns = _words(text)
            return True
        if not self._columns or not text.startswith("card"):
            return False
        words = _words(text)
        if len(words) != len(self._columns) or self._sink.torn:
            self._sink.warn(line, f"{len(words)} values where the head names {len(self._columns)}: left out")
        else:
            give(self._sink, words[0], dict(zip(self._columns, words, strict=True)), line, line)
        return True

    def close(self) -> None:
        """Rows are given as they come."""


def _words(text: str) -> list[str]:
    try:
        return [word.strip() for word in next(csv.reader([text]))]
    except (csv.Error, StopIteration):
        return []


def reader(sink: Sink) -> Reader:
    return RocmSmi(sink)


KIND = Kind("rocm-smi", "rocm-smi: JSON and CSV", ("device,",), reader, document)
