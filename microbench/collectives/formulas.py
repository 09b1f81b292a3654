"""What each collective is: its message size S, its buffers, its bus bandwidth. No torch in here.

S, algbw and busbw are those of nccl-tests (doc/PERFORMANCE.md): algbw = S / t; busbw = algbw × factor,
where the factor makes the number comparable with the speed of a link whatever the operation and
the number of ranks n. Each rank has `sent` elements and ends with `received`; S is the larger of the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

ITEM = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of an element."""

EVERY = -1
"""Origin of a piece that is the sum over all ranks."""


@dataclass(frozen=True)
class Piece:
    """A stretch of a buffer: `count` elements that come from `first` on in the data of rank `origin`."""

    origin: int
    first: int
    count: int


Pieces = Callable[[int, int, int], Iterator[Piece]]


@dataclass(frozen=True)
class Collective:
    """One operation, for n ranks and S bytes of `count` elements.

    factor(n): busbw / algbw. split: the buffer has one part for each rank.
    buffers: "one" where torch.distributed offers the operation in place only; "nested" where the
    smaller buffer may lie inside the larger (nccl-tests' in place) or apart from it; else "two".
    received(rank, n, count): what a correct result is made of, in order.
    """

    name: str
    factor: Callable[[int], float]
    split: bool
    buffers: Literal["one", "two", "nested"]
    received: Pieces

    @property
    def reduces(self) -> bool:
        """The operation adds, so that its result is a sum over ranks."""
        return self.name in ("all_reduce", "reduce_scatter")

    def elements(self, count: int, ranks: int) -> tuple[int, int]:
        """(received, sent) elements of one rank's two buffers; S is `count` elements."""
        part = count // ranks
        return {"all_gather": (count, part), "reduce_scatter": (part, count)}.get(self.name, (count, count))

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


def _sum(rank: int, ranks: int, count: int) -> Iterator[Piece]:
    yield Piece(EVERY, 0, count)


def _own_sum(rank: int, ranks: int, count: int) -> Iterator[Piece]:
    part = count // ranks
    yield Piece(EVERY, rank * part, part)


def _gathered(rank: int, ranks: int, count: int) -> Iterator[Piece]:
    return (Piece(origin, 0, count // ranks) for origin in range(ranks))


def _exchanged(rank: int, ranks: int, count: int) -> Iterator[Piece]:
    part = count // ranks
    return (Piece(origin, rank * part, part) for origin in range(ranks))


def _from_first(rank: int, ranks: int, count: int) -> Iterator[Piece]:
    yield Piece(0, 0, count)


def _from_previous(rank: int, ranks: int, count: int) -> Iterator[Piece]:
    yield Piece((rank - 1) % ranks, 0, count)


COLLECTIVES = {
    one.name: one
    for one in (
        Collective("all_reduce", _twice, split=False, buffers="one", received=_sum),
        Collective("all_gather", _all_but_own, split=True, buffers="nested", received=_gathered),
        Collective("reduce_scatter", _all_but_own, split=True, buffers="nested", received=_own_sum),
        Collective("broadcast", _one, split=False, buffers="one", received=_from_first),
        Collective("all_to_all", _all_but_own, split=True, buffers="two", received=_exchanged),
        Collective("send_recv", _one, split=False, buffers="two", received=_from_previous),
    )
}


def whole_elements(size: int, dtype: str) -> None:
    """Raise ValueError, with the nearest valid sizes, unless `size` is a multiple of the element's."""
    item = ITEM[dtype]
    if size % item:
        below, above = size - size % item, size - size % item + item
        near = f"{below} or {above}" if below else f"{above}"
        raise ValueError(f"{size} B is no whole number of {dtype} elements of {item} B; nearest: {near}")
