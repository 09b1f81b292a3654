"""What each collective is: its message size S, its buffers, its bus bandwidth. No torch in here.

S, algbw and busbw are those of nccl-tests (doc/PERFORMANCE.md): algbw = S / t; busbw = algbw × factor,
where the factor makes the number comparable with the speed of a link whatever the operation and
the number of ranks n. Each rank has `sent` elements and ends with `received`; S is the larger of the
two, on the rank that has most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from harness.accelerator import UNEVEN

ITEM = {"float32": 4, "bfloat16": 2, "float16": 2, "int64": 8, "float8": 1}
"""Bytes of an element."""

ROOT = 0
"""The rank of a group that a rooted collective starts from or ends at."""

EVERY = -1
"""Origin of a piece that is combined from all ranks."""


@dataclass(frozen=True)
class Piece:
    """A stretch of a buffer: `count` elements that come from `first` on in the data of rank `origin`."""

    origin: int
    first: int
    count: int


Pieces = Callable[[int, int, int], Iterator[Piece]]
Elements = Callable[[int, int, int], tuple[int, int]]


@dataclass(frozen=True)
class Collective:
    """One operation, for n ranks and S bytes of `count` elements.

    factor(n): busbw / algbw. split: the buffer has one part for each rank.
    buffers: "one" where torch.distributed offers the operation in place only; "nested" where the
    smaller buffer may lie inside the larger (nccl-tests' in place) or apart from it; else "two".
    received(rank, n, count): what a correct result is made of, in order; nothing where the result is
    on another rank. elements(rank, n, count): (received, sent) elements of one rank's two buffers.
    reduces: it combines the ranks' data: sum, max or avg.
    """

    name: str
    factor: Callable[[int], float]
    split: bool
    buffers: Literal["one", "two", "nested"]
    received: Pieces
    elements: Elements
    reduces: bool = False

    def count(self, size: int, dtype: str, ranks: int) -> int:
        """Elements of S: whole elements, and where the buffer is split the same number for each rank,
        rounded down as nccl-tests does. 0 where there is less than one for each."""
        count = size // ITEM[dtype]
        return count - count % ranks if self.split else count


def _one(_: int) -> float:
    return 1.0


def _all_but_own(ranks: int) -> float:
    return (ranks - 1) / ranks


def _twice(ranks: int) -> float:
    return 2 * (ranks - 1) / ranks


def _combined(rank: int, ranks: int, count: int) -> Iterator[Piece]:
    yield Piece(EVERY, 0, count)


def _combined_at_root(rank: int, ranks: int, count: int) -> Iterator[Piece]:
    return _combined(rank, ranks, count) if rank == ROOT else iter(())


def _own_combined(rank: int, ranks: int, count: int) -> Iterator[Piece]:
    part = count // ranks
    yield Piece(EVERY, rank * part, part)


def _gathered(rank: int, ranks: int, count: int) -> Iterator[Piece]:
    return (Piece(origin, 0, count // ranks) for origin in range(ranks))


def _gathered_at_root(rank: int, ranks: int, count: int) -> Iterator[Piece]:
    return _gathered(rank, ranks, count) if rank == ROOT else iter(())


def _scattered(rank: int, ranks: int, count: int) -> Iterator[Piece]:
    part = count // ranks
    yield Piece(ROOT, rank * part, part)


def _exchanged(rank: int, ranks: int, count: int) -> Iterator[Piece]:
    part = count // ranks
    return (Piece(origin, rank * part, part) for origin in range(ranks))


def uneven(ranks: int, count: int) -> list[int]:
    """Elements that each rank of an uneven all-to-all sends to ranks 0, 1, ...: to the first `UNEVEN` times
    an even share, to the others equal parts of the rest."""
    first = min(int(count / ranks * UNEVEN), count)
    part, left = divmod(count - first, ranks - 1)
    return [first, *(part + (at < left) for at in range(ranks - 1))]


def _unevenly(rank: int, ranks: int, count: int) -> Iterator[Piece]:
    parts = uneven(ranks, count)
    return (Piece(origin, sum(parts[:rank]), parts[rank]) for origin in range(ranks))


def _from_first(rank: int, ranks: int, count: int) -> Iterator[Piece]:
    yield Piece(ROOT, 0, count)


def _from_previous(rank: int, ranks: int, count: int) -> Iterator[Piece]:
    yield Piece((rank - 1) % ranks, 0, count)


def partner(rank: int, ranks: int) -> int:
    """Who a rank exchanges with: the one half-way round, so that everything crosses the middle of the
    fabric. The last of an odd number has nobody: itself."""
    half = ranks // 2
    return rank if rank >= 2 * half else (rank + half if rank < half else rank - half)


def _from_partner(rank: int, ranks: int, count: int) -> Iterator[Piece]:
    if partner(rank, ranks) != rank:
        yield Piece(partner(rank, ranks), 0, count)


def _same(rank: int, ranks: int, count: int) -> tuple[int, int]:
    return count, count


def _with_partner(rank: int, ranks: int, count: int) -> tuple[int, int]:
    return (count, count) if partner(rank, ranks) != rank else (0, 0)


COLLECTIVES = {
    one.name: one
    for one in (
        Collective("all_reduce", _twice, False, "one", _combined, _same, reduces=True),
        Collective("all_gather", _all_but_own, True, "nested", _gathered, lambda r, n, c: (c, c // n)),
        Collective("reduce_scatter", _all_but_own, True, "nested", _own_combined, lambda r, n, c: (c // n, c),
                   reduces=True),
        Collective("broadcast", _one, False, "one", _from_first, _same),
        Collective("reduce", _one, False, "one", _combined_at_root, _same, reduces=True),
        Collective("gather", _all_but_own, True, "two", _gathered_at_root,
                   lambda r, n, c: (c if r == ROOT else 0, c // n)),
        Collective("scatter", _all_but_own, True, "two", _scattered, lambda r, n, c: (c // n, c if r == ROOT else 0)),
        Collective("all_to_all", _all_but_own, True, "two", _exchanged, _same),
        Collective("all_to_all_uneven", _all_but_own, True, "two", _unevenly,
                   lambda r, n, c: (n * uneven(n, c)[r], c)),
        Collective("send_recv", _one, False, "two", _from_previous, _same),
        Collective("exchange", _one, False, "two", _from_partner, _with_partner),
    )
}  # fmt: skip


def whole_elements(size: int, dtype: str) -> None:
    """Raise ValueError, with the nearest valid sizes, unless `size` is a multiple of the element's."""
    item = ITEM[dtype]
    if size % item:
        below, above = size - size % item, size - size % item + item
        near = f"{below} or {above}" if below else f"{above}"
        raise ValueError(f"{size} B is no whole number of {dtype} elements of {item} B; nearest: {near}")
