"""What one technique is worth: a job with it against the same job without, side by side.

As Zhang et al., Dissecting the Runtime Performance of the Training, Fine-tuning, and Inference of Large Language
Models (arXiv 2311.03687), have it, but interleaved: both jobs train in one world in turns, so that the factor is of
one machine in one state. Memory is each one's own, in a world of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from e2e.mfu import LIMIT, START, JobParams, diverged, lasts, possible
from harness.errors import Skip
from harness.records import Better, Evidence, Measurement, Origin
from harness.registry import benchmark
from harness.units import Unit

if TYPE_CHECKING:
    from e2e.told import Told
    from e2e.turns import Turns
    from harness.context import Context

JOINT = "+"
BRIEF = 1.0  # s of timed steps in a world that is asked for its memory only
ALONE = 8.0  # s of such a world, about
FIELDS = ("trainer", "dtype", "stage", "tensor", "pipeline", "sequence_parallel", "recompute", "optimizer", "compile",
          "kernel", "offload", "micro_batch")  # fmt: skip


class AblationParams(JobParams, frozen=True):
    """technique: what the other job has instead, as 'KEY=VALUE' of these parameters, several joined by '+'."""

    technique: str = "recompute=full"

    def __post_init__(self) -> None:
        JobParams.__post_init__(self)
        self.other  # noqa: B018 (a technique that is none is refused before anything runs)

    @property
    def base(self) -> JobParams:
        held = msgspec.structs.asdict(self)
        return msgspec.convert({key: held[key] for key in JobParams.__struct_fields__}, JobParams)

    @property
    def other(self) -> JobParams:
        """The job with the technique. ValueError names the key or value that is none, and what is accepted."""
        changed: dict[str, Any] = {}
        for part in self.technique.split(JOINT):
            key, found, value = part.strip().partition("=")
            if not found or key not in FIELDS:
                raise ValueError(f"technique '{part}': accepted is KEY=VALUE with KEY one of {', '.join(FIELDS)}, "
                                 f"several joined by '{JOINT}'")  # fmt: skip
            changed[key] = value
        try:
            return msgspec.convert(msgspec.to_builtins(self.base) | msgspec.structs.asdict(self.base) | changed,
                                   JobParams, strict=False)  # fmt: skip
        except msgspec.ValidationError as error:
            raise ValueError(f"technique '{self.technique}': {str(error).replace('$.', '')}") from error


def pair_lasts(params: AblationParams) -> float:
    """About what a cell takes, s: both jobs in turns, then a world for each by itself, which is soon over."""
    return lasts(params) + 2 * ALONE


@benchmark("e2e.ablation", version=1, params=AblationParams, scope="group", rate="ratio", seconds=pair_lasts)
def ablation(ctx: Context, params: AblationParams) -> Sequence[Measurement]:
    """One technique's factor on throughput and memory, in turns with the same job without it."""
    from e2e.launch import launched, settle
    from e2e.turns import Pair, Turns

    base, other = possible(ctx, params.base), possible(ctx, params.other)
    if base.batch != other.batch:
        raise Skip(f"a step has {base.batch} sequences, and {other.batch} with '{params.technique}': set batch")
    pair = Pair(base, other, ctx.accelerator.name, params.seconds)
    said = f"{params.technique} in turns with the same job without it"
    turns = launched(ctx, "e2e.turns:compare", pair, Turns, LIMIT * params.seconds + START, said, params.ranks)
    wrong = "".join(diverged(losses) for losses in turns.losses) if turns else ""
    settle(ctx, turns.refused if turns else "", wrong)
    alone = [_alone(ctx, job) for job in (params.base, params.other)]
    if turns is None:
        return []
    origin = ctx.meter.origin
    return [*_times(turns, origin), *_memory(alone, origin)]


def _alone(ctx: Context, params: JobParams) -> Told | None:
    """A short job by itself, for its memory."""
    from e2e.launch import launched
    from e2e.told import Job, Told

    job = Job(possible(ctx, params), ctx.accelerator.name, BRIEF, profiled=0, observed=0)
    return launched(
        ctx, "e2e.job:train", job, Told, LIMIT * BRIEF + START, "the memory of each job by itself", params.ranks
    )


def _times(turns: Turns, origin: Origin) -> list[Measurement]:
    """The factor on throughput, then both times of a step."""
    from harness.statistics import ratio_interval

    width = ratio_interval(turns.base, turns.other).width
    stopped = f"{len(turns.base)} turns, {turns.stopped}, at ±{width:.1%}"
    evidence = Evidence(stopped=stopped, flags=turns.notes)
    ratios = tuple(base / other for base, other in zip(turns.base, turns.other, strict=True))
    held = [Measurement("ratio", Unit.RATIO, Better.HIGHER, ratios, origin, evidence=evidence)]
    for which, samples in (("without", turns.base), ("with", turns.other)):
        held.append(
            Measurement("step", Unit.SECOND, Better.LOWER, samples, origin, evidence=evidence, params={"job": which})
        )
    return held


def _memory(alone: Sequence[Told | None], origin: Origin) -> list[Measurement]:
    return [
        Measurement("memory", Unit.BYTE, Better.LOWER, (float(value),), origin, params={"job": which, "tier": tier})
        for which, told in zip(("without", "with"), alone, strict=True) if told is not None
        for tier, value in told.memory.items()
    ]  # fmt: skip
