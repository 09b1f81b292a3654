"""What a training job tells the cell that started it."""

from __future__ import annotations

from e2e.asked import Asked
from harness.records import Struct

PHASES = ("data", "forward", "backward", "optimizer")
EXPOSED, REST = "communication", "rest"
PARTS = (*PHASES, EXPOSED, REST)


Loss = float | None
"""None where it is no number: JSON has no NaN and no infinity, and writes null."""


class Job(Struct, frozen=True):
    """seconds: of timed steps at most, after a warm-up of a quarter of it at most. profiled: steps whose parts are
    looked at. observed: steps whose squared gradient norms are taken."""

    asked: Asked
    accelerator: str
    seconds: float
    profiled: int = 3
    observed: int = 12


class Parts(Struct, frozen=True):
    """Seconds of one step, and of its parts in the order of `PARTS`."""

    step: float
    parts: tuple[float, ...]


class Told(Struct, frozen=True):
    """refused: why the library or the device does not train this; all else is empty then.

    steps: s, the greatest over ranks of each timed step. warmup: steps before them. losses: of every step, warm-up
    included, the mean over the whole batch. busy: s of a step in which each rank computes, its median. energy: J of
    one step over all devices; None where no power is measured. memory: B at most on one rank, by tier. small, big:
    squared gradient norms at batches of b_small and b_big sequences; noiseless: why there are none.
    """

    refused: str = ""
    notes: tuple[str, ...] = ()
    parameters: int = 0
    steps: tuple[float, ...] = ()
    warmup: int = 0
    settled: bool = True
    stopped: str = ""
    width: float | None = None
    tainted: int = 0
    losses: tuple[Loss, ...] = ()
    parts: tuple[Parts, ...] = ()
    busy: tuple[float, ...] = ()
    energy: float | None = None
    memory: dict[str, int] = {}
    small: tuple[float, ...] = ()
    big: tuple[float, ...] = ()
    b_small: float = 0.0
    b_big: float = 0.0
    noiseless: str = ""
