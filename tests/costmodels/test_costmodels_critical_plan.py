"""The fastest and cheapest batch: against times and steps whose best is known by calculation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from costmodels.batch_plan import plan
from costmodels.batch_times import StepTime, by_devices
from costmodels.critical_batch import CriticalBatch, fit
from costmodels.critical_batch_points import Run
from harness.statistics import Interval

A, CRIT = 1000.0, 512.0
BATCHES = tuple(2.0**power for power in range(4, 14))
FIXED, EACH = 0.1, 1e-3  # s of a step, and s a sample on one device


def curve(noise: float = 0.0, seed: int = 0) -> CriticalBatch:
    rng = np.random.default_rng(seed)
    return fit([Run(batch, A * (1 + CRIT / batch) * float(np.exp(noise * rng.standard_normal()))) for batch in BATCHES])


def seconds(batch: float, devices: int) -> float:
    """A fixed cost, and the samples shared out."""
    return FIXED + EACH * batch / devices


def times(devices: tuple[int, ...] = (1, 2, 4, 8), spread: float = 0.0, batches: tuple[float, ...] = BATCHES):
    return [
        StepTime(batch, n, Interval(t := seconds(batch, n), t / (1 + spread), t * (1 + spread)))
        for n in devices for batch in batches
    ]  # fmt: skip


def best(devices: int) -> float:
    """The batch where (a + b/B)(f + eB/n) is least: √(f·b·n / (a·e))."""
    return math.sqrt(FIXED * CRIT * devices / EACH)


def test_the_fastest_batch_of_each_width_is_the_calculated_one() -> None:
    found = plan(times(), curve())
    for width in found.widths:
        assert width.fastest.batch == pytest.approx(best(width.devices), rel=0.1)
        batch = best(width.devices)
        least = A * (1 + CRIT / batch) * seconds(batch, width.devices)
        assert width.fastest.wall.value == pytest.approx(least, rel=1e-3)
    assert found.fastest is min(found.choices, key=lambda one: one.wall.value)
    assert found.fastest.devices == 8
    assert (found.cheapest.devices, found.cheapest.batch) == (1, pytest.approx(best(1), rel=0.1))


def test_numbers_of_a_choice_agree_with_each_other() -> None:
    for one in plan(times(), curve()).choices:
        assert one.steps.value == pytest.approx(A * (1 + CRIT / one.batch), rel=1e-6)
        assert one.wall.value == pytest.approx(one.steps.value * one.step.value)
        assert one.device_time.value == pytest.approx(one.devices * one.wall.value)
        assert one.beyond == 1


def test_the_pareto_curve_goes_from_the_fastest_to_the_cheapest() -> None:
    found = plan(times(), curve())
    walls, costs = ([getattr(one, name).value for one in found.pareto] for name in ("wall", "device_time"))
    assert walls == sorted(walls)
    assert costs == sorted(costs, reverse=True)
    assert (found.pareto[0], found.pareto[-1]) == (found.fastest, found.cheapest)
    for choice in found.choices:  # each is on it, or beaten by one that is
        assert any(
            wall <= choice.wall.value and cost <= choice.device_time.value
            for wall, cost in zip(walls, costs, strict=True)
        )


def test_both_intervals_are_carried() -> None:
    at = [256.0]
    exact, slow, noisy = (plan(held, steps, at) for held, steps in (
        (times(), curve()), (times(spread=0.2), curve()), (times(), curve(0.1))))  # fmt: skip
    assert exact.fastest.wall.width < 1e-3
    assert slow.fastest.wall.width == pytest.approx((1.2 - 1 / 1.2) / 2, rel=0.1)
    assert slow.fastest.steps.width < 1e-3
    assert noisy.fastest.wall.width > 0.02
    assert noisy.fastest.step.width < 1e-6
    noisy = plan(times(), curve(0.1))
    assert noisy.fastest_batch.low < noisy.fastest_batch.value < noisy.fastest_batch.high


def test_the_interval_of_the_wall_time_holds_the_truth() -> None:
    held = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        noisy = [
            StepTime(one.batch, one.devices, Interval(t := one.time.value * float(np.exp(0.05 * rng.standard_normal())),
                                                      t * math.exp(-0.098), t * math.exp(0.098)))
            for one in times((4,))
        ]  # fmt: skip
        found = plan(noisy, curve(0.05, 1000 + seed), batches=[256.0])
        true = A * (1 + CRIT / 256) * seconds(256, 4)
        held += found.fastest.wall.low <= true <= found.fastest.wall.high
    assert held >= 17


def test_the_width_worth_having_ends_where_the_fixed_cost_rules() -> None:
    found = plan(times((1, 2, 4, 8, 64, 512)), curve())
    gains = [width.gain.value for width in found.widths if width.gain]
    assert gains == sorted(gains, reverse=True)
    worth = [width.devices for width, gain in zip(found.widths[1:], gains, strict=True) if gain >= 0.5]
    assert found.worth.devices == max(worth)
    assert found.worth.devices < 512
    assert plan(times((1, 2, 4, 8, 64, 512)), curve(), least_return=0.05).worth.devices > found.worth.devices
    assert all(width.efficiency.value <= 1 + 1e-9 for width in found.widths)


def test_a_gain_that_may_be_none_is_not_worth_having() -> None:
    """Twice the devices, and times so vague that they may be slower."""
    vague = plan(times((4, 5), spread=0.5), curve())
    assert vague.widths[1].gain is not None
    assert vague.widths[1].gain.low < 0
    assert vague.worth.devices == 4


def test_what_was_not_measured_is_said() -> None:
    assert any(
        "the largest number of devices, 4, is still worth having" in note
        for note in plan(times((1, 2, 4)), curve()).notes
    )
    assert any("2 device(s) alone" in note for note in plan(times((2,)), curve()).notes)
    small = plan(times((8,), batches=BATCHES[:3]), curve())
    assert any("the fastest batch is the largest that was looked at, 64" in note for note in small.notes)


def test_outside_the_measured_batches_only_where_it_is_asked_for() -> None:
    held = times((1,), batches=(64.0, 128.0, 256.0))
    inside = plan(held, curve())
    assert all(64 * (1 - 1e-9) <= one.batch <= 256 * (1 + 1e-9) for one in inside.choices)
    assert not any("extrapolated" in note for note in inside.notes)
    outside = plan(held, curve(), batches=[128.0, 1024.0])
    assert [one.beyond for one in outside.choices] == [1.0, pytest.approx(4.0)]
    assert any("1 of 2 choices lie outside the measured batches, by a factor of up to 4 (batch 1024" in note
               for note in outside.notes)  # fmt: skip
    assert seconds(256, 1) < outside.choices[1].step.value <= 4 * seconds(256, 1)


def test_beyond_the_fit_is_beyond_too() -> None:
    found = plan(times((1,), batches=(8192.0, 65536.0)), curve())
    assert max(one.beyond for one in found.choices) == pytest.approx(65536 / 8192)


def test_one_batch_is_a_plan_of_one() -> None:
    found = plan([StepTime(256, 4, Interval(0.2, 0.19, 0.21))], curve())
    assert len(found.choices) == 1
    assert found.fastest is found.cheapest is found.pareto[0]
    assert found.fastest.wall.value == pytest.approx(0.2 * A * 3, rel=1e-6)


def test_a_fixed_cost_and_so_much_a_sample_is_read_off_exactly() -> None:
    (held,) = by_devices(times((1,), batches=(16.0, 64.0)))
    drawn = held.drawn(np.random.default_rng(0), 1)
    at = held.at(np.array([16.0, 32.0, 64.0, 4.0, 256.0]), drawn)[0]
    assert at[0] == pytest.approx(seconds(16, 1))
    assert at[1] == pytest.approx(seconds(32, 1))
    assert at[2] == pytest.approx(seconds(64, 1))
    assert (at[3], at[4]) == (pytest.approx(seconds(4, 1)), pytest.approx(seconds(256, 1)))


def test_outside_time_grows_no_faster_than_the_batch_and_never_falls() -> None:
    rising, falling = (by_devices([StepTime(batch, 1, Interval(t, t, t)) for batch, t in pairs])[0]
                       for pairs in (((16, 1.0), (32, 5.0)), ((16, 2.0), (32, 1.0))))  # fmt: skip
    beyond = np.array([8.0, 64.0])
    assert rising.at(beyond, rising.drawn(np.random.default_rng(0), 1))[0] == pytest.approx([0.5, 10.0])
    assert falling.at(beyond, falling.drawn(np.random.default_rng(0), 1))[0] == pytest.approx([2.0, 1.0])


@pytest.mark.parametrize(("given", "says"), [
    ({"times": []}, "no step time: measure one"),
    ({"times": times((1,)) + times((1,), batches=(64.0,))}, r"two step times of one batch at 1 device\(s\)"),
    ({"batches": []}, "batches to look at: none"),
    ({"batches": [64.0, -1.0]}, "batches to look at: -1"),
    ({"batches": [math.nan]}, "batches to look at: nan"),
    ({"least_return": 0.0}, "a least return of 0"),
])  # fmt: skip
def test_what_is_no_plan_is_named(given, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        plan(**({"times": times(), "critical": curve()} | given))


@pytest.mark.parametrize("held", [
    (0.0, 1, Interval(1, 1, 1)), (8.0, 0, Interval(1, 1, 1)), (8.0, 1, Interval(0, 0, 0)),
    (8.0, 1, Interval(1, 2, 3)), (8.0, 1, Interval(1, 1, math.inf)), (math.nan, 1, Interval(1, 1, 1)),
])  # fmt: skip
def test_what_is_no_step_time_is_named(held) -> None:
    with pytest.raises(ValueError, match="accepted are finite numbers above 0"):
        StepTime(*held)
