"""The ranks of a launch, as a benchmark sees them.

`Ranks` is the control plane: it agrees on decisions and gathers results between timed blocks, over a
gloo group of its own, so that nothing of it is ever inside a timed region.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch

TEXT = 500  # bytes of a text that ranks exchange
CALM = 10e-6  # s after a barrier, spent awake: a rank that sleeps wakes late

Members = tuple[tuple[int, ...], ...]
"""Ranks of each of the groups that do an operation at once; no rank is in two of them."""


def _nothing() -> None:
    return


@dataclass(frozen=True)
class Team:
    """The groups that do an operation, as one rank sees them.

    rank: within its own group; None where it takes no part and only waits. align: brings all ranks of
    all groups to one moment, on the queue that the operation will use. group: its group as
    torch.distributed knows it; None is all ranks of the launch.
    """

    members: Members
    rank: int | None
    own: tuple[int, ...] = ()  # the launch's ranks in this rank's group, in order
    align: Callable[[], None] = _nothing
    group: torch.distributed.ProcessGroup | None = None

    @property
    def size(self) -> int:
        """Ranks in each group."""
        return len(self.members[0])

    @property
    def active(self) -> tuple[int, ...]:
        return tuple(rank for group in self.members for rank in group)


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

    def rows(self, values: Sequence[float]) -> list[list[float]]:
        """Every rank's values (lists of one length), on every rank, in rank order."""
        ...

    def maximum(self, values: Sequence[float]) -> list[float]:
        """The largest over ranks at each index (lists of one length)."""
        ...

    def words(self, text: str) -> list[str]:
        """Every rank's text (cut at 500 bytes), on every rank, in rank order; '' says nothing."""
        ...

    def team(self, members: Members, device: torch.device) -> Team:
        """Groups of ranks; every rank of the launch asks for the same ones, in the same order."""
        ...


def _calm(barrier: Callable[[], object]) -> None:
    """Pass the barrier and let what it left behind on this host come to an end."""
    barrier()
    end = perf_counter() + CALM
    while perf_counter() < end:
        pass


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

    def rows(self, values: Sequence[float]) -> list[list[float]]:
        return [list(values)] * self.world

    def maximum(self, values: Sequence[float]) -> list[float]:
        return list(values)

    def words(self, text: str) -> list[str]:
        return [text] * self.world

    def team(self, members: Members, device: torch.device) -> Team:
        own = next((ranks for ranks in members if self.rank in ranks), members[0])
        return Team(members, own.index(self.rank) if self.rank in own else 0, own)


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
        self._dist, self._groups = dist, dict[tuple[int, ...], "torch.distributed.ProcessGroup"]()
        self._teams = dict[Members, Team]()
        self._tensor = partial(torch.tensor, dtype=torch.float64)

    def barrier(self) -> None:
        self._dist.barrier(group=self._control)

    def agree(self, value: float) -> float:
        box = self._tensor([value])
        self._dist.broadcast(box, src=0, group=self._control)
        return float(box.item())

    def column(self, value: float) -> list[float]:
        return [row[0] for row in self.rows([value])]

    def rows(self, values: Sequence[float]) -> list[list[float]]:
        mine = self._tensor(values)
        table = [self._tensor(values) for _ in range(self.world)]
        self._dist.all_gather(table, mine, group=self._control)
        return [[float(value) for value in entry.tolist()] for entry in table]

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

    def team(self, members: Members, device: torch.device) -> Team:
        if members not in self._teams:
            self._teams[members] = self._new_team(members, device)
        return self._teams[members]

    def _new_team(self, members: Members, device: torch.device) -> Team:
        """Groups are made once: a communicator takes seconds on many devices, and memory on each."""
        handles = {ranks: self._group(ranks) for ranks in members}
        together = self._group(tuple(sorted(rank for ranks in members for rank in ranks)))
        own = next((ranks for ranks in members if self.rank in ranks), ())
        if not own:
            return Team(members, None)
        return Team(members, own.index(self.rank), own, self._aligner(together, device), handles[own])

    def _aligner(self, together: torch.distributed.ProcessGroup | None, device: torch.device) -> Callable[[], None]:
        """On a device, a one-element all-reduce, which waits on the device's own queue. On gloo a barrier, and a
        moment until its last messages have gone: an operation of 1 KiB right after it takes 3 % longer, and 5 %
        right after an all-reduce (benchmarks/collectives_peers.py)."""
        import torch

        if device.type == "cpu":
            return partial(_calm, partial(self._dist.barrier, group=together))
        token = torch.zeros(1, device=device)
        return partial(self._dist.all_reduce, token, group=together)

    def _group(self, ranks: tuple[int, ...]) -> torch.distributed.ProcessGroup | None:
        if ranks == tuple(range(self.world)):
            return None
        if ranks not in self._groups:
            self._groups[ranks] = self._dist.new_group(list(ranks))
        return self._groups[ranks]

    def close(self) -> None:
        self._dist.destroy_process_group()
