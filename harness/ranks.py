"""The ranks of a launch, as a benchmark sees them.

`Ranks` is the control plane: it agrees on decisions and gathers results between timed blocks, over a
gloo group of its own, so that nothing of it is ever inside a timed region.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Protocol

TEXT = 500  # bytes of a text that ranks exchange


class Ranks(Protocol):
    """`rank` of `world`; `local` is the rank's index on its host."""

    @property
    def rank(self) -> int: ...

    @property
    def world(self) -> int: ...

    @property
    def local(self) -> int: ...

    def barrier(self) -> None:
        """Wait for every rank on the control group."""
        ...

    def agree(self, value: float) -> float:
        """Rank 0's value, on every rank: how a decision that depends on a clock becomes common."""
        ...

    def column(self, value: float) -> list[float]:
        """Every rank's value, on every rank, in rank order."""
        ...

    def maximum(self, values: Sequence[float]) -> list[float]:
        """The largest over ranks at each index (lists of one length)."""
        ...

    def words(self, text: str) -> list[str]:
        """Every rank's text (cut at 500 bytes), on every rank, in rank order; '' says nothing."""
        ...


@dataclass(frozen=True)
class OneProcess:
    """One process that speaks for all ranks: by itself, or for a simulated world, whose ranks would say
    the same."""

    rank: int = 0
    world: int = 1
    local: int = 0

    def barrier(self) -> None:
        return

    def agree(self, value: float) -> float:
        return value

    def column(self, value: float) -> list[float]:
        return [value] * self.world

    def maximum(self, values: Sequence[float]) -> list[float]:
        return list(values)

    def words(self, text: str) -> list[str]:
        return [text] * self.world


class TorchRanks:
    """Ranks over torch.distributed: the default group carries the benchmark's operations with the
    vendor's backend, a second gloo group carries agreement."""

    def __init__(self, backend: str, rank: int, world: int, local: int, timeout: float) -> None:
        import torch
        import torch.distributed as dist

        self.rank, self.world, self.local = rank, world, local
        limit = timedelta(seconds=timeout)
        dist.init_process_group(backend, rank=rank, world_size=world, timeout=limit)
        self._control = dist.new_group(backend="gloo", timeout=limit)
        self._dist = dist
        self._tensor = partial(torch.tensor, dtype=torch.float64)

    def barrier(self) -> None:
        self._dist.barrier(group=self._control)

    def agree(self, value: float) -> float:
        box = self._tensor([value])
        self._dist.broadcast(box, src=0, group=self._control)
        return float(box.item())

    def column(self, value: float) -> list[float]:
        mine = self._tensor([value])
        table = [self._tensor([0.0]) for _ in range(self.world)]
        self._dist.all_gather(table, mine, group=self._control)
        return [float(entry.item()) for entry in table]

    def maximum(self, values: Sequence[float]) -> list[float]:
        box = self._tensor(values)
        self._dist.all_reduce(box, op=self._dist.ReduceOp.MAX, group=self._control)
        return [float(value) for value in box.tolist()]

    def words(self, text: str) -> list[str]:
        import torch

        data = text.encode()[:TEXT].ljust(TEXT, b"\0")
        mine = torch.tensor(list(data), dtype=torch.uint8)
        table = [torch.empty_like(mine) for _ in range(self.world)]
        self._dist.all_gather(table, mine, group=self._control)
        return [bytes(entry.tolist()).rstrip(b"\0").decode(errors="replace") for entry in table]

    def close(self) -> None:
        self._dist.destroy_process_group()
