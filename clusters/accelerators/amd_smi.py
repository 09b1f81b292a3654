"""AMD's management library, through the amdsmi package: what devices are, and their state.

The package is made for one release of the driver's library, prints and raises KeyError where that is
missing, and answers "N/A" for what a device does not know.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from clusters.accelerators.torch_device import visible
from harness.records import FoundDevice
from harness.telemetry import ProbeLost, Throttle

Untyped = Any
"""The package has no types: the module itself, its handles, its dictionaries."""

RESIDENCIES = {
    "prochot_residency_acc": Throttle.HARDWARE,
    "socket_thm_residency_acc": Throttle.THERMAL,
    "vr_thm_residency_acc": Throttle.THERMAL,
    "hbm_thm_residency_acc": Throttle.THERMAL,
}
"""Counters of gpu_metrics (MI300 and later) that grow while a limit holds the device back. One that grew
since the reading before is a reason to distrust what was measured in between. MI200 tells only that
something limits it, which the power limit does all the time: there 'throttle' is absent."""
POWER_CAP = "ppt_residency_acc"


def start() -> Untyped:
    """The package, initialised; ProbeLost says what is missing."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            import amdsmi
    except ModuleNotFoundError as error:
        raise ProbeLost("amdsmi is not installed: `pip install 'bench[amd]'`") from error
    except (ImportError, KeyError, OSError, AttributeError) as error:
        said = printed.getvalue().strip().partition("\n")[0] or repr(error)
        raise ProbeLost(f"amdsmi does not load the driver's library: {said}") from error
    try:
        amdsmi.amdsmi_init()
    except amdsmi.AmdSmiException as error:
        raise ProbeLost(f"AMD SMI does not start: {one_line(error)}") from error
    return amdsmi


@contextmanager
def session() -> Iterator[Untyped]:
    """The package for a few questions; any error of the library becomes ProbeLost."""
    library = start()
    try:
        yield library
    except library.AmdSmiException as error:
        raise ProbeLost(f"AMD SMI: {one_line(error)}") from error
    finally:
        library.amdsmi_shut_down()


def one_line(error: Exception) -> str:
    """The package's messages span lines and tabs."""
    return " ".join(str(error).split())


def handles(library: Untyped) -> list[Untyped]:
    """AMD SMI's handles of the visible devices, in torch's order.

    HIP may count devices in another order; the library knows it since ROCm 6.4. ROCR_VISIBLE_DEVICES
    chooses first, HIP_VISIBLE_DEVICES (or CUDA_VISIBLE_DEVICES) among what is left.
    """
    all_handles = library.amdsmi_get_processor_handles()
    by_hip: dict[int | str, Untyped] = dict(enumerate(all_handles))
    by_name: dict[int | str, Untyped] = {}
    for handle in all_handles:
        told = _ask(library, "amdsmi_get_gpu_enumeration_info", handle) or {}
        if isinstance(told.get("hip_id"), int):
            by_hip[told["hip_id"]] = handle
        if told.get("hip_uuid"):
            by_name[told["hip_uuid"]] = handle
    left = visible(os.environ.get("ROCR_VISIBLE_DEVICES"), range(len(all_handles)))
    second = os.environ.get("HIP_VISIBLE_DEVICES", os.environ.get("CUDA_VISIBLE_DEVICES"))
    chosen = [left[at] if isinstance(at, int) else at for at in visible(second, range(len(left)))]
    known = by_hip | by_name
    return [known[device] for device in chosen if device in known]


def driver(library: Untyped, handle: Untyped) -> str:
    told = library.amdsmi_get_gpu_driver_info(handle)
    return f"{told['driver_name']} {told['driver_version']}"


def describe(library: Untyped, handle: Untyped, index: int) -> FoundDevice:
    """A device in words; what it does not tell is left out."""
    chip = library.amdsmi_get_gpu_asic_info(handle)
    clock = _ask(library, "amdsmi_get_clock_info", handle, library.AmdSmiClkType.GFX) or {}
    name = str(chip["market_name"])
    details = {
        "bus": _ask(library, "amdsmi_get_gpu_device_bdf", handle),
        "architecture": chip.get("target_graphics_version"),
        "compute units": chip.get("num_compute_units"),
        "partition": _ask(library, "amdsmi_get_gpu_compute_partition", handle),
        "maximum clock": f"{clock['max_clk']} MHz" if _known(clock.get("max_clk")) else None,
        "granularity": "GCD (half a module)" if "MI250" in name else None,
    }
    told = {key: str(text) for key, text in details.items() if text is not None and text != "N/A"}
    memory = _ask(library, "amdsmi_get_gpu_memory_total", handle, library.AmdSmiMemoryType.VRAM)
    return FoundDevice(name, "amd", index, memory, told)


def _known(value: Untyped) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _ask(library: Untyped, name: str, *arguments: Untyped) -> Untyped:
    """What the function of that name answers; None where this device or this release has no answer.
    ProbeLost where the driver is gone."""
    try:
        return getattr(library, name)(*arguments)
    except AttributeError:
        return None
    except library.AmdSmiLibraryException as error:
        codes = library.amdsmi_wrapper
        if error.get_error_code() in (codes.AMDSMI_STATUS_NOT_INIT, codes.AMDSMI_STATUS_DRIVER_NOT_LOADED):
            raise ProbeLost(f"AMD SMI: {one_line(error)}") from error
        return None


class AmdSmiProbe:
    """Reads one device through AMD SMI, opened at the first reading.

    'clock', 'memory_clock' (Hz), 'power' (W, of the whole module), 'energy' (J), 'temperature' (C, hottest
    spot), 'utilisation' (ratio), 'ecc' (uncorrectable errors), 'throttle' (see harness.telemetry.Throttle),
    'power_cap' (0 or 1). What the device does not answer is absent; one that is gone, or answers nothing
    at all, ends the probe with ProbeLost.
    """

    def __init__(self, local_rank: int) -> None:
        self._rank = local_rank
        self._library: Untyped = None
        self._handle: Untyped = None
        self._residencies: dict[str, int] = {}

    def read(self) -> Mapping[str, float]:
        if self._library is None:
            self._open()
        values = {**self._numbers(), **self._reasons()}
        if not values:
            raise ProbeLost(f"AMD SMI answers nothing about device {self._rank}")
        return values

    def _open(self) -> None:
        library = start()
        try:
            self._handle = handles(library)[self._rank]
        except (library.AmdSmiException, IndexError) as error:
            library.amdsmi_shut_down()
            raise ProbeLost(
                f"AMD SMI finds no device {self._rank} among the visible ones: {one_line(error)}"
            ) from error
        self._library = library

    def _numbers(self) -> dict[str, float]:
        a = self._library
        power = self._dict("amdsmi_get_power_info")
        energy = self._dict("amdsmi_get_energy_count")
        spot, now = a.AmdSmiTemperatureType.HOTSPOT, a.AmdSmiTemperatureMetric.CURRENT
        asked = {
            "clock": (self._dict("amdsmi_get_clock_info", a.AmdSmiClkType.GFX).get("clk"), 1e6),  # from MHz
            "memory_clock": (self._dict("amdsmi_get_clock_info", a.AmdSmiClkType.MEM).get("clk"), 1e6),
            "power": (_first(power, "current_socket_power", "average_socket_power"), 1.0),
            "energy": (energy.get("energy_accumulator"), energy.get("counter_resolution", 0.0) * 1e-6),  # from µJ
            "temperature": (_ask(a, "amdsmi_get_temp_metric", self._handle, spot, now), 1.0),
            "utilisation": (self._dict("amdsmi_get_gpu_activity").get("gfx_activity"), 1e-2),  # from per cent
            "ecc": (self._dict("amdsmi_get_gpu_total_ecc_count").get("uncorrectable_count"), 1.0),
        }
        return {name: value * scale for name, (value, scale) in asked.items() if _known(value)}

    def _reasons(self) -> dict[str, float]:
        """What has held the device back since the reading before."""
        metrics = self._dict("amdsmi_get_gpu_metrics_info")
        now = {name: metrics[name] for name in (*RESIDENCIES, POWER_CAP) if _known(metrics.get(name))}
        grown = {name for name, value in now.items() if value > self._residencies.get(name, value)}
        before, self._residencies = self._residencies, now
        if not now or not before:
            return {}
        harmful = Throttle(0)
        for name in grown & RESIDENCIES.keys():
            harmful |= RESIDENCIES[name]
        return {"throttle": float(harmful), "power_cap": float(POWER_CAP in grown)}

    def _dict(self, name: str, *arguments: Untyped) -> dict[str, Untyped]:
        """What the function answers about this device; nothing where there is no answer."""
        return _ask(self._library, name, self._handle, *arguments) or {}

    def close(self) -> None:
        if self._library is not None:
            self._library.amdsmi_shut_down()
            self._library = None


def _first(told: Mapping[str, Untyped], *names: str) -> Untyped:
    """The first of these values that is a number."""
    return next((told[name] for name in names if _known(told.get(name))), None)
