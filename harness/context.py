"""What a benchmark function is given: the device, the ranks, operands, and one way to measure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.accelerator import Accelerator, Operation
from harness.errors import Skip
from harness.operands import REFILL, Arena, Operands, Spec
from harness.policy import Policy
from harness.ranks import Members, Ranks, Team
from harness.records import Cadence, Measurement
from harness.sampling import Meter, Task, measure

if TYPE_CHECKING:
    import torch

BOTH = (Cadence.ISOLATED, Cadence.STREAMING)


def _silently(_: str) -> None:
    return


@dataclass(frozen=True)
class Context:
    """One rank's place in a launch. `seed` is the same on all ranks; per_node: ranks on each node. scratch: a
    folder for what is written, gone after the launch; None where nothing may be (a simulated cluster). say: tells
    the user what a cell is at that takes long, and that it is alive. kept: the cell's folder that outlasts the launch,
    not made yet: what is found there, an earlier part of the same run has left; None where nothing may be written.
    launch: which of the run's, from 0: what draws lots draws others in each."""

    accelerator: Accelerator
    ranks: Ranks
    meter: Meter
    policy: Policy
    arena: Arena
    seed: int
    per_node: int
    scratch: Path | None = None
    say: Callable[[str], None] = _silently
    kept: Path | None = None
    launch: int = 0

    @property
    def device(self) -> torch.device:
        return self.arena.device

    def require(self, operation: Operation) -> None:
        """Skip the cell, with the vendor's reason, where the device or its backend cannot do it."""
        reason = self.accelerator.refuses(operation)
        if reason is not None:
            raise Skip(reason)

    def operands(self, *specs: Spec, rotate: bool = True, uses: int = REFILL) -> Operands:
        """Sets of random tensors that together exceed the last-level cache fourfold (METHOD 12), or
        one set without `rotate`, where what a cache holds is what is measured.

        Skips the cell when not even one set fits in free memory.
        """
        return self.arena.operands(specs, rotate, uses)

    def time(self, task: Task, cadences: Sequence[Cadence] = BOTH) -> list[Measurement]:
        """Measure the task once per cadence; the same list of samples on every rank."""
        self.ready()
        task = replace(task, lasting=self._agreed(task.lasting))
        return [measure(self.meter, task, cadence, self.policy) for cadence in cadences]

    def team(self, members: Members) -> Team:
        """The groups of ranks `members`; every rank of the launch asks for the same."""
        return self.ranks.team(members, self.device)

    def _agreed(self, lasting: int | None) -> int | None:
        """The least over ranks, which may hold different numbers of operand sets: blocks have the same
        steps on all."""
        least = -self.ranks.maximum([-math.inf if lasting is None else -float(lasting)])[0]
        return None if math.isinf(least) else int(least)

    def ready(self) -> None:
        """Start together or not at all: a rank that skipped the cell would leave the others waiting."""
        said = [f"rank {rank}: {text}" for rank, text in enumerate(self.ranks.words("")) if text]
        if said:
            raise _OthersSkip(said[0])

    def all_skip(self, reason: str | Skip) -> str:
        """Tell the other ranks that this one skips the cell; returns the reason to record."""
        said = str(reason) or "no reason given"  # the empty text would tell the others to go on
        if not isinstance(reason, _OthersSkip):
            self.ranks.words(said)
        return said


class _OthersSkip(Skip):
    """Raised where another rank has skipped the cell: everyone knows already."""
