"""Gradient noise scale: against gradients whose mean and covariance are known, and what its interval must not hide."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness import noise_scale
from harness.noise_scale import estimate, terms

FEW, MANY = 4, 32


def norms(seed: int, steps: int, scale: float, dimensions: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """Squared norms (steps,) of mean gradients over FEW samples and over MANY, which hold the FEW: as micro-batches of
    one step are. Normal, tr(Σ) = 1 with a spectrum that falls, |G|² = 1/scale."""
    rng = np.random.default_rng(1000 + seed)
    spectrum = np.arange(1, dimensions + 1) ** -0.5
    spectrum /= spectrum.sum()
    mean = rng.standard_normal(dimensions)
    mean *= math.sqrt(1 / scale) / np.linalg.norm(mean)
    noise = rng.standard_normal((2, steps, dimensions)) * np.sqrt(spectrum)
    small = mean + noise[0] / math.sqrt(FEW)
    rest = mean + noise[1] / math.sqrt(MANY - FEW)
    big = (FEW * small + (MANY - FEW) * rest) / MANY
    return (small**2).sum(axis=1), (big**2).sum(axis=1)


@pytest.mark.parametrize(("steps", "scale"), [(20, 64.0), (100, 64.0), (10, 20.0), (100, 2000.0)])
def test_the_interval_holds_the_truth(steps: int, scale: float) -> None:
    """A normal interval of the ratio, or the mean of ratios, misses far more often than 1 time in 20."""
    found = [estimate(*norms(seed, steps, scale), FEW, MANY) for seed in range(400)]
    assert sum(one.low <= scale <= one.high for one in found) >= 0.93 * 400


def test_it_is_as_narrow_as_was_promised() -> None:
    found = [estimate(*norms(seed, 400, 32.0), FEW, MANY) for seed in range(20)]
    assert sum(one.low <= 32 <= one.high for one in found) >= 18
    assert np.median([one.width for one in found]) < 0.35
    assert abs(np.mean([math.log(one.value / 32) for one in found])) < 0.05


def test_gradients_without_a_mean_have_no_upper_end() -> None:
    found = [estimate(*norms(seed, 40, 1e6), FEW, MANY) for seed in range(40)]
    assert sum(math.isinf(one.high) for one in found) >= 36
    assert any(math.isinf(one.value) for one in found)
    assert all(one.low <= 1e6 and math.isfinite(one.low) for one in found)


def test_both_terms_are_unbiased() -> None:
    noise, signal = (np.concatenate(found) for found in zip(
        *(terms(*norms(seed, 100, 64.0), FEW, MANY) for seed in range(50)), strict=True))  # fmt: skip
    assert noise.mean() == pytest.approx(1.0, rel=0.02)
    assert signal.mean() == pytest.approx(1 / 64, rel=0.1)
    assert (signal < 0).any()  # of single steps: their ratios would be anything


def test_steps_that_are_alike_do_not_count_as_many() -> None:
    """Pairs that stay nearly the same for 20 steps tell what 1 in 20 does: single steps as if independent would give an
    interval far too narrow."""
    small, big = norms(3, 32, 64.0)
    one, many = estimate(small, big, FEW, MANY), estimate(np.repeat(small, 20), np.repeat(big, 20), FEW, MANY)
    assert many.value == pytest.approx(one.value)
    assert many.width == pytest.approx(one.width)


def test_a_drift_along_training_is_no_noise() -> None:
    """Gradients fall by ten as training goes on. Scatter about the mean would take that for noise, and be open."""
    shrinks = np.geomspace(1.0, 0.1, 200)
    held = (norms(seed, 200, 32.0) for seed in range(40))
    found = [estimate(shrinks * small, shrinks * big, FEW, MANY) for small, big in held]
    assert sum(one.low <= 32 <= one.high for one in found) >= 35
    assert max(one.width for one in found) < 0.5


def test_the_unit_of_the_batch_and_of_the_gradient() -> None:
    small, big = norms(4, 64, 16.0)
    one = estimate(small, big, FEW, MANY)
    in_tokens = estimate(9 * small, 9 * big, 1024 * FEW, 1024 * MANY)
    assert (in_tokens.value, in_tokens.low, in_tokens.high) == pytest.approx(
        (1024 * one.value, 1024 * one.low, 1024 * one.high)
    )


def test_noise_alone_and_none_at_all() -> None:
    assert estimate([1.0] * 5, [1.0] * 5, 1, 2).value == 0  # the batch makes no difference
    only_noise = estimate([2.0] * 5, [1.0] * 5, 1, 2)
    assert (only_noise.value, only_noise.high) == (math.inf, math.inf)


def test_students_quantiles_go_on_where_the_table_ends() -> None:
    known = {9: 2.262, 10: 2.2281, 15: 2.1314, 24: 2.0639, 31: 2.0395}
    assert {freedom: noise_scale._student(freedom) for freedom in known} == pytest.approx(known, abs=2e-4)


@pytest.mark.parametrize(("given", "says"), [
    (([1.0] * 2, [1.0] * 2, 1, 2), r"2 pair\(s\) of squared gradient norms: accepted are 3 and more"),
    (([1.0] * 3, [1.0] * 4, 1, 2), "3 squared norms at the small batch, 4 at the big one"),
    (([1.0] * 3, [1.0, math.nan, 1.0], 1, 2), "a squared gradient norm of nan"),
    (([1.0, -1.0, 1.0], [1.0] * 3, 1, 2), "a squared gradient norm of -1"),
    (([1.0, math.inf, 1.0], [1.0] * 3, 1, 2), "a squared gradient norm of inf"),
    (([1.0] * 3, [1.0] * 3, 2, 2), "batches of 2 and 2: accepted are"),
    (([1.0] * 3, [1.0] * 3, 0, 2), "batches of 0 and 2"),
    (([1.0] * 3, [1.0] * 3, 1, math.inf), "batches of 1 and inf"),
])  # fmt: skip
def test_what_is_no_pair_of_batches_is_named(given, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        estimate(*given)
