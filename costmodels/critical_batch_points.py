"""Runs of training to a target loss at several batch sizes, checked and made ready for a fit.

A run either reached the target after `steps`, or stopped there without having reached it (censored: it needs more),
or diverged. A diverged run says nothing of how many steps are needed, and is only named.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST = 3  # batch sizes: two fix a curve of two parameters, and a third tells how well
MOST = 200  # batch sizes that are told apart
Array = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Run:
    """One training run. batch: in sequences or tokens. steps: at which the target was reached, or the last one where
    `reached` is false; of no meaning where `diverged`. name: how errors and flags call it, such as 'line 7'."""

    batch: float
    steps: float
    reached: bool = True
    diverged: bool = False
    name: str = ""
    seed: str = ""

    @property
    def label(self) -> str:
        return f"{self.name}: batch {self.batch:g}" if self.name else f"batch {self.batch:g}"


@dataclass(frozen=True)
class Data:
    """Runs as arrays (n,): x is ln batch, y is ln steps, censored says that y is a lower bound. sizes: (J,) the ln of
    each batch size, group: (n,) the index of a run's size there; neighbours are one where there are more than MOST."""

    x: Array
    y: Array
    censored: Flags
    sizes: Array
    group: NDArray[np.intp]

    def kept(self, keep: Flags) -> Data:
        return _data(self.x[keep], self.y[keep], self.censored[keep])

    def sums(self, values: Array) -> Array:
        """(J,): `values` (n,) summed over the runs of each batch size."""
        sums: Array = np.bincount(self.group, weights=values, minlength=len(self.sizes)).astype(np.float64)
        return sums


def prepared(runs: Sequence[Run]) -> Data:
    """The runs that did not diverge, in their order. ValueError names a run that is impossible, and what is missing
    where they cannot tell two parameters."""
    for run in runs:
        _check(run)
    used = [run for run in runs if not run.diverged]
    reached = sorted({run.batch for run in used if run.reached})
    if not reached:
        what = "diverged" if runs and not used else "reached the target"
        raise ValueError(
            f"{'every' if what == 'diverged' else 'no'} run of {len(runs)} {what}: choose a target loss that "
            "some batch sizes reach"
        )
    if len(reached) < LEAST:
        sizes = ", ".join(f"{batch:g}" for batch in reached)
        raise ValueError(
            f"the target was reached at {len(reached)} batch size(s) ({sizes}): S(B) = a + b/B needs at least {LEAST}"
        )
    return _data(
        np.log([run.batch for run in used]), np.log([run.steps for run in used]),
        np.array([not run.reached for run in used]),
    )  # fmt: skip


def _data(x: Array, y: Array, censored: Flags) -> Data:
    sizes, group = np.unique(x, return_inverse=True)
    if len(sizes) > MOST:  # neighbours count as one: the curve hardly bends between them
        bins = np.floor((x - x.min()) / (np.ptp(x) / (MOST - 1)))
        _, group = np.unique(bins, return_inverse=True)
        sizes = np.bincount(group, weights=x) / np.bincount(group)
    return Data(x, y, censored, sizes, group)


def _check(run: Run) -> None:
    if not (math.isfinite(run.batch) and run.batch > 0):
        raise ValueError(f"{run.label}: a batch is a finite number above 0")
    if run.diverged:
        return
    if run.steps == 0 and run.reached:
        raise ValueError(
            f"{run.label}: the target is reached at step 0: choose one below the loss that training starts at"
        )
    if not (math.isfinite(run.steps) and run.steps > 0):
        raise ValueError(
            f"{run.label}: {run.steps:g} steps: accepted is a finite number above 0; of a run that did not reach the "
            "target its last step, marked as censored; or the run is marked as diverged"
        )
