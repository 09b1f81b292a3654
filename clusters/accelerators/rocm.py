"""AMD devices: torch.cuda (which is HIP here) for the work, RCCL between them, AMD SMI for what they are.

torch counts what AMD SMI calls a processor: a whole MI300X, but one of the two dies (GCD) of an MI250X.
"""

from __future__ import annotations

import os

from clusters.accelerators import amd_smi
from clusters.accelerators.host import installed
from clusters.accelerators.torch_device import (
    REDUCTIONS,
    TorchDevice,
    architecture,
    communication_version,
    float8_dtype,
    nccl_release,
    torch_release,
)
from harness.accelerator import Operation
from harness.records import FoundDevice
from harness.telemetry import ProbeLost

INFINITY_CACHE = {"gfx942": 256 * 2**20, "gfx950": 256 * 2**20}
"""B of the last level in front of the memory (AMD CDNA 3 and CDNA 4 architecture white papers: 256 MB of
Infinity Cache on MI300 and MI350). HIP tells of the second level only; earlier devices have no more."""
FLOAT8 = ("gfx94", "gfx95")  # CDNA 3 and 4; gfx90a (MI250X) has no 8-bit float
TF32 = ("gfx942",)  # CDNA 3; CDNA 4 gave it up (CDNA 4 white paper)


class Rocm(TorchDevice):
    """AMD's devices of this host."""

    name = "rocm"
    vendor = "amd"
    library = "ROCm"

    def found(self) -> tuple[FoundDevice, ...]:
        try:
            with amd_smi.session() as library:
                handles = amd_smi.handles(library)
                return tuple(amd_smi.describe(library, handle, at) for at, handle in enumerate(handles))
        except ProbeLost:
            return self._found_by_torch()

    def versions(self) -> dict[str, str]:
        versions = {"torch": installed("torch")} | communication_version()
        try:
            with amd_smi.session() as library:
                handles = amd_smi.handles(library)
                versions["driver"] = amd_smi.driver(library, handles[0]) if handles else "unknown: no device is visible"
        except ProbeLost as missing:
            versions["driver"] = f"unknown: {missing}"
        return versions

    def probe(self, local_rank: int) -> amd_smi.AmdSmiProbe:
        return amd_smi.AmdSmiProbe(local_rank)

    def cache(self) -> int | None:
        return INFINITY_CACHE.get(architecture()) or super().cache()

    def refuses(self, operation: Operation) -> str | None:
        device = architecture()
        dtype = "float8" if operation.dtype.startswith("float8") else operation.dtype
        if operation.kind == "collective":
            return _refuses_collective(operation.name, dtype, device)
        if operation.kind != "gemm":
            return None
        if dtype == "float8" and not device.startswith(FLOAT8):
            return f"{device} has no float8 matrix units: they begin with CDNA 3 (MI300)"
        return _refuses_tf32(device) if dtype == "tf32" else None


def _refuses_tf32(device: str) -> str | None:
    if device not in TF32:
        return f"{device} has no TF32 matrix units: only CDNA 3 (MI300) has"
    # torch asked for the variable until pull request 162998 (after 2.9).
    if torch_release() < (2, 10) and os.environ.get("HIPBLASLT_ALLOW_TF32") != "1":
        return "torch before 2.10 uses TF32 on ROCm only where HIPBLASLT_ALLOW_TF32=1 is set"
    return None


def _refuses_collective(name: str, dtype: str, device: str) -> str | None:
    """Moving float8 is moving bytes; sums exist for the common variant only (pytorch pull request 152706)."""
    if dtype == "tf32":
        return "tf32 is a mode of matrix units: messages are float32"
    if dtype != "float8":
        return None
    if not device.startswith(FLOAT8):
        return f"{device} has no float8"
    if name in REDUCTIONS and float8_dtype() == "float8_e4m3fnuz":
        return f"torch sums no float8_e4m3fnuz, the 8-bit float of {device}, over RCCL"
    if name in REDUCTIONS and (nccl_release() < (2, 24) or torch_release() < (2, 8)):
        return "sums of float8 need RCCL 2.24 and torch 2.8"
    return None
