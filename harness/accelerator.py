"""What the harness asks of a vendor: one small protocol, implemented in clusters/accelerators.

PyTorch shows ROCm through `torch.cuda`, so what differs between vendors is less than it seems: the
management library, the communication library, environment variables and the granularity of a device.
Nothing outside clusters/accelerators calls `torch.cuda`, `pynvml` or `amdsmi`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from harness.records import FoundDevice, Struct

if TYPE_CHECKING:
    import torch


UNEVEN = 1.5
"""all_to_all_uneven: what the busiest rank receives, over an even share. An assumption about a mixture of
experts whose router is kept near balance; no published figure stands behind it."""


class Operation(Struct, frozen=True):
    """What one timed call does, in terms a vendor (or a model of one) can judge.

    kind: "collective"; "gemm" (matrix products, and attention as a fused pair of them); "stream" (bound
    by the device's memory); "transfer" (between host and device, or two devices); "step" (several
    together: a layer, a product beside a collective). name: all_reduce, mm, attention, triad, ...
    bytes: message size for a collective (nccl-tests' S), bytes that must move for the others. flops:
    for a gemm. reduction: sum, max or avg, where a collective combines. nodes: how many hold the ranks
    of one group. groups: how many such groups do it at once.
    """

    kind: Literal["collective", "gemm", "stream", "transfer", "step"]
    name: str
    dtype: str
    bytes: float = 0.0
    flops: float = 0.0
    ranks: int = 1
    shape: tuple[int, ...] = ()
    reduction: str = ""
    nodes: int = 1
    groups: int = 1


@dataclass(frozen=True)
class Peer:
    """Another device of the same host. direct: this rank's device reaches its memory without the host's."""

    device: torch.device
    direct: bool


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

    def beside(self, work: Callable[[], None]) -> Callable[[], None]:
        """Start `work` beside what this rank does next: on a second stream, or thread. What is returned
        waits for its end, and raises what it raised."""
        ...

    def peer(self) -> Peer | None:
        """The next device of this host, going round; None where this rank sees no other."""
        ...

    def memory_free(self) -> int:
        """Bytes that can be allocated on this rank's device now."""
        ...

    def release(self) -> None:
        """Give back memory that is held for later use, and forget the peak."""
        ...

    def memory_peak(self) -> int | None:
        """Most bytes of the device's memory that were allocated at once since `release`; None where its memory is
        the host's."""
        ...

    def cache(self) -> int | None:
        """Bytes of the last-level cache in front of the device's memory; None where unknown."""
        ...

    def refuses(self, operation: Operation) -> str | None:
        """Why this device or its backend cannot do the operation, or None if it can."""
        ...
