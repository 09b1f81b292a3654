"""What a measurement leaves behind: frozen, typed records, read strictly.

A record holds the raw samples and what is needed to judge them; statistics are computed on read
(`harness.summary`). Unknown fields are refused, so a record of a newer schema is never half read.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec

from harness.units import Unit

SCHEMA = 1
"""Version of the record layout; a reader refuses any other."""

Scalar = str | int | float | bool | None
Params = dict[str, Scalar]


class Struct(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of every stored type: immutable, and no field that is not declared is read."""


class Origin(StrEnum):
    """Where a number comes from (METHOD 19). Different origins never share a column unlabelled."""

    MEASURED = "measured"
    PARSED = "parsed"
    PUBLISHED = "published"
    MODELLED = "modelled"


class Better(StrEnum):
    HIGHER = "higher"
    LOWER = "lower"


class Cadence(StrEnum):
    """How operations follow each other (METHOD 3): each one synchronised, or back to back."""

    ISOLATED = "isolated"
    STREAMING = "streaming"


class Rate(Struct, frozen=True):
    """A rate that follows from a time: `amount` (in B, FLOP, token) moved or done per sample.

    The rate of a cell is amount / median(time) (METHOD 10): it is computed on read, never stored.
    """

    name: str  # algbw, busbw, bandwidth, flops
    amount: float
    unit: Unit  # of the rate: B/s, FLOP/s, token/s


class Evidence(Struct, frozen=True):
    """How the samples of one measurement came about (METHOD 1-7, 14): enough to distrust them."""

    warmup: int = 0  # operations before the first sample
    settled: bool = True  # the drift test passed before the cap
    block: int = 1  # operations per sample; more than 1 where one is too short for the timer
    width: float | None = None  # half width of the 95 % interval of the median, relative
    stopped: str = ""  # why sampling ended: "width reached", "time cap", "sample cap", "budget"
    tainted: int = 0  # blocks thrown away since the machine was disturbed
    rank_medians: tuple[float, ...] = ()  # s, one per rank; the slow rank stands out
    skew_median: float | None = None  # s between first and last rank's arrival
    skew_max: float | None = None
    rotation: int = 1  # copies of the operands that were cycled through
    flags: tuple[str, ...] = ()  # what a reader must know, in words


class Measurement(Struct, frozen=True):
    """Samples of one metric. `metric` names the cadence where one applies: 'time.isolated'.

    params: what sets this measurement apart from others of the same cell, such as the shape that a
    search tried. statistic: what sums up the samples; the mean only where a total over a total is wanted, as of a
    job's tokens over its time. pairs: where a cell measures pairs of ranks, the pair that each equal share of the
    samples, in order, is of; no share is longer than another.
    """

    metric: str
    unit: Unit
    better: Better
    samples: tuple[float, ...]
    origin: Origin
    cadence: Cadence | None = None
    rates: tuple[Rate, ...] = ()
    evidence: Evidence = Evidence()
    params: Params = {}
    pairs: tuple[tuple[int, int], ...] = ()
    statistic: Literal["median", "mean"] = "median"


class Ok(Struct, frozen=True, tag="ok", tag_field="status"):
    """Measured as asked."""


class Skipped(Struct, frozen=True, tag="skipped", tag_field="status"):
    """Cannot be measured here; the reason is reported."""

    reason: str


class Failed(Struct, frozen=True, tag="failed", tag_field="status"):
    """Tried, and wrong or broken: there is no number."""

    reason: str


class Incomplete(Struct, frozen=True, tag="incomplete", tag_field="status"):
    """Not every rank delivered. A resumed run measures the cell again."""

    reason: str
    missing: tuple[int, ...] = ()


Outcome = Ok | Skipped | Failed | Incomplete


class FoundDevice(Struct, frozen=True):
    """A device as its own library or the operating system describes it."""

    name: str
    vendor: str  # "nvidia", "amd", "cpu", "simulated"
    index: int = 0
    memory: int | None = None  # B
    details: dict[str, str] = {}  # cores, caches, clocks, driver, bus address, in words


class TimerHonesty(Struct, frozen=True):
    """What the clock itself costs, measured once per launch (METHOD 4)."""

    resolution: float  # s, smallest step seen
    overhead: float  # s, median duration of an empty region


class Provenance(Struct, frozen=True):
    """All that is needed to say what was run on what. Written once per launch, referred to by id."""

    id: str
    started: str  # ISO 8601, UTC
    host: str
    command: tuple[str, ...]
    commit: str | None
    dirty: bool | None
    versions: dict[str, str]
    environment: dict[str, str]  # allow-listed variables only
    declared: str  # name of the cluster definition
    definition: str  # digest of the definition
    devices: tuple[FoundDevice, ...]
    ranks: int | None  # None: a log does not say
    nodes: int | None
    threads: int | None  # per rank
    backend: str
    timer: TimerHonesty | None = None
    notes: tuple[str, ...] = ()


class Record(Struct, frozen=True):
    """One cell of one launch: what was asked, what came of it, and every sample."""

    schema: int  # always SCHEMA; required, so that it is always written
    benchmark: str
    version: int
    params: Params
    launch: int
    outcome: Outcome
    measurements: tuple[Measurement, ...] = ()
    telemetry: dict[str, tuple[float, float, float]] = {}  # name -> least, median, greatest
    provenance: str = ""  # id of a Provenance in the same store
    seconds: float = 0.0  # wall time that the cell took, warm-up included
    notes: tuple[str, ...] = ()


USUAL: Params = {
    "placement": "packed", "groups": 1, "reduction": "sum", "alone": False, "threads": 0,
    "tensor": 1, "pipeline": 1, "expert": 1, "context": 1, "sequence_parallel": False, "recompute": "none",
    "optimizer": "adamw", "compile": False, "kernel": "default", "batch": 0, "learning_rate": 3e-4,
}  # fmt: skip
"""Values of parameters that go without saying where a cell is named to people."""

SIZES: dict[str, str] = {
    "size": "", "piece": "pieces of ", "stride": "stride ", "block": "blocks of ", "chunk": "chunks of ",
    "copied": "copies of ", "memory": "in memory of ",
}  # fmt: skip
"""Parameters in B, and the words before them where a cell is named to people."""


def cell_name(benchmark: str, params: Params) -> str:
    """A cell as people read it: 'gemm.square dtype=float32 m=1024'."""
    return " ".join([benchmark, *(f"{key}={value}" for key, value in sorted(params.items()))])
