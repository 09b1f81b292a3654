"""How a loop was run, which no figure mixes: its kernel, and how many threads; and the caches that then take part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.plateaus import Point
from harness.summary import Figure
from harness.units import show_size
from reports.figures.axes import Line
from reports.reading import size_of
from reports.subject import Subject

ALL = "all threads"


@dataclass(frozen=True)
class Setting:
    """threads: 0 for all that a rank has. torch's cannot be set, and a GPU has none."""

    kernel: str
    threads: int

    @property
    def text(self) -> str:
        return f"{self.kernel}, {self.crew}" if self.kernel == "compiled" else self.kernel

    @property
    def crew(self) -> str:
        return {0: ALL, 1: "1 thread"}.get(self.threads, f"{self.threads} threads")


def setting_of(figure: Figure) -> Setting:
    kernel, threads = figure.params.get("kernel", "torch"), figure.params.get("threads", 0)
    return Setting(str(kernel), threads if isinstance(threads, int) else 0)


def by_setting(figures: Sequence[Figure]) -> dict[Setting, list[Figure]]:
    """Figures by setting: compiled kernels first, and all threads before fewer."""
    found: dict[Setting, list[Figure]] = {}
    for figure in figures:
        found.setdefault(setting_of(figure), []).append(figure)
    order = sorted(found, key=lambda setting: (setting.kernel != "compiled", setting.threads != 0, -setting.threads))
    return {setting: found[setting] for setting in order}


def taking_part(subject: Subject, threads: int) -> dict[str, float]:
    """B that each level of cache holds for so many threads: a thread has one cache of each level at most."""
    held = {}
    for cache in subject.caches:
        instances = max(1.0, cache.instances / subject.per_device)  # of one rank
        held[cache.name] = cache.size * (min(1.0, threads / instances) if threads else 1.0)
    return held


def marks(subject: Subject, threads: int) -> tuple[Line, ...]:
    """Those caches as lines of a figure."""
    shared = " a rank" if subject.per_device > 1 and threads == 0 else ""
    return tuple(
        Line(size, f"{name} {show_size(size)}{shared}") for name, size in taking_part(subject, threads).items()
    )


def points(figures: Sequence[Figure]) -> list[Point]:
    """Figures as points over their working sets; the best of each where there are several."""
    held: dict[float, Figure] = {}
    for figure in figures:
        size = size_of(figure.params)
        if size and (size not in held or figure.interval.value > held[size].interval.value):
            held[size] = figure
    return [Point(size, figure.interval) for size, figure in held.items()]
