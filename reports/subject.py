"""One run as the chapters see it: its cells, and what they need to know about where it ran."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from harness.hardware import Cluster
from harness.records import Origin, Provenance
from harness.store import Run
from harness.summary import Cell, Figure, cells
from harness.units import parse_size, show_size
from reports.critical_batch_model import CriticalBatchModel
from reports.curve_model import CurveModel
from reports.goodput_model import GoodputModel
from reports.numbers import plus_minus, shown
from reports.reading import measured, origin_words, origins, size_of
from reports.text import anchor
from reports.titles import order

Model = CurveModel | GoodputModel | CriticalBatchModel
"""What `bench` hands in with a run."""

CACHES = 4  # a figure is memory's where the working set is at least this many last-level caches (METHOD 12)
_CACHE = re.compile(r"\b(L[1-4]d?)[ :]+(?:(\d+) x )?([0-9.]+ ?[KMGT]i?B)")


@dataclass(frozen=True)
class Cache:
    """size: B of one rank's part, where ranks share the device's caches. instances: how many the device has."""

    name: str  # "L2"
    size: float
    shared: bool
    instances: int = 1

    @property
    def text(self) -> str:
        return f"{self.name} {show_size(self.size)}{' a rank' if self.shared else ''}"


@dataclass(frozen=True)
class Subject:
    """`name` starts every identifier of this run's part of the document. models: of its curves over
    message size and of its checkpoints, as `bench` hands them in."""

    run: Run
    name: str
    models: tuple[Model, ...] = ()

    @cached_property
    def cells(self) -> list[Cell]:
        """In the order in which a reader expects benchmarks and data types; sizes ascend."""

        def place(cell: Cell) -> tuple[str, int, str, int, int]:
            return order(cell.benchmark, cell.params.get("dtype"), cell.params.get("op"))

        return sorted(cells(self.run.records), key=place)

    @cached_property
    def measured(self) -> list[Cell]:
        return measured(self.cells)

    @property
    def cluster(self) -> Cluster:
        return self.run.info.cluster

    @cached_property
    def modelled(self) -> bool:
        """Whether no number here is a measurement. A model's beside a measured one is labelled where it stands."""
        return self.run.info.simulated or origins(self.measured) == [Origin.MODELLED]

    @property
    def launches(self) -> list[Provenance]:
        return list(self.run.provenance.values())

    @cached_property
    def per_device(self) -> int:
        """Ranks that share one device where each measures by itself (cells that name no `ranks`)."""
        alone = {record.provenance for record in self.run.records if "ranks" not in record.params}
        held_alone = [held for held in self.launches if held.id in alone]
        spread = max((held.ranks / max(held.nodes or 1, 1) for held in held_alone if held.ranks), default=1)
        return max(1, round(spread / max(self.cluster.node.devices, 1)))

    @cached_property
    def ranks_per_node(self) -> int:
        """Of the launch with most ranks."""
        ranks, nodes = max(((held.ranks or 1, held.nodes or 1) for held in self.launches), default=(1, 1))
        return max(1, ranks // nodes)

    @cached_property
    def caches(self) -> tuple[Cache, ...]:
        """Data caches of the first device found, smallest first, as far as it names them: details say
        'L1d 2 x 48 KiB, L2 2 x 2 MiB'. Ranks on one device split all instances of a level."""
        details = next((held.devices[0].details for held in self.launches if held.devices), {})
        said = ", ".join(f"{key} {value}" for key, value in details.items())
        found = [
            Cache(name, int(count or 1) * parse_size(size) / self.per_device, self.per_device > 1, int(count or 1))
            for name, count, size in _CACHE.findall(said)
        ]
        return tuple(sorted(found, key=lambda cache: cache.size))

    def identifier(self, text: str) -> str:
        return f"{self.name}-{anchor(text)}"


def beyond_caches(subject: Subject, cells: Sequence[Cell]) -> tuple[list[Cell], str]:
    """Cells whose working set is at least four last-level caches, else those of the largest one; and
    what a reader must know about them: '' where they are surely memory's."""
    sizes = {id(cell): size_of(cell.params) or 0.0 for cell in cells}
    greatest = max(sizes.values())
    if not subject.caches:
        return [cell for cell in cells if sizes[id(cell)] == greatest], "the caches are not known"
    least = CACHES * subject.caches[-1].size
    if greatest < least:
        said = f"the largest working set is under {CACHES} last-level caches, so part of it may come from there"
        return [cell for cell in cells if sizes[id(cell)] == greatest], said
    return [cell for cell in cells if sizes[id(cell)] >= least], ""


def interval_title(figures: Sequence[Figure]) -> str:
    """The heading of a column of intervals: what they cover (METHOD 8)."""
    across = {figure.summary.across_launches for figure in figures}
    if across == {True}:
        return "95 % interval, across launches"
    return "95 % interval, within run" if across == {False} else "95 % interval"


def bars(figures: Sequence[Figure]) -> str:
    """What bands and bars mean, and how wide they are, since narrow ones hide behind a marker."""
    widths = sorted(figure.interval.width for figure in figures)
    if not widths or not widths[-1]:
        return ""
    middle, worst = plus_minus(widths[len(widths) // 2]), plus_minus(widths[-1])
    return f"Bands and bars are 95 % intervals (median {middle}, widest {worst})."


def quoted(figure: Figure) -> str:
    """A number in a sentence, with its interval: '310 GB/s [308, 312]'."""
    number = shown(figure.interval, figure.unit)
    return f"{number.text} {number.interval}" if figure.interval.width else number.text


def how_known(figures: Sequence[Figure]) -> str:
    """'40 samples a cell from one launch: within-run intervals', for a caption."""
    if not figures:
        return "no numbers"
    counts, launches = ({getattr(f.summary, name) for f in figures} for name in ("n", "launches"))
    origin = origin_words(list(dict.fromkeys(figure.origin for figure in figures)))
    if not any(figure.interval.width for figure in figures):
        return f"{origin}; no spread"
    said = "one launch" if launches == {1} else f"{_range(launches)} launches"
    kind = "within-run intervals" if 1 in launches else "intervals across launches"
    return f"{origin}; {_range(counts)} samples a cell from {said}, {kind}"


def _range(numbers: set[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
