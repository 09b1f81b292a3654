"""What a kind of log is to the reader of files, and where a kind puts what it has read.

A kind never guesses: a record holds what the log says, number for number, in base units. What only follows from it is
marked (`DERIVED`), what contradicts itself is reported beside the record with both numbers, and a line that is not
whole gives nothing but a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from harness.records import Better, Evidence, Measurement, Origin, Params, Rate
from harness.units import Unit

DERIVED = "derived: "
"""How the flag of a parameter or number begins that the log implies and does not say."""

LESS = (Unit.SECOND, Unit.JOULE, Unit.WATT, Unit.USD, Unit.BYTE, Unit.CELSIUS)


@dataclass(frozen=True)
class About:
    """What a log says of where it comes from; empty or None where it does not."""

    devices: tuple[tuple[str, str], ...] = ()  # (name, vendor: "nvidia", "amd", "cpu")
    versions: tuple[tuple[str, str], ...] = ()
    ranks: int | None = None
    nodes: int | None = None
    host: str = ""


@dataclass(frozen=True)
class Found:
    """One record's worth. benchmark: as `collectives.nccl_tests`, the same as ours where ours measures the same.
    first, last: lines of the file; 0 where it came from none. contradictions: sentences with both numbers. failed: why
    there is no number. notes: what else a reader must know."""

    benchmark: str
    params: Params
    measurements: tuple[Measurement, ...]
    first: int
    last: int
    about: About = About()
    contradictions: tuple[str, ...] = ()
    failed: str = ""
    version: int = 1
    notes: tuple[str, ...] = ()


class Sink(Protocol):
    """Where a kind's reader puts what it has read, as soon as it is whole."""

    @property
    def torn(self) -> bool:
        """Whether the line being read has no end: the file ends within it, and its last number may be half of one.
        What a tool prints with a fixed number of decimals shows that itself."""
        ...

    @property
    def shared(self) -> dict[str, Any]:
        """What readers of this kind know of the file together, whichever rank's stream they read."""
        ...

    def found(self, found: Found) -> None: ...

    def warn(self, line: int, text: str) -> None:
        """A line of this kind that could not be read, and why; or what a reader must know of the log."""
        ...


class Reader(Protocol):
    """Reads the lines of one stream (one rank's output, where a launcher tells them apart). One of logs that are long
    may also have `block(text, line)`, which takes a block of whole lines at once, or says False and takes none."""

    def feed(self, text: str, line: int) -> bool:
        """Take a line, clean and without its end; False where it is none of this kind's."""
        ...

    def close(self) -> None:
        """The stream has ended: give what is held."""
        ...


@dataclass(frozen=True)
class Kind:
    """marks: texts of which one stands in the first line that matters, upper and lower case as there; `reader` is
    asked about no line before. document: takes a JSON value with its first and last line; False where it is another
    kind's. cut: of a value that broke off, what was whole of it is handed in, and `document` judges what to take."""

    name: str
    title: str
    marks: tuple[str, ...] = ()
    reader: Callable[[Sink], Reader] | None = None
    document: Callable[[object, Sink, int, int], bool] | None = None


def parsed(
    metric: str, unit: Unit, samples: float | Sequence[float], better: Better | None = None, *,
    flags: Iterable[str] = (), rates: tuple[Rate, ...] = (), block: int = 1, params: Params | None = None,
) -> Measurement:  # fmt: skip
    """A measurement that a log tells of. better: by default the lower for times, energies, money and memory, else the
    higher. block: iterations that each sample is the mean of."""
    held = (float(samples),) if isinstance(samples, (int, float)) else tuple(map(float, samples))
    better = better or (Better.LOWER if unit in LESS else Better.HIGHER)
    evidence = Evidence(block=block, flags=tuple(flags))
    return Measurement(metric, unit, better, held, Origin.PARSED, rates=rates, evidence=evidence, params=params or {})
