"""A benchmark and a platform whose clock and durations are scripted, for test_harness_worker."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from harness.accelerator import Operation
from harness.context import Context
from harness.job import Job
from harness.operands import Arena
from harness.platform import Platform
from harness.ranks import OneProcess
from harness.records import Cadence, Measurement, Origin, Struct
from harness.registry import benchmark
from harness.sampling import Block, Task


class ScriptedParams(Struct, frozen=True):
    m: int = 0


@benchmark("scripted.one", version=1, params=ScriptedParams, scope="device", rate="flops")
def one(ctx: Context, params: ScriptedParams) -> Sequence[Measurement]:
    """Durations that never settle."""
    task = Task(Operation(kind="gemm", name="mm", dtype="float32"), lambda index: None, ())
    return ctx.time(task, [Cadence.ISOLATED])


class ScriptedMeter:
    """Every duration is another one, so that the interval stays wide; a block takes half a second."""

    origin, resolution = Origin.MEASURED, 0.0

    def __init__(self) -> None:
        self.time, self._durations = 0.0, count(1)

    def now(self) -> float:
        return self.time

    def verify(self, task: Task) -> None:
        return

    def block(self, task: Task, cadence: Cadence, samples: int, operations: int) -> Block:
        self.time += 0.5
        return Block([float(next(self._durations)) for _ in range(samples)], [1.0], 0.5)


class Bare:
    """As much of an accelerator as a launch's provenance asks for."""

    def found(self) -> tuple[()]:
        return ()

    def versions(self) -> dict[str, str]:
        return {}


def platform(job: Job) -> Platform:
    import torch

    arena = Arena(torch.device("meta"), lambda: 1 << 30, 0, 1, 0)
    return Platform(Bare(), OneProcess(), ScriptedMeter(), arena, None, dict, lambda: None)  # type: ignore[arg-type]
