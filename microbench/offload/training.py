"""A training step under ZeRO, with states in memory, in the host's, or on disk: what offloading costs and saves.

DeepSpeed trains a decoder in a world of its own (`harness.children`): its state does not go away otherwise. The same
world takes steps of the same stage with nothing offloaded in turn, so that efficiency, the ratio of the two, is of one
machine in one state; and it does the swaps of a step by themselves, which gives the bandwidth of that path. From these
two the model of ZeRO-Infinity (`harness.models.swapping`) predicts the efficiency that is measured beside it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from harness import models
from harness.errors import Skip, WrongAnswer
from harness.models.counts import parameters as count
from harness.models.zero import Plan, needed
from harness.records import Measurement, Struct
from harness.registry import benchmark
from microbench.offload.zero_asked import Asked, Tier, Told
from microbench.storage import room

if TYPE_CHECKING:
    from harness.context import Context

SEQUENCE = 256  # tokens, where none are asked for, or the model's context where that is shorter
WARMUP, STEPS = 2, 6
LIMIT = 900.0  # s: a world that takes longer is ended
AGREES = {"float32": 1e-4, "bfloat16": 2e-2}  # relative difference of losses that rounding explains
SPARE = 2.5  # what is written at most over what the formulas say, the swaps done again included


class TrainingParams(Struct, frozen=True):
    """stage: of ZeRO. optimizer, parameters: the tier that they are offloaded to. model: a name, or a file that ends
    in .toml. layers: 0 stands for the model's own. sequence: 0 stands for the model's context, at most 256. batch:
    sequences of each rank. processes: training ranks on the host, which share its threads."""

    stage: Annotated[int, msgspec.Meta(ge=0, le=3)] = 3
    optimizer: Tier = "none"
    parameters: Tier = "none"
    model: str = "tiny"
    layers: Annotated[int, msgspec.Meta(ge=0, le=1 << 12)] = 0
    sequence: Annotated[int, msgspec.Meta(ge=0, le=1 << 20)] = 0
    batch: Annotated[int, msgspec.Meta(ge=1, le=1 << 12)] = 1
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    processes: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1

    def __post_init__(self) -> None:
        if models.is_file(self.model):  # children start in another folder
            msgspec.structs.force_setattr(self, "model", str(Path(self.model).resolve()))
        whole = models.load(self.model)
        msgspec.structs.force_setattr(self, "layers", self.layers or whole.layers)
        msgspec.structs.force_setattr(self, "sequence", self.sequence or min(whole.context, SEQUENCE))
        if whole.positions == "learned" and self.sequence > whole.context:
            raise ValueError(f"sequence={self.sequence}: {self.model} has learned positions for {whole.context}")

    @property
    def plan(self) -> Plan:
        return Plan(self.stage, self.processes, self.processes, self.optimizer, self.parameters, self.dtype)

    def asked(self, folder: str = "", seed: int = 0) -> Asked:
        return Asked(
            self.stage, self.optimizer, self.parameters, self.described, self.sequence, self.batch, self.dtype, folder,
            WARMUP, STEPS, seed,
        )  # fmt: skip

    @property
    def described(self) -> models.Model:
        return msgspec.structs.replace(models.load(self.model), layers=self.layers)


@benchmark(
    "offload.training", version=1, params=TrainingParams, scope="host", rate="tokens", needs=("deepspeed",), seconds=30,
)  # fmt: skip
def training(ctx: Context, params: TrainingParams) -> Sequence[Measurement]:
    """A training step with DeepSpeed's ZeRO, by stage and by the tier that states are offloaded to."""
    from microbench.offload import zero_results
    from microbench.storage.operators import ensure

    swaps = "nvme" in (params.optimizer, params.parameters)
    written = SPARE * needed(params.described, params.plan, params.sequence, params.batch).nvme
    flags = [f"swap files: {room.require(ctx, int(written)).words}"] if swaps else []
    room.place(ctx)
    if swaps:
        ensure(ctx, "async_io")
    told = _train(ctx, params)
    _check(told, params)
    return zero_results.measurements(params, told, ctx.meter.origin, flags)


def _train(ctx: Context, params: TrainingParams) -> list[Told]:
    """One world; every rank's word."""
    from harness import children

    threads = max(1, len(os.sched_getaffinity(0)) // params.processes)
    with room.opened(ctx, "training") as folder:
        asked = params.asked(str(folder / "swap"), ctx.seed)
        work = children.Work("microbench.offload.zero_child:train", asked, params.processes, threads)
        said = f"stage {params.stage}, optimizer {params.optimizer}, parameters {params.parameters}"
        ended = children.run(work, folder / "world", LIMIT, ctx.say, f"training with DeepSpeed: {said}")
        broken = [one for one in ended if not one.ok]
        if broken:
            raise RuntimeError(next((one for one in broken if one.status > 0), broken[0]).reason)
        told = [msgspec.json.decode(one.result, type=Told) for one in ended]
    refused = next((one.refused for one in told if one.refused), "")
    if refused:
        raise Skip(refused)
    return told


def _check(told: Sequence[Told], params: TrainingParams) -> None:
    """What was trained is the model that was asked for, and it learns as it does without ZeRO."""
    from deepspeed import __version__

    expected = count(params.described)
    if told[0].parameters != expected:
        raise WrongAnswer(f"the model has {told[0].parameters} parameters, its description {expected}")
    for rank, one in enumerate(told):
        compare(rank, one.losses, one.reference, params.dtype)
    moved = sum(moved.size for one in told for step in one.steps for moved in step.moved)
    if "nvme" in (params.optimizer, params.parameters) and not moved:
        raise Skip(
            f"DeepSpeed {__version__} takes offload to nvme at stage {params.stage}, and moves nothing: no byte went "
            f"through its asynchronous I/O in {STEPS} steps"
        )


def compare(rank: int, losses: Sequence[float], reference: Sequence[float], dtype: str) -> None:
    """WrongAnswer unless the losses are those of stage 0 but for rounding."""
    allowed = AGREES[dtype]
    for step, (found, right) in enumerate(zip(losses, reference, strict=True)):
        if not abs(found - right) <= allowed * abs(right):
            raise WrongAnswer(
                f"rank {rank}, step {step}: the loss is {found:.6g}, and {right:.6g} at stage 0; {allowed:g} of it is "
                "allowed for rounding"
            )
