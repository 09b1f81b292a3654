"""Model FLOPs utilisation: what a real training job gets out of the devices.

The record holds times and the FLOP that a step takes, counted exactly; shares of a peak are worked out where it is
read, since there are several peaks (the datasheet's, the one that the same run measured) and none for a device that
nobody has described.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec

from e2e.asked import Asked, Dtype, Kernel, OptimizerName, Recompute, Stage, Tier, TrainerName
from e2e.layout import Degree, Layout, check
from e2e.told import Loss, Told
from harness import models
from harness.errors import Skip
from harness.models.counts import parameters
from harness.models.zero import Plan, deepest, model_states
from harness.records import Measurement, Struct
from harness.registry import benchmark
from harness.units import show_size

if TYPE_CHECKING:
    from harness.context import Context

SEQUENCE = 512  # tokens, where none are asked for, or the model's context where that is shorter
LIMIT = 3.0  # a job may take that many times its seconds, and START beyond
START = 240.0  # s to import, build and compile
AROUND = 24.0  # s of a world that are not timed steps: to import, build and settle, and to look into it afterwards
MICROS = 2  # micro-batches: fewer show no gradient noise
Whole = Annotated[int, msgspec.Meta(ge=0, le=1 << 24)]


class JobParams(Struct, frozen=True):
    """ranks: filled in by the planner. model: a name, or a file that ends in .toml. layers: 0 stands for the model's
    own. sequence: 0 stands for the model's context, at most 512. batch: sequences of a step over all ranks; 0 stands
    for two micro-batches a data rank and stage of a pipeline. seconds: of timed steps."""

    trainer: TrainerName = "torch"
    model: str = "tiny"
    dtype: Dtype = "bfloat16"
    stage: Stage = 0
    tensor: Degree = 1
    pipeline: Degree = 1
    expert: Degree = 1
    context: Degree = 1
    sequence_parallel: bool = False
    recompute: Recompute = "none"
    optimizer: OptimizerName = "adamw"
    compile: bool = False
    kernel: Kernel = "default"
    offload: Tier = "none"
    layers: Whole = 0
    sequence: Whole = 0
    micro_batch: Annotated[int, msgspec.Meta(ge=1, le=1 << 16)] = 1
    batch: Whole = 0
    learning_rate: Annotated[float, msgspec.Meta(gt=0)] = 3e-4
    ranks: Degree = 1
    seconds: Annotated[float, msgspec.Meta(gt=0, le=86_400)] = 20.0

    def __post_init__(self) -> None:
        if models.is_file(self.model):  # children start in another folder
            msgspec.structs.force_setattr(self, "model", str(Path(self.model).resolve()))
        whole = models.load(self.model)
        msgspec.structs.force_setattr(self, "layers", self.layers or whole.layers)
        msgspec.structs.force_setattr(self, "sequence", self.sequence or min(whole.context, SEQUENCE))
        self.asked(self.tensor * self.pipeline * self.context * self.expert)  # what does not divide there never does

    @property
    def layout(self) -> Layout:
        return Layout(self.tensor, self.pipeline, self.expert, self.context, self.sequence_parallel)

    @property
    def described(self) -> models.Model:
        return msgspec.structs.replace(models.load(self.model), layers=self.layers)

    def asked(self, world: int, seed: int = 0) -> Asked:
        """The job on that many ranks. ValueError where the layout does not fit: the nearest that does is named."""
        data = self.layout.data(world)
        batch = self.batch or data * self.micro_batch * MICROS * self.pipeline
        check(self.described, self.layout, world, batch, self.micro_batch, self.sequence)
        return Asked(
            self.trainer, self.described, self.sequence, batch, self.micro_batch, self.layout, self.stage, self.dtype,
            self.recompute, self.optimizer, self.compile, self.kernel, self.offload, self.learning_rate, seed,
        )  # fmt: skip


def lasts(params: JobParams) -> float:
    """About what a cell takes, s: warm-up and timed steps, and what is around them."""
    return 1.25 * params.seconds + AROUND


@benchmark("e2e.mfu", version=1, params=JobParams, scope="group", rate="tokens", seconds=lasts)
def mfu(ctx: Context, params: JobParams) -> Sequence[Measurement]:
    """A training job: tokens per second, the FLOP behind them, and where a step's time goes."""
    from e2e.results import measurements

    told = train(ctx, params, params.seconds)
    world = params.ranks
    return [] if told is None else measurements(told, params.asked(world, ctx.seed), world, ctx.meter.origin)


def train(ctx: Context, params: JobParams, seconds: float) -> Told | None:
    """What the job told, on rank 0. Skip where the library refuses it; WrongAnswer where its loss is no number."""
    from e2e.launch import launched, settle
    from e2e.told import Job

    asked = possible(ctx, params)
    said = f"{params.trainer}, {asked.layout.words}, stage {params.stage}, {params.model}"
    job = Job(asked, ctx.accelerator.name, seconds)
    told = launched(ctx, "e2e.job:train", job, Told, LIMIT * seconds + START, said, params.ranks)
    settle(ctx, told.refused if told else "", diverged(told.losses) if told else "")
    return told


def possible(ctx: Context, params: JobParams) -> Asked:
    """The job on this launch's ranks; Skip where its layout does not fit them, or its states their memory."""
    try:
        asked = params.asked(params.ranks, ctx.seed)
    except ValueError as error:
        raise Skip(str(error)) from error
    fits(ctx, asked, params.ranks)
    return asked


def fits(ctx: Context, asked: Asked, ranks: int) -> None:
    """Skip where not even the states of the model (ZeRO, figure 1) and the least of its activations have room, before
    anything is started."""
    from e2e.activations import least

    layout = asked.layout
    split = layout.tensor * layout.pipeline
    kind = "bfloat16" if asked.dtype == "float8" else asked.dtype
    offload: Tier = asked.offload if asked.stage else "none"
    plan = Plan(asked.stage, layout.data(ranks), ranks, offload, dtype=kind)

    def states(layers: int) -> float:
        return model_states(parameters(msgspec.structs.replace(asked.model, layers=layers)) / split, plan).device

    def needed(layers: int) -> float:
        return states(layers) + least(asked, layers, ranks)

    free = ctx.accelerator.memory_free() / (ctx.per_node if ctx.accelerator.name == "cpu" else 1)
    whole = asked.model.layers
    if needed(whole) > free:
        most = deepest(lambda layers: needed(layers) <= free, whole, whole)
        ways = "divide it further (tensor, stage), or take recompute=full and shorter sequences"
        hint = f"layers={most} would fit" if most else f"not one layer would fit: {ways}"
        raise Skip(
            f"{asked.model.title} takes at least {show_size(needed(whole))} on each rank, {show_size(states(whole))} "
            f"for weights, gradients and states and {show_size(least(asked, whole, ranks))} for activations of "
            f"{asked.micro} x {asked.sequence} tokens, and {show_size(free)} are free; {hint}"
        )


def diverged(losses: Sequence[Loss]) -> str:
    """What is wrong with losses of which one is no number; else ''."""
    odd = next((at for at, loss in enumerate(losses) if loss is None or not math.isfinite(loss)), None)
    return "" if odd is None else f"the loss of step {odd} is no number: the job diverged, and its speed is none's"
