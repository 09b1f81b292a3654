"""Data whose collective result is known exactly, and the comparison with it.

Values are small integers that depend on the rank and on the place in the buffer, so that a missing
rank, a part in the wrong place, a maximum in the place of a sum or a wrong type all show. They, and
all partial sums in whatever order, are exact in the type. No tolerance is needed, for any number of
ranks; averages alone have one, since a library may divide before it adds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from harness.errors import WrongAnswer
from microbench.collectives.formulas import EVERY, Collective, Piece

SENTINEL = -1
"""What destinations hold before the operation; no pattern and no sum has it."""

SPAN = 1 << 16  # elements of a pattern made at a time: it stays in a cache

Values = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Exact:
    """Whole numbers that a type holds: residues of `prime` for data that travels; values from 1 to
    `small`, at most `adding` of them at one place, for data that is added: small × adding is held too."""

    prime: int
    small: int
    adding: int


BROAD = Exact(prime=251, small=7, adding=36)
"""bfloat16 holds all whole numbers to 256 (8 bits of significand); so do float16, float32, int64."""
NARROW = Exact(prime=13, small=3, adding=5)
"""float8 (e4m3) holds all to 16."""
AVERAGED = Exact(prime=251, small=7, adding=4)
"""Few enough values at one place that the loss of one stands above the rounding of all."""


@dataclass(frozen=True)
class Wanted:
    """What one rank of a collective should end with. reduction: "" where nothing is combined."""

    collective: Collective
    rank: int
    ranks: int
    count: int
    reduction: str = ""

    def exact(self, dtype: torch.dtype) -> Exact:
        if dtype.itemsize == 1:
            return NARROW
        return AVERAGED if self.reduction == "avg" else BROAD


def moved(origin: int, exact: Exact = BROAD) -> Values:
    """Data of rank `origin` that only travels: place (int64) -> value, with the period `exact.prime`."""
    slope, shift = 1 + origin // exact.prime, 31 * origin
    return lambda place: (place * slope + shift) % exact.prime


def addend(origin: int, ranks: int, exact: Exact = BROAD) -> Values:
    """Data of rank `origin` for a sum over ranks. Only every `stride`-th rank adds at one place."""
    stride = _stride(ranks, exact)
    return lambda place: (1 + (place + origin) % exact.small) * ((place - origin) % stride == 0)


def total(ranks: int, exact: Exact = BROAD) -> Values:
    """The sum of all ranks' addends: place (int64) -> value."""
    stride = _stride(ranks, exact)

    def values(place: torch.Tensor) -> torch.Tensor:
        added = torch.zeros_like(place)
        for origin in (place % stride + step for step in range(0, ranks, stride)):
            added += (1 + (place + origin) % exact.small) * (origin < ranks)
        return added

    return values


def peak(origin: int, ranks: int, exact: Exact = BROAD) -> Values:
    """Data of rank `origin` for a maximum over ranks: the greatest at every `ranks`-th place, so that
    each rank is missed somewhere."""
    return lambda place: (
        1 + (place + origin) % exact.small + (exact.small + 1) * ((place - origin) % ranks == 0)
    )  # fmt: skip


def greatest(ranks: int, exact: Exact = BROAD) -> Values:
    """The greatest of all ranks' data at each place."""
    return lambda place: 2 + (place + place % ranks) % exact.small + exact.small


def _stride(ranks: int, exact: Exact) -> int:
    return -(-ranks // exact.adding)


def write(target: torch.Tensor, wanted: Wanted) -> None:
    """Fill a rank's sent buffer (elements,) with its pattern."""
    exact = wanted.exact(target.dtype)
    values, period = moved(wanted.rank, exact), exact.prime
    if wanted.reduction == "max":
        values, period = peak(wanted.rank, wanted.ranks, exact), exact.small * wanted.ranks
    elif wanted.reduction:
        values, period = addend(wanted.rank, wanted.ranks, exact), exact.small * _stride(wanted.ranks, exact)
    for part, tile in _tiles(target, values, 0, period):
        part.copy_(tile)


def compare(result: torch.Tensor, wanted: Wanted) -> None:
    """Raise WrongAnswer naming the first wrong element of a received buffer (elements,)."""
    start, collective = 0, wanted.collective
    for piece in collective.received(wanted.rank, wanted.ranks, wanted.count):
        values, period = _expected(piece, wanted, result.dtype)
        for part, tile in _tiles(result[start : start + piece.count], values, piece.first, period):
            if not _alike(part, tile, wanted):
                at = int(_differences(part, tile, wanted).nonzero()[0].item())
                place = part.storage_offset() - result.storage_offset() + at
                raise WrongAnswer(
                    f"{collective.name}: element {place} of {result.numel()} is {part[at].item():g}, "
                    f"expected {tile[at].item():g}"
                )
        start += piece.count


def _expected(piece: Piece, wanted: Wanted, dtype: torch.dtype) -> tuple[Values, int]:
    exact, ranks = wanted.exact(dtype), wanted.ranks
    if piece.origin != EVERY:
        return moved(piece.origin, exact), exact.prime
    if wanted.reduction == "max":
        return greatest(ranks, exact), exact.small * ranks
    added, period = total(ranks, exact), exact.small * _stride(ranks, exact)
    if wanted.reduction == "avg":
        return (lambda place: added(place).double() / ranks), period
    return added, period


def _alike(part: torch.Tensor, tile: torch.Tensor, wanted: Wanted) -> bool:
    if wanted.reduction != "avg" and part.itemsize > 1:
        return torch.equal(part, tile)
    return not bool(_differences(part, tile, wanted).any())


def _differences(part: torch.Tensor, tile: torch.Tensor, wanted: Wanted) -> torch.Tensor:
    """Where they differ. An average may be rounded once for each value that it takes and twice more."""
    found, expected = part.double(), tile.double()
    if wanted.reduction != "avg":
        return found != expected
    roundoff = torch.finfo(part.dtype).eps / 2
    return ~((found - expected).abs() <= (AVERAGED.adding + 2) * roundoff * expected.abs())


def _tiles(
    target: torch.Tensor, values: Values, first: int, period: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:  # fmt: skip
    """Stretches of `target`, each with its values in target's type; places count from `first`."""
    length = min(target.numel(), period * max(1, SPAN // period))
    tile = values(torch.arange(first, first + length, device=target.device)).to(target.dtype)
    for start in range(0, target.numel(), max(length, 1)):
        part = target[start : start + length]
        yield part, tile[: part.numel()]


def randomise(target: torch.Tensor) -> None:
    """Random data again, after a check: timed operands are never a pattern (METHOD 12)."""
    tile = torch.randn(min(target.numel(), SPAN))
    tile = (tile if target.is_floating_point() else tile * 32).to(device=target.device, dtype=target.dtype)
    for start in range(0, target.numel(), SPAN):
        part = target[start : start + SPAN]
        part.copy_(tile[: part.numel()])
