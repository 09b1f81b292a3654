"""Readings of one source as a record: a sample for each reading, in bounded memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from collectors.parser import Found
from collectors.series import Series
from harness.records import Better, Evidence, Measurement, Origin, Params
from harness.units import Unit

UNITS: dict[str, tuple[Unit, Better]] = {
    "clock": (Unit.HERTZ, Better.HIGHER),
    "memory_clock": (Unit.HERTZ, Better.HIGHER),
    "power": (Unit.WATT, Better.LOWER),
    "energy": (Unit.JOULE, Better.LOWER),
    "temperature": (Unit.CELSIUS, Better.LOWER),
    "memory_temperature": (Unit.CELSIUS, Better.LOWER),
    "utilisation": (Unit.RATIO, Better.HIGHER),
    "memory": (Unit.BYTE, Better.LOWER),
    "memory_used": (Unit.BYTE, Better.LOWER),
    "memory_free": (Unit.BYTE, Better.HIGHER),
    "steal": (Unit.RATIO, Better.LOWER),
    "foreign": (Unit.RATIO, Better.LOWER),
    "load": (Unit.COUNT, Better.LOWER),
    "sent": (Unit.BYTE, Better.HIGHER),
    "received": (Unit.BYTE, Better.HIGHER),
}
"""What is read under which unit; all else is a count of which fewer are better."""


@dataclass
class Gathered:
    """params: what the source is. origin: measured where a library of ours read it, parsed where an exporter told."""

    benchmark: str
    params: Params
    origin: Origin
    _series: dict[str, Series] = field(default_factory=dict)
    readings: int = 0

    def add(self, values: Mapping[str, float]) -> None:
        self.readings += 1
        for name, value in values.items():
            self._series.setdefault(name, Series()).add(value)

    def found(self, note: str = "") -> Found | None:
        """The record; None where nothing was read. note: why it ended, or how it was read."""
        if not self._series:
            return None
        measurements = tuple(self._measurement(name, series, note) for name, series in self._series.items())
        return Found(self.benchmark, self.params, measurements, 1, self.readings)

    def _measurement(self, name: str, series: Series, note: str) -> Measurement:
        unit, better = UNITS.get(name, (Unit.COUNT, Better.LOWER))
        evidence = Evidence(block=series.block, flags=(note,) if note else ())
        return Measurement(name, unit, better, series.samples, self.origin, evidence=evidence)
