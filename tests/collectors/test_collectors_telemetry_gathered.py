"""Readings become samples, rates and growth: known series, known answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.series import MOST
from collectors.telemetry.gathered import Gathered
from harness.records import Measurement, Origin
from harness.telemetry import Throttle


def gathered(*readings: dict[str, float], origin: Origin = Origin.MEASURED, every: float = 0.5) -> Gathered:
    made = Gathered("telemetry.device", {"device": 0}, origin)
    for at, values in enumerate(readings):
        made.add(values, at * every)
    return made


def told(*readings: dict[str, float], origin: Origin = Origin.MEASURED) -> dict[str, Measurement]:
    found = gathered(*readings, origin=origin).found()
    assert found is not None
    return {one.metric: one for one in found.measurements}


def test_what_is_shown_is_a_sample_of_each_reading() -> None:
    power = told({"power": 300.0}, {"power": 310.0})["power"]
    assert (power.samples, power.unit.value, power.origin) == ((300.0, 310.0), "W", Origin.MEASURED)


def test_bytes_become_rates_and_all_else_that_is_counted_its_growth() -> None:
    found = told(
        {"sent": 1000.0, "energy": 50.0, "ecc": 7.0},
        {"sent": 2000.0, "energy": 80.0, "ecc": 7.0},
        {"sent": 6000.0, "energy": 90.0, "ecc": 9.0},
    )
    assert (found["sent"].samples, found["sent"].unit.value) == ((2000.0, 8000.0), "B/s")
    assert (found["energy"].samples, found["energy"].unit.value) == ((40.0,), "J")
    assert (found["ecc"].samples, found["ecc"].unit.value) == ((2.0,), "count")
    assert found["ecc"].evidence.flags == ("from 7.00 to 9.00 in 1 s",)


def test_an_exporters_counter_of_bytes_is_one_rate_over_the_whole() -> None:
    """It stands still between two readings of the exporter's own: single rates would be of nothing."""
    steps = [{"sent": value} for value in (0.0, 0.0, 0.0, 3000.0)]
    assert told(*steps, origin=Origin.PARSED)["sent"].samples == (2000.0,)


def test_a_counter_that_goes_back_is_no_negative_growth() -> None:
    found = told({"retransmits": 50.0, "sent": 100.0}, {"retransmits": 3.0, "sent": 1.0}, {"retransmits": 5.0})
    assert found["retransmits"].samples == (2.0,)
    assert "went back 1 times" in found["retransmits"].evidence.flags[1]
    assert all(rate >= 0 for rate in found["sent"].samples)


def test_a_single_reading_has_no_growth() -> None:
    assert gathered({"energy": 5.0}).found() is None
    assert set(told({"energy": 5.0, "power": 3.0})) == {"power"}


def test_what_is_read_rarely_has_rates_over_its_own_time() -> None:
    steps = [{"nvlink_sent": 0.0, "power": 1.0}, {"power": 1.0}, {"nvlink_sent": 1000.0, "power": 1.0}]
    found = told(*steps)
    assert found["nvlink_sent"].samples == (1000.0,)
    assert len(found["power"].samples) == 3


def test_throttling_is_a_share_of_readings_with_its_reasons() -> None:
    """The bits themselves have no mean."""
    slow = {"throttle": float(Throttle.THERMAL | Throttle.POWER_BRAKE)}
    found = told(slow, {"throttle": 0.0}, {"throttle": 0.0}, {"throttle": 0.0})["throttle"]
    assert (sum(found.samples) / len(found.samples), found.statistic) == (0.25, "mean")
    assert found.evidence.flags == ("slowed: thermal, power brake",)


def test_an_xid_is_a_note_and_no_quantity() -> None:
    found = gathered({"power": 1.0, "xid": 79.0}).found("device 0: GPU is lost", {"energy": "Not Supported"})
    assert found is not None
    assert [one.metric for one in found.measurements] == ["power"]
    assert found.notes == ("ended early: device 0: GPU is lost", "the last XID error: 79", "no energy: Not Supported")


def test_an_exporter_that_reads_less_often_is_said_to() -> None:
    found = gathered({"power": 1.0}, {"power": 1.0}, {"power": 2.0}, origin=Origin.PARSED).found()
    assert found is not None
    assert found.notes == ("1 of 3 answers told nothing new: the exporter reads less often",)


@given(st.lists(st.floats(0, 1e12), min_size=1, max_size=50))
def test_growth_is_never_negative_whatever_a_counter_does(values: list[float]) -> None:
    found = gathered(*({"sent": value, "ecc": value, "load": value} for value in values)).found()
    assert found is not None
    assert all(sample >= 0 for one in found.measurements for sample in one.samples)


def test_memory_is_bounded_and_the_block_is_told() -> None:
    made = Gathered("telemetry.host", {}, Origin.MEASURED)
    for at in range(MOST + 10):
        made.add({"load": 1.0, "sent": at * 10.0}, at * 0.1)
    found = made.found()
    assert found is not None
    by_metric = {one.metric: one for one in found.measurements}
    assert [(len(one.samples) < MOST, one.evidence.block) for one in by_metric.values()] == [(True, 2), (True, 2)]
    assert by_metric["sent"].samples[0] == pytest.approx(100.0)
