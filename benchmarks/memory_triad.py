"""Memory: our compiled triad's bandwidth over that of a STREAM triad in C, on the same arrays and as many threads.

`python benchmarks/memory_triad.py [--json]`. Compiles stream_triad.c with the C compiler at hand: non-temporal
stores for a working set beyond the caches, ordinary ones within. Below stands what torch's own kernel reaches:
in STREAM's bytes, and in bytes moved, where its destination counts twice since lines are read before they are
written (write-allocate).
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter, sleep

import torch
from common import Row, abba, inverse, median, row, show, wants_json
from place import context, cores

from harness.context import Context
from harness.operands import Spec
from harness.records import Cadence
from harness.sampling import Task
from harness.units import show_size
from microbench.memory import native, streams
from microbench.memory.crew import Crew, cpus_of
from microbench.memory.loops import SCALAR
from microbench.memory.streams import StreamParams

SOURCE = Path(__file__).with_name("stream_triad.c")
SIZES = ((384 << 20, 25), (12 << 20, 25))
"""(working set in B, rounds of ABBA): memory, and a last-level cache."""
ALLOCATED = 4 / 3  # bytes that move over those that STREAM counts, where stores are ordinary
REST = 0.01  # s before each sample: OpenMP's threads spin for a while when they have nothing to do


def compiled(folder: Path) -> ctypes.CDLL:
    """The triad as a library. It shares torch's OpenMP threads: torch is loaded first."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        sys.exit("no C compiler found (cc, gcc, clang): install one, for example `apt install gcc`")
    library = folder / "stream_triad.so"
    flags = ["-O3", "-march=native", "-ffp-contract=fast", "-fopenmp", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, str(SOURCE), "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))


def theirs(function: Callable[..., object], arrays: Sequence[torch.Tensor], sweeps: int) -> Callable[[], float]:
    """Time of one triad in C, in s; its result is checked once."""
    addresses = [ctypes.c_void_p(array.data_ptr()) for array in arrays]
    rest = ctypes.c_float(SCALAR), ctypes.c_ssize_t(arrays[0].numel()), ctypes.c_int(sweeps), ctypes.c_int(cores())

    def run() -> float:
        sleep(REST)
        begin = perf_counter()
        function(*addresses, *rest)
        return (perf_counter() - begin) / sweeps

    a, b, c = arrays
    a.fill_(float("nan"))
    run()
    torch.testing.assert_close(a, torch.add(b, c, alpha=SCALAR))
    return run


def ours(ctx: Context, task: Task, sweeps: int, operations: int = 1) -> Callable[[], float]:
    """Time of one sweep, in s, as the suite takes it; the result is checked once."""
    task.check()

    def run() -> float:
        sleep(REST)
        return median(ctx.meter.block(task, Cadence.STREAMING, 1, operations).samples) / sweeps

    return run


def rows(ctx: Context, library: ctypes.CDLL, crew: Crew) -> list[Row]:
    found = []
    for size, rounds in SIZES:
        params = StreamParams(size=size, kernel="compiled")
        sets = native.operands(ctx, streams.specs(params), crew)
        task, sweeps = streams.loop_over(ctx, params, crew, sets)
        past = native.streams(ctx, size)
        if past and not library.has_non_temporal():
            print(f"no non-temporal C triad for this processor: {show_size(size)} is left out", file=sys.stderr)
            continue
        reference = theirs(library.triad_non_temporal if past else library.triad, sets[0], sweeps)
        pairs = abba(ours(ctx, task, sweeps), reference, rounds)
        name = f"triad {show_size(size)}, {'non-temporal' if past else 'ordinary'} stores"
        rate = task.operation.bytes / median(pairs[0]) / 1e9
        found.append(row(f"{name}: compiled / C", inverse(pairs), f"ours {rate:.1f} GB/s", least=0.97))
        if past:
            found += torchs(ctx, params, reference, library)
    return found


def torchs(ctx: Context, params: StreamParams, reference: Callable[[], float], library: ctypes.CDLL) -> list[Row]:
    """torch's kernel against the non-temporal triad, and against the ordinary one on the same arrays."""
    plain = StreamParams(size=params.size)
    task = streams.build(ctx, plain)
    arrays = ctx.operands(*[Spec((streams.elements(plain),), "float32")] * 3, rotate=False)
    arrays.prepare(1)
    name, run = f"triad {show_size(params.size)}", ours(ctx, task, 1, operations=3)
    ordinary, past = abba(run, theirs(library.triad, arrays[0], 3), 10), abba(run, reference, 10)
    rate = f"torch {task.operation.bytes / median(ordinary[0]) / 1e9:.1f} GB/s"
    return [
        row(f"{name}: torch / C, ordinary stores", inverse(ordinary), rate, least=0.9),
        row(f"{name}: torch / C, non-temporal stores, STREAM bytes", inverse(past)),
        row(f"{name}: torch / C, non-temporal stores, bytes moved", inverse(past, ALLOCATED), least=0.9),
    ]


if __name__ == "__main__":
    as_json = wants_json(__doc__)
    ctx = context(threads=cores())
    with tempfile.TemporaryDirectory() as folder, Crew(cpus_of(ctx, 0)) as crew:
        show("memory triad: our bandwidth / that of STREAM's in C", rows(ctx, compiled(Path(folder)), crew), as_json)
