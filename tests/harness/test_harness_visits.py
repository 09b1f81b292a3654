"""The budget goes to one pass over every cell, then to the widest intervals."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.policy import Policy
from harness.records import Better, Cadence, Evidence, Measurement, Origin
from harness.units import Unit
from harness.visits import Budget, joined, visits

POLICY = Policy(cap=1.0)


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


@given(st.integers(1, 50), st.integers(0, 1000))
def test_one_pass_visits_every_cell_once_in_an_order_given_by_the_seed(count: int, seed: int) -> None:
    def order() -> list[int]:
        return [v.cell for v in visits(count, seed, Budget(None, Clock()), POLICY, lambda: None)]

    assert sorted(order()) == list(range(count))
    assert order() == order()


def test_two_seeds_give_two_orders() -> None:
    orders = {tuple(v.cell for v in visits(30, seed, Budget(None, Clock()), POLICY, lambda: None)) for seed in range(5)}
    assert len(orders) == 5


def test_a_poor_budget_is_shared_evenly_over_the_cells_that_are_left() -> None:
    clock = Clock()
    taken = []
    for visit in visits(10, 0, Budget(10.0, clock), POLICY, lambda: None):
        taken.append(visit.policy.cap)
        clock.time += 0.5  # each cell is done in half its share
    assert taken[0] < 0.3
    assert taken == sorted(taken)
    assert taken[-1] == POLICY.cap


def test_nothing_starts_after_the_budget() -> None:
    clock = Clock()
    seen = 0
    for _ in visits(10, 0, Budget(3.0, clock), POLICY, lambda: None):
        seen += 1
        clock.time += 1.0
    assert seen == 3


def test_time_that_is_left_goes_to_the_widest_cell_until_none_is_wide() -> None:
    clock, wide = Clock(), [7, 7, 2]
    again = []
    for visit in visits(8, 0, Budget(100.0, clock), POLICY, lambda: wide.pop(0) if wide else None):
        clock.time += 1.0
        if visit.passing > 1:
            again.append(visit.cell)
    assert again == [7, 7, 2]


def test_without_a_budget_there_is_one_pass() -> None:
    assert len(list(visits(4, 0, Budget(None, Clock()), POLICY, lambda: 1))) == 4


def test_joined_visits_keep_every_sample_and_count_both() -> None:
    def taken(samples: tuple[float, ...], tainted: int) -> Measurement:
        evidence = Evidence(warmup=5, width=0.5, tainted=tainted, skew_max=samples[0])
        return Measurement(
            "time.isolated", Unit.SECOND, Better.LOWER, samples, Origin.MEASURED, Cadence.ISOLATED, evidence=evidence
        )

    (both,) = joined((taken((3.0, 1.0), 1),), (taken((2.0,), 2),))
    assert both.samples == (3.0, 1.0, 2.0)
    assert (both.evidence.warmup, both.evidence.tainted, both.evidence.skew_max) == (10, 3, 3.0)
    assert both.evidence.width == 0.5


def test_pairs_keep_equal_shares_and_trials_draw_no_further_visits() -> None:
    def taken(samples: tuple[float, ...], pairs: tuple[tuple[int, int], ...]) -> Measurement:
        return Measurement(
            "time.isolated", Unit.SECOND, Better.LOWER, samples, Origin.MEASURED, Cadence.ISOLATED, pairs=pairs
        )

    pairs = ((0, 1), (0, 2))
    (both,) = joined((taken((1.0, 2.0, 3.0, 4.0), pairs),), (taken((5.0, 6.0), pairs),))
    assert both.samples == (1.0, 2.0, 5.0, 3.0, 4.0, 6.0)
    assert both.evidence.width is None
    (other,) = joined((taken((1.0, 2.0), ((0, 1),)),), (taken((5.0, 6.0), pairs),))
    assert other.samples == (5.0, 6.0)


def test_measurements_of_one_cell_are_told_apart_by_their_parameters() -> None:
    def taken(m: int, sample: float) -> Measurement:
        return Measurement(
            "trial.streaming", Unit.SECOND, Better.LOWER, (sample,), Origin.MEASURED, params={"m": m}
        )  # fmt: skip

    kept = joined((taken(1, 1.0), taken(2, 2.0)), (taken(2, 3.0), taken(3, 4.0)))
    assert {m.params["m"]: m.samples for m in kept} == {1: (1.0,), 2: (2.0, 3.0), 3: (4.0,)}
