"""From texts to checked parameters."""

from __future__ import annotations

from typing import Literal

import pytest

from bench.parameters import complete, expand, own_values, parse_settings
from harness.errors import UsageError
from harness.records import Struct
from harness.registry import Benchmark
from harness.units import Bytes


class NarrowParams(Struct, frozen=True):
    dtype: Literal["float32"] = "float32"


class WideParams(Struct, frozen=True):
    dtype: Literal["float32", "float8"] = "float32"


class OddParams(Struct, frozen=True):
    size: Bytes
    share: float = 0.5
    cached: bool = False


ODD = Benchmark("odd.one", 1, OddParams, lambda context, params: [], "", "device", "rate")


def test_sizes_and_numbers_come_from_texts_and_defaults_are_filled_in() -> None:
    assert complete(ODD, {"size": "4KiB", "cached": "true"}) == {"size": 4096, "share": 0.5, "cached": True}


@pytest.mark.parametrize("value", ["inf", "-inf", "nan"])
def test_a_number_that_no_record_can_hold_is_refused(value: str) -> None:
    with pytest.raises(UsageError, match=r"odd\.one: share"):
        complete(ODD, {"size": "4KiB", "share": value})


def test_a_grid_is_crossed_and_foreign_keys_are_left_to_others() -> None:
    cells = expand(ODD, {"size": ["1KiB", "2KiB"], "share": [0.1, 0.2], "ranks": [2]})
    assert [(cell.params["size"], cell.params["share"]) for cell in cells] == [
        (1024, 0.1), (1024, 0.2), (2048, 0.1), (2048, 0.2),
    ]  # fmt: skip


def test_settings_sweep_over_commas() -> None:
    assert parse_settings(["size=1KiB, 1MiB", "op=copy"]) == {"size": ["1KiB", "1MiB"], "op": ["copy"]}


def test_a_word_that_only_another_benchmark_accepts_is_left_to_it() -> None:
    narrow = Benchmark("narrow.one", 1, NarrowParams, lambda context, params: [], "", "device", "rate")
    wide = Benchmark("wide.one", 1, WideParams, lambda context, params: [], "", "device", "rate")
    settings = {"dtype": ["float32", "float8", "float31"]}
    assert own_values(settings, narrow, [narrow, wide]) == {"dtype": ["float32", "float31"]}
    assert own_values(settings, wide, [narrow, wide]) == settings
    assert own_values(settings, narrow, [narrow]) == settings
