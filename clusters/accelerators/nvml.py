"""NVIDIA's management library, through the nvidia-ml-py package: what devices are, and their state.

Tested against a compiled stand-in for the library (tests/fixtures/fake_nvml.c).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

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

    'clock', 'memory_clock' (Hz), 'power' (W), 'energy' (J since the driver was loaded), 'temperature'
    (C), 'utilisation' (ratio), 'ecc' (uncorrected errors since the driver was loaded), 'throttle' (see
    harness.telemetry.Throttle), 'power_cap' (0 or 1). What the device does not answer is absent; one
    that is gone, or answers nothing at all, ends the probe with ProbeLost.
    """

    def __init__(self, local_rank: int) -> None:
        self._rank = local_rank
        self._nvml: Untyped = None
        self._handle: Untyped = None

    def read(self) -> Mapping[str, float]:
        if self._nvml is None:
            self._open()
        values = {**self._numbers(), **self._reasons()}
        if not values:
            raise ProbeLost(f"NVML answers nothing about device {self._rank}")
        return values

    def _open(self) -> None:
        nvml = start()
        try:
            found = handles(nvml)
            self._handle = found[self._rank]
        except (nvml.NVMLError, IndexError) as error:
            nvml.nvmlShutdown()
            raise ProbeLost(f"NVML finds no device {self._rank} among the visible ones: {error}") from error
        self._nvml = nvml

    def _numbers(self) -> dict[str, float]:
        n = self._nvml
        asked = {
            "clock": (self._ask(n.nvmlDeviceGetClockInfo, n.NVML_CLOCK_SM), 1e6),  # from MHz
            "memory_clock": (self._ask(n.nvmlDeviceGetClockInfo, n.NVML_CLOCK_MEM), 1e6),
            "power": (self._ask(n.nvmlDeviceGetPowerUsage), 1e-3),  # from mW
            "energy": (self._ask(n.nvmlDeviceGetTotalEnergyConsumption), 1e-3),  # from mJ
            "temperature": (self._ask(n.nvmlDeviceGetTemperature, n.NVML_TEMPERATURE_GPU), 1.0),
            "ecc": (
                self._ask(n.nvmlDeviceGetTotalEccErrors, n.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, n.NVML_VOLATILE_ECC),
                1.0,
            ),
        }
        used = self._ask(n.nvmlDeviceGetUtilizationRates)
        asked["utilisation"] = (None if used is None else used.gpu, 1e-2)  # from per cent
        return {name: value * scale for name, (value, scale) in asked.items() if value is not None}

    def _reasons(self) -> dict[str, float]:
        reasons = self._ask(self._nvml.nvmlDeviceGetCurrentClocksEventReasons)
        if reasons is None:  # drivers before 535 know the older name only
            reasons = self._ask(self._nvml.nvmlDeviceGetCurrentClocksThrottleReasons)
        if reasons is None:
            return {}
        return {"throttle": float(throttle(reasons)), "power_cap": float(bool(reasons & POWER_CAP))}

    def _ask(self, read: Callable[..., Untyped], *arguments: int) -> Untyped:
        """The library's answer; None where this device has none."""
        n = self._nvml
        try:
            return read(self._handle, *arguments)
        except n.NVMLError as error:
            if error.value in (n.NVML_ERROR_GPU_IS_LOST, n.NVML_ERROR_DRIVER_NOT_LOADED, n.NVML_ERROR_UNINITIALIZED):
                raise ProbeLost(f"device {self._rank}: {error}") from error
            return None

    def close(self) -> None:
        if self._nvml is not None:
            self._nvml.nvmlShutdown()
            self._nvml = None
