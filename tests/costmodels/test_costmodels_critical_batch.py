"""Critical batch size from steps against batch: planted curves, intervals that cover, runs that are no use named."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costmodels.critical_batch import CriticalBatch, fit
from costmodels.critical_batch_curve import solve
from costmodels.critical_batch_points import Run
from costmodels.critical_batch_robust import mills
from harness.statistics import Interval

A, CRIT = 1000.0, 512.0  # steps, sequences
BATCHES = tuple(2.0**power for power in range(5, 14))


def true(batch: float, crit: float = CRIT) -> float:
    return A * (1 + crit / batch)


def runs(seed: int, noise: float, batches: Sequence[float] = BATCHES, seeds: int = 1, crit: float = CRIT) -> list[Run]:
    rng = np.random.default_rng(seed)
    return [
        Run(batch, true(batch, crit) * float(np.exp(noise * rng.standard_normal())), name=f"line {at * seeds + each}")
        for at, batch in enumerate(batches)
        for each in range(seeds)
    ]


def fitted_or_not(those: list[Run]) -> CriticalBatch | None:
    """None where they cannot be fitted."""
    try:
        return fit(those)
    except ValueError:
        return None


def holds(found: Interval, value: float) -> bool:
    return found.low <= value <= found.high


def test_exact_steps_give_the_planted_parameters() -> None:
    found = fit(runs(0, 0.0), reference=32)
    assert (found.a.value, found.b.value) == (pytest.approx(A, rel=1e-9), pytest.approx(A * CRIT, rel=1e-9))
    assert found.b_crit.value == pytest.approx(CRIT, rel=1e-9)
    assert found.b_star.value == pytest.approx(1.2 * 32 + CRIT / 5, rel=1e-9)
    assert found.b_star.width < 1e-6
    assert (found.outliers, found.diverged, found.censored) == ((), (), ())


def test_the_forms_of_both_papers_are_one() -> None:
    """(S/S_min - 1)(E/E_min - 1) = 1 at every batch; at b_star steps are 1 + x times linear scaling."""
    found = fit(runs(1, 0.03), reference=64, overhead=0.35)
    s_min, e_min = found.a.value, found.b.value
    for batch in BATCHES:
        steps, samples = found.steps(batch).value, found.samples(batch).value
        assert (steps / s_min - 1) * (samples / e_min - 1) == pytest.approx(1.0)
        assert samples == pytest.approx(e_min * (1 + batch / found.b_crit.value))
    star = found.b_star.value
    assert found.steps(star).value == pytest.approx(1.35 * found.steps(64).value * 64 / star)


@pytest.mark.parametrize(("seeds", "noise", "batches"), [
    (3, 0.05, BATCHES), (1, 0.05, BATCHES), (1, 0.05, BATCHES[::2]), (2, 0.15, BATCHES[1:8]),
])  # fmt: skip
def test_the_interval_holds_the_truth_19_times_in_20(seeds: int, noise: float, batches: Sequence[float]) -> None:
    """An interval that forgot a source of noise, or few degrees of freedom, would miss far more often."""
    crit, star = 0, 0
    for seed in range(40):
        found = fit(runs(seed, noise, batches, seeds))
        crit += holds(found.b_crit, CRIT)
        star += holds(found.b_star, 1.2 * min(batches) + CRIT / 5)
    assert min(crit, star) >= 34  # of 40: at 95 %, fewer 3 times in 1000


def test_what_all_seeds_of_a_batch_share_is_in_the_interval() -> None:
    """A learning rate that suits a batch less moves all its seeds: their scatter alone would be far too narrow."""
    held = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        shift = dict(zip(BATCHES, np.exp(0.08 * rng.standard_normal(len(BATCHES))), strict=True))
        those = [replace(run, steps=run.steps * shift[run.batch]) for run in runs(seed, 0.01, seeds=4)]
        held += holds(fit(those).b_crit, CRIT)
    assert held >= 33


@pytest.mark.parametrize("factor", [1e3, 30.0, 0.02, 1e-4])
@pytest.mark.parametrize("at", [0, 4, 8])
def test_an_outlier_is_named_and_moves_nothing(at: int, factor: float) -> None:
    clean = runs(7, 0.03)
    spoilt = [*clean[:at], replace(clean[at], steps=clean[at].steps * factor), *clean[at + 1 :]]
    found, without = fit(spoilt), fit([run for run in clean if run != clean[at]], reference=32)
    assert found.outliers == (at,)
    assert len(found.expected) == len(found.runs) == len(clean)
    assert spoilt[at].steps / found.expected[at] == pytest.approx(factor, rel=0.2)
    assert found.b_crit.value == pytest.approx(without.b_crit.value, rel=1e-6)


def test_an_outlier_among_five_points_is_found() -> None:
    """Least squares with any smooth loss would be drawn along: half of so few points is two."""
    for at in range(5):
        those = runs(3, 0.02, BATCHES[::2])
        those[at] = replace(those[at], steps=those[at].steps * 100)
        found = fit(those)
        assert found.outliers == (at,)
        assert found.b_crit.value == pytest.approx(CRIT, rel=0.3)


def test_a_point_that_is_merely_off_stays_in() -> None:
    those = runs(5, 0.03)
    those[3] = replace(those[3], steps=those[3].steps * 1.2)
    assert fit(those).outliers == ()


def test_censored_runs_count_as_needing_more() -> None:
    """Half of the smallest batch's runs hit the limit: left out, or taken at their word, they would pull it down."""
    limit, apart, dropped, held = true(32), [], [], 0
    for seed in range(20):
        those = runs(seed, 0.3, seeds=8)
        those = [run if run.steps <= limit else replace(run, steps=limit, reached=False) for run in those]
        found = fit(those)
        assert found.censored == tuple(at for at, run in enumerate(those) if not run.reached)
        held += holds(found.b, A * CRIT)
        apart.append(math.log(found.b.value / (A * CRIT)))
        dropped.append(math.log(fit([run for run in those if run.reached]).b.value / (A * CRIT)))
    assert held >= 17
    assert abs(np.mean(apart)) < 0.05
    assert np.mean(dropped) < np.mean(apart) - 0.05


def test_a_censored_run_below_the_curve_says_nothing() -> None:
    clean = runs(2, 0.02)
    found = fit([*clean, Run(32, 100.0, reached=False)])
    assert found.b_crit.value == pytest.approx(fit(clean).b_crit.value, rel=1e-3)
    assert found.censored == (9,)


def test_a_censored_run_that_contradicts_all_others_is_an_outlier() -> None:
    clean = runs(2, 0.02)
    found = fit([*clean, Run(4096, 1e6, reached=False)])
    assert (found.outliers, found.censored) == ((9,), ())


def test_diverged_runs_are_named_and_not_fitted() -> None:
    clean = runs(2, 0.02)
    found = fit([Run(8192, math.nan, reached=False, diverged=True), *clean])
    assert found.diverged == (0,)
    assert found.b_crit == fit(clean).b_crit


def test_batches_far_below_give_an_open_interval_or_an_error() -> None:
    said = 0
    for seed in range(12):
        try:
            found = fit(runs(seed, 0.05, BATCHES[:4], seeds=3, crit=16384))
        except ValueError as error:
            said += "lies above" in str(error) and "Add larger batches" in str(error)
        else:
            said += math.isinf(found.b_crit.high) and any("end too early" in note for note in found.notes)
    assert said >= 11  # an interval of 95 % misses now and then


def test_batches_far_above_have_no_lower_end_or_say_so() -> None:
    said = 0
    for seed in range(12):
        try:
            found = fit(runs(seed, 0.05, BATCHES[5:], seeds=3, crit=2))
        except ValueError as error:
            said += "lies below" in str(error) and "Add smaller batches" in str(error)
        else:
            said += found.b_crit.low == 0 and any("begin too late" in note for note in found.notes)
    assert said == 12


def test_one_budget_of_samples_is_no_target() -> None:
    with pytest.raises(ValueError, match="every run had the same budget of samples"):
        fit([Run(batch, 1e9 / batch) for batch in BATCHES])


def test_an_extrapolated_batch_is_said_to_be_one() -> None:
    assert any("times above the largest batch" in note for note in fit(runs(0, 0.002, BATCHES[:3])).notes)
    assert any("times below the smallest batch" in note for note in fit(runs(0, 0.0002, BATCHES[6:])).notes)
    found = fit(runs(0, 0.01), reference=4)
    assert any("the reference batch 4 lies outside" in note for note in found.notes)


def test_the_reference_is_the_smallest_batch_where_none_is_given() -> None:
    assert (fit(runs(0, 0.01)).reference, fit(runs(0, 0.01)).chosen) == (32.0, True)
    assert (fit(runs(0, 0.01), reference=64).reference, fit(runs(0, 0.01), reference=64).chosen) == (64.0, False)


def test_the_unit_of_the_batch_does_not_matter() -> None:
    one, other = fit(runs(4, 0.05)), fit([replace(run, batch=run.batch * 2048) for run in runs(4, 0.05)])
    assert other.b_crit.value == pytest.approx(2048 * one.b_crit.value)
    assert other.b_crit.high == pytest.approx(2048 * one.b_crit.high)
    assert other.a.low == pytest.approx(one.a.low)


def test_very_many_runs_and_sizes_are_fitted_in_little_time_and_memory() -> None:
    """30000 sizes beside 2000 draws would be half a gigabyte and minutes: the time limit of a test stands for it."""
    rng = np.random.default_rng(0)
    batches = 2 ** rng.uniform(5, 13, 30_000)
    found = fit(
        [Run(float(batch), true(float(batch)) * float(np.exp(0.3 * rng.standard_normal()))) for batch in batches]
    )
    assert holds(found.b_crit, CRIT)
    assert found.b_crit.width < 0.03
    assert not any("outside" in note for note in found.notes)


@pytest.mark.parametrize(("those", "says"), [
    ([], "no run of 0 reached the target"),
    ([Run(8, 10, reached=False), Run(16, 10, reached=False)], "no run of 2 reached the target"),
    ([Run(8, math.nan, diverged=True)], "every run of 1 diverged"),
    ([Run(8, 10), Run(8, 11), Run(16, 7)], r"at 2 batch size\(s\) \(8, 16\): .* at least 3"),
    ([Run(8, 10)], r"at 1 batch size\(s\) \(8\)"),
    ([Run(8, 0, name="line 2"), Run(16, 7), Run(32, 5)], "line 2: batch 8: the target is reached at step 0"),
    ([Run(8, math.inf, name="line 2")], "line 2: batch 8: inf steps"),
    ([Run(8, -3)], "batch 8: -3 steps"),
    ([Run(0, 3)], "batch 0: a batch is a finite number above 0"),
    ([Run(math.nan, 3)], "batch nan"),
])  # fmt: skip
def test_what_cannot_be_fitted_is_named(those: list[Run], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        fit(those)


@pytest.mark.parametrize(("given", "says"), [
    ({"reference": 0.0}, "a reference batch of 0"), ({"reference": math.inf}, "a reference batch of inf"),
    ({"overhead": -0.1}, "an overhead of -0.1"), ({"overhead": math.nan}, "an overhead of nan"),
])  # fmt: skip
def test_wrong_settings_are_named(given: dict[str, float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        fit(runs(0, 0.01), **given)  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(1e-3, 1e9), st.booleans()), min_size=3, max_size=12))
def test_any_runs_give_a_curve_that_holds_together_or_words(held: list[tuple[float, bool]]) -> None:
    found = fitted_or_not([Run(2.0 ** (at % 6), steps, reached) for at, (steps, reached) in enumerate(held)])
    if found is None:
        return
    for known in (found.a, found.b, found.b_crit, found.b_star):
        assert 0 <= known.low <= known.value <= known.high
        assert math.isfinite(known.value)
    assert found.b_crit.value == pytest.approx(found.b.value / found.a.value)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-0.3, 0.3), min_size=5, max_size=5), st.floats(2.0, 8.0))
def test_the_curve_is_the_best_of_all(off: list[float], crit: float) -> None:
    """Against a search over both parameters, tried one by one."""
    x = np.log(np.array([8.0, 32, 128, 512, 2048]))
    y = 7 + np.log1p(np.exp(crit - x)) + np.array(off)
    weights = np.array([1.0, 2, 1, 3, 1])
    found = solve(x, y[None, :], weights)
    loss = float((weights * (y - found.logs(x)[0]) ** 2).sum())
    for u in np.linspace(-4, 14, 181):
        bent = np.log1p(np.exp(u - x))
        level = (weights * (y - bent)).sum() / weights.sum()
        assert loss <= (weights * (y - bent - level) ** 2).sum() + 1e-5


def test_mills_ratio_far_out() -> None:
    """Against its expansion z + 1/z - 2/z³, and the known value at 0."""
    z = np.array([0.0, 10.0, 30.0, -8.0])
    expected = [math.sqrt(2 / math.pi), 10 + 0.1 - 0.002, 30 + 1 / 30 - 2 / 27000, 5.05e-15]
    assert mills(z) == pytest.approx(expected, rel=1e-3)
