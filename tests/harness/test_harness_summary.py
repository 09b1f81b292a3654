"""Records into cells and figures: what is merged, what is kept apart, and where rates come from."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.records import (
    SCHEMA,
    Better,
    Cadence,
    Evidence,
    Failed,
    Measurement,
    Ok,
    Origin,
    Outcome,
    Params,
    Rate,
    Record,
    Skipped,
)
from harness.statistics import launch_interval, median_interval
from harness.summary import cells, latest
from harness.units import Unit

AMOUNT = 2.0**20


def measurement(samples: tuple[float, ...], cadence: Cadence = Cadence.ISOLATED, **changes: object) -> Measurement:
    base = Measurement(
        metric=f"time.{cadence.value}",
        unit=Unit.SECOND,
        better=Better.LOWER,
        samples=samples,
        origin=Origin.MEASURED,
        cadence=cadence,
        rates=(Rate("algbw", AMOUNT, Unit.BYTE_PER_SECOND), Rate("busbw", 1.5 * AMOUNT, Unit.BYTE_PER_SECOND)),
    )
    return msgspec.structs.replace(base, **changes)


def record(*measurements: Measurement, params: Params | None = None, launch: int = 1, **changes: object) -> Record:
    base = Record(SCHEMA, "collectives.all_reduce", 1, params or {"size": 1024}, launch, Ok(), measurements)
    return msgspec.structs.replace(base, **changes)


def test_a_cell_has_the_time_and_its_rates_for_each_cadence() -> None:
    (cell,) = cells([record(measurement((1.0, 2.0, 3.0)), measurement((0.5,), Cadence.STREAMING))])
    assert [(f.name, f.cadence.value) for f in cell.figures if f.cadence] == [
        (name, cadence) for cadence in ("isolated", "streaming") for name in ("time", "algbw", "busbw")
    ]
    assert cell.label == "collectives.all_reduce size=1024"
    time, busbw = cell.figure("time"), cell.figure("busbw", Cadence.STREAMING)
    assert time is not None
    assert busbw is not None
    assert (time.interval.value, time.unit, time.summary.across_launches) == (2.0, Unit.SECOND, False)
    assert (busbw.interval.value, busbw.unit) == (3.0 * AMOUNT, Unit.BYTE_PER_SECOND)
    assert cell.figure("flops") is None


@given(st.lists(st.integers(1, 10**6).map(float), min_size=1, max_size=40))
def test_a_rate_is_its_amount_over_the_median_time(samples: list[float]) -> None:
    (cell,) = cells([record(measurement(tuple(samples)))])
    rate, time = cell.figure("algbw"), median_interval(samples)
    assert rate is not None
    assert rate.interval == time.over(AMOUNT)
    assert rate.interval.value == AMOUNT / float(np.median(samples))


def test_launches_are_merged_in_order() -> None:
    a, b, c = (tuple(np.random.default_rng(seed).lognormal(0, 0.1, 20).tolist()) for seed in range(3))
    (cell,) = cells([record(measurement(s), launch=n) for n, s in ((3, c), (1, a), (2, b))])
    time = cell.figure("time")
    assert time is not None
    assert time.samples == (a, b, c)
    assert time.interval == launch_interval([a, b, c])
    assert (time.summary.launches, time.summary.n, time.summary.across_launches) == (3, 60, True)
    assert len(time.evidence) == 3


def test_a_cell_measured_again_counts_once() -> None:
    first, other, again = (record(measurement((t,)), launch=n) for t, n in ((1.0, 1), (5.0, 2), (2.0, 1)))
    assert latest([first, other, again]) == [again, other]
    (cell,) = cells([first, other, again])
    time = cell.figure("time")
    assert time is not None
    assert time.samples == ((2.0,), (5.0,))


@pytest.mark.parametrize("worst", [Skipped("no backend"), Failed("wrong answer")])
def test_a_cell_that_failed_once_is_not_ok_and_keeps_its_other_launch(worst: Outcome) -> None:
    (cell,) = cells([record(measurement((1.0,)), launch=1), record(launch=2, outcome=worst)])
    assert cell.outcome == worst
    assert cell.outcomes == (Ok(), worst)
    time = cell.figure("time")
    assert time is not None
    assert time.summary.launches == 1


def test_a_failed_launch_lends_no_samples() -> None:
    (cell,) = cells([record(measurement((1.0,)), outcome=Failed("wrong answer"))])
    assert cell.figures == ()


def test_versions_are_never_merged() -> None:
    one, two = cells([record(measurement((1.0,))), record(measurement((2.0,)), version=2)])
    assert (one.version, two.version) == (1, 2)


def test_cells_are_sorted_by_number_and_text_whatever_the_mix() -> None:
    params: list[Params] = [
        {"size": 4096, "dtype": "float32"},
        {"size": 512, "dtype": "float32"},
        {"size": 512, "dtype": "bfloat16"},
        {"size": None, "dtype": "float32"},
        {"size": "auto", "dtype": "bfloat16"},
    ]
    found = cells([record(measurement((1.0,)), params=p) for p in params])
    assert [(c.params["dtype"], c.params["size"]) for c in found] == [
        ("bfloat16", 512), ("bfloat16", "auto"), ("float32", 512), ("float32", 4096), ("float32", None),
    ]  # fmt: skip


def test_notes_are_kept_once_and_evidence_stays() -> None:
    evidence = Evidence(warmup=9, tainted=2, width=0.01)
    (cell,) = cells(
        [record(measurement((1.0,), evidence=evidence), launch=n, notes=("hot", f"launch {n}")) for n in (1, 2)]
    )
    assert cell.notes == ("hot", "launch 1", "launch 2")
    assert all(f.evidence == (evidence, evidence) for f in cell.figures)


def test_a_measurement_without_samples_gives_no_figure() -> None:
    (cell,) = cells([record(measurement(()))])
    assert cell.figures == ()
    assert cells([]) == []
