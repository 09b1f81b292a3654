"""A declared cluster that answers with modelled times: every path up to a thousand ranks runs anywhere.

Nothing is executed. Operands live on torch's meta device, which has shapes and no memory; durations
come from a timing function that `bench` hands in, with a stated jitter. One process speaks for all
ranks. What comes out has the origin `modelled`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.accelerator import Operation, Peer, Probe, Stopwatch
from harness.errors import Skip
from harness.hardware import Cluster
from harness.ranks import Ranks
from harness.records import Cadence, FoundDevice, Origin
from harness.sampling import Block, Task

if TYPE_CHECKING:
    import torch

JITTER = 0.02
"""Standard deviation of the logarithm of one operation's duration on one rank: an assumption, not a
measured figure; `jitter_note` states it."""

Array = NDArray[np.float64]


class Simulated:
    """The declared devices of one node, as an accelerator."""

    name = "simulated"

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def found(self) -> tuple[FoundDevice, ...]:
        device = self._cluster.device
        memory = int(device.memory.value) if device.memory else None
        details = {"origin": f"declared by the definition {self._cluster.name}, not detected"}
        return tuple(
            FoundDevice(device.name, "simulated", index, memory, details) for index in range(self._cluster.node.devices)
        )

    def versions(self) -> dict[str, str]:
        """What the simulated numbers depend on: the library that draws the jitter."""
        return {"numpy": np.__version__}

    def backend(self) -> str:
        return "gloo" if self._cluster.accelerator == "cpu" else "nccl"

    def bind(self, local_rank: int, threads: int) -> torch.device:
        """The device of tensors that have a shape and no memory."""
        import torch

        return torch.device("meta")

    def synchronise(self) -> None:
        return

    def stopwatch(self, regions: int) -> Stopwatch:
        raise RuntimeError("a simulated cluster has no clock: its durations come from SimulatedMeter")

    def beside(self, work: Callable[[], None]) -> Callable[[], None]:
        raise RuntimeError("a simulated cluster does nothing, and so nothing beside it")

    def probe(self, local_rank: int) -> Probe:
        return _Nothing()

    def peer(self) -> Peer | None:
        """What a copy takes on its way is the timing function's to say."""
        import torch

        return Peer(torch.device("meta"), direct=True) if self._cluster.node.devices > 1 else None

    def memory_free(self) -> int:
        """All of one declared device's memory; Skip where the definition does not give it."""
        device = self._cluster.device
        if device.memory is None:
            raise Skip(f"no memory size known for {device.name}")
        return int(device.memory.value)

    def release(self) -> None:
        return

    def memory_peak(self) -> int | None:
        return None

    def cache(self) -> int | None:
        """0: the model has no cache to defeat, so one set of operands is enough."""
        return 0

    def refuses(self, operation: Operation) -> str | None:
        """What no model can say; what the definition lacks is said by the timing function."""
        if operation.name == "overlap":
            return "what two operations cost each other is not modelled"
        return None


class _Nothing:
    """Telemetry of a device that does not exist: every reading is absent."""

    def read(self) -> Mapping[str, float]:
        return {}

    def close(self) -> None:
        return


class SimulatedMeter:
    """Blocks of modelled durations; harness.sampling decides on them as on real ones.

    A rank's operation takes timing(operation) × slow[rank] × e^(σz), z standard normal and independent
    between ranks and operations; a sample of k operations is taken to have σ/√k. What a block reports
    is drawn from its exact distribution instead of rank by rank, so that a block costs as many draws
    as it has samples and ranks, not their product (David & Nagaraja, Order Statistics, 2003, 2.1):
    the maximum of N ranks alike lies at the quantile U^(1/N); the median of n samples of a rank at a
    beta distributed quantile. Maxima and rank medians of one block are drawn independently.

    `now` is a clock that modelled durations advance. Arrival skew is not modelled, and absent.
    """

    origin = Origin.MODELLED
    resolution = 0.0

    def __init__(
        self, timing: Callable[[Operation], float], ranks: Ranks, seed: int,
        jitter: float = JITTER, slow: Mapping[int, float] | None = None,
    ) -> None:  # fmt: skip
        self._timing, self._jitter, self._clock = timing, jitter, 0.0
        self._random = np.random.default_rng(seed)
        self._factors = np.array([(slow or {}).get(rank, 1.0) for rank in range(ranks.world)])

    def now(self) -> float:
        return self._clock

    def verify(self, task: Task) -> None:
        """Nothing was computed, so nothing can be checked."""

    def block(self, task: Task, cadence: Cadence, samples: int, operations: int) -> Block:
        each = self._timing(task.operation)
        factors = self._factors if task.team is None else self._factors[list(task.team.active)]
        spread = self._jitter / math.sqrt(operations)
        longest = each * self._maxima(factors, samples, spread)
        wall = float(longest.sum()) * operations
        self._clock += wall
        medians = each * factors * self._medians(len(factors), samples, spread)
        return Block(longest.tolist(), medians.tolist(), wall)

    def by_rank(self, task: Task, cadence: Cadence, samples: int) -> list[list[float]]:
        assert task.team is not None
        each, factors = self._timing(task.operation), self._factors[list(task.team.active)]
        drawn = each * factors[:, None] * np.exp(self._jitter * self._random.standard_normal((len(factors), samples)))
        self._clock += float(drawn.max(axis=0).sum())
        table: list[list[float]] = drawn.tolist()
        return table

    def _maxima(self, factors: Array, samples: int, spread: float) -> Array:
        """(samples,): maximum over the ranks that take part, group by group of those that are alike."""
        groups = [
            factor * _log_normal(self._random.random(samples) ** (1 / count), spread)
            for factor, count in Counter(factors.tolist()).items()
        ]
        longest: Array = np.max(groups, axis=0)
        return longest

    def _medians(self, ranks: int, samples: int, spread: float) -> Array:
        """(ranks,): median of a rank's samples. For an even number it is the mean of the middle two:
        the upper is the least of those above the lower, which are uniform between it and 1."""
        half = (samples + 1) // 2
        lower = self._random.beta(half, samples + 1 - half, ranks)
        if samples % 2:
            return _log_normal(lower, spread)
        upper = lower + (1 - lower) * self._random.beta(1, samples - half, ranks)
        return (_log_normal(lower, spread) + _log_normal(upper, spread)) / 2


def _log_normal(quantiles: Array, spread: float) -> Array:
    """Values of a log-normal distribution with median 1 at these quantiles, kept off 0 and 1."""
    import torch

    inside = np.clip(quantiles, 1e-300, 1 - 2**-53)
    values: Array = np.exp(spread * torch.special.ndtri(torch.from_numpy(inside)).numpy())
    return values


def jitter_note(world: int, jitter: float = JITTER) -> str:
    """What the jitter does to a sample, in words, for the report."""
    above = math.exp(jitter * NormalDist().inv_cdf(0.5 ** (1 / world))) - 1
    return (
        f"Each rank's durations vary by {jitter:.0%} (log-normal, independent: an assumption); "
        f"the slowest of {world} ranks, which is what counts, lies {above:.1%} above the model."
    )
