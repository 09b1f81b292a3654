"""The state of the machine while it is measured, sampled beside the timed work (METHOD 14).

A daemon thread reads a `Probe` ten times a second into bounded memory. Each sample stands for the
time since the one before it, so a short block is judged by the samples whose time it overlaps.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntFlag
from statistics import mean, median
from typing import Protocol, runtime_checkable

from harness.accelerator import Probe
from harness.policy import Policy

PERIOD = 0.1  # s between samples
STALE = 0.05  # s since the newest sample, after which a block that ends now is judged by a fresh one
KEPT = 6000  # samples: ten minutes
PATIENCE = 2.0  # s after which a read that has not returned is said to hang, and closing waits no more


ERRORS = {"ecc": "uncorrected memory errors", "xid_errors": "XID errors that the driver reported"}
"""Running counts of a probe that spoil what is measured while they grow."""
TROUBLES = {
    "retransmits": "retransmits of the network", "congestion": "marks of congestion in the network",
    "link_errors": "errors of network links", "nvlink_replays": "replays over NVLink",
    "nvlink_crc_errors": "CRC errors of NVLink", "nvlink_recoveries": "recoveries of NVLink",
    "pcie_replays": "replays over PCIe", "ecc_corrected": "corrected memory errors",
}  # fmt: skip
"""Running counts that a reader must know of where they grew, though what was measured stands."""


class ProbeLost(Exception):
    """The device can no longer be read: it fell off the bus, or its driver or library is not there."""


class Throttle(IntFlag):
    """Why a device runs slower than it should: the bits of a probe's 'throttle'.

    Only what spoils a measurement is in it. Idle clocks, clocks set by the user and the ordinary
    power limit are how the device works under load; a probe reports the last as 'power_cap'.
    """

    HARDWARE = 1  # slowed by hardware, cause not told
    THERMAL = 2  # too hot: device, memory or voltage regulators
    POWER_BRAKE = 4  # told by the chassis to draw less

    @property
    def words(self) -> str:
        return ", ".join((flag.name or "").lower().replace("_", " ") for flag in Throttle if flag in self)


@runtime_checkable
class Telling(Protocol):
    """A probe that also says why something is absent, as its library put it: reason by name."""

    @property
    def absent(self) -> Mapping[str, str]: ...


class Joined:
    """Several probes as one, whose values have different names. One that is lost ends all of them."""

    def __init__(self, *probes: Probe) -> None:
        self._probes = probes

    def read(self) -> Mapping[str, float]:
        return {name: value for probe in self._probes for name, value in probe.read().items()}

    def close(self) -> None:
        for probe in self._probes:
            probe.close()


def reason(error: Exception) -> str:
    """Why a probe reads no more."""
    return str(error) if isinstance(error, ProbeLost) else f"{type(error).__name__}: {error}"


@dataclass(frozen=True)
class _Sample:
    since: float  # perf_counter, s: the time of the sample before
    at: float
    values: Mapping[str, float]


class Sampler:
    """Reads `probe` until it is closed, or until the probe fails: then `ended` says why, and the run
    goes on without telemetry. Times are those of time.perf_counter()."""

    def __init__(
        self, probe: Probe, period: float = PERIOD, stale: float = STALE, kept: int = KEPT, patience: float = PATIENCE
    ) -> None:
        self._failed: str | None = None
        self._probe, self._period, self._stale, self._patience = probe, period, stale, patience
        self._begun: float | None = None  # perf_counter, s: when the read under way began
        self._samples: deque[_Sample] = deque(maxlen=kept)
        self._before: _Sample | None = None  # newest sample that `reset` forgot
        self._at = time.perf_counter()
        self._reading = threading.Lock()  # one read of the probe at a time
        self._held = threading.Lock()  # guards the samples; never held during a read
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="telemetry")
        self._thread.start()

    @property
    def ended(self) -> str | None:
        """Why nothing more is sampled. A read that hangs in its driver may yet return: then it is None again."""
        begun = self._begun
        if self._failed is None and begun is not None and time.perf_counter() - begun > self._patience:
            return f"the driver has not answered a reading within {self._patience:g} s"
        return self._failed

    def window(self, begin: float, end: float) -> dict[str, list[float]]:
        """Values by name of the samples whose time overlaps [begin, end]."""
        return _columns(self._overlapping(begin, end))

    def summary(self) -> dict[str, tuple[float, float, float]]:
        """Least, median and greatest value by name since the last `reset`."""
        with self._held:
            samples = list(self._samples)
        columns = _columns(samples).items()
        return {name: (min(values), median(values), max(values)) for name, values in columns}

    def disturbed(self, begin: float, end: float, policy: Policy) -> str | None:
        """Why what was timed in [begin, end] is not to be trusted, or None.

        Stolen CPU time is averaged over the window; any harmful throttling and any new uncorrected
        memory error counts.
        """
        self._catch_up(end)
        samples = self._overlapping(begin, end)
        columns = _columns(samples)
        stolen = mean(columns.get("steal", [0.0]))
        if stolen > policy.steal:
            return f"{stolen:.0%} of CPU time was stolen by the hypervisor (limit {policy.steal:.0%})"
        throttled = Throttle(0)
        for value in columns.get("throttle", []):
            throttled |= Throttle(int(value))
        if throttled:
            return f"the device was slowed: {throttled.words}"
        for name, words in ERRORS.items():
            counts = columns.get(name, [0.0])
            new = max(counts) - self._count_before(name, begin, counts[0])
            if new > 0:
                return f"{new:.0f} new {words}"
        return None

    def troubles(self) -> str | None:
        """What grew since the last `reset` and is no reason to distrust a block by itself, in words; or None."""
        seen = self.summary()
        with self._held:
            before = self._before.values if self._before else {}
        grown = {
            words: seen[name][2] - before.get(name, seen[name][0]) for name, words in TROUBLES.items() if name in seen
        }
        told = [f"{count:.0f} {words}" for words, count in grown.items() if count > 0]
        return ", ".join(told) or None

    def reset(self) -> None:
        """Forget what was sampled: a new cell begins."""
        with self._held:
            if self._samples:
                self._before = self._samples[-1]
            self._samples.clear()

    def close(self) -> None:
        """Stop sampling and close the probe. A read that hangs in a driver is left behind."""
        self._stop.set()
        self._thread.join(timeout=self._patience)
        if not self._thread.is_alive():
            self._probe.close()

    def _run(self) -> None:
        due = time.perf_counter()
        while self._failed is None and not self._stop.is_set():
            with self._reading:
                self._read()
            due = max(due + self._period, time.perf_counter())
            self._stop.wait(due - time.perf_counter())

    def _read(self) -> None:
        """One sample; called with `_reading` held."""
        self._begun = time.perf_counter()
        try:
            values = self._probe.read()
        except Exception as error:  # whatever a vendor's library raises, the run goes on
            self._failed = reason(error)
            return
        finally:
            self._begun = None
        now = time.perf_counter()
        with self._held:
            self._samples.append(_Sample(self._at, now, values))
        self._at = now

    def _catch_up(self, end: float) -> None:
        """Read once more where the newest sample is well before `end`, unless a read is under way: the
        caller has ranks waiting for it, and no driver is worth that."""
        stale = end - self._at > self._stale
        if stale and self._failed is None and not self._stop.is_set() and self._reading.acquire(blocking=False):
            try:
                self._read()
            finally:
                self._reading.release()

    def _overlapping(self, begin: float, end: float) -> list[_Sample]:
        with self._held:
            return [sample for sample in self._samples if sample.at >= begin and sample.since <= end]

    def _count_before(self, name: str, begin: float, first: float) -> float:
        """The count of the newest sample before `begin`; else the first one in the window."""
        with self._held:
            earlier = [s for s in (self._before, *self._samples) if s is not None and s.at < begin]
        return next((s.values[name] for s in reversed(earlier) if name in s.values), first)


def _columns(samples: list[_Sample]) -> dict[str, list[float]]:
    columns: dict[str, list[float]] = {}
    for sample in samples:
        for name, value in sample.values.items():
            columns.setdefault(name, []).append(value)
    return columns
