"""NVIDIA's management library, through the nvidia-ml-py package: what devices are, and their state.

Tested against a compiled stand-in for the library (tests/fixtures/fake_nvml.c).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from clusters.accelerators.nvml_counters import Questions, XidErrors
from clusters.accelerators.torch_device import visible
from harness.records import FoundDevice
from harness.telemetry import ProbeLost, Throttle

Untyped = Any
"""The package has no types: the module itself, its handles, its C structures."""

HARMFUL = {
    0x08: Throttle.HARDWARE,  # HwSlowdown
    0x20: Throttle.THERMAL,  # SwThermalSlowdown
    0x40: Throttle.THERMAL,  # HwThermalSlowdown
    0x80: Throttle.POWER_BRAKE,  # HwPowerBrakeSlowdown
}
"""Bits of nvmlDeviceGetCurrentClocksEventReasons (nvml.h) that spoil a measurement. Not among them: idle,
clocks set by the user, sync boost, display, and 0x04, the power limit, which a large product always
reaches."""
POWER_CAP = 0x04
RARELY = 1.0  # s between two readings of what changes slowly, or costs more


def throttle(reasons: int) -> Throttle:
    """The harmful ones among NVML's reasons for the present clocks."""
    return Throttle(sum({flag for bit, flag in HARMFUL.items() if reasons & bit}))


def start() -> Untyped:
    """The package, initialised; ProbeLost says what is missing."""
    try:
        import pynvml
    except ImportError as error:
        raise ProbeLost("nvidia-ml-py is not installed: `pip install 'bench[nvidia]'`") from error
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise ProbeLost(f"NVML does not start: {error}") from error
    return pynvml


@contextmanager
def session() -> Iterator[Untyped]:
    """The package for a few questions; any error of the library becomes ProbeLost."""
    nvml = start()
    try:
        yield nvml
    except nvml.NVMLError as error:
        raise ProbeLost(f"NVML: {error}") from error
    finally:
        nvml.nvmlShutdown()


def handles(nvml: Untyped) -> list[Untyped]:
    """NVML's handles of the visible devices, in torch's order (CUDA_DEVICE_ORDER=PCI_BUS_ID)."""
    wanted = visible(os.environ.get("CUDA_VISIBLE_DEVICES"), range(nvml.nvmlDeviceGetCount()))
    return [
        nvml.nvmlDeviceGetHandleByUUID(device) if isinstance(device, str) else nvml.nvmlDeviceGetHandleByIndex(device)
        for device in wanted
    ]


def describe(nvml: Untyped, handle: Untyped, index: int) -> FoundDevice:
    """A device in words; what it does not tell is left out."""

    def ask(read: Callable[..., Untyped], *arguments: int) -> Untyped:
        try:
            return read(handle, *arguments)
        except nvml.NVMLError:
            return None

    bus, memory = ask(nvml.nvmlDeviceGetPciInfo), ask(nvml.nvmlDeviceGetMemoryInfo)
    capability = ask(nvml.nvmlDeviceGetCudaComputeCapability)
    clock, power = ask(nvml.nvmlDeviceGetMaxClockInfo, nvml.NVML_CLOCK_SM), ask(nvml.nvmlDeviceGetEnforcedPowerLimit)
    details = {
        "uuid": ask(nvml.nvmlDeviceGetUUID) or "",
        "bus": bus.busId if bus else "",
        "compute capability": f"{capability[0]}.{capability[1]}" if capability else "",
        "maximum clock": f"{clock} MHz" if clock else "",
        "power limit": f"{power / 1000:g} W" if power else "",
        "mig": "instance of a partitioned GPU" if ask(nvml.nvmlDeviceIsMigDeviceHandle) else "",
    }
    told = {key: text for key, text in details.items() if text}
    return FoundDevice(nvml.nvmlDeviceGetName(handle), "nvidia", index, memory.total if memory else None, told)


class NvmlProbe:
    """Reads one device through NVML, opened at the first reading.

    At every reading: 'clock', 'memory_clock' (Hz), 'power' (W), 'energy' (J since the driver was loaded),
    'temperature' (C), 'utilisation' (ratio), 'ecc' (uncorrected errors since the driver was loaded),
    'throttle' (see harness.telemetry.Throttle), 'power_cap' (0 or 1), 'xid_errors' (count since the
    probe was opened), 'xid' (the last one's number). Once in RARELY: 'memory_used', 'memory_free' (B),
    'power_limit' (W), 'ecc_corrected', and the fields of nvml_counters.FIELDS.

    What the device does not answer is absent, and `absent` has the library's reason; one that is gone, or
    answers nothing at all, ends the probe with ProbeLost.
    """

    def __init__(self, local_rank: int) -> None:
        self._rank = local_rank
        self._asked: Questions | None = None
        self._xids: XidErrors | None = None
        self._due = 0.0  # perf_counter, s: when the rare values are read again

    @property
    def absent(self) -> Mapping[str, str]:
        return self._asked.absent if self._asked else {}

    def read(self) -> Mapping[str, float]:
        asked = self._asked or self._open()
        values = {**self._numbers(asked), **self._reasons(asked)}
        if self._xids is not None:
            values |= self._xids.read()
        if time.perf_counter() >= self._due:
            self._due = time.perf_counter() + RARELY
            values |= self._rare(asked)
        if not values:
            raise ProbeLost(f"NVML answers nothing about device {self._rank}")
        return values

    def _open(self) -> Questions:
        nvml = start()
        try:
            found = handles(nvml)
            self._asked = Questions(nvml, found[self._rank], self._rank)
            self._xids = XidErrors(self._asked)
        except (nvml.NVMLError, IndexError) as error:
            nvml.nvmlShutdown()
            raise ProbeLost(f"NVML finds no device {self._rank} among the visible ones: {error}") from error
        return self._asked

    def _numbers(self, asked: Questions) -> dict[str, float]:
        n = asked.nvml
        used = asked.ask("utilisation", "nvmlDeviceGetUtilizationRates")
        told = {
            "clock": (asked.ask("clock", "nvmlDeviceGetClockInfo", n.NVML_CLOCK_SM), 1e6),  # from MHz
            "memory_clock": (asked.ask("memory_clock", "nvmlDeviceGetClockInfo", n.NVML_CLOCK_MEM), 1e6),
            "power": (asked.ask("power", "nvmlDeviceGetPowerUsage"), 1e-3),  # from mW
            "energy": (asked.ask("energy", "nvmlDeviceGetTotalEnergyConsumption"), 1e-3),  # from mJ
            "temperature": (asked.ask("temperature", "nvmlDeviceGetTemperature", n.NVML_TEMPERATURE_GPU), 1.0),
            "ecc": (self._errors(asked, "ecc", n.NVML_MEMORY_ERROR_TYPE_UNCORRECTED), 1.0),
            "utilisation": (None if used is None else used.gpu, 1e-2),  # from per cent
        }
        return _scaled(told)

    def _rare(self, asked: Questions) -> dict[str, float]:
        memory = asked.ask("memory_used", "nvmlDeviceGetMemoryInfo")
        told = {
            "memory_used": (None if memory is None else memory.used, 1.0),
            "memory_free": (None if memory is None else memory.free, 1.0),
            "power_limit": (asked.ask("power_limit", "nvmlDeviceGetEnforcedPowerLimit"), 1e-3),  # from mW
            "ecc_corrected": (self._errors(asked, "ecc_corrected", asked.nvml.NVML_MEMORY_ERROR_TYPE_CORRECTED), 1.0),
        }
        return _scaled(told) | asked.fields()

    def _errors(self, asked: Questions, name: str, kind: int) -> Untyped:
        return asked.ask(name, "nvmlDeviceGetTotalEccErrors", kind, asked.nvml.NVML_VOLATILE_ECC)

    def _reasons(self, asked: Questions) -> dict[str, float]:
        reasons = asked.ask("throttle", "nvmlDeviceGetCurrentClocksEventReasons")
        if reasons is None:  # drivers before 535 know the older name only
            reasons = asked.ask("throttle", "nvmlDeviceGetCurrentClocksThrottleReasons")
        if reasons is None:
            return {}
        return {"throttle": float(throttle(reasons)), "power_cap": float(bool(reasons & POWER_CAP))}

    def close(self) -> None:
        if self._asked is not None:
            if self._xids is not None:
                self._xids.close()
            self._asked.nvml.nvmlShutdown()
            self._asked = self._xids = None


def _scaled(told: Mapping[str, tuple[Untyped, float]]) -> dict[str, float]:
    return {name: value * scale for name, (value, scale) in told.items() if value is not None}
