"""Reads how disturbed this host is, cheaply: about 50 µs a reading, ten times a second.

Files under /proc are kept open and read again from their start; the processor time of the launch's
other ranks comes from their clocks, which costs no file at all.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from clusters.accelerators.host import number

BASE = 0.09  # s: shares are taken over at least this time, since /proc/stat counts in steps of 10 ms
SENSORS = ("coretemp", "k10temp", "zenpower")


@dataclass(frozen=True)
class _Reading:
    at: float  # perf_counter, s
    ticks: tuple[int, ...]  # user nice system idle iowait irq softirq steal, of all CPUs
    own: float  # s of processor time that the launch's ranks have used


class HostProbe:
    """'steal' and 'foreign' (shares of all CPU time: taken by the hypervisor, used by processes that
    are not ranks of this launch), 'load' (count), 'memory' (B in use), 'clock' (Hz), 'temperature' (C)
    and 'energy' (J of all processor packages since the first reading) where the host shows them: a
    virtual machine mostly does not, and energy is for root to read.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._open: dict[str, int] = {}
        self._readings: deque[_Reading] = deque(maxlen=16)
        self._root = root
        self._clocks = _clocks_of_ranks()
        self._clock = self._clock_file()
        self._sensor = self._sensor_file()
        self._packages = tuple(_Package(zone, self._text) for zone in _packages(root) if self._text(zone))

    def read(self) -> Mapping[str, float]:
        values = self._shares()
        load = self._text("proc/loadavg").split()
        used = _memory_used(self._text("proc/meminfo"))
        clock = number(self._text(self._clock)) if self._clock else None
        heat = number(self._text(self._sensor)) if self._sensor else None
        energy = [package.joules() for package in self._packages]
        seen = {
            "energy": sum(energy) if energy else None,
            "load": float(load[0]) if load else None,
            "memory": used,
            "clock": clock * 1e3 if clock is not None else None,
            "temperature": heat / 1e3 if heat is not None else None,
        }
        return values | {name: float(value) for name, value in seen.items() if value is not None}

    def close(self) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()

    def _shares(self) -> dict[str, float]:
        """Shares since a reading at least BASE ago; nothing until there is one."""
        ticks = tuple(int(field) for field in self._text("proc/stat").partition("\n")[0].split()[1:9])
        if len(ticks) < 8:
            return {}
        now = _Reading(time.perf_counter(), ticks, self._own())
        base = next((past for past in reversed(self._readings) if now.at - past.at >= BASE), None)
        self._readings.append(now)
        if base is None:
            return {}
        user, nice, system, idle, wait, irq, soft, steal = (
            new - old for new, old in zip(ticks, base.ticks, strict=True)
        )
        total = user + nice + system + idle + wait + irq + soft + steal
        if total <= 0:
            return {}
        busy = user + nice + system + irq + soft
        mine = (now.own - base.own) * os.sysconf("SC_CLK_TCK")
        return {"steal": steal / total, "foreign": max(0.0, busy - mine) / total}

    def _own(self) -> float:
        """Processor time of this launch's ranks on this host; a rank that has ended counts no more."""
        spent = 0.0
        for pid, clock in list(self._clocks.items()):
            try:
                spent += time.clock_gettime(clock)
            except OSError:
                del self._clocks[pid]
                self._readings.clear()  # its time would be missing from the difference
        return spent

    def _text(self, path: str) -> str:
        """A small file's text; '' where it is not there."""
        try:
            if path not in self._open:
                self._open[path] = os.open(self._root / path, os.O_RDONLY | os.O_CLOEXEC)
            return os.pread(self._open[path], 4096, 0).decode(errors="replace")
        except OSError:
            return ""

    def _clock_file(self) -> str | None:
        """Frequency of the first CPU this thread may use, where the host scales it."""
        cpu = min(os.sched_getaffinity(0))
        path = f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq"
        return path if (self._root / path).exists() else None

    def _sensor_file(self) -> str | None:
        """Temperature of the first processor package, in thousandths of a degree."""
        for name in sorted(self._root.glob("sys/class/hwmon/hwmon*/name")):
            file = name.with_name("temp1_input")
            if name.read_text().strip() in SENSORS and file.exists():
                return str(file.relative_to(self._root))
        return None


class _Package:
    """One package's counter of RAPL (Linux: Documentation/power/powercap), in µJ. It wraps every few minutes under
    load, which readings ten times a second cannot miss."""

    def __init__(self, zone: str, text: Callable[[str], str]) -> None:
        self._zone, self._text = zone, text
        self._range = number(text(zone.replace("energy_uj", "max_energy_range_uj"))) or 0
        self._last = number(text(zone)) or 0
        self._total = 0

    def joules(self) -> float:
        now = number(self._text(self._zone))
        if now is not None:
            self._total += now - self._last + (self._range if now < self._last else 0)
            self._last = now
        return self._total * 1e-6


def _packages(root: Path) -> list[str]:
    """Counters of whole packages; parts of one (cores, memory) lie in folders below and would count twice."""
    return [str(zone.relative_to(root)) for zone in sorted(root.glob("sys/class/powercap/intel-rapl:*/energy_uj"))
            if zone.parent.name.count(":") == 1]  # fmt: skip


def _memory_used(text: str) -> float | None:
    """B in use by /proc/meminfo: all that could not be allocated now."""
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    sizes = [number(fields.get(name, "").removesuffix("kB")) for name in ("MemTotal", "MemAvailable")]
    total, available = sizes
    return (total - available) * 1024.0 if total is not None and available is not None else None


def _clocks_of_ranks() -> dict[int, int]:
    """CPU-time clocks by process: this one and, under a launcher, its siblings on this host.

    Linux derives a process's clock from its id (clock_getcpuclockid(3)): all bits of the id
    inverted, shifted by 3, plus 2 for the scheduler's count.
    """
    pids = [os.getpid()]
    if int(os.environ.get("LOCAL_WORLD_SIZE", "1")) > 1:
        try:
            pids = [child.pid for child in psutil.Process(os.getppid()).children()]
        except psutil.Error:
            return {}
    return {pid: (~pid << 3) | 2 for pid in pids}
