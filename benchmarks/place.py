"""This machine as a benchmark sees it, without a launcher: for the scripts beside this one."""

from __future__ import annotations

import os

from clusters import accelerators, local
from clusters.platforms import real
from harness.context import Context
from harness.job import Job
from harness.policy import Policy

POLICY = Policy()


def context(threads: int) -> Context:
    """A context of this rank of WORLD_SIZE (1 where it is not set), on whatever device there is."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    platform = real(
        Job(
            run="ratio", launch=0, modules=(), platform="", accelerator=accelerators.detect(), cluster=local.detect(),
            cells=(), seed=1, policy=POLICY, nodes=1, ranks_per_node=world, threads=threads, timeout=120.0, command=(),
        )
    )  # fmt: skip
    return Context(platform.accelerator, platform.ranks, platform.meter, POLICY, platform.arena, seed=1, per_node=world)


def cores() -> int:
    return len(os.sched_getaffinity(0))
