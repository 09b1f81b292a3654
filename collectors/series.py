"""A long series in bounded memory: when it is full, neighbours are merged to their means.

Each sample then stands for a block of iterations, as a timed block does in a measurement (METHOD 1), so that totals
stay what they were and only the spread within a block is lost. How large the block is goes into the record.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

MOST = 1 << 15  # samples


class Series:
    """Values in order; `samples` are means over `block` of them each, the last perhaps over fewer."""

    def __init__(self, most: int = MOST) -> None:
        self.block, self._most = 1, most
        self._held = array("d")
        self._sum, self._count = 0.0, 0

    def add(self, value: float) -> None:
        if self.block == 1 and len(self._held) < self._most - 1:
            self._held.append(value)
        else:
            self.extend((value,))

    def extend(self, values: Sequence[float]) -> None:
        """Many values at once, as `add` one after the other."""
        at, count = 0, len(values)
        while at < count:
            block, room = self.block, self._most - len(self._held)
            if self._count or count - at < block:
                at += self._begun(values[at : at + block - self._count])
            elif block == 1:
                self._held.extend(values[at : at + room])
                at += room
            else:
                end = at + min((count - at) // block, room) * block
                self._held.extend([sum(values[part : part + block]) / block for part in range(at, end, block)])
                at = end
            self._halve()

    def _begun(self, values: Sequence[float]) -> int:
        """Part of one block; returns how many values it is."""
        self._sum += sum(values)
        self._count += len(values)
        if self._count == self.block:
            self._held.append(self._sum / self.block)
            self._sum, self._count = 0.0, 0
        return len(values)

    def _halve(self) -> None:
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
