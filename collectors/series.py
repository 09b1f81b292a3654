"""A long series in bounded memory: when it is full, neighbours are merged to their means.

Each sample then stands for a block of iterations, as a timed block does in a measurement (METHOD 1), so that totals
stay what they were and only the spread within a block is lost. How large the block is goes into the record.
"""

from __future__ import annotations

from array import array

MOST = 1 << 15  # samples


class Series:
    """Values in order; `samples` are means over `block` of them each, the last perhaps over fewer."""

    def __init__(self, most: int = MOST) -> None:
        self.block, self._most = 1, most
        self._held = array("d")
        self._sum, self._count = 0.0, 0

    def add(self, value: float) -> None:
        if self.block == 1:
            self._held.append(value)
        else:
            self._sum += value
            self._count += 1
            if self._count < self.block:
                return
            self._held.append(self._sum / self.block)
            self._sum, self._count = 0.0, 0
        if len(self._held) >= self._most:
            held = self._held
            self._held = array("d", ((held[at] + held[at + 1]) / 2 for at in range(0, len(held) - 1, 2)))
            self.block *= 2

    def __len__(self) -> int:
        return len(self._held) + bool(self._count)

    @property
    def samples(self) -> tuple[float, ...]:
        rest = (self._sum / self._count,) if self._count else ()
        return (*self._held, *rest)
