"""One line of advice on a width: clear gains only, and the narrowest of those that are as good."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.advice import MARGIN, advise
from harness.statistics import Interval


def test_the_narrowest_of_the_best_is_advised():
    gains = {
        50264: Interval(1.030, 1.025, 1.035),
        50304: Interval(1.123, 1.118, 1.129),
        50432: Interval(1.127, 1.119, 1.134),
    }
    advice = advise(50257, gains)
    assert advice.to == 50304
    assert advice.gain == gains[50304]


def test_what_is_not_clear_is_no_advice():
    advice = advise(4096, {4097: Interval(0.88, 0.87, 0.89), 4352: Interval(1.02, 0.99, 1.05)})
    assert advice.stays
    assert advice.beside == 4352


def test_nothing_measured_is_an_error():
    with pytest.raises(ValueError, match="no other width was measured beside 4096"):
        advise(4096, {})


interval = st.tuples(st.floats(0.5, 2), st.floats(0, 0.2), st.floats(0, 0.2)).map(
    lambda drawn: Interval(drawn[0], drawn[0] - drawn[1], drawn[0] + drawn[2])
)


@given(gains=st.dictionaries(st.integers(101, 400), interval, min_size=1))
def test_advice_is_always_a_clear_gain_that_reaches_the_best(gains):
    advice, best = advise(100, gains), max(gain.value for gain in gains.values())
    assert advice.gain == gains[advice.beside]
    if advice.stays:
        assert advice.gain.value == best
        return
    assert advice.gain.low > 1 + MARGIN
    assert advice.gain.high >= best
    narrower = [gain for width, gain in gains.items() if width < advice.to]
    assert not any(gain.low > 1 + MARGIN and gain.high >= best for gain in narrower)
