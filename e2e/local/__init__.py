"""Training that communicates little: local steps with an outer optimizer (DiLoCo, arXiv 2311.08105), the same with its
all-reduce beside the next round (CO2, arXiv 2401.16265), and pairs that gossip (NoLoCo, arXiv 2506.10911), against
synchronous data parallelism.

What is gained is time, and what it may cost is loss: both are measured, on the same tokens. The link is as it is, or
held to a declared bandwidth; benchmarks/low_communication.py has links that the kernel shapes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from e2e.asked import Asked
from harness import models
from harness.errors import Skip
from harness.models.counts import parameters
from harness.models.zero import PRECISIONS
from harness.records import Measurement, Struct
from harness.registry import benchmark
from harness.units import show_size

if TYPE_CHECKING:
    from e2e.local.told import Job
    from harness.context import Context

LIMIT, START = 20.0, 240.0  # a job may take that many times its seconds, and START beyond; s
EACH = 60.0  # s that a seed's round may take over all methods
AROUND, A_STEP = 15.0, 0.2  # s, about: to start and build; a step of two layers on a host of two cores
PATIENCE = 2.0  # times the least that the turns spend on a declared link
OUTER = 13  # flat float32 vectors that the three outer steps hold at once: 3, 4 and 6
Whole = Annotated[int, msgspec.Meta(ge=0, le=1 << 24)]
Count = Annotated[int, msgspec.Meta(ge=1, le=1 << 16)]


class LocalParams(Struct, frozen=True):
    """local_steps: of a round, between two outer steps. bandwidth: B/s of each rank's link, as declared; 0 leaves it
    as it is. model: a name, or a file that ends in .toml. layers: 0 stands for the model's own. batch: sequences of a
    step on each rank. rounds: of training for the held-out loss, for each of `seeds` seeds; 0 seeds measure none.
    ranks: filled in by the planner. seconds: of timed rounds, all methods together."""

    local_steps: int = 8
    bandwidth: float = 0.0
    model: str = "tiny"
    layers: Whole = 0
    sequence: Count = 64
    batch: Count = 2
    dtype: Literal["float32", "bfloat16"] = "float32"
    learning_rate: Annotated[float, msgspec.Meta(gt=0, le=1)] = 3e-4
    rounds: Count = 6
    seeds: Annotated[int, msgspec.Meta(ge=0, le=100)] = 3
    ranks: Annotated[int, msgspec.Meta(ge=2)] = 2
    seconds: Annotated[float, msgspec.Meta(gt=0, le=86_400)] = 20.0

    def __post_init__(self) -> None:
        if self.local_steps < 1:
            raise ValueError(f"local_steps={self.local_steps}: a round has at least one step; the nearest is 1")
        if not (self.bandwidth >= 0 and math.isfinite(self.bandwidth)):
            raise ValueError(
                f"bandwidth={self.bandwidth:g}: B/s of a link; the nearest is 0, which leaves the link as it is"
            )
        if models.is_file(self.model):  # children start in another folder
            msgspec.structs.force_setattr(self, "model", str(Path(self.model).resolve()))
        whole = models.load(self.model)
        msgspec.structs.force_setattr(self, "layers", self.layers or whole.layers)
        if whole.positions == "learned" and self.sequence > whole.context:
            raise ValueError(
                f"sequence={self.sequence}: the model has learned positions for {whole.context}, which is the nearest"
            )

    def asked(self, world: int, seed: int) -> Asked:
        model = msgspec.structs.replace(models.load(self.model), layers=self.layers)
        return Asked(
            "torch", model, self.sequence, world * self.batch, self.batch, dtype=self.dtype,
            learning_rate=self.learning_rate, seed=seed,
        )  # fmt: skip


def lasts(params: LocalParams) -> float:
    """About what a cell takes, s: turns of two rounds of each method, the fewest or as long as asked, and the training
    of every seed."""
    from e2e.local.told import LEAST, METHODS

    each = A_STEP * params.local_steps * len(METHODS)
    return AROUND + max(2 * params.seconds, 2 * (LEAST + 1) * each) + each * params.rounds * params.seeds


@benchmark("e2e.local_steps", version=1, params=LocalParams, scope="group", rate="tokens", seconds=lasts)
def local_steps(ctx: Context, params: LocalParams) -> Sequence[Measurement]:
    """Low-communication training (DiLoCo, CO2, NoLoCo) against DDP: tokens per second, bytes sent, held-out loss."""
    from e2e.launch import launched, settle
    from e2e.local.results import measurements, wrong
    from e2e.local.told import Told

    world = params.ranks
    if ctx.ranks.world < world:
        raise Skip(f"{world} ranks are asked for, and this launch has {ctx.ranks.world}")
    job = job_of(ctx, params)
    fits(ctx, job)
    limit = LIMIT * params.seconds + START + EACH * params.rounds * params.seeds + PATIENCE * on_the_link(job)
    said = f"ddp, diloco, co2 and noloco in turns, {world} ranks, {params.model}"
    told = launched(ctx, "e2e.local.job:compare", job, Told, limit, said, world)
    settle(ctx, wrong=wrong(told) if told else "")
    return [] if told is None else measurements(told, job, world, ctx.meter.origin)


def job_of(ctx: Context, params: LocalParams) -> Job:
    """What is trained; Skip where the bandwidth of this device's links cannot be declared. Each launch draws seeds of
    its own: the same again would look like certainty."""
    import numpy as np

    from e2e.local.told import Job

    backend = ctx.accelerator.backend()
    if params.bandwidth and backend != "gloo":
        raise Skip(
            f"bandwidth={params.bandwidth:g} is declared by waiting on the host, which {backend} does not wait on; "
            "shape the link itself and give bandwidth=0"
        )
    drawn = np.random.SeedSequence([ctx.seed, ctx.launch]).generate_state(params.seeds + 1).tolist()
    return Job(
        params.asked(params.ranks, drawn[0]), ctx.accelerator.name, params.local_steps, params.bandwidth,
        params.seconds, params.rounds, tuple(drawn[1:]),
    )  # fmt: skip


def on_the_link(job: Job) -> float:
    """s that the fewest turns wait for a declared link, 0 where it is as it is: two rounds of each method a turn, and
    one turn first. A rank sends at most twice the weights in an all-reduce, and NoLoCo two vectors of them."""
    from e2e.local.told import LEAST

    whole = 2 * 4 * parameters(job.asked.model)
    exchanges = job.local_steps + 3  # of a round of all methods
    return 2 * (LEAST + 1) * exchanges * whole / job.bandwidth if job.bandwidth else 0.0


def fits(ctx: Context, job: Job) -> None:
    """Skip where the four models, their optimizers' states and the outer steps' vectors have no room."""
    from e2e.local.told import METHODS

    count, states = parameters(job.asked.model), PRECISIONS["float32"].whole
    needed = count * (len(METHODS) * states + OUTER * 4)
    free = ctx.accelerator.memory_free() / (ctx.per_node if ctx.accelerator.name == "cpu" else 1)
    if needed > free:
        raise Skip(
            f"{len(METHODS)} of {job.asked.model.title} with their states and outer vectors take {show_size(needed)} "
            f"on each rank, and {show_size(free)} are free: take fewer layers or a smaller model"
        )
