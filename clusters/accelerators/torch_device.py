"""What NVIDIA's and AMD's devices share: both are `torch.cuda` to PyTorch.

The management library, the cache in front of the memory and what a device cannot do differ; those are
in `cuda` and `rocm`. torch is imported where it is used.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING

from harness.accelerator import Peer
from harness.errors import CannotRun
from harness.records import FoundDevice

if TYPE_CHECKING:
    import torch

REDUCTIONS = ("all_reduce", "reduce_scatter", "reduce")  # compute with the elements; others only move them


class TorchDevice:
    """One device of this host through torch.cuda."""

    name = ""
    vendor = ""
    library = ""  # what torch must be built with, in words

    def backend(self) -> str:
        return "nccl"

    def bind(self, local_rank: int, threads: int) -> torch.device:
        import torch

        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if local_rank >= count:
            raise CannotRun(
                f"rank {local_rank} of this host needs device {local_rank}, and torch {torch.__version__} sees {count} "
                f"{self.library} device(s). Start at most one rank per device; see `bench doctor` for what torch finds."
            )
        torch.set_num_threads(threads)
        torch.cuda.set_device(local_rank)
        return torch.device("cuda", local_rank)

    def synchronise(self) -> None:
        import torch

        torch.cuda.synchronize()

    def stopwatch(self, regions: int) -> EventStopwatch:
        return EventStopwatch(regions)

    def beside(self, work: Callable[[], None]) -> Callable[[], None]:
        """A stream of its own, which begins when what is queued now on this one has begun too."""
        import torch

        make: Callable[[], torch.cuda.Stream] = torch.cuda.Stream
        stream = make()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            work()
        wait: Callable[[], None] = stream.synchronize
        return wait

    def peer(self) -> Peer | None:
        import torch

        own, count = torch.cuda.current_device(), torch.cuda.device_count()
        if count < 2:
            return None
        other = (own + 1) % count
        return Peer(torch.device("cuda", other), bool(torch.cuda.can_device_access_peer(own, other)))

    def memory_free(self) -> int:
        import torch

        return int(torch.cuda.mem_get_info()[0])

    def release(self) -> None:
        import torch

        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()

    def memory_peak(self) -> int | None:
        import torch

        return int(torch.cuda.max_memory_allocated())

    def cache(self) -> int | None:
        import torch

        device = torch.cuda.current_device()
        return int(torch.cuda.get_device_properties(device).L2_cache_size) or None

    def _found_by_torch(self) -> tuple[FoundDevice, ...]:
        """Names and memory sizes, where the management library is missing; nothing from a torch that is
        built for something else."""
        import torch

        if not torch.cuda.is_available():
            return ()
        properties = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
        return tuple(
            FoundDevice(p.name, self.vendor, index, p.total_memory, {"seen by": "torch"})
            for index, p in enumerate(properties)
        )


class EventStopwatch:
    """Device events around each region; times are the device's own."""

    __slots__ = ("_begin", "_end", "_stopped")

    def __init__(self, regions: int) -> None:
        import torch

        make: Callable[..., torch.cuda.Event] = torch.cuda.Event
        self._begin = [make(enable_timing=True) for _ in range(regions)]
        self._end = [make(enable_timing=True) for _ in range(regions)]
        self._stopped = [False] * regions
        for event in (*self._begin, *self._end):
            event.record()  # the driver makes an event at its first record: not inside a timed region

    def start(self, index: int) -> None:
        self._begin[index].record()

    def stop(self, index: int) -> None:
        self._end[index].record()
        self._stopped[index] = True

    def seconds(self) -> list[float]:
        import torch

        torch.cuda.synchronize()
        regions = zip(self._begin, self._end, self._stopped, strict=True)
        return [float(begin.elapsed_time(end)) * 1e-3 for begin, end, stopped in regions if stopped]


def float8_dtype() -> str:
    """Name of the 8-bit float with 4 exponent bits that this rank's device multiplies.

    AMD's CDNA 3 (gfx94x) has the variant without negative zero, whose values are half as large at the
    same bits; NVIDIA and later AMD devices have the common one (OCP 8-bit Floating Point, 2023).
    """
    import torch

    if torch.version.hip is None:
        return "float8_e4m3fn"
    return "float8_e4m3fnuz" if architecture().startswith("gfx94") else "float8_e4m3fn"


def architecture() -> str:
    """AMD's name of this rank's device architecture, without its feature suffixes: 'gfx942'."""
    import torch

    return str(torch.cuda.get_device_properties(torch.cuda.current_device()).gcnArchName).split(":")[0]


def torch_release() -> tuple[int, ...]:
    """(2, 13) for torch 2.13.0+cpu."""
    import torch

    return tuple(int(part) for part in torch.__version__.split(".")[:2])


def nccl_release() -> tuple[int, ...]:
    """Version of the NCCL or RCCL in use, as (2, 27, 3)."""
    import torch

    version: Callable[[], tuple[int, ...]] = torch.cuda.nccl.version
    return version()[:3]


def communication_version() -> dict[str, str]:
    """Version of NCCL or RCCL; asked only where torch is loaded already."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return {}
    return {"rccl" if torch.version.hip else "nccl": ".".join(map(str, nccl_release()))}


def visible(variable: str | None, devices: Sequence[int]) -> list[int | str]:
    """Which of `devices` a variable such as CUDA_VISIBLE_DEVICES leaves visible, in torch's order.

    Ordinals index `devices`; identifiers ('GPU-…', 'MIG-…') are given back as they are. As the drivers
    do, what follows the first entry that names no device is ignored, and a repeated entry hides all.
    """
    if variable is None:
        return list(devices)
    entries = [entry.strip() for entry in variable.split(",")]
    if entries[0].startswith(("GPU-", "MIG-")):
        prefix = entries[0][:4]
        names = list(takewhile(lambda entry: entry.startswith(prefix), entries))
        return list(names) if len(set(names)) == len(names) else []
    ordinals = [int(e) for e in takewhile(lambda e: e.isdecimal() and int(e) < len(devices), entries)]
    return [devices[at] for at in ordinals] if len(set(ordinals)) == len(ordinals) else []
