"""Readings of one source as a record, in bounded memory: states as samples, counters as rates or as growth."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from collectors.parser import About, Found
from collectors.series import Series
from harness.records import Better, Evidence, Measurement, Origin, Params
from harness.telemetry import Throttle
from harness.units import Unit, show, show_duration

SHOWN: dict[str, tuple[Unit, Better]] = {
    "clock": (Unit.HERTZ, Better.HIGHER),
    "memory_clock": (Unit.HERTZ, Better.HIGHER),
    "power": (Unit.WATT, Better.LOWER),
    "power_limit": (Unit.WATT, Better.HIGHER),
    "temperature": (Unit.CELSIUS, Better.LOWER),
    "edge_temperature": (Unit.CELSIUS, Better.LOWER),
    "memory_temperature": (Unit.CELSIUS, Better.LOWER),
    "utilisation": (Unit.RATIO, Better.HIGHER),
    "memory_utilisation": (Unit.RATIO, Better.HIGHER),
    "engine_active": (Unit.RATIO, Better.HIGHER),
    "sm_active": (Unit.RATIO, Better.HIGHER),
    "sm_occupancy": (Unit.RATIO, Better.HIGHER),
    "tensor_active": (Unit.RATIO, Better.HIGHER),
    "memory_active": (Unit.RATIO, Better.HIGHER),
    "memory": (Unit.BYTE, Better.LOWER),
    "memory_used": (Unit.BYTE, Better.LOWER),
    "memory_free": (Unit.BYTE, Better.HIGHER),
    "swap": (Unit.BYTE, Better.LOWER),
    "swap_free": (Unit.BYTE, Better.HIGHER),
    "steal": (Unit.RATIO, Better.LOWER),
    "foreign": (Unit.RATIO, Better.LOWER),
    "load": (Unit.COUNT, Better.LOWER),
    "rate": (Unit.BYTE_PER_SECOND, Better.HIGHER),
    "throttle": (Unit.RATIO, Better.LOWER),
    "power_cap": (Unit.RATIO, Better.LOWER),
}
"""What is shown as it is at each reading. throttle and power_cap: the share of readings in which there was any."""
MOVED = (
    "sent", "received", "nvlink_sent", "nvlink_received", "xgmi_sent", "xgmi_received", "pcie_sent", "pcie_received",
)  # fmt: skip
"""Running counts of bytes: their rates (B/s) are told."""
GROWING: dict[str, Unit] = {"energy": Unit.JOULE} | {
    f"cpu_{mode}": Unit.SECOND for mode in ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
}
"""Running sums by unit. All that stands in none of these tables is a running count. Their growth over the collection
is told, of which less is better."""


@dataclass
class _Counter:
    """A running count: its first and newest value, when they were read, and its rates between readings."""

    first: float
    begun: float  # s
    last: float
    at: float
    rates: Series = field(default_factory=Series)
    growth: float = 0.0
    restarted: int = 0

    def add(self, value: float, at: float) -> None:
        if value < self.last:
            self.restarted += 1  # a driver was loaded again, or few bits ran over: by how much is not known
        else:
            self.growth += value - self.last
            if at > self.at:
                self.rates.add((value - self.last) / (at - self.at))
        self.last, self.at = value, at


@dataclass(eq=False)
class Gathered:
    """params: what the source is. origin: measured where a library of ours read it, parsed where an exporter told.
    about, notes: what is known of the source beside its numbers."""

    benchmark: str
    params: Params
    origin: Origin
    about: About = field(default_factory=About)
    notes: tuple[str, ...] = ()
    readings: int = 0
    _shown: dict[str, Series] = field(default_factory=dict)
    _counted: dict[str, _Counter] = field(default_factory=dict)
    _throttled: Throttle = field(default_factory=lambda: Throttle(0))
    _xid: int = 0
    _before: Mapping[str, float] = field(default_factory=dict)
    _same: int = 0

    def add(self, values: Mapping[str, float], at: float | None = None) -> None:
        """at: when it was read (s, of any clock that only goes on)."""
        at = time.monotonic() if at is None else at
        self.readings += 1
        self._same += values == self._before
        self._before = dict(values)
        for name, value in values.items():
            if name == "xid":
                self._xid = int(value)
            elif name in SHOWN:
                if name == "throttle":
                    self._throttled |= Throttle(int(value))
                    value = float(value != 0)
                self._shown.setdefault(name, Series()).add(value)
            elif name in self._counted:
                self._counted[name].add(value, at)
            else:
                self._counted[name] = _Counter(value, at, value, at)

    def found(self, ended: str = "", absent: Mapping[str, str] | None = None) -> Found | None:
        """The record; None where nothing was read. ended: why its source was lost; absent: reasons by name."""
        shown = [self._show(name, series) for name, series in self._shown.items()]
        counted = [made for name, counter in self._counted.items() if (made := self._count(name, counter)) is not None]
        if not shown and not counted:
            return None
        notes = [*self.notes, *((f"ended early: {ended}",) if ended else ())]
        if self._xid:
            notes.append(f"the last XID error: {self._xid}")
        if self.origin is Origin.PARSED and self._same:
            notes.append(f"{self._same} of {self.readings} answers told nothing new: the exporter reads less often")
        notes += [f"no {name}: {reason}" for name, reason in (absent or {}).items()]
        return Found(self.benchmark, self.params, (*shown, *counted), 0, 0, about=self.about, notes=tuple(notes))

    def _show(self, name: str, series: Series) -> Measurement:
        unit, better = SHOWN[name]
        share = name in ("throttle", "power_cap")
        flags = (f"slowed: {self._throttled.words}",) if name == "throttle" and self._throttled else ()
        return Measurement(
            name, unit, better, series.samples, self.origin, evidence=Evidence(block=series.block, flags=flags),
            statistic="mean" if share else "median",
        )  # fmt: skip

    def _count(self, name: str, counter: _Counter) -> Measurement | None:
        """Rates, where our library read the counter. An exporter's counter stands still between two readings of its
        own, and its rates with it: there, as for all but bytes, the growth is told. None from a single reading."""
        passed = counter.at - counter.begun
        if passed <= 0:
            return None
        lost = (f"the counter went back {counter.restarted} times; that growth is not known",)
        flags = lost if counter.restarted else ()
        if name in MOVED and self.origin is Origin.MEASURED and len(counter.rates):
            evidence = Evidence(block=counter.rates.block, flags=flags)
            samples = counter.rates.samples
            return Measurement(name, Unit.BYTE_PER_SECOND, Better.HIGHER, samples, self.origin, evidence=evidence)
        unit = GROWING.get(name, Unit.BYTE if name in MOVED else Unit.COUNT)
        over = f"from {show(counter.first, unit)} to {show(counter.last, unit)} in {show_duration(passed)}"
        if name in MOVED:
            unit, better, value = Unit.BYTE_PER_SECOND, Better.HIGHER, counter.growth / passed
        else:
            better, value = Better.LOWER, counter.growth
        return Measurement(name, unit, better, (value,), self.origin, evidence=Evidence(flags=(over, *flags)))
