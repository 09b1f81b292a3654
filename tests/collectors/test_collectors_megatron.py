"""The quick way through a long log gives what line by line reading gives; what is not as its neighbours is not lost."""

from __future__ import annotations

import pytest
from collected import collected
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.parser import Found
from collectors.series import MOST


def line(at: int, time: str, loss: str = "1.500000E+00", batch: int = 8, consumed: int | None = None) -> str:
    return (
        f" [2026-11-26 02:00:00] iteration {at:8d}/  100000 | consumed samples: {consumed or at * batch:12d} | elapsed "
        f"time per iteration (ms): {time} | learning rate: 1.000E-05 | global batch size: {batch:5d} | "
        f"lm loss: {loss} | number of nan iterations:   0 |\n"
    )


def values(records: list[Found], metric: str) -> list[float]:
    return [value for one in records for m in one.measurements if m.metric == metric for value in m.samples]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["812.4", "nan", "900.0"]), min_size=1, max_size=30), st.integers(0, 40))
def test_a_block_gives_what_lines_give(times: list[str], where: int) -> None:
    text = "".join(line(at, time) for at, time in enumerate(times, start=1))
    lines = text.splitlines(keepends=True)
    lines.insert(min(where, len(lines)), "a foreign line\n")  # so that it is read line by line
    quick, slow = collected(line(1, "812.4").encode() + text.encode())[0], collected("".join(lines).encode())[0]
    assert values(slow, "time") == [float(time) / 1e3 for time in times if time != "nan"]
    assert set(values(quick, "time")) <= {0.8124, 0.9}


def test_a_long_log_keeps_every_iteration_and_then_means_of_neighbours() -> None:
    count = 3 * MOST
    text = "".join(line(at, f"{1000 + at % 7}.0") for at in range(1, count + 1))
    (record,) = collected(text.encode())[0]
    (time,) = [one for one in record.measurements if one.metric == "time"]
    assert time.evidence.block == 4
    whole = len(time.samples) * time.evidence.block
    assert abs(whole - count) < time.evidence.block
    assert sum(time.samples) * 4 == pytest.approx(sum(1 + at % 7 / 1e3 for at in range(1, count + 1)), rel=1e-4)
    assert (record.first, record.last) == (1, count)


def test_a_restart_begins_another_record_and_a_line_printed_twice_counts_once() -> None:
    text = line(1, "10.0") + line(2, "11.0") + line(2, "11.0") + line(3, "12.0") + line(2, "13.0")
    records, _ = collected(text.encode())
    assert [values([one], "time") for one in records] == [pytest.approx([0.010, 0.011, 0.012]), pytest.approx([0.013])]


def test_a_log_that_contradicts_itself_is_reported_with_both_numbers() -> None:
    text = line(1, "10.0") + line(2, "10.0", consumed=8000)
    (record,) = collected(text.encode())[0]
    assert any("7,992 samples" in said and "8" in said for said in record.contradictions)
    rate = (
        " iteration 3/ 5 | elapsed time per iteration (ms): 1000.0 | global batch size: 16 | samples per second: {} |\n"
    )
    assert not collected(rate.format("16.004").encode())[0][0].contradictions
    (wrong,) = collected(rate.format("20.000").encode())[0][0].contradictions
    assert "20" in wrong
    assert "16" in wrong


def test_arguments_of_the_first_rank_are_of_the_last_ranks_iterations() -> None:
    text = "0: ------ arguments ------\n0:   world_size ......... 16\n15: " + line(1, "10.0")
    (record,) = collected(text.encode())[0]
    assert record.params["ranks"] == 16
