"""A context without a machine: what `build` asks of an accelerator and of ranks, and no more."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from harness.context import Context
from harness.operands import Arena
from harness.policy import Policy
from harness.ranks import OneProcess

CACHE = 1 << 20  # B


@dataclass
class StubAccelerator:
    """Says what it is told to, and notes what it was asked."""

    kind: str = "nccl"
    held: int | None = CACHE
    reason: str | None = None
    asked: list = field(default_factory=list)

    def backend(self):
        return self.kind

    def cache(self):
        return self.held

    def refuses(self, operation):
        self.asked.append(operation)
        return self.reason


def context(device="cpu", free=1 << 30, cache=CACHE, rank=0, world=1, accelerator=None):
    """A context whose arena believes in `free` bytes of memory."""
    arena = Arena(torch.device(device), lambda: free, cache, 1, 7)
    ranks = OneProcess(rank, world, 0)
    return Context(accelerator or StubAccelerator(), ranks, None, Policy(), arena, 7, min(world, 8))
