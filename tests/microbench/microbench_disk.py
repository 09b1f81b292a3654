"""A context with a folder to write in, on this machine, for tests of what reads and writes files."""

from __future__ import annotations

from pathlib import Path

from clusters import local
from clusters.platforms import real
from harness.context import Context
from harness.job import Job
from harness.policy import Policy

BRIEF = Policy(minimum=3, maximum=4, cap=0.2, warmup_cap=0.1, warmup_minimum=1)


def context(folder: Path, policy: Policy = BRIEF) -> Context:
    """One rank, on the CPU."""
    platform = real(
        Job(
            run="test", launch=0, modules=(), platform="", accelerator="cpu", cluster=local.detect(), cells=(), seed=1,
            policy=policy, nodes=1, ranks_per_node=1, threads=1, timeout=60.0, command=(),
        )
    )  # fmt: skip
    return Context(
        platform.accelerator, platform.ranks, platform.meter, policy, platform.arena, seed=1, per_node=1, scratch=folder
    )
