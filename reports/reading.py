"""Ways to read cells that several chapters share: families, the best figure, curves over a parameter."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from harness.records import SIZES, USUAL, Cadence, Origin, Params
from harness.statistics import Interval
from harness.summary import Cell, Figure
from harness.units import Unit, show_size
from reports.numbers import GAP
from reports.text import clean

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

SPOKEN = ("op", "dtype", "size", "m", "n", "k", "ranks", "in_place")  # the order in which parameters are said
TRIAL = "trial"  # a step of a search: kept, and no number of its own
HEADLINES = ("busbw", "flops", "bandwidth")  # the rate that stands for a cell, where it has one


@dataclass(frozen=True)
class Curve:
    """One line of a figure: a rate or a time over a size. xs ascend; intervals in base units."""

    key: str  # data type or operation: what the line is labelled and coloured by
    cadence: Cadence | None
    figures: tuple[Figure, ...]
    xs: tuple[float, ...]

    @property
    def intervals(self) -> tuple[Interval, ...]:
        return tuple(figure.interval for figure in self.figures)

    @property
    def top(self) -> float:
        return max(interval.high for interval in self.intervals)

    @property
    def best(self) -> Figure:
        return best(self.figures)


def family(benchmark: str) -> str:
    """What a benchmark belongs to: 'collectives' of 'collectives.all_reduce'."""
    return benchmark.partition(".")[0]


def member(benchmark: str) -> str:
    return benchmark.partition(".")[2] or benchmark


def grouped(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """Items by key, keys in the order in which they are first met."""
    groups: dict[K, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def best(figures: Sequence[Figure]) -> Figure:
    """The highest rate, or the lowest time."""
    if figures[0].unit is Unit.SECOND:
        return min(figures, key=lambda figure: figure.interval.value)
    return max(figures, key=lambda figure: figure.interval.value)


def rate_name(cell: Cell) -> str:
    """The rate that headlines a cell: busbw, flops, bandwidth, else its first rate, else what was
    measured itself."""
    names = list(dict.fromkeys(figure.name for figure in cell.figures))
    rates = [figure.name for figure in cell.figures if figure.unit is not Unit.SECOND]
    return next((name for name in HEADLINES if name in names), rates[0] if rates else names[0])


def figures_of(cells: Iterable[Cell], name: str, cadence: Cadence | None = None) -> list[Figure]:
    """All figures of that name; without a cadence, of every cadence."""
    return [f for cell in cells for f in cell.figures if f.name == name and cadence in (None, f.cadence)]


def curves(
    figures: Iterable[Figure], key: Callable[[Figure], str], over: Callable[[Params], float | None]
) -> list[Curve]:
    """One curve per `key` and cadence; `over` gives x, or None to leave a cell out.

    Where other parameters differ too, the best figure at each x stands, so that a line has one
    value at each place.
    """
    made = []
    for (name, cadence), group in grouped(figures, lambda f: (key(f), f.cadence)).items():
        at = grouped((f for f in group if over(f.params) is not None), lambda f: over(f.params))
        points = sorted(((x, best(those)) for x, those in at.items() if x is not None), key=lambda point: point[0])
        if points:
            made.append(Curve(clean(name), cadence, tuple(f for _, f in points), tuple(x for x, _ in points)))
    return made


def dtype_of(figure: Figure) -> str:
    return str(figure.params.get("dtype", ""))


def size_of(params: Params) -> float | None:
    """Parameter `size` in B, where it is a positive number."""
    size = params.get("size")
    return float(size) if isinstance(size, (int, float)) and size > 0 else None


def ranks_of(params: Params) -> int:
    """Parameter `ranks`; 0 where there is none."""
    ranks = params.get("ranks")
    return ranks if isinstance(ranks, int) else 0


def say(key: str, value: object) -> str:
    """One parameter as people say it: '16 MiB', 'bfloat16', 'in place', 'm = 4,096'."""
    if key in SIZES and isinstance(value, (int, float)) and value > 0:
        return f"{SIZES[key]}{show_size(value)}".replace(" ", GAP)
    if key == "in_place":
        return "in place" if value else "out of place"
    if key == "cached":
        return "operands in cache" if value else ""  # else they rotate, as everywhere (METHOD 12)
    if isinstance(value, bool):
        return clean(key).replace("_", " ") if value else f"not {clean(key).replace('_', ' ')}"
    if key in ("dtype", "op", "model", "backend", "part", "kind"):
        return clean(value)
    if key == "kernel":
        return "compiled" if value == "compiled" else ""
    if key == "ranks" and isinstance(value, int):
        return f"{value:,}{GAP}ranks"
    number = f"{value:,}" if isinstance(value, int) else clean(value)
    return f"{clean(key)}{GAP}={GAP}{number}" if len(key) == 1 else f"{clean(key).replace('_', ' ')} {number}"


def usual(params: Params, keys: Sequence[str] = tuple(USUAL)) -> bool:
    """Whether those parameters, as far as there are any, have the values that go without saying."""
    return all(params.get(key, USUAL[key]) == USUAL[key] for key in keys)


def squared(params: Params) -> Params:
    """Parameters with the three equal sides of a square multiplication as one, n."""
    sides = [params.get(side) for side in ("m", "n", "k")]
    if sides[0] is None or sides.count(sides[0]) != 3:
        return params
    return {key: value for key, value in params.items() if key not in ("m", "n", "k")} | {"n": sides[0]}


def say_all(params: Params, without: Sequence[str] = ()) -> str:
    """Parameters in words: 'float32, 256 MiB, 8 ranks, in place'."""
    held = squared(params)
    keys = (key for key in held if key not in without and held[key] != USUAL.get(key, ...))
    said = (say(key, held[key]) for key in sorted(keys, key=spoken_place))
    return ", ".join(word for word in said if word)


def is_cached(params: Params) -> bool:
    """Whether operands are kept in a cache on purpose: a mode of its own, never mixed with the other."""
    return params.get("cached") is True


def spoken_place(key: str) -> int:
    return SPOKEN.index(key) if key in SPOKEN else len(SPOKEN)


def origins(cells: Iterable[Cell]) -> list[Origin]:
    """The distinct origins of all figures."""
    return list(dict.fromkeys(figure.origin for cell in cells for figure in cell.figures))


def origin_words(found: Sequence[Origin]) -> str:
    """How a caption says where its numbers come from."""
    words = ["modelled, not measured" if origin is Origin.MODELLED else origin.value for origin in found]
    return " and ".join(words) or "no numbers"


def measured(cells: Iterable[Cell]) -> list[Cell]:
    """Cells that have numbers. A cell of which one launch failed keeps those of the others."""
    return [cell for cell in cells if cell.figures]


def is_collected(cell: Cell) -> bool:
    """Whether a cell is a log's and not a measurement of this suite."""
    return bool(cell.figures) and all(figure.origin is Origin.PARSED for figure in cell.figures)
