"""The processors of one host: ranks are processes that share its cores, gloo joins them."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter_ns
from typing import TYPE_CHECKING

import psutil

from clusters.accelerators.host import Host, installed
from clusters.accelerators.host_probe import HostProbe
from harness.accelerator import Operation, Peer
from harness.records import FoundDevice

if TYPE_CHECKING:
    import torch

GLOO_BY_TYPE = (
    "all_reduce", "all_gather", "reduce_scatter", "broadcast", "all_to_all", "all_to_all_uneven", "reduce", "gather",
    "scatter",
)  # fmt: skip
"""Operations for which gloo dispatches on the element type. What that means, tried with torch 2.13 on
two ranks, results checked:

                                      float64 float32 bfloat16 float16 int8   float8 (e4m3fn, e5m2)
    these, in their tensor forms      yes     yes     yes      yes     yes    no: "Invalid scalar type"
    send and recv                     yes     yes     yes      yes     yes    yes: bytes are bytes
"""

PLACED_BY_USER = ("OMP_PROC_BIND", "GOMP_CPU_AFFINITY", "KMP_AFFINITY")


class Cpu:
    """All cores of the host, as one device that ranks share."""

    name = "cpu"

    def __init__(self, host: Host | None = None, environ: Mapping[str, str] = os.environ) -> None:
        self._host = host or Host()
        self._environ = environ
        self._slice: frozenset[int] = frozenset()
        self._thread: ThreadPoolExecutor | None = None

    def found(self) -> tuple[FoundDevice, ...]:
        total = psutil.virtual_memory().total
        return (FoundDevice(self._host.model, "cpu", 0, total, self._host.details()),)

    def versions(self) -> dict[str, str]:
        return {
            "python": platform.python_version(),
            "torch": installed("torch"),
            "gloo": "bundled with torch",
            "kernel": platform.release(),
        } | _libraries()

    def backend(self) -> str:
        return "gloo"

    def bind(self, local_rank: int, threads: int) -> torch.device:
        """Set the thread count, and choose the cores that the first `stopwatch` pins this thread to."""
        import torch

        torch.set_num_threads(threads)
        self._slice = self._cores(local_rank, threads)
        return torch.device("cpu")

    def _cores(self, local_rank: int, threads: int) -> frozenset[int]:
        """This rank's own cores; none where ranks would overlap, where the user has placed threads by
        hand, or where there is one rank, which the scheduler serves best."""
        ranks = int(self._environ.get("LOCAL_WORLD_SIZE", "1"))
        if ranks < 2 or any(name in self._environ for name in PLACED_BY_USER):
            return frozenset()
        cores = self._host.by_core()
        if threads * ranks > len(cores):
            return frozenset()
        return frozenset(cores[local_rank * threads : (local_rank + 1) * threads])

    def synchronise(self) -> None:
        return

    def stopwatch(self, regions: int) -> CpuStopwatch:
        # The thread that times is pinned here and not in bind(): by now gloo has started its own
        # threads, which keep all cores. Two ranks on two cores that others use too, medians of eight
        # interleaved runs: free 384 µs and 13.0 ms (all-reduce of 1 KiB and 16 MiB), everything pinned
        # 273 µs and 12.5 ms, this thread alone 317 µs and 9.6 ms; and only so is the 95th percentile at
        # 1 KiB 0.4 ms, where both others wait a scheduler's slice of 4 ms.
        if self._slice:
            os.sched_setaffinity(0, self._slice)
            self._slice = frozenset()
        return CpuStopwatch(regions)

    def probe(self, local_rank: int) -> HostProbe:
        return HostProbe()

    def beside(self, work: Callable[[], None]) -> Callable[[], None]:
        self._thread = self._thread or ThreadPoolExecutor(1, "beside")
        return self._thread.submit(work).result

    def peer(self) -> Peer | None:
        return None

    def memory_free(self) -> int:
        return self._host.memory_free()

    def release(self) -> None:
        return

    def memory_peak(self) -> int | None:
        return None

    def cache(self) -> int | None:
        return self._host.last_level()

    def refuses(self, operation: Operation) -> str | None:
        if operation.kind == "collective":
            return self._refuses_collective(operation)
        return self._refuses_gemm(operation.dtype) if operation.kind == "gemm" else None

    def _refuses_collective(self, operation: Operation) -> str | None:
        if operation.dtype.startswith("float8") and operation.name in GLOO_BY_TYPE:
            return f"gloo has no {operation.dtype} in {operation.name}: invalid scalar type"
        return None

    def _refuses_gemm(self, dtype: str) -> str | None:
        flags = self._host.flags
        if dtype == "float16" and not flags & {"avx512_fp16", "amx_fp16", "fphp", "asimdhp"}:
            # Measured on a Zen 4 (torch 2.13): 2.7 to 3.2 GFLOP/s, 25 to 35 times below float32 and up
            # to 80 below bfloat16, minutes for one large product.
            return "float16 on this CPU runs 30 to 100 times slower than float32: no vector instructions for it"
        if dtype == "tf32":
            return "tf32 is a mode of GPU matrix units; a CPU has none"
        if dtype.startswith("float8"):
            return "no CPU that torch supports multiplies float8: it would be converted first"
        return None


class CpuStopwatch:
    """perf_counter_ns into lists that are there before the first region: nothing is allocated in one."""

    __slots__ = ("_begin", "_end")

    def __init__(self, regions: int) -> None:
        self._begin = [0] * regions
        self._end = [0] * regions

    def start(self, index: int) -> None:
        self._begin[index] = perf_counter_ns()

    def stop(self, index: int) -> None:
        self._end[index] = perf_counter_ns()

    def seconds(self) -> list[float]:
        return [(end - begin) * 1e-9 for begin, end in zip(self._begin, self._end, strict=True) if end]


def _libraries() -> dict[str, str]:
    """oneDNN and MKL as torch was built with them; asked only where torch is loaded already."""
    torch = sys.modules.get("torch")
    text = torch.__config__.show() if torch is not None else ""
    patterns = {"onednn": r"MKL-DNN v([\w.]+)", "mkl": r"Math Kernel Library Version ([\w.]+)"}
    found = {name: re.search(pattern, text) for name, pattern in patterns.items()}
    return {name: match.group(1) for name, match in found.items() if match}
