"""The vendors' own programs, run for the same cell, so that their number stands beside ours.

One process of nccl-tests (rccl-tests on AMD) drives the first `ranks` devices of the node, started by
rank 0 while the other ranks wait on the control plane: their devices rest. What it prints is the
average over operations that are issued back to back, so the cadence is streaming, and each average is
one sample. METHOD's rules on warm-up and order are the program's, not ours. `vendor` runs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from harness.errors import Skip
from harness.records import Better, Cadence, Evidence, Measurement, Origin, Rate, Struct
from harness.registry import benchmark
from harness.units import Bytes, Unit
from microbench.collectives.formulas import COLLECTIVES, whole_elements

if TYPE_CHECKING:
    from harness.context import Context
    from microbench.collectives.vendor import Found

NOT_IN_PLACE = ("all_to_all", "send_recv")
FEW = 3  # averages, below which an interval says nothing


class ProgramParams(Struct, frozen=True):
    """One size of one operation. in_place: the program's in-place column; it measures both."""

    size: Bytes
    ranks: Annotated[int, msgspec.Meta(ge=2)]
    operation: Literal[
        "all_reduce", "all_gather", "reduce_scatter", "broadcast", "reduce", "gather", "scatter", "all_to_all",
        "send_recv",
    ] = "all_reduce"  # fmt: skip
    dtype: Literal["float32", "bfloat16", "float16", "int64"] = "float32"
    in_place: bool = False

    def __post_init__(self) -> None:
        whole_elements(self.size, self.dtype)
        if self.in_place and self.operation in NOT_IN_PLACE:
            raise ValueError(f"in_place: the programs do not check {self.operation} in place")


@benchmark("collectives.nccl_tests", version=1, params=ProgramParams, scope="group", rate="busbw")
def nccl_tests(ctx: Context, params: ProgramParams) -> Sequence[Measurement]:
    """The same by the vendor's own program (nccl-tests, rccl-tests), where it is installed."""
    _refuse(ctx, params)
    from clusters.nccl_tests import programs
    from clusters.nccl_tests.rows import PROGRAMS
    from microbench.collectives import vendor

    program, path = PROGRAMS[params.operation], None
    if ctx.ranks.rank == 0:
        path = programs.find(program)
        if path is None:
            raise Skip(programs.missing(program, ctx.accelerator.name == "rocm"))
    ctx.ready()
    cell = vendor.Cell(params.size, params.ranks, params.dtype, params.in_place)
    found = vendor.agreed(ctx.ranks, vendor.attended(ctx.ranks, path, cell))
    factor = COLLECTIVES[params.operation].factor(params.ranks)
    return [_measurement(found, params.size, factor)]


def _refuse(ctx: Context, params: ProgramParams) -> None:
    """Skip where no program could measure the cell, for a reason that every rank knows."""
    if ctx.accelerator.name == "simulated":
        raise Skip("nothing is executed on a simulated cluster, and so no program either")
    if ctx.accelerator.backend() != "nccl":
        raise Skip(f"measures GPUs through NCCL or RCCL; the backend here is {ctx.accelerator.backend()}")
    if params.ranks > ctx.per_node:
        raise Skip(
            f"{params.ranks} ranks are on several nodes of {ctx.per_node}: there the programs need MPI. Run one under "
            "mpirun and give its output to `bench fit alphabeta`."
        )


def _measurement(found: Found, asked: int, factor: float) -> Measurement:
    from clusters.nccl_tests.programs import ITERATIONS, WARMUP
    from harness.statistics import median_interval

    flags = [found.program] if found.program else []
    if found.size != asked:
        flags.append(f"{found.size} B were measured, not {asked}: the program rounds")
    if len(found.times) < FEW:
        flags.append(f"{len(found.times)} average(s) only: one start of the program takes too long for more")
    return Measurement(
        metric="time.streaming",
        unit=Unit.SECOND,
        better=Better.LOWER,
        samples=found.times,
        origin=Origin.MEASURED,
        cadence=Cadence.STREAMING,
        rates=(
            Rate("algbw", float(found.size), Unit.BYTE_PER_SECOND),
            Rate("busbw", found.size * factor, Unit.BYTE_PER_SECOND),
        ),
        evidence=Evidence(
            warmup=WARMUP,
            block=ITERATIONS,
            width=median_interval(found.times).width,
            stopped="the program's own end",
            flags=tuple(flags),
        ),
    )
