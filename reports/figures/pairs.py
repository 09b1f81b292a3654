"""What a map of pairs shows, and where on the page: medians of pairs in rows and columns of fields.

Of many ranks, what is shown is node against node: a field then is the median over all pairs of two nodes,
and the diagonal that inside a node.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from harness.outliers import Fault
from harness.summary import Figure
from harness.units import Unit

MOST = 64  # ranks that are drawn one by one, where they are on several nodes
SIDE, LARGEST = 104.0, 13.0  # mm: the longest side of a map, the largest field
BETWEEN = 0.9  # mm between two nodes

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Area = tuple[int, int, int, int]  # first and last row, first and last column


@dataclass(frozen=True)
class Map:
    """values: (n, n) in base units, symmetric, NaN where nothing was measured. what: rank or node. together:
    how many of them stand together as a node. ranks: of one node."""

    values: Array
    what: str
    together: int
    ranks: int
    unit: Unit

    @property
    def n(self) -> int:
        return len(self.values)

    @cached_property
    def field(self) -> float:
        """Width of a field in mm."""
        return min(LARGEST, (SIDE - self._gaps(self.n - 1)) / self.n)

    @property
    def side(self) -> float:
        """Width of the map in mm."""
        return self.place(self.n - 1) + self.field

    def place(self, index: int) -> float:
        """Where the field of that row or column begins, in mm: nodes of several ranks stand apart."""
        return index * self.field + self._gaps(index)

    def _gaps(self, index: int) -> float:
        return index // self.together * BETWEEN if self.together > 1 else 0.0

    def kinds(self) -> Iterator[tuple[str, Mask]]:
        """Fields that are alike, and what they are called where there are two kinds."""
        node = np.arange(self.n) // self.together
        there, inside = ~np.isnan(self.values), node[:, None] == node
        kinds = [("inside nodes", there & inside), ("between nodes", there & ~inside)]
        held = [(said, chosen) for said, chosen in kinds if chosen.any()]
        yield from held if len(held) > 1 else ((("", chosen)) for _, chosen in held)

    def areas(self, fault: Fault) -> list[Area]:
        """Rows and columns of what is slow, the upper right one first; a rail has none of its own."""
        each = self.ranks if self.what == "node" else 1  # ranks of a row
        if fault.kind == "rail":
            return []
        if fault.kind == "pair":
            a, b = (rank // each for rank in fault.where)
            return [(a, a, b, b), (b, b, a, a)]
        of_node = fault.kind.startswith("node")
        first = fault.where[0] * self.together if of_node else fault.where[0] // each
        last = first + self.together - 1 if of_node else first
        across = (0, self.n - 1)
        if fault.kind.endswith("inside"):
            begin = first - first % self.together
            across = (begin, begin + self.together - 1)
        return [(first, last, *across), (*across, first, last)]

    def nodes_of(self, fault: Fault) -> str:
        """The rows of a node map that a fault of ranks is in, in words."""
        if self.what == "rank" or fault.kind.startswith(("node", "rail")):
            return ""
        rows = sorted({rank // self.ranks for rank in fault.where})
        return f" (node{'s' if len(rows) > 1 else ''} {' and '.join(map(str, rows))})"


def map_of(figure: Figure, per_node: int, latency: bool) -> Map:
    """The map of a figure of times with pairs: its times with `latency`, else rates from its message size."""
    pairs = np.array(figure.pairs)
    shares = np.concatenate([np.reshape(samples, (len(pairs), -1)) for samples in figure.samples], axis=1)
    values, unit = np.median(shares, axis=1), Unit.SECOND
    if not latency:
        values, unit = float(figure.params["size"] or 0) / values, Unit.BYTE_PER_SECOND
    ranks, what, together = int(pairs.max()) + 1, "rank", per_node
    if ranks > MOST and ranks > per_node:
        pairs, kind = np.unique(pairs // per_node, axis=0, return_inverse=True)
        values = np.array([np.median(values[kind.ravel() == index]) for index in range(len(pairs))])
        what, together = "node", 1
    n = int(pairs.max()) + 1
    table = np.full((n, n), np.nan)
    table[pairs[:, 0], pairs[:, 1]] = table[pairs[:, 1], pairs[:, 0]] = values
    return Map(table, what, together, per_node, unit)
