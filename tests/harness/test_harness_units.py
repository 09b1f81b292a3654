"""How values are written and read: known texts, and round trips."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.units import (
    Unit,
    digits,
    parse_duration,
    parse_size,
    scale_of,
    show,
    show_duration,
    show_interval,
    show_size,
)

SCALED = [Unit.BYTE_PER_SECOND, Unit.FLOP_PER_SECOND, Unit.SECOND, Unit.WATT, Unit.BYTE]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (2.13e10, Unit.BYTE_PER_SECOND, "21.3 GB/s"),
        (9.751e13, Unit.FLOP_PER_SECOND, "97.5 TFLOP/s"),
        (2.6149e15, Unit.FLOP_PER_SECOND, "2.61 PFLOP/s"),
        (48.2e-6, Unit.SECOND, "48.2 µs"),
        (1.5e-3, Unit.SECOND, "1.50 ms"),
        (3e-10, Unit.SECOND, "0.300 ns"),
        (90.0, Unit.SECOND, "90.0 s"),
        (0.0, Unit.SECOND, "0 s"),
        (0.471, Unit.RATIO, "0.471"),
        (8.0, Unit.COUNT, "8.00"),
        (2.5, Unit.USD, "2.50 USD"),
        (700.0, Unit.WATT, "700 W"),
        (-4200.0, Unit.TOKEN_PER_SECOND, "-4.20 ktoken/s"),
        (999.9, Unit.WATT, "1000 W"),
        (math.inf, Unit.SECOND, "inf s"),
    ],
)
def test_show(value: float, unit: Unit, text: str) -> None:
    assert show(value, unit) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0123, "0.0123"), (1.234, "1.23"), (9.999, "10.0"), (0.09999, "0.100"), (123.4, "123")]
)
def test_digits_are_counted_after_rounding(value: float, text: str) -> None:
    assert digits(value) == text


@given(st.floats(1e-12, 1e18), st.sampled_from(SCALED), st.integers(2, 9))
def test_what_is_shown_is_the_value(value: float, unit: Unit, significant: int) -> None:
    factor, _ = scale_of(value, unit)
    shown = float(show(value, unit, significant).split()[0]) * factor
    assert shown == pytest.approx(value, rel=0.51 * 10.0 ** (1 - significant))


def test_an_interval_is_shown_in_the_scale_of_its_value() -> None:
    assert show_interval(0.9e9, 1.1e9, Unit.BYTE_PER_SECOND, like=1.0e9) == "[0.900, 1.10] GB/s"


@pytest.mark.parametrize(
    ("text", "size"),
    [("4096", 4096), ("4KB", 4000), ("4KiB", 4096), ("4k", 4096), ("16MiB", 2**24), ("1.5 GiB", 3 * 2**29),
     ("2TiB", 2**41), ("1tb", 10**12), (" 8 b ", 8)],
)  # fmt: skip
def test_parse_size(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "MiB", "-1", "1e6", "4KiBs", "4 ki", "1.0001KiB", "0", "0.5", "nan", "12 parsecs"]
)
def test_parse_size_says_what_is_accepted(text: str) -> None:
    with pytest.raises(ValueError, match=r"write 4096, 4KB|whole, positive number of bytes"):
        parse_size(text)


@given(st.integers(0, 42), st.integers(1, 15))
def test_sizes_of_few_bits_survive_being_shown(power: int, count: int) -> None:
    size = count << power
    assert parse_size(show_size(size)) == size


@given(st.integers(1, 2**62))
def test_shown_sizes_are_within_their_digits(size: int) -> None:
    number, unit = show_size(size).split()
    factor = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}[unit]
    assert float(number) * factor == pytest.approx(size, rel=5e-4)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("2 min", 120), ("1.5h", 5400), ("20ms", 0.02)]
)
def test_parse_duration(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "0", "-5m", "1 day", "s", "0.0h"])
def test_parse_duration_says_what_is_accepted(text: str) -> None:
    with pytest.raises(ValueError, match="write 90s, 10m or"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(8.4, "8 s"), (59.7, "1 min 0 s"), (200, "3 min 20 s"), (3599.6, "1 h 0 min"), (7500, "2 h 5 min")],
)
def test_show_duration(seconds: float, text: str) -> None:
    assert show_duration(seconds) == text


@given(st.floats(1e-3, 1e6))
def test_durations_survive_being_written_in_seconds(seconds: float) -> None:
    assert parse_duration(f"{seconds:.9f}s") == pytest.approx(seconds, rel=1e-5)
