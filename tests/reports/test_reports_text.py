"""Text from outside, and numbers as a reader sees them."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from fontTools.ttLib import TTFont
from hypothesis import given
from hypothesis import strategies as st

from harness.statistics import Interval
from harness.units import Unit
from reports import numbers
from reports.figures import style
from reports.text import anchor, clean, counted, listed, plotted


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "\\u{1b}[31mred\\u{1b}[0m"),
        ("abc\u202edcba", "abc\\u{202e}dcba"),
        ("zero\u200bwidth\ufeff", "zero\\u{200b}width\\u{feff}"),
        ("a\nb\t c\r\n", "a b c"),
        ("nul\x00", "nul\\u{0}"),
        ("half \ud800", "half \\u{d800}"),
        ("µs 中文 ≥ é", "µs 中文 ≥ é"),
    ],
)
def test_hidden_characters_are_written_out(raw: str, shown: str) -> None:
    assert clean(raw) == shown


@given(st.text(max_size=80))
def test_clean_text_has_one_line_and_nothing_hidden(text: str) -> None:
    line = clean(text)
    assert not [c for c in line if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")]
    line.encode()


def test_long_text_is_cut_and_says_how_long_it_was() -> None:
    assert clean("x" * 700).endswith("… (700 characters)")
    assert clean("x" * 600) == "x" * 600


@given(st.text(max_size=30))
def test_figures_draw_only_characters_that_their_font_has(text: str) -> None:
    assert {ord(c) for c in plotted(text)} <= _drawable()


def _drawable() -> set[int]:
    fonts = [Path(style.__file__).parent.parent / "templates" / f"bench-sans-{w}.otf" for w in (400, 600)]
    return set.intersection(*[set(TTFont(font).getBestCmap()) for font in fonts])


def test_every_character_that_plotted_lets_through_can_be_drawn() -> None:
    let_through = {code for code in range(0x20, 0x3000) if plotted(f"a{chr(code)}a")[1] == chr(code)}
    assert let_through <= _drawable()
    assert {ord(c) for c in "µ×±αβ–…≥→é"} <= let_through


def test_small_words() -> None:
    assert counted(1, "cell") == "1 cell"
    assert counted(1024, "rank") == "1,024 ranks"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert anchor('x" onload="y') == "x-onload-y"


@pytest.mark.parametrize(
    ("interval", "value", "ends"),
    [
        (Interval(2.13e9, 2.09e9, 2.18e9), "2.13", "[2.09, 2.18]"),
        (Interval(2.131e9, 2.1308e9, 2.1312e9), "2.131", "[2.131, 2.131]"),  # at most one digit more
        (Interval(2.13e9, 2.128e9, 2.133e9), "2.130", "[2.128, 2.133]"),
        (Interval(9.996e9, 9.5e9, 10.4e9), "10.0", "[9.5, 10.4]"),
        (Interval(5e9, 5e9, 5e9), "5.00", numbers.NO_INTERVAL),
    ],
)
def test_value_and_interval_share_their_decimals(interval: Interval, value: str, ends: str) -> None:
    number = numbers.shown(interval, Unit.BYTE_PER_SECOND)
    assert (number.value, number.unit, number.interval) == (value, "GB/s", ends)


def test_declared_figures_keep_their_digits() -> None:
    gap = numbers.GAP
    assert numbers.declared(1307.4e12, Unit.FLOP_PER_SECOND) == f"1,307.4{gap}TFLOP/s"
    assert numbers.declared(64e9, Unit.BYTE_PER_SECOND) == f"64{gap}GB/s"
    assert numbers.declared(5.3e12, Unit.BYTE_PER_SECOND) == f"5.3{gap}TB/s"


def test_widths() -> None:
    gap = numbers.GAP
    assert numbers.plus_minus(0.018) == f"±{gap}1.8{gap}%"
    assert numbers.plus_minus(0.0004) == f"±{gap}0.04{gap}%"
    assert numbers.plus_minus(float("inf")) == "unknown"
