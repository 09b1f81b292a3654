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

from harness.accelerator import Probe
from harness.policy import Policy

PERIOD = 0.1  # s between samples
STALE = 0.05  # s since the newest sample, after which a block that ends now is judged by a fresh one
KEPT = 6000  # samples: ten minutes
PATIENCE = 2.0  # s that closing waits for a read to return


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


@dataclass(frozen=True)
class _Sample:
    since: float  # perf_counter, s: the time of the sample before
    at: float
    values: Mapping[str, float]


class Sampler:
    """Reads `probe` until it is closed, or until the probe fails: then `ended` says why, and the run
    goes on without telemetry. Times are those of time.perf_counter()."""

    def __init__(self, probe: Probe, period: float = PERIOD, stale: float = STALE, kept: int = KEPT) -> None:
        self.ended: str | None = None
        self._probe, self._period, self._stale = probe, period, stale
        self._samples: deque[_Sample] = deque(maxlen=kept)
        self._before: _Sample | None = None  # newest sample that `reset` forgot
        self._at = time.perf_counter()
        self._reading = threading.Lock()  # one read of the probe at a time
        self._held = threading.Lock()  # guards the samples; never held during a read
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="telemetry")
        self._thread.start()

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
        errors = columns.get("ecc", [0.0])
        new = max(errors) - self._errors_before(begin, errors[0])
        return f"{new:.0f} new uncorrected memory errors" if new > 0 else None

    def reset(self) -> None:
        """Forget what was sampled: a new cell begins."""
        with self._held:
            if self._samples:
                self._before = self._samples[-1]
            self._samples.clear()

    def close(self) -> None:
        """Stop sampling and close the probe. A read that hangs in a driver is left behind."""
        self._stop.set()
        self._thread.join(timeout=PATIENCE)
        if not self._thread.is_alive():
            self._probe.close()

    def _run(self) -> None:
        due = time.perf_counter()
        while self.ended is None and not self._stop.is_set():
            with self._reading:
                self._read()
            due = max(due + self._period, time.perf_counter())
            self._stop.wait(due - time.perf_counter())

    def _read(self) -> None:
        """One sample; called with `_reading` held."""
        try:
            values = self._probe.read()
        except Exception as error:  # whatever a vendor's library raises, the run goes on
            self.ended = str(error) if isinstance(error, ProbeLost) else f"{type(error).__name__}: {error}"
            return
        now = time.perf_counter()
        with self._held:
            self._samples.append(_Sample(self._at, now, values))
        self._at = now

    def _catch_up(self, end: float) -> None:
        """Read once more where the newest sample is well before `end`, unless a read is under way: the
        caller has ranks waiting for it, and no driver is worth that."""
        stale = end - self._at > self._stale
        if stale and self.ended is None and not self._stop.is_set() and self._reading.acquire(blocking=False):
            try:
                self._read()
            finally:
                self._reading.release()

    def _overlapping(self, begin: float, end: float) -> list[_Sample]:
        with self._held:
            return [sample for sample in self._samples if sample.at >= begin and sample.since <= end]

    def _errors_before(self, begin: float, first: float) -> float:
        """The error count of the newest sample before `begin`; else the first one in the window."""
        with self._held:
            earlier = [s for s in (self._before, *self._samples) if s is not None and s.at < begin]
        return next((s.values["ecc"] for s in reversed(earlier) if "ecc" in s.values), first)


def _columns(samples: list[_Sample]) -> dict[str, list[float]]:
    columns: dict[str, list[float]] = {}
    for sample in samples:
        for name, value in sample.values.items():
            columns.setdefault(name, []).append(value)
    return columns
