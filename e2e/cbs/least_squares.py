"""Linear regression by SGD: a task whose noise scale and whose steps to a target can be worked out (`e2e.cbs.truth`).

Rows x are normal with covariance H = diag(λ), a power law; labels are x·w* plus noise of variance σ². With d = w - w*
the loss is (dᵀHd + σ²)/2, known exactly at any weights, so that validation adds no noise of its own. The gradients are
those of real batches: every row is drawn. Power-law spectrum and label noise as in Zhang et al. (arXiv 2410.21676,
section 4); the defaults lie where steps against batch follow a + b/B to within 1 % (tests/e2e), so that a fit of that
form can be held against the truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from e2e.cbs.averaging import share_of
from e2e.cbs.trials import Arrays, Pairs

Vector = NDArray[np.float64]

EXPONENT, NOISE = 0.25, 0.02  # λ_i = i^-EXPONENT; σ², where the labels' variance without it is 1
LEFT = 0.02  # of the initial excess loss: at the target


@dataclass(frozen=True)
class LeastSquares:
    """dimensions: of w, d. exponent: of the spectrum. noise: σ². averaging: see `e2e.cbs.averaging`.

    w* has equal entries such that w = 0 explains none of the labels' variance, 1."""

    dimensions: int = 512
    exponent: float = EXPONENT
    noise: float = NOISE
    averaging: float = 0.1
    rate: float = 1.0  # half of what the largest eigenvalue, 1, is stable at
    scaling: float = 1.0
    limit: int = 4000

    @cached_property
    def spectrum(self) -> Vector:
        """λ, (d,), descending from 1."""
        return np.arange(1, self.dimensions + 1, dtype=np.float64) ** -self.exponent

    @cached_property
    def solution(self) -> Vector:
        """w*, (d,)."""
        return np.full(self.dimensions, self.spectrum.sum() ** -0.5)

    @property
    def floor(self) -> float:
        """The loss at w*."""
        return self.noise / 2

    @property
    def initial(self) -> float:
        return self.loss(np.zeros(self.dimensions))

    @property
    def target(self) -> float:
        return self.floor + LEFT * (self.initial - self.floor)

    def loss(self, weights: Vector) -> float:
        """Expected loss over all rows there could be."""
        return float(self.spectrum @ (weights - self.solution) ** 2 + self.noise) / 2

    def gradient(self, weights: Vector, batch: int, draw: np.random.Generator) -> Vector:
        """Mean gradient over `batch` fresh rows, (d,)."""
        gradient: Vector = self.gradients(weights, batch, 1, draw)[0]
        return gradient

    def gradients(self, weights: Vector, batch: int, parts: int, draw: np.random.Generator) -> Vector:
        """Mean gradients over each of `parts` equal parts of `batch` fresh rows, (parts, d)."""
        rows = draw.standard_normal((batch, self.dimensions)) * np.sqrt(self.spectrum)
        errors = rows @ (weights - self.solution) - np.sqrt(self.noise) * draw.standard_normal(batch)
        cut = (parts, batch // parts)
        found: Vector = np.einsum("pb,pbd->pd", errors.reshape(cut), rows.reshape(*cut, -1)) / cut[1]
        return found

    def begin(self, batch: int, seeds: Sequence[int]) -> Descent:
        return Descent(self, batch, tuple(seeds))


class Descent:
    """A run of SGD from w = 0."""

    passes = 0.0  # no row is ever seen twice

    def __init__(self, task: LeastSquares, batch: int, seeds: tuple[int, ...]) -> None:
        self._task, self._batch, self._seeds = task, batch, seeds
        self.weights, self.averaged = np.zeros(task.dimensions), np.zeros(task.dimensions)
        self._small, self._big = list[float](), list[float]()

    def step(self, number: int, rate: float) -> None:
        draw = np.random.default_rng([*self._seeds, self._batch, number])
        with np.errstate(over="ignore", invalid="ignore"):  # a rate too high overflows; the loss then says so
            parts = self._task.gradients(self.weights, self._batch, 1 + (self._batch % 2 == 0), draw)
            gradient = parts.mean(axis=0)
            if len(parts) > 1:
                self._small.append(float((parts**2).sum(axis=1).mean()))
                self._big.append(float(gradient @ gradient))
            self.weights = self.weights - rate * gradient
            self.averaged = self.averaged + share_of(number, self._task.averaging) * (self.weights - self.averaged)

    def loss(self) -> float:
        with np.errstate(over="ignore", invalid="ignore"):
            return self._task.loss(self.averaged)

    def pairs(self) -> Pairs:
        return tuple(self._small), tuple(self._big)

    def state(self) -> Arrays:
        held = {"weights": self.weights, "averaged": self.averaged}
        return held | {"small": np.array(self._small), "big": np.array(self._big)}

    def restore(self, state: Arrays) -> None:
        self.weights = np.asarray(state["weights"], dtype=np.float64)
        self.averaged = np.asarray(state["averaged"], dtype=np.float64)
        self._small, self._big = state["small"].tolist(), state["big"].tolist()
