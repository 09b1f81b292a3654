"""What a test of a collective gives, whichever way it was written down. Base units: B, s, B/s."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from harness.units import show_size

PROGRAMS = {
    "all_reduce": "all_reduce_perf",
    "all_gather": "all_gather_perf",
    "reduce_scatter": "reduce_scatter_perf",
    "broadcast": "broadcast_perf",
    "reduce": "reduce_perf",
    "gather": "gather_perf",
    "scatter": "scatter_perf",
    "all_to_all": "alltoall_perf",
    "send_recv": "sendrecv_perf",
}
"""The program that measures each operation; rccl-tests has the same names."""

TYPES = {
    "float32": ("float",),
    "float16": ("half",),
    "float64": ("double",),
    "int8": ("int8", "char"),
    "int32": ("int32", "int"),
    "float8_e4m3": ("f8e4m3", "fp8_e4m3"),
    "float8_e5m2": ("f8e5m2", "fp8_e5m2"),
}
"""Data types that are called otherwise there; the first name is what a program takes."""

_TYPES = {name: dtype for dtype, names in TYPES.items() for name in names}
_OPERATIONS = {name.replace("_", ""): name for name in PROGRAMS}
NEAR = 0.01  # relative: the precision of a bandwidth that is printed with two decimals


@dataclass(frozen=True)
class Row:
    """One size, out of place or in place. wrong: values that a check found wrong; None where nothing was
    checked. A wrong result has no number: time, algbw and busbw are None. line: in the file, from 1."""

    size: int
    count: int
    dtype: str
    redop: str
    root: int | None
    in_place: bool
    time: float | None
    algbw: float | None
    busbw: float | None
    wrong: int | None
    line: int = 0

    @property
    def label(self) -> str:
        return f"{show_size(self.size)} {'in place' if self.in_place else 'out of place'}"


class Way(NamedTuple):
    """One way of a row as the programs write it: µs, GB/s."""

    time: float
    algbw: float
    busbw: float
    wrong: int | None


@dataclass(frozen=True)
class Table:
    """One run of one program. What the output does not say is None or empty. line: where it begins."""

    operation: str | None
    ranks: int | None
    nodes: int | None
    devices: tuple[str, ...]
    versions: dict[str, str]
    rows: tuple[Row, ...]
    line: int = 1
    average: float | None = None  # bus bandwidth of all rows as the summary claims it, B/s

    @property
    def factor(self) -> float | None:
        """busbw / algbw: from the row with the most of it, and exactly where the number of ranks is said."""
        both = [(row.busbw, row.algbw) for row in self.rows if row.algbw and row.busbw]
        if not both:
            return None
        ratio = max(both)[0] / max(both)[1]
        exact = [] if not self.ranks else [1.0, (self.ranks - 1) / self.ranks, 2 * (self.ranks - 1) / self.ranks]
        return next((value for value in exact if abs(ratio - value) < NEAR * value), ratio)


@dataclass(frozen=True)
class Log:
    """All that a file holds, and what a reader must know of it."""

    tables: tuple[Table, ...]
    warnings: tuple[str, ...]


def row(
    size: int, count: int, dtype: str, redop: str, root: int | None, in_place: bool, way: Way, line: int = 0
) -> Row:  # fmt: skip
    """A row in base units."""
    dtype = _TYPES.get(dtype, dtype)
    if way.wrong:
        return Row(size, count, dtype, redop, root, in_place, None, None, None, way.wrong, line)
    scaled = way.time * 1e-6, way.algbw * 1e9, way.busbw * 1e9
    return Row(size, count, dtype, redop, root, in_place, *scaled, way.wrong, line)


def operation_named(text: str) -> str | None:
    """'all_reduce' from 'AllReduce', 'all_reduce_perf' or '/opt/build/all_reduce_perf'."""
    stem = text.rsplit("/", 1)[-1].lower().removesuffix("_perf")
    return _OPERATIONS.get(re.sub(r"[^a-z]", "", stem))


def operation_from(factor: float | None, redop: str, root: int | None) -> str | None:
    """The operation that a table which does not name it can only be of, or None where several are."""
    reduces = redop not in ("", "none")
    if factor is None:
        return None
    if factor > 1 + NEAR:
        return "all_reduce"
    if factor < 1 - NEAR:
        return "reduce_scatter" if reduces else None
    if root is None or root < 0:
        return None
    return "reduce" if reduces else "broadcast"


BUS = {"all_reduce": 2, "all_gather": 1, "reduce_scatter": 1, "all_to_all": 1, "gather": 1, "scatter": 1}
"""busbw / algbw = this times (n - 1) / n; 1 for the other operations (nccl-tests doc/PERFORMANCE.md)."""


def bus_factor(operation: str, ranks: int) -> float:
    return BUS[operation] * (ranks - 1) / ranks if operation in BUS else 1.0


def nccl_version(code: int) -> str:
    """'2.28.7' from 22807: NCCL_VERSION_CODE, which had one digit less for the minor version before 2.9."""
    major, rest = divmod(code, 10000) if code >= 10000 else divmod(code, 1000)
    return f"{major}.{rest // 100}.{rest % 100}"
