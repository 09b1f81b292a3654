"""NVIDIA devices: torch.cuda for the work, NCCL between them, NVML for what they are."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from clusters.accelerators import nvml
from clusters.accelerators.host import installed
from clusters.accelerators.torch_device import (
    REDUCTIONS,
    TorchDevice,
    communication_version,
    nccl_release,
    torch_release,
)
from harness.accelerator import Operation
from harness.records import FoundDevice
from harness.telemetry import ProbeLost

if TYPE_CHECKING:
    import torch

UNITS = {"bfloat16": (8, 0), "tf32": (8, 0), "float8": (8, 9)}
"""First compute capability with matrix units for the type (CUDA C++ Programming Guide, compute
capabilities; torch._scaled_mm refuses float8 below 8.9 too)."""
NCCL_FLOAT8 = (9, 0)
"""NCCL's own words below it: 'FP8 reduction support begins with sm90 capable devices'."""


class Cuda(TorchDevice):
    """NVIDIA's devices of this host."""

    name = "cuda"
    vendor = "nvidia"
    library = "CUDA"

    def bind(self, local_rank: int, threads: int) -> torch.device:
        # NVML counts devices by bus address; without this CUDA counts the fastest first.
        os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
        return super().bind(local_rank, threads)

    def found(self) -> tuple[FoundDevice, ...]:
        try:
            with nvml.session() as library:
                return tuple(nvml.describe(library, handle, at) for at, handle in enumerate(nvml.handles(library)))
        except ProbeLost:
            return self._found_by_torch()

    def versions(self) -> dict[str, str]:
        versions = {"torch": installed("torch")} | communication_version()
        try:
            with nvml.session() as library:
                cuda = library.nvmlSystemGetCudaDriverVersion_v2()
                versions["driver"] = library.nvmlSystemGetDriverVersion()
                versions["cuda driver"] = f"{cuda // 1000}.{cuda % 1000 // 10}"
        except ProbeLost as missing:
            versions["driver"] = f"unknown: {missing}"
        return versions

    def probe(self, local_rank: int) -> nvml.NvmlProbe:
        return nvml.NvmlProbe(local_rank)

    def refuses(self, operation: Operation) -> str | None:
        import torch

        capability = torch.cuda.get_device_capability()
        dtype = "float8" if operation.dtype.startswith("float8") else operation.dtype
        if operation.kind == "collective":
            return _refuses_collective(operation.name, dtype, capability)
        needed = UNITS.get(dtype, (0, 0))
        if operation.kind == "gemm" and capability < needed:
            return (
                f"{dtype} matrix units begin with compute capability {needed[0]}.{needed[1]}, "
                f"and this device has {capability[0]}.{capability[1]}"
            )
        return None


def _refuses_collective(name: str, dtype: str, capability: tuple[int, int]) -> str | None:
    """NCCL takes float8 since 2.24; torch hands sums of it on since 2.8 (pytorch pull request 152706)."""
    if dtype == "tf32":
        return "tf32 is a mode of matrix units: messages are float32"
    if dtype == "float8" and capability < NCCL_FLOAT8:
        return f"NCCL takes float8 from compute capability 9.0, and this device has {capability[0]}.{capability[1]}"
    if dtype == "float8" and name in REDUCTIONS and (nccl_release() < (2, 24) or torch_release() < (2, 8)):
        return "sums of float8 need NCCL 2.24 and torch 2.8"
    return None
