"""Data whose collective result is known exactly, and the comparison with it.

Values are small integers that depend on the rank and on the place in the buffer, so that a missing
rank, a part in the wrong place, a maximum in the place of a sum or a wrong type all show. They, and all partial
sums in whatever order, stay at or below 256: exact in bfloat16, and so in every type. No tolerance
is needed, for any number of ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from harness.errors import WrongAnswer
from microbench.collectives.formulas import EVERY, Collective, Piece

SENTINEL = -1.0
"""What destinations hold before the operation; no pattern and no sum has it."""

PRIME = 251  # the largest prime whose residues bfloat16 holds exactly (8 bits of significand)
SMALL = 7
ADDING = 36  # ranks that add a value of 1 to SMALL at one place: 36 × 7 = 252 <= 256
SPAN = 1 << 16  # elements of a pattern made at a time: it stays in a cache

Values = Callable[[torch.Tensor], torch.Tensor]


def moved(origin: int) -> Values:
    """Data of rank `origin` that only travels: place (int64) -> value, with the period PRIME."""
    slope, shift = 1 + origin // PRIME, 31 * origin
    return lambda place: (place * slope + shift) % PRIME


def addend(origin: int, ranks: int) -> Values:
    """Data of rank `origin` for a sum over ranks. Only every `stride`-th rank adds at one place."""
    stride = _stride(ranks)
    return lambda place: (1 + (place + origin) % SMALL) * ((place - origin) % stride == 0)


def total(ranks: int) -> Values:
    """The sum of all ranks' addends: place (int64) -> value."""
    stride = _stride(ranks)

    def values(place: torch.Tensor) -> torch.Tensor:
        added = torch.zeros_like(place)
        for origin in (place % stride + step for step in range(0, ranks, stride)):
            added += (1 + (place + origin) % SMALL) * (origin < ranks)
        return added

    return values


def _stride(ranks: int) -> int:
    return -(-ranks // ADDING)


def write(target: torch.Tensor, collective: Collective, rank: int, ranks: int) -> None:
    """Fill a rank's sent buffer (elements,) with its pattern."""
    values, period = (addend(rank, ranks), SMALL * _stride(ranks)) if collective.reduces else (moved(rank), PRIME)
    for part, tile in _tiles(target, values, 0, period):
        part.copy_(tile)


def compare(result: torch.Tensor, collective: Collective, rank: int, ranks: int, count: int) -> None:
    """Raise WrongAnswer naming the first wrong element of a received buffer (elements,)."""
    start = 0
    for piece in collective.received(rank, ranks, count):
        values, period = _expected(piece, ranks)
        for part, tile in _tiles(result[start : start + piece.count], values, piece.first, period):
            if not torch.equal(part, tile):
                at = int((part != tile).nonzero()[0].item())
                place = part.storage_offset() - result.storage_offset() + at
                raise WrongAnswer(
                    f"{collective.name}: element {place} of {result.numel()} is {part[at].item():g}, "
                    f"expected {tile[at].item():g}"
                )
        start += piece.count


def _expected(piece: Piece, ranks: int) -> tuple[Values, int]:
    if piece.origin == EVERY:
        return total(ranks), SMALL * _stride(ranks)
    return moved(piece.origin), PRIME


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
    """Random normal data again, after a check: timed operands are never integers (METHOD 12)."""
    tile = torch.randn(min(target.numel(), SPAN)).to(device=target.device, dtype=target.dtype)
    for start in range(0, target.numel(), SPAN):
        part = target[start : start + SPAN]
        part.copy_(tile[: part.numel()])
