"""Memory: our triad's bandwidth over that of a compiled STREAM triad, on the same arrays and threads.

`python benchmarks/memory_triad.py [--json]`. Compiles stream_triad.c with the C compiler at hand, with ordinary and
with non-temporal stores. `STREAM bytes` counts three arrays for both; `bytes moved` counts the destination
twice where stores are ordinary, since its lines are read before they are written (write-allocate).
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import torch
from common import Row, abba, inverse, median, row, show, wants_json
from place import context, cores

from harness.context import Context
from harness.operands import Spec
from harness.records import Cadence
from harness.units import show_size
from microbench.memory import SCALAR, StreamParams, build, elements

SOURCE = Path(__file__).with_name("stream_triad.c")
SIZES = ((384 << 20, 3, 16), (12 << 20, 40, 16))
"""(working set in B, operations a block, rounds of ABBA): memory, and a last-level cache."""
ALLOCATED = 4 / 3  # bytes that move over those that STREAM counts, where stores are ordinary


def compiled(folder: Path) -> ctypes.CDLL:
    """The triad as a library. It shares torch's OpenMP threads: torch is loaded first."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        sys.exit("no C compiler found (cc, gcc, clang): install one, for example `apt install gcc`")
    library = folder / "stream_triad.so"
    flags = ["-O3", "-march=native", "-ffp-contract=fast", "-fopenmp", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, str(SOURCE), "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))


def loop(function: Callable[..., object], arrays: tuple[torch.Tensor, ...], operations: int) -> Callable[[], float]:
    """Time of one triad, back to back, in s."""
    addresses = [ctypes.c_void_p(array.data_ptr()) for array in arrays]
    rest = ctypes.c_float(SCALAR), ctypes.c_ssize_t(arrays[0].numel()), ctypes.c_int(torch.get_num_threads())

    def run() -> float:
        begin = perf_counter()
        for _ in range(operations):
            function(*addresses, *rest)
        return (perf_counter() - begin) / operations

    return run


def right(function: Callable[..., object], arrays: tuple[torch.Tensor, ...]) -> None:
    """The compiled reference is checked too."""
    a, b, c = arrays
    a.fill_(float("nan"))
    loop(function, arrays, 1)()
    torch.testing.assert_close(a, torch.add(b, c, alpha=SCALAR))


def rows(ctx: Context, library: ctypes.CDLL) -> list[Row]:
    found = []
    for size, operations, rounds in SIZES:
        params = StreamParams(size=size, op="triad")
        task = build(ctx, params)
        arrays = ctx.operands(*[Spec((elements(params),), "float32")] * 3, rotate=False)
        arrays.prepare(1)

        def ours(task=task, operations=operations) -> float:
            return median(ctx.meter.block(task, Cadence.STREAMING, 1, operations).samples)

        right(library.triad, arrays[0])
        pairs = abba(ours, loop(library.triad, arrays[0], operations), rounds)
        name, rate = f"triad {show_size(size)}", task.operation.bytes / median(pairs[0]) / 1e9
        found.append(row(f"{name}, ordinary stores", inverse(pairs), f"ours {rate:.1f} GB/s (STREAM bytes)", least=0.9))
        if not library.has_non_temporal():
            continue
        right(library.triad_non_temporal, arrays[0])
        pairs = abba(ours, loop(library.triad_non_temporal, arrays[0], operations), rounds)
        found.append(row(f"{name}, non-temporal stores, STREAM bytes", inverse(pairs)))
        if size > 4 * (ctx.accelerator.cache() or size):
            moved = inverse(pairs, ALLOCATED)
            found.append(row(f"{name}, non-temporal stores, bytes moved", moved, least=0.9))
    return found


if __name__ == "__main__":
    as_json = wants_json(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        show("memory triad: our bandwidth / compiled STREAM's", rows(context(threads=cores()), compiled(Path(folder))),
             as_json)  # fmt: skip
