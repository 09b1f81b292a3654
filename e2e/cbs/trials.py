"""One training run of a critical batch size: what is asked of it, what it gave, and the files of both.

A finished trial is a file, written whole or not at all, so a measurement that was killed takes up where it was, and the
ranks of a launch know each other's results without a word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec
from numpy.typing import NDArray

from harness.files import write_atomically
from harness.records import Struct

Ended = Literal["reached", "censored", "diverged"]
Arrays = Mapping[str, NDArray[Any]]
"""A run's state by name, as it lies in a checkpoint: nothing but numbers."""

Key = tuple[int, int, int]
Pairs = tuple[tuple[float, ...], tuple[float, ...]]

LATE = 0.25  # share of a run, at its end, whose gradients tell the noise scale near the target


class Trial(Struct, frozen=True):
    """batch: sequences (or rows) of a step. notch: the learning rate is the sweep's first times its factor to this
    power. seed: of weights and data; 0 and below tune the rate, those above are measured. limit: steps at most."""

    batch: int
    notch: int
    seed: int
    limit: int

    @property
    def key(self) -> Key:
        return self.batch, self.notch, self.seed

    @property
    def name(self) -> str:
        return f"batch{self.batch}-notch{self.notch}-seed{self.seed}"


class Trained(Struct, frozen=True):
    """What came of a trial. steps: to the target (between two looks, interpolated), or the last one taken. looks,
    losses: the held-out loss of the averaged weights at these steps; a loss that is no number is left out. small, big:
    squared norms of the gradients of half a batch and of all of it, at each of the last LATE of the steps."""

    trial: Trial
    ended: Ended
    steps: float
    looks: tuple[int, ...]
    losses: tuple[float, ...]
    passes: float = 0.0  # over the training data
    small: tuple[float, ...] = ()
    big: tuple[float, ...] = ()

    @property
    def lowest(self) -> float:
        return min(self.losses)


class Course(Protocol):
    """A training run under way. passes: over the training data so far; 0 where none ever comes again."""

    @property
    def passes(self) -> float: ...

    def step(self, number: int, rate: float) -> None:
        """Step `number`, from 1, at this learning rate. Its data follow from the seed and the number alone."""
        ...

    def loss(self) -> float:
        """Held-out loss of the averaged weights."""
        ...

    def pairs(self) -> Pairs:
        """Squared norms of the gradients of half a batch and of all of it, at every step so far; none where a batch
        has no halves."""
        ...

    def state(self) -> Arrays:
        """All that `restore` needs to go on exactly here."""
        ...

    def restore(self, state: Arrays) -> None: ...


class Task(Protocol):
    """What is trained. initial: the held-out loss before the first step. rate: a learning rate that suits the largest
    batch; scaling: the power of the batch size that it is scaled by for others. limit: steps at most."""

    @property
    def initial(self) -> float: ...

    @property
    def target(self) -> float: ...

    @property
    def rate(self) -> float: ...

    @property
    def scaling(self) -> float: ...

    @property
    def limit(self) -> int: ...

    def begin(self, batch: int, seeds: Sequence[int]) -> Course: ...


def result_file(folder: Path, trial: Trial) -> Path:
    return folder / f"{trial.name}.json"


def checkpoint_file(folder: Path, trial: Trial) -> Path:
    return folder / f"{trial.name}.npz"


def read(folder: Path, trial: Trial) -> Trained | None:
    """The result of exactly this trial, if it is there."""
    try:
        held = msgspec.json.decode(result_file(folder, trial).read_bytes(), type=Trained)
    except (OSError, msgspec.DecodeError):
        return None
    return held if held.trial == trial else None


def write(folder: Path, trained: Trained) -> None:
    """The result takes the place of the checkpoint."""
    write_atomically(result_file(folder, trained.trial), msgspec.json.encode(trained))
    checkpoint_file(folder, trained.trial).unlink(missing_ok=True)
