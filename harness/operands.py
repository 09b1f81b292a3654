"""Operands that do not sit in a cache by accident: sets of tensors that are cycled through.

One arena of raw bytes is kept for a whole launch, so that pages are faulted in once; each cell lays
its operand sets over it. Data is random normal (never zeros: power and some kernels depend on it),
written by copying one random tile, since drawing fresh numbers for every byte would dwarf the cell.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from harness.errors import Skip
from harness.records import Struct
from harness.units import show_size

if TYPE_CHECKING:
    import torch

CACHES = 4  # METHOD 12: operands cover at least this many last-level caches
SHARE = 0.4  # of the memory that is free, at most
ALIGN = 256  # B
TILE = 1 << 20  # elements of random data that are tiled over the operands
REFILL = 16  # uses of a set before it is written again


class Spec(Struct, frozen=True):
    """A tensor wanted in each operand set. dtype: torch's name of it, 'bfloat16'."""

    shape: tuple[int, ...]
    dtype: str


class Arena:
    """Bytes on one device, reused by every cell of a launch.

    ranks: how many ranks of this host share the device's memory and its last-level cache.
    """

    def __init__(self, device: torch.device, free: Callable[[], int], cache: int | None, ranks: int, seed: int) -> None:
        self.device = device
        self._free, self._cache, self._ranks, self._seed = free, cache, ranks, seed
        self._bytes: torch.Tensor | None = None

    def operands(self, specs: Sequence[Spec], rotate: bool = True, uses: int = REFILL) -> Operands:
        """As many operand sets as METHOD 12 asks for, or as fit; Skip if not one does.

        Without `rotate` there is one set, which stays in whatever cache holds it: the hot-cache mode,
        for a benchmark that says so in its flags. `uses` of a set wear its data out.
        """
        sizes = [_span(spec) for spec in specs]
        one = sum(sizes)
        room = self.allow(one)
        wanted = math.ceil(CACHES * (self._cache or 0) / one) if rotate else 1
        count = max(1, min(wanted, room // one))
        flags = []
        if self._cache is None and rotate:
            flags.append("last-level cache unknown: operands are not rotated to defeat it")
        elif count < wanted:
            flags.append(f"operands cover {show_size(count * one)}, less than {CACHES} caches: memory")
        return Operands(self._take(count * one), specs, sizes, count, self._seed, tuple(flags), uses)

    def allow(self, size: int) -> int:
        """Bytes that a cell may use here; Skip where `size` is more."""
        held = 0 if self._bytes is None else self._bytes.nbytes
        room = int((self._free() / self._ranks + held) * SHARE)
        if size > room:
            raise Skip(f"needs {show_size(size)} on {self.device}, and {show_size(room)} may be used")
        return room

    def apart(self) -> Arena:
        """Another arena on the same device with bytes of its own, for operands that are needed beside
        these; they are given back with it."""
        return Arena(self.device, self._free, self._cache, self._ranks, self._seed + 1)

    def _take(self, size: int) -> torch.Tensor:
        import torch

        if self._bytes is None or self._bytes.nbytes < size:
            self._bytes = None  # release first: two arenas may not fit
            self._bytes = torch.empty(size, dtype=torch.uint8, device=self.device)
        return self._bytes[:size]


class Operands:
    """`count` sets laid over an arena. `prepare(n)` readies the next n; `self[i]` is one set.
    `lasting`: operations after which the data is worn out, and is written again before the next."""

    def __init__(
        self, arena: torch.Tensor, specs: Sequence[Spec], sizes: Sequence[int],
        count: int, seed: int, flags: tuple[str, ...], uses: int = REFILL,
    ) -> None:  # fmt: skip
        self.count, self.flags, self.lasting = count, flags, count * uses
        self._arena, self._specs, self._sizes, self._seed = arena, tuple(specs), tuple(sizes), seed
        self._next = self._used = 0
        self._ready: list[tuple[torch.Tensor, ...]] = []
        self.refill()

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        return self._ready[index]

    def prepare(self, operations: int) -> None:
        """Ready the next `operations` sets, going round; rewrite all data when it has worn out."""
        if self._used + operations > self.lasting and self._used:
            self.refill()
        known: dict[int, tuple[torch.Tensor, ...]] = {}
        order = [(self._next + step) % self.count for step in range(operations)]
        self._ready = [known.get(at) or known.setdefault(at, self._set(at)) for at in order]
        self._next = (self._next + operations) % self.count
        self._used += operations

    def refill(self) -> None:
        """Fresh random normal values in every set; on the meta device there is nothing to fill."""
        if self._arena.is_meta:
            return
        rows = self._arena.view(self.count, sum(self._sizes))
        start = 0
        for position, (spec, size) in enumerate(zip(self._specs, self._sizes, strict=True)):
            tile = _tile(spec, self._arena.device, self._seed + position)
            _lay(rows[:, start : start + _payload(spec)].view(_dtype(spec.dtype)), tile)
            start += size
        self._used = 0

    def _set(self, index: int) -> tuple[torch.Tensor, ...]:
        start = index * sum(self._sizes)
        tensors = []
        for spec, size in zip(self._specs, self._sizes, strict=True):
            raw = self._arena[start : start + _payload(spec)]
            tensors.append(raw.view(_dtype(spec.dtype)).view(spec.shape))
            start += size
        return tuple(tensors)


def _dtype(name: str) -> torch.dtype:
    import torch

    dtype = getattr(torch, name)
    assert isinstance(dtype, torch.dtype), name
    return dtype


def _payload(spec: Spec) -> int:
    return math.prod(spec.shape) * int(_dtype(spec.dtype).itemsize)


def _span(spec: Spec) -> int:
    """Bytes that one tensor takes in the arena, aligned."""
    return math.ceil(_payload(spec) / ALIGN) * ALIGN


def _tile(spec: Spec, device: torch.device, seed: int) -> torch.Tensor:
    import torch

    generator = torch.Generator(device="cpu").manual_seed(seed)
    count, dtype = min(TILE, math.prod(spec.shape)), _dtype(spec.dtype)
    if dtype.is_floating_point:
        return torch.randn(count, generator=generator).to(device=device, dtype=dtype)
    return torch.randint(-127, 128, (count,), generator=generator).to(device=device, dtype=dtype)


def _lay(target: torch.Tensor, tile: torch.Tensor) -> None:
    """Repeat the tile along each row of target (sets, elements)."""
    for start in range(0, target.shape[1], tile.numel()):
        part = target[:, start : start + tile.numel()]
        part.copy_(tile[: part.shape[1]].expand(part.shape))
