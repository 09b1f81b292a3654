"""The latency of memory: loads of which each depends on the one before it, all over a working set.

Every cache line holds the place of the next, in one cycle through all of them in a random order, so that
nothing can be fetched ahead. What the working set fits in is what is measured, translation of addresses
included: huge pages are asked for, and hide most of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.accelerator import Operation
from harness.errors import Skip, WrongAnswer
from harness.records import Struct
from harness.units import Bytes
from microbench.memory import loops, native
from microbench.memory.crew import Work
from microbench.memory.kernels import machine_code

if TYPE_CHECKING:
    import torch

    from harness.context import Context
    from harness.sampling import Task
    from microbench.memory.crew import Crew

LOADS = 1 << 18  # of one step: 0.3 ms in a first-level cache
WORDS = loops.LINE // 8
BLOCK = loops.LINE * loops.TURN


class LatencyParams(Struct, frozen=True):
    """size: the working set, rounded down to whole blocks of 256 B."""

    size: Bytes

    def __post_init__(self) -> None:
        if self.size < 2 * BLOCK:
            raise ValueError(f"needs at least {2 * BLOCK} B: a chain of some lines")


def build(ctx: Context, params: LatencyParams, crew: Crew | None) -> tuple[Task, int]:
    """A step of LOADS loads, one thread's; the chain goes on from step to step."""
    from harness.sampling import Task

    operation = Operation("stream", "chase", "int64", bytes=float(loops.LINE), shape=(params.size // loops.LINE,))
    ctx.require(operation)
    if crew is None:
        raise Skip("nothing models the latency of a memory: a datasheet gives none")
    size = params.size // BLOCK * BLOCK
    ctx.arena.allow(size + 2 * (size // WORDS))  # beside the lines their order, a word a line, twice while it is made
    table = native.touched([size], crew).view(_int64()).view(-1, WORDS)
    order = chain(table, ctx.seed)
    kernel = machine_code(loops.chase())
    work = Work(crew, kernel, [table], 0, LOADS)
    position = work.results.view(_int64())[0, :1]

    def check() -> None:
        position[0] = int(order[0]) * loops.LINE
        work.prepare(1)
        work.step()
        expected = int(order[LOADS % len(order)]) * loops.LINE
        if int(position[0]) != expected:
            raise WrongAnswer(f"chase: {LOADS} loads led to byte {int(position[0])}, expected {expected}")

    flags = (
        "time is of one load; the chain is in a random order over all lines",
        *native.flags(ctx, size, crew, kernel, stores=False),
    )
    return Task(operation, work.step, (), work.prepare, check, flags=flags), LOADS


def chain(table: torch.Tensor, seed: int) -> torch.Tensor:
    """Make the rows of table (lines, 8) one cycle: word 0 of each is the next row's place in B. Returns the
    rows in the cycle's order."""
    import torch

    order = torch.randperm(len(table), generator=torch.Generator().manual_seed(seed))
    table[order, 0] = order.roll(-1) * loops.LINE
    return order


def _int64() -> torch.dtype:
    import torch

    return torch.int64
