"""What benchmarks of compiled loops share: where they run, their memory, their sweeps.

Memory is mapped for the cell alone, in huge pages where the kernel gives them (madvise), and first
touched by the threads that will sweep it, so that on a host with several memory nodes each finds its
share in its own (first touch, as STREAM's own rules have it).
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import prod
from typing import TYPE_CHECKING

import msgspec

from harness.errors import Skip
from harness.operands import ALIGN, Operands, Spec
from harness.records import Cadence, Measurement
from microbench.memory import loops
from microbench.memory.crew import Crew, Work, cpus_of
from microbench.memory.kernels import Kernel, machine_code

if TYPE_CHECKING:
    import torch

    from harness.context import Context
    from harness.sampling import Task

SWEPT = 128 << 20  # B that each thread sweeps in one step, at least: a call's own time is then below 1 %
FOREVER = 1 << 40  # uses of operands that are only read, or take the same values again

Build = Callable[[Crew | None], tuple["Task", int]]
"""A task with the sweeps, or other operations, that one of its steps makes. Without a crew (on a
simulated cluster) it has everything but a step."""


def on_host(ctx: Context) -> bool:
    """Whether the device is the host's processors, also where they are simulated."""
    return ctx.accelerator.backend() == "gloo"


def timed(ctx: Context, threads: int, build: Build) -> list[Measurement]:
    """Measure what `build` makes with a crew of `threads` threads (0: all of the rank's), per sweep.
    Skips a GPU."""
    if not on_host(ctx):
        raise Skip("compiled loops run on processors; on a GPU torch's kernels are compiled ones: kernel=torch")
    if ctx.device.type == "meta":
        task, sweeps = build(None)
        return per_sweep(ctx.time(task, [Cadence.STREAMING]), sweeps)
    with Crew(cpus_of(ctx, threads)) as crew:
        task, sweeps = build(crew)
        return per_sweep(ctx.time(task, [Cadence.STREAMING]), sweeps)


def per_sweep(measurements: Sequence[Measurement], sweeps: int) -> list[Measurement]:
    """Measurements of steps as measurements of one sweep: a step is a block of `sweeps` (METHOD 1)."""
    return [_divided(measurement, sweeps) for measurement in measurements]


def _divided(measurement: Measurement, sweeps: int) -> Measurement:
    held = measurement.evidence
    evidence = msgspec.structs.replace(
        held,
        warmup=held.warmup * sweeps,
        block=held.block * sweeps,
        rank_medians=tuple(median / sweeps for median in held.rank_medians),
    )
    samples = tuple(sample / sweeps for sample in measurement.samples)
    return msgspec.structs.replace(measurement, samples=samples, evidence=evidence)


def modelled(_: int) -> None:
    """The step of a loop without a crew."""
    raise RuntimeError("nothing is executed on a simulated cluster")


def sweeps_of(size: int, crew: Crew | None) -> int:
    """Sweeps of a working set of `size` B that one step makes."""
    return 1 if crew is None else max(1, SWEPT * len(crew) // size)


def streams(ctx: Context, size: int) -> bool:
    """Whether stores go past the caches: where the working sets of the host's ranks exceed the last level."""
    cache = ctx.accelerator.cache()
    return cache is not None and size * ctx.per_node > cache


def flags(ctx: Context, size: int, crew: Crew, kernel: Kernel, stores: bool = True) -> tuple[str, ...]:
    """What a reader must know of a compiled loop, in words."""
    said = [f"{kernel.made}; threads: {len(crew)}, each pinned to a CPU; huge pages where the kernel gives them"]
    if stores and streams(ctx, size):
        said.append("non-temporal stores: lines go past the caches to memory and are not read before they are written")
    elif stores:
        known = ctx.accelerator.cache() is not None
        said.append(f"ordinary stores: {'the caches hold the working set' if known else 'the caches are not known'}")
    return tuple(said)


def operands(ctx: Context, specs: Sequence[Spec], crew: Crew | None) -> Operands:
    """One set of random tensors that the crew has touched first. Each is a whole number of ALIGN bytes."""
    import torch

    if crew is None:
        return ctx.operands(*specs, rotate=False)
    sizes = [prod(spec.shape) * int(getattr(torch, spec.dtype).itemsize) for spec in specs]
    ctx.arena.allow(sum(sizes))
    return Operands(touched(sizes, crew), specs, sizes, 1, ctx.seed, (), FOREVER)


def touched(sizes: Sequence[int], crew: Crew) -> torch.Tensor:
    """Bytes for arrays of these sizes one after another, every page of each touched by the thread whose
    share it is."""
    import torch

    assert all(size % ALIGN == 0 for size in sizes), sizes
    pages = mmap.mmap(-1, sum(sizes), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # shared ones are never huge
    with suppress(OSError):  # a kernel without huge pages
        pages.madvise(mmap.MADV_HUGEPAGE)
    held, start = torch.frombuffer(pages, dtype=torch.uint8), 0
    write = machine_code(loops.stream("write", "float32", False))
    for size in sizes:
        work = Work(crew, write, [held[start:]], size // loops.LINE, 1)
        work.prepare(1)
        work.step()
        start += size
    return held
