"""Weak and strong scaling: the same job on 1, 2 … n ranks; efficiency follows from the cells together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from e2e.mfu import JobParams, lasts, train
from harness.records import Measurement
from harness.registry import benchmark

if TYPE_CHECKING:
    from harness.context import Context


class ScalingParams(JobParams, frozen=True):
    """mode: weak, every rank takes as many sequences whatever the number of ranks; strong, all together do. batch: of
    weak scaling a data rank's, of strong scaling the whole one's."""

    mode: Literal["weak", "strong"] = "weak"

    def __post_init__(self) -> None:
        if not self.batch:
            msgspec.structs.force_setattr(self, "batch", 8)
        JobParams.__post_init__(self)

    def job(self, world: int) -> JobParams:
        """The job on that many ranks."""
        held = msgspec.structs.asdict(self)
        whole = self.batch * self.layout.data(world) if self.mode == "weak" else self.batch
        return msgspec.convert({key: held[key] for key in JobParams.__struct_fields__} | {"batch": whole}, JobParams)


@benchmark("e2e.scaling", version=1, params=ScalingParams, scope="group", rate="tokens", seconds=lasts)
def scaling(ctx: Context, params: ScalingParams) -> Sequence[Measurement]:
    """A job on this many ranks, for the efficiency of more of them: weak or strong scaling."""
    from e2e.results import measurements

    job = params.job(params.ranks)
    told = train(ctx, job, params.seconds)
    world = params.ranks
    return [] if told is None else measurements(told, job.asked(world, ctx.seed), world, ctx.meter.origin)
