"""What the harness asks of a vendor: one small protocol, implemented in clusters/accelerators.

PyTorch shows ROCm through `torch.cuda`, so what differs between vendors is less than it seems: the
management library, the communication library, environment variables and the granularity of a device.
Nothing outside clusters/accelerators calls `torch.cuda`, `pynvml` or `amdsmi`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, Protocol

from harness.records import FoundDevice, Struct

if TYPE_CHECKING:
    import torch


class Operation(Struct, frozen=True):
    """What one timed call does, in terms a vendor (or a model of one) can judge.

    kind: "collective", "gemm" or "stream". name: all_reduce, mm, triad, ... bytes: message size for
    a collective (nccl-tests' S), bytes really moved for a stream. flops: for a gemm.
    """

    kind: Literal["collective", "gemm", "stream"]
    name: str
    dtype: str
    bytes: float = 0.0
    flops: float = 0.0
    ranks: int = 1
    shape: tuple[int, ...] = ()


class Stopwatch(Protocol):
    """Times regions of device work. Regions are numbered; they are read together afterwards,
    so that nothing waits for the device between two of them."""

    def start(self, index: int) -> None: ...

    def stop(self, index: int) -> None: ...

    def seconds(self) -> list[float]:
        """Durations of all regions so far, in s; waits for the device where it must."""
        ...


class Probe(Protocol):
    """Reads the state of the device (or host) that a rank uses; see harness.telemetry."""

    def read(self) -> Mapping[str, float]:
        """Named values in base units: clock and memory_clock (Hz), power (W), energy (J, running),
        temperature (C), memory (B), utilisation, steal, foreign (ratios: busy, taken by the hypervisor,
        used by other processes), load, ecc (uncorrected errors, running), power_cap (0 or 1), throttle
        (harness.telemetry.Throttle bits). What the device lacks is absent."""
        ...

    def close(self) -> None: ...


class Accelerator(Protocol):
    """One vendor's devices as a rank sees them. `name`: cpu, cuda, rocm or simulated."""

    name: str

    def found(self) -> tuple[FoundDevice, ...]:
        """Devices on this host. Imports no torch where the management library can answer."""
        ...

    def versions(self) -> dict[str, str]:
        """Driver, runtime and communication library versions, by name."""
        ...

    def backend(self) -> str:
        """torch.distributed backend: gloo, or nccl (which is RCCL on ROCm)."""
        ...

    def bind(self, local_rank: int, threads: int) -> torch.device:
        """Take the device of this local rank and set the thread count; call once, first."""
        ...

    def synchronise(self) -> None:
        """Wait until the device has done all that was asked."""
        ...

    def stopwatch(self, regions: int) -> Stopwatch:
        """A stopwatch for up to `regions` regions."""
        ...

    def probe(self, local_rank: int) -> Probe:
        """A telemetry reader for this rank's device; opens the management library."""
        ...

    def memory_free(self) -> int:
        """Bytes that can be allocated on this rank's device now."""
        ...

    def cache(self) -> int | None:
        """Bytes of the last-level cache in front of the device's memory; None where unknown."""
        ...

    def refuses(self, operation: Operation) -> str | None:
        """Why this device or its backend cannot do the operation, or None if it can."""
        ...
