"""Statistics against distributions whose answer is known, and against properties that must hold.

Coverage is counted over seeded trials: an interval of 95 % that is missed in 1,000 trials as often as
`LEAST` forbids would be missed so by chance less than once in ten thousand such tests.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import Generator
from numpy.typing import NDArray

from harness.statistics import (
    Interval,
    launch_interval,
    mean_interval,
    median_interval,
    median_ranks,
    ratio_interval,
    settled,
    summarise,
    two_modes,
)

Array = NDArray[np.float64]
Draw = Callable[[Generator, int], Array]

TRIALS = 1000
LEAST = 0.95 - 3.8 * math.sqrt(0.95 * 0.05 / TRIALS)  # 3.8 standard errors below: 0.924

times = st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=60)
whole = st.lists(st.integers(1, 10**6).map(lambda n: n * 2.0**-20), min_size=1, max_size=60)


def bimodal(rng: Generator, n: int, gap: float = 1.5, share: float = 0.4) -> Array:
    return np.where(rng.random(n) < share, gap, 1.0) * rng.lognormal(0, 0.015, n)


DISTRIBUTIONS: dict[str, tuple[Draw, float]] = {
    "normal": (lambda rng, n: rng.normal(1.0, 0.1, n), 1.0),
    "lognormal": (lambda rng, n: rng.lognormal(0.0, 1.0, n), 1.0),
    # 40 % lie in the upper mode, so the median is the 5/6 quantile of the lower one.
    "bimodal": (bimodal, math.exp(0.015 * 0.9674215661017010)),
}


class TestMedianRanks:
    @pytest.mark.parametrize("n", [*range(1, 80), 200, 999, 2000])
    def test_are_the_narrowest_pair_that_covers(self, n: int) -> None:
        """Coverage of (low, high), exactly: the median lies between them unless at most `low`, or at
        least n - low, of n samples fall below it."""
        low, high = median_ranks(n)
        assert high == n - 1 - low
        if n >= 6:
            assert self.coverage(n, low) >= Fraction(95, 100)
            assert self.coverage(n, low + 1) < Fraction(95, 100)
        else:
            assert low == 0

    @staticmethod
    def coverage(n: int, low: int) -> Fraction:
        return 1 - 2 * Fraction(sum(math.comb(n, k) for k in range(low + 1)), 2**n)

    def test_known_table(self) -> None:
        """David & Nagaraja, 7.1: pairs of order statistics (from 1) for the median at 95 %."""
        assert [median_ranks(n) for n in (6, 10, 20, 30)] == [(0, 5), (1, 8), (5, 14), (9, 20)]

    def test_nothing_has_no_median(self) -> None:
        with pytest.raises(ValueError, match="no samples"):
            median_ranks(0)


class TestMedianInterval:
    @pytest.mark.parametrize("n", [10, 30, 200])
    @pytest.mark.parametrize("name", DISTRIBUTIONS)
    def test_covers_the_true_median(self, name: str, n: int) -> None:
        draw, median = DISTRIBUTIONS[name]
        rng = np.random.default_rng(7)
        drawn = [median_interval(draw(rng, n)) for _ in range(TRIALS)]
        covered = sum(interval.low <= median <= interval.high for interval in drawn) / TRIALS
        exact = float(TestMedianRanks.coverage(n, median_ranks(n)[0]))
        assert abs(covered - exact) < 4 * math.sqrt(exact * (1 - exact) / TRIALS)

    @given(whole, st.randoms(use_true_random=False))
    def test_order_of_samples_does_not_matter(self, samples: list[float], random: random.Random) -> None:
        shuffled = list(samples)
        random.shuffle(shuffled)
        assert median_interval(shuffled) == median_interval(samples)

    @given(whole, st.integers(-20, 20))
    def test_scales_with_its_samples(self, samples: list[float], power: int) -> None:
        factor = 2.0**power
        base, scaled = median_interval(samples), median_interval([x * factor for x in samples])
        assert scaled == Interval(base.value * factor, base.low * factor, base.high * factor)
        assert scaled.width == base.width

    @given(times)
    def test_holds_its_value_and_stays_inside_the_samples(self, samples: list[float]) -> None:
        interval = median_interval(samples)
        assert min(samples) <= interval.low <= interval.value <= interval.high <= max(samples)


class TestInterval:
    @given(times, st.floats(1.0, 1e12))
    def test_a_rate_comes_from_the_median_time(self, samples: list[float], amount: float) -> None:
        time = median_interval(samples)
        rate = time.over(amount)
        assert rate.value == amount / float(np.median(samples))
        assert rate.low <= rate.value <= rate.high

    def test_a_rate_is_not_a_mean_of_rates(self) -> None:
        """One operation in 1 s and one in 3 s: half of the mean of rates would be 0.67 an s."""
        assert median_interval([1.0, 3.0]).over(1.0).value == 0.5

    def test_width_is_relative(self) -> None:
        assert Interval(10.0, 9.0, 12.0).width == pytest.approx(0.15)
        assert Interval(0.0, -1.0, 1.0).width == math.inf


class TestLaunchInterval:
    """Launches differ from each other (spread `across`), iterations within them (spread `within`)."""

    @pytest.mark.parametrize(("across", "within"), [(0.02, 0.02), (0.05, 0.01), (0.002, 0.02)])
    @pytest.mark.parametrize("launches", [2, 3, 5, 10])
    def test_covers_the_true_median(self, launches: int, across: float, within: float) -> None:
        rng, hits, trials = np.random.default_rng(launches), 0, 300
        for trial in range(trials):
            drawn = [rng.lognormal(rng.normal(0, across), within, 30) for _ in range(launches)]
            interval = launch_interval(drawn, seed=trial)
            hits += interval.low <= 1.0 <= interval.high
        assert hits / trials >= 0.95 - 3.5 * math.sqrt(0.95 * 0.05 / trials)

    def test_is_honest_about_few_launches(self) -> None:
        """Three launches that differ by 2 % say little: the interval is wider than their range."""
        launches = [np.full(30, 0.98), np.full(30, 1.0), np.full(30, 1.02)]
        interval = launch_interval(launches)
        assert interval.value == 1.0
        assert interval.low < 0.96
        assert interval.high > 1.04

    def test_is_repeatable_and_ignores_the_order_of_samples(self) -> None:
        rng = np.random.default_rng(1)
        launches = [rng.lognormal(0, 0.1, 30) for _ in range(3)]
        assert launch_interval(launches) == launch_interval([launch[::-1] for launch in launches])

    @given(st.lists(whole, min_size=2, max_size=4), st.integers(-10, 10))
    def test_scales_with_its_samples(self, launches: list[list[float]], power: int) -> None:
        factor = 2.0**power
        base, scaled = launch_interval(launches), launch_interval([[x * factor for x in one] for one in launches])
        assert scaled.value == base.value * factor
        assert (scaled.low, scaled.high) == pytest.approx((base.low * factor, base.high * factor), rel=1e-9)
        assert scaled.low <= scaled.value <= scaled.high

    def test_values_that_are_not_positive_get_the_bootstrap_alone(self) -> None:
        interval = launch_interval([[-1.0, 0.0, 1.0], [0.0, 1.0, 2.0]])
        assert -1.0 <= interval.low <= interval.value == 0.5 <= interval.high <= 2.0


class TestRatioInterval:
    def test_covers_a_known_ratio(self) -> None:
        """A drift that both sides of a pair share cancels; the 5 % between them stays."""
        rng, hits = np.random.default_rng(3), 0
        for _ in range(TRIALS):
            drift = np.linspace(1.0, 2.0, 30)
            a, b = 1.05 * drift * rng.lognormal(0, 0.02, 30), drift * rng.lognormal(0, 0.02, 30)
            interval = ratio_interval(a, b)
            hits += interval.low <= 1.05 <= interval.high
        assert hits / TRIALS >= LEAST

    @given(times)
    def test_of_a_thing_with_itself_is_one(self, samples: list[float]) -> None:
        assert ratio_interval(samples, samples) == Interval(1.0, 1.0, 1.0)


class TestTwoModes:
    ONE: dict[str, Draw] = {
        "normal": lambda rng, n: rng.normal(1.0, 0.02, n),
        "lognormal": lambda rng, n: rng.lognormal(0.0, 0.5, n),
        "uniform": lambda rng, n: rng.uniform(0.5, 1.5, n),
        "exponential": lambda rng, n: 1.0 + rng.exponential(0.3, n),
    }

    @pytest.mark.parametrize(("n", "most"), [(20, 0.12), (100, 0.01), (1000, 0.01)])
    @pytest.mark.parametrize("name", ONE)
    def test_one_mode_is_rarely_taken_for_two(self, name: str, n: int, most: float) -> None:
        rng = np.random.default_rng(5)
        false = sum(two_modes(self.ONE[name](rng, n)) is not None for _ in range(500))
        assert false / 500 <= most

    @pytest.mark.parametrize("n", [20, 100, 1000])
    @pytest.mark.parametrize(("gap", "share"), [(1.3, 0.4), (2.0, 0.5), (5.0, 0.3)])
    def test_two_clear_modes_are_found(self, gap: float, share: float, n: int) -> None:
        rng = np.random.default_rng(6)
        found = [two_modes(bimodal(rng, n, gap, share)) for _ in range(200)]
        assert sum(modes is not None for modes in found) / 200 >= 0.97
        lower, upper, upper_share = (np.median([modes[i] for modes in found if modes]) for i in range(3))
        assert lower == pytest.approx(1.0, rel=0.02)
        assert upper == pytest.approx(gap, rel=0.02)
        assert upper_share == pytest.approx(share, abs=0.05)

    def test_a_few_outliers_are_no_mode(self) -> None:
        assert two_modes([1.0] * 95 + [5.0] * 5) is None

    def test_modes_less_than_5_percent_apart_are_one(self) -> None:
        assert two_modes([1.0] * 20 + [1.04] * 20) is None

    @pytest.mark.parametrize("samples", [[1.0, 2.0] * 9, [1.0] * 50, [0.0, 1.0] * 20])
    def test_says_nothing_of_too_few_equal_or_zero_samples(self, samples: list[float]) -> None:
        assert two_modes(samples) is None


class TestSummary:
    def test_one_launch_has_a_within_run_interval(self) -> None:
        samples = list(np.random.default_rng(0).lognormal(0, 0.1, 50))
        summary = summarise([samples])
        assert not summary.across_launches
        assert summary.interval == median_interval(samples)

    def test_numbers_of_known_samples(self) -> None:
        summary = summarise([np.arange(1.0, 102.0), np.arange(1.0, 102.0)])
        assert (summary.n, summary.launches, summary.across_launches) == (202, 2, True)
        assert (summary.least, summary.p5, summary.interval.value, summary.p95) == (1.0, 6.0, 51.0, 96.0)
        assert summary.mad == pytest.approx(25.0, abs=0.6)
        assert summary.cv == pytest.approx(np.arange(1.0, 102.0).std() / 51.0, rel=0.01)

    def test_a_single_sample_is_summarised(self) -> None:
        summary = summarise([[2.0]])
        assert (summary.interval.value, summary.cv, summary.mad, summary.n) == (2.0, 0.0, 0.0, 1)

    @given(st.lists(whole, min_size=1, max_size=3))
    def test_launches_may_come_in_any_order_of_samples(self, launches: list[list[float]]) -> None:
        a, b = summarise(launches), summarise([sorted(launch) for launch in launches])
        assert (a.interval, a.p5, a.p95, a.mad, a.modes) == (b.interval, b.p5, b.p95, b.mad, b.modes)


class TestSettled:
    @pytest.mark.parametrize(
        ("before", "now", "calm"),
        [([1.0, 1.0], [1.04, 1.04], True), ([1.0], [1.06], False), ([2.0], [1.0], False), ([0.0], [0.0], True)],
    )
    def test_compares_medians(self, before: list[float], now: list[float], calm: bool) -> None:
        assert settled(before, now) is calm
        assert settled(now, before) is calm

    def test_one_outlier_does_not_unsettle(self) -> None:
        assert settled([1.0, 1.0, 1.0], [1.0, 50.0, 1.0])


def correlated(rng: Generator, n: int) -> Array:
    """Steps of which what spoils one spoils the next: half of each deviation stays."""
    deviation, found = 0.0, []
    for shock in rng.normal(0, 0.05, n + 50):
        deviation = deviation / 2 + shock
        found.append(1 + deviation)
    return np.array(found[50:])


@pytest.mark.parametrize(
    ("draw", "mean", "n", "least"),
    [
        (lambda rng, n: rng.lognormal(0, 0.1, n), math.exp(0.005), 10, LEAST),
        (lambda rng, n: rng.lognormal(0, 0.1, n), math.exp(0.005), 200, LEAST),
        (correlated, 1.0, 200, LEAST),
        (correlated, 1.0, 40, 0.90),  # stretches of four steps still lean on their neighbours
    ],
    ids=["10 steps", "200 steps", "200 steps that lean", "40 steps that lean"],
)
def test_the_interval_of_a_mean_covers_it_also_where_steps_lean_on_each_other(
    draw: Draw, mean: float, n: int, least: float
) -> None:
    rng = np.random.default_rng(7)
    hits = sum(known.low <= mean <= known.high for known in (mean_interval([draw(rng, n)]) for _ in range(TRIALS)))
    assert hits / TRIALS >= least


def test_the_interval_of_a_mean_covers_what_differs_between_launches() -> None:
    rng = np.random.default_rng(8)
    hits = 0
    for _ in range(TRIALS):
        launches = [factor * rng.lognormal(0, 0.02, 30) for factor in rng.lognormal(0, 0.1, 3)]
        known = mean_interval(launches)
        hits += known.low <= math.exp(0.0002) <= known.high
    assert hits / TRIALS >= LEAST


@given(st.lists(times, min_size=1, max_size=4))
def test_a_mean_is_that_of_launch_means_within_a_positive_interval(launches: list[list[float]]) -> None:
    known = mean_interval(launches)
    assert known.value == pytest.approx(np.mean([np.mean(samples) for samples in launches]))
    assert 0 < known.low <= known.value <= known.high
    assert summarise(launches, "mean").interval == known
