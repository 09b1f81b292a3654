"""The roofline: intensity, ridge, what is attainable, and the share of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.roofline import place
from harness.statistics import Interval

PEAK, BANDWIDTH = Interval(200e9, 198e9, 202e9), Interval(20e9, 19e9, 21e9)


def test_a_square_product_of_1024_is_bound_by_computing():
    found = place(2 * 1024**3, 3 * 4 * 1024**2, Interval(190e9, 188e9, 192e9), PEAK, BANDWIDTH)
    assert found.intensity == pytest.approx(2 * 1024 / 12)
    assert found.ridge.value == pytest.approx(10)
    assert found.bound == "compute"
    assert found.attainable == PEAK
    assert found.share.value == pytest.approx(0.95)
    assert found.share.low == pytest.approx(188 / 202)
    assert found.share.high == pytest.approx(192 / 198)


def test_a_matrix_times_a_vector_is_bound_by_memory():
    m = k = 4096
    found = place(2 * m * k, 4 * (m * k + m + k), Interval(9e9, 8.9e9, 9.1e9), PEAK, BANDWIDTH)
    assert found.bound == "memory"
    assert found.attainable.value == pytest.approx(found.intensity * 20e9)
    assert found.share.value == pytest.approx(0.9, rel=1e-3)


def test_at_the_ridge_both_limits_are_as_near():
    assert place(10.0, 1.0, PEAK, PEAK, BANDWIDTH).bound == "either"


@pytest.mark.parametrize("at", range(5))
def test_what_is_not_positive_is_refused(at):
    none, given = Interval(0.0, 0.0, 0.0), [1.0, 1.0, PEAK, PEAK, BANDWIDTH]
    given[at] = 0.0 if at < 2 else none
    with pytest.raises(ValueError, match="above 0"):
        place(*given)


@given(flops=st.floats(1, 1e15), moved=st.floats(1, 1e12), share=st.floats(0.01, 1))
def test_no_limit_is_passed_and_the_share_comes_back(flops, moved, share):
    roof = min(PEAK.value, flops / moved * BANDWIDTH.value)
    found = place(flops, moved, Interval(share * roof, share * roof, share * roof), PEAK, BANDWIDTH)
    assert found.attainable.value <= PEAK.value
    assert found.attainable.value <= flops / moved * BANDWIDTH.value * (1 + 1e-12)
    assert found.share.low <= found.share.value <= found.share.high
    assert found.share.value == pytest.approx(share)
