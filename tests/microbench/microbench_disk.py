"""A context with a folder to write in, on this machine, for tests of what reads and writes files."""

from __future__ import annotations

from pathlib import Path

from clusters import local
from clusters.platforms import real
from harness.child import Place
from harness.context import Context
from harness.errors import Skip
from harness.job import Job
from harness.policy import Policy
from harness.records import Measurement, Struct
from microbench.offload.io import io
from microbench.offload.io_asked import IoParams

BRIEF = Policy(minimum=3, maximum=4, cap=0.2, warmup_cap=0.1, warmup_minimum=1)


class Asked(Struct, frozen=True):
    """What a rank of a small world measures, one cell after the other."""

    scratch: str
    cells: tuple[IoParams, ...]


class Answer(Struct, frozen=True):
    """What came of each cell: a measurement, or the reason of a skip."""

    found: tuple[Measurement | str, ...]


def act(place: Place) -> Answer:
    """A rank of a world of `harness.children`."""
    asked = place.read(Asked)
    ctx = context(Path(asked.scratch), ranks=place.world)
    found: list[Measurement | str] = []
    for cell in asked.cells:
        try:
            found += io(ctx, cell)
        except Skip as reason:
            found.append(ctx.all_skip(reason))
    return Answer(tuple(found))


def context(folder: Path, policy: Policy = BRIEF, ranks: int = 1) -> Context:
    """This process as one of a few ranks, on the CPU."""
    platform = real(
        Job(
            run="test", launch=0, modules=(), platform="", accelerator="cpu", cluster=local.detect(), cells=(), seed=1,
            policy=policy, nodes=1, ranks_per_node=ranks, threads=1, timeout=60.0, command=(),
        )
    )  # fmt: skip
    return Context(
        platform.accelerator,
        platform.ranks,
        platform.meter,
        policy,
        platform.arena,
        seed=1,
        per_node=ranks,
        scratch=folder,
    )
