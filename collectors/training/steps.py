"""The iterations of one training job, out of whichever framework's log: one record, a sample for each line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import lt

from collectors.parser import About, Found, Sink, parsed
from collectors.series import Series
from harness.records import Better, Params
from harness.units import Unit

BENCHMARK = "e2e.log"
UNITS: dict[str, tuple[Unit, Better]] = {
    "time": (Unit.SECOND, Better.LOWER),
    "time_total": (Unit.SECOND, Better.LOWER),  # of the whole job
    "time_forward": (Unit.SECOND, Better.LOWER),
    "time_backward": (Unit.SECOND, Better.LOWER),
    "time_optimizer": (Unit.SECOND, Better.LOWER),
    "flops": (Unit.FLOP_PER_SECOND, Better.HIGHER),  # per device, as claimed
    "flops_forward": (Unit.FLOP_PER_SECOND, Better.HIGHER),
    "flop_forward": (Unit.FLOP, Better.LOWER),  # of one device
    "tokens": (Unit.TOKEN_PER_SECOND, Better.HIGHER),  # per device
    "tokens_total": (Unit.TOKEN_PER_SECOND, Better.HIGHER),
    "samples_total": (Unit.PER_SECOND, Better.HIGHER),
    "loss": (Unit.RATIO, Better.LOWER),
    "memory": (Unit.BYTE, Better.LOWER),
    "mfu": (Unit.RATIO, Better.HIGHER),
    "hfu": (Unit.RATIO, Better.HIGHER),
    "grad_norm": (Unit.RATIO, Better.LOWER),
    "learning_rate": (Unit.RATIO, Better.LOWER),
    "batch": (Unit.COUNT, Better.HIGHER),
}
"""What is read of an iteration; a name that ends in _average is the log's running mean of it."""


def unit_of(metric: str) -> tuple[Unit, Better]:
    return UNITS[metric.removesuffix("_average")]


@dataclass
class Steps:
    """Give each iteration to `add`; `close` when the job has ended. What is wrong goes to `contradictions`."""

    sink: Sink
    params: Params
    about: About = field(default_factory=About)
    contradictions: list[str] = field(default_factory=list)
    _series: dict[str, Series] = field(default_factory=dict)
    _first: int = 0
    _last: int = 0
    _at: int | None = None
    _before: Mapping[str, float] = field(default_factory=dict)

    def add(self, iteration: int | None, values: Mapping[str, float], line: int) -> None:
        """An iteration's numbers, in base units. One that is printed twice counts once; one that goes back in time
        begins another job, as a restart from a checkpoint does."""
        if iteration is not None and iteration == self._at and values == self._before:
            return
        if iteration is not None and self._at is not None and iteration < self._at:
            self.close()
        self._at, self._before = iteration, values
        self._first = self._first or line
        self._last = line
        for name, value in values.items():
            series = self._series.get(name)
            if series is None:
                series = self._series[name] = Series()
            series.add(value)

    def follows(self, iterations: Sequence[int]) -> bool:
        """Whether these go on from what was added, each later than the one before."""
        return (self._at is None or self._at < iterations[0]) and all(map(lt, iterations, iterations[1:]))

    def extend(self, iterations: Sequence[int], columns: Mapping[str, Sequence[float]], line: int) -> None:
        """Many iterations that follow, one a line from `line` on, each with every column."""
        self._first = self._first or line
        self._last = line + len(iterations) - 1
        self._at, self._before = iterations[-1], {name: column[-1] for name, column in columns.items()}
        for name, column in columns.items():
            self._series.setdefault(name, Series()).extend(column)

    def contradict(self, said: str) -> None:
        """Of thousands of iterations the first few contradictions say enough."""
        if said and len(self.contradictions) < 3:
            self.contradictions.append(f"iteration {self._at}: {said}")

    def close(self) -> None:
        """The job has ended: its record, if it had an iteration."""
        if self._series:
            measurements = tuple(
                parsed(name, unit_of(name)[0], series.samples, unit_of(name)[1], block=series.block)
                for name, series in self._series.items()
            )
            self.sink.found(
                Found(
                    BENCHMARK, dict(self.params), measurements, self._first, self._last, self.about,
                    tuple(self.contradictions),
                )
            )  # fmt: skip
        self._series, self.contradictions = {}, []
        self._first, self._at, self._before = 0, None, {}
