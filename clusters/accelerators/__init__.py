"""Accelerators by vendor, the only modules that call a vendor's library.

Nothing is imported before a vendor is asked for by name, and `detect` needs neither torch nor a
management library's Python package, so that the command line stays quick.
"""

from __future__ import annotations

import ctypes
import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import unknown

if TYPE_CHECKING:
    from harness.accelerator import Accelerator

_CLASSES = {
    "cpu": ("clusters.accelerators.cpu", "Cpu"),
    "cuda": ("clusters.accelerators.cuda", "Cuda"),
    "rocm": ("clusters.accelerators.rocm", "Rocm"),
}


def create(name: str) -> Accelerator:
    """The accelerator of that name; UsageError, with near matches, where there is none."""
    if name not in _CLASSES:
        raise unknown("accelerator", name, _CLASSES, f"Known: {', '.join(_CLASSES)}.")
    module, kind = _CLASSES[name]
    accelerator: Accelerator = getattr(importlib.import_module(module), kind)()
    return accelerator


def detect(root: Path = Path("/"), nvml: str = "libnvidia-ml.so.1") -> str:
    """What this host has: 'cuda', 'rocm' or 'cpu'.

    Looks at hardware only; whether the installed torch can drive it shows when it is used. NVIDIA is
    asked first, since many processors with a discrete NVIDIA device also carry a small AMD one.
    """
    if _nvidia_nodes(root / "dev") or _nvml_count(nvml) > 0:
        return "cuda"
    if (root / "dev/kfd").exists() and _kfd_gpus(root / "sys/class/kfd/kfd/topology/nodes") > 0:
        return "rocm"
    return "cpu"


def _nvidia_nodes(dev: Path) -> bool:
    """The driver's control node and at least one device's; the control node alone has no device."""
    return (dev / "nvidiactl").exists() and any(dev.glob("nvidia[0-9]*"))


def _nvml_count(name: str) -> int:
    """Devices that NVML counts, 0 without a library or a driver. Finds what has no node under /dev
    (Windows' Linux subsystem)."""
    try:
        library = ctypes.CDLL(name)
        begin, count, end = library.nvmlInit_v2, library.nvmlDeviceGetCount_v2, library.nvmlShutdown
    except (OSError, AttributeError):
        return 0
    if begin() != 0:
        return 0
    found = ctypes.c_uint(0)
    status = count(ctypes.byref(found))
    end()
    return found.value if status == 0 else 0


def _kfd_gpus(nodes: Path) -> int:
    """Nodes of the amdgpu compute driver that have SIMD units; the others are processors."""
    count = 0
    for file in nodes.glob("*/properties"):
        try:
            lines = file.read_text().splitlines()
        except OSError:  # a device that was taken from this container by its permissions
            continue
        properties = dict(line.split(None, 1) for line in lines if " " in line)
        count += int(properties.get("simd_count", "0")) > 0
    return count
