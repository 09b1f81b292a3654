"""The best checkpoint interval is the best, agrees with the papers' forms, and with a simulation of interruptions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from costmodels.goodput import (
    Costs,
    Measured,
    best_interval,
    curve,
    daly,
    goodput,
    of_job,
    plan,
    young,
)
from harness.statistics import Interval

TIMES = st.floats(1e-3, 1e4)
MEANS = st.floats(1.0, 1e8)
COSTS = st.builds(Costs, TIMES, st.floats(0, 1e4), st.floats(1, 4), TIMES)


@given(COSTS, MEANS, st.floats(1e-3, 1e9))
def test_goodput_is_a_share(costs: Costs, mtbf: float, interval: float) -> None:
    found = goodput(costs, mtbf, max(interval, costs.lag))
    assert 0 <= found <= 1
    if interval + costs.blocked + costs.lag + costs.restore < 100 * mtbf:
        assert found > 0


@given(COSTS, MEANS, st.floats(1e-4, 1e4))
def test_no_other_interval_gives_more(costs: Costs, mtbf: float, factor: float) -> None:
    """A wrong equation for the optimum would be beaten by an interval somewhere."""
    best = best_interval(costs, mtbf)
    other = max(best * factor, costs.lag)
    assert goodput(costs, mtbf, other) <= goodput(costs, mtbf, best) * (1 + 1e-9)


@given(COSTS, MEANS, st.floats(1.01, 100))
def test_rarer_interruptions_never_cost_more(costs: Costs, mtbf: float, factor: float) -> None:
    often, rare = (goodput(costs, each, best_interval(costs, each)) for each in (mtbf, mtbf * factor))
    assert often <= rare * (1 + 1e-9)
    assert best_interval(costs, mtbf) <= best_interval(costs, mtbf * factor) * (1 + 1e-9)


@given(TIMES, st.floats(1e-8, 1e-4))
def test_young_is_the_limit_of_daly_and_of_the_optimum(lost: float, share: float) -> None:
    """For a small cost the three differ by about √(δ/M)."""
    mtbf, costs = lost / share, Costs(lost, 0, 1, 0)
    for found in (daly(lost, mtbf), best_interval(costs, mtbf)):
        assert found == pytest.approx(young(lost, mtbf), rel=2 * math.sqrt(share))


@given(TIMES, st.floats(1e-4, 1.0))
def test_daly_is_near_the_optimum_where_young_is_not(lost: float, share: float) -> None:
    mtbf = lost / share
    exact = best_interval(Costs(lost, 0, 1, 0), mtbf)
    assert daly(lost, mtbf) == pytest.approx(exact, rel=0.08)
    assert abs(daly(lost, mtbf) - exact) <= abs(young(lost, mtbf) - exact) + 1e-9 * exact


def test_daly_where_a_save_takes_longer_than_training_lasts() -> None:
    assert daly(300.0, 100.0) == 100.0


@given(TIMES, MEANS, st.floats(1.1, 4), TIMES)
def test_drag_counts_as_blocked_time(lag: float, mtbf: float, slowdown: float, blocked: float) -> None:
    costs = Costs(blocked, lag, slowdown, 0)
    assume(best_interval(costs, mtbf) > lag)
    whole = Costs(blocked + costs.dragged, 0, 1, 0)
    period = best_interval(costs, mtbf) + blocked
    assert period == pytest.approx(best_interval(whole, mtbf) + whole.blocked, rel=1e-6)


@pytest.mark.parametrize(("costs", "mtbf", "interval"), [
    (Costs(20, 0, 1, 60), 1800, 250), (Costs(2, 90, 1.3, 120), 3600, 400), (Costs(50, 100, 2.0, 300), 900, 150),
])  # fmt: skip
def test_a_simulation_agrees(costs: Costs, mtbf: float, interval: float) -> None:
    """Interruptions drawn one by one, work counted only once its checkpoint is durable. 40,000 of them leave a
    relative deviation of under 1 %."""
    rng, done, wall = np.random.default_rng(7), 0.0, 0.0
    useful, period = interval - costs.dragged, interval + costs.blocked
    for _ in range(40_000):
        while (before := rng.exponential(mtbf)) < costs.restore:  # the restore itself is interrupted
            wall += before
        alive = before - costs.restore
        wall += before
        durable = period + costs.lag  # after the restore: the first save
        while durable <= alive:
            done += useful
            durable += period
    assert done / wall == pytest.approx(goodput(costs, mtbf, interval), rel=0.03)


def test_an_example_by_hand() -> None:
    """Llama 3's cluster: 419 interruptions in 54 days are 3.1 h apart; a save that blocks for 10 s, restore 10 min."""
    per_device = 54 * 86400 * 16384 / 419
    mtbf = of_job(per_device, 16384)
    assert mtbf == pytest.approx(11135, rel=1e-3)
    assert young(10, mtbf) == pytest.approx(471.9, rel=1e-3)
    lost = 10 / 472 + 472 / 2 / mtbf + 600 / mtbf  # first order: saves, half an interval of rework, restore
    assert 1 - goodput(Costs(10, 0, 1, 600), mtbf, 472) == pytest.approx(lost, rel=0.06)


@given(st.tuples(TIMES, st.floats(1, 3), st.floats(1, 3), TIMES), MEANS, st.floats(1e-3, 1e6))
def test_intervals_are_carried_through(costs: tuple[float, float, float, float], mtbf: float, at: float) -> None:
    blocked, longer, drag, restore = costs

    def around(value: float) -> Interval:
        return Interval(value, value * 0.8, value * 1.3)

    measured = Measured(around(blocked), around(blocked * longer), around(restore), around(drag))
    found = plan(measured, mtbf)
    for interval in (found.interval, found.young, found.daly, found.goodput, curve(measured, mtbf, at)):
        assert interval.low <= interval.value <= interval.high
    assert found.goodput.high <= 1
    assert found.young.low < found.young.value < found.young.high


def test_noise_below_what_can_be_is_no_gain() -> None:
    """A drag under 1 or a save that is durable at once would otherwise give training time for free."""
    known = Measured(Interval(2, 1.9, 2.1), Interval(2, 1.8, 2.2), Interval(5, 5, 5), Interval(0.98, 0.9, 1.05))
    assert (known.cheapest.slowdown, known.cheapest.lag) == (1.0, 0.0)
    assert known.dearest.slowdown == 1.05


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf])
def test_a_wrong_mean_time_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="accepted is a finite number above 0"):
        goodput(Costs(1, 0, 1, 1), wrong, 10)


def test_wrong_costs_and_intervals_are_refused() -> None:
    with pytest.raises(ValueError, match="slowdown from 1"):
        Costs(1, 0, 0.5, 1)
    with pytest.raises(ValueError, match="no less than the lag 30"):
        goodput(Costs(1, 30, 1.2, 1), 3600, 20)
    free = Interval(0, 0, 0)
    with pytest.raises(ValueError, match="costs nothing"):
        plan(Measured(free, free, free), 3600)
