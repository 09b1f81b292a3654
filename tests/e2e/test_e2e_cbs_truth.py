"""The least-squares task and what is said to be true of it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from e2e.cbs import truth
from e2e.cbs.averaging import share_of
from e2e.cbs.least_squares import LeastSquares

ROOT2 = math.sqrt(2)


def run(task: LeastSquares, batch: int, rate: float, warmup: int, steps: int, seed: int) -> list[float]:
    course, losses = task.begin(batch, (seed,)), list[float]()
    for number in range(1, steps + 1):
        course.step(number, rate * min(1.0, number / warmup))
        losses.append(course.loss())
    return losses


def test_steps_worked_out_are_those_of_training() -> None:
    """A slip in the recursion of the moments, of the average's or of the warm-up, moves the crossing by more than the
    spread of the mean of 60 runs."""
    task = LeastSquares(dimensions=24, exponent=0.5, noise=0.2, averaging=0.1)
    target = task.floor + 0.15 * (task.initial - task.floor)
    for batch, rate in ((2, 0.06), (9, 0.3)):
        losses = np.mean([run(task, batch, rate, 5, 160, seed) for seed in range(60)], axis=0)
        after = int(np.argmax(losses <= target))
        before = losses[after - 1]
        measured = after + (before - target) / (before - losses[after])
        worked_out = truth.expected_steps(task, [batch], [rate], 5, target)[0, 0]
        assert measured == pytest.approx(worked_out, rel=0.06)


def test_noise_scale_is_that_of_single_rows_gradients() -> None:
    task = LeastSquares(dimensions=20, exponent=0.7, noise=0.3)
    draw = np.random.default_rng(0)
    weights = task.solution * draw.uniform(0.5, 1.2, task.dimensions)
    rows = np.array([task.gradient(weights, 1, draw) for _ in range(60_000)])
    mean = task.spectrum * (weights - task.solution)
    measured = ((rows - mean) ** 2).sum(axis=1).mean() / (mean**2).sum()
    assert truth.noise_scale(task, weights) == pytest.approx(measured, rel=0.03)
    assert rows.mean(axis=0) == pytest.approx(mean, abs=5 * rows.std() / math.sqrt(len(rows)))


def test_without_noise_and_spectrum_both_are_known_in_closed_form() -> None:
    """White rows without label noise: tr(Σ)/|G|² is d + 1 everywhere, and the best constant rate makes the loss fall by
    (d+1)/(B+d+1) a step (worked out by hand from the expectations; no recursion is needed)."""
    task = LeastSquares(dimensions=50, exponent=0.0, noise=0.0, averaging=1e9)  # an average that never starts
    assert truth.noise_scale(task, np.zeros(50)) == pytest.approx(51)
    averaged = share_of(1, 1e9)
    assert averaged < 1e-8
    plain = LeastSquares(dimensions=50, exponent=0.0, noise=0.0, averaging=0.0)
    for batch in (5, 20, 80):
        best = 1 / (1 + 51 / batch)
        expected = math.log(1e-4) / math.log(51 / (batch + 51))
        found = truth.expected_steps(plain, [batch], [best], 1, plain.initial * 1e-4)[0, 0]
        assert found == pytest.approx(expected, abs=1)


def test_steps_follow_the_fitted_form_where_the_task_is_as_it_comes() -> None:
    """The estimators are held against this task's B*, so a + b/B has to describe it over the batches of a run: if the
    defaults move, the fit is biased, whatever its interval says."""
    task, batches = LeastSquares(), np.array([8, 16, 32, 64, 128, 256])
    steps = truth.best_steps(task, batches.tolist(), 10, ROOT2)
    table = np.stack((np.ones(len(batches)), 1 / batches), axis=1) / steps[:, None]
    a, b = np.linalg.lstsq(table, np.ones(len(batches)), rcond=None)[0]
    assert (a + b / batches) / steps == pytest.approx(1, abs=0.01)
    assert truth.critical_batch(task, 8, 10, ROOT2) == pytest.approx(1.2 * 8 + b / (5 * a), rel=0.02)


def test_a_rate_that_is_too_high_never_arrives() -> None:
    task = LeastSquares(dimensions=16)
    found = truth.expected_steps(task, [1, 64], [50.0, 0.5], 1)
    assert np.isinf(found[:, 0]).all()
    assert np.isfinite(found[1, 1])
