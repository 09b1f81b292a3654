"""Logs that contradict themselves are reported with both numbers and kept as they are; rounding is no contradiction."""

from __future__ import annotations

import pytest
from collected import LOGS, collected

from collectors.parser import Found


def changed(name: str, old: str, new: str) -> list[Found]:
    text = (LOGS / name).read_text()
    assert old in text
    return collected(text.replace(old, new, 1).encode())[0]


def said(records: list[Found]) -> str:
    return " | ".join(text for one in records for text in one.contradictions)


@pytest.mark.parametrize(
    ("name", "old", "new", "both"),
    [
        ("nccl-tests/all_reduce.txt", "33.37", "43.37", ("43.37 GB/s", "33.37 GB/s", "size over time")),
        ("nccl-tests/all_reduce.txt", "78.13", "52.09", ("52.09 GB/s", "78.14 GB/s", "over 4 ranks")),
        ("nccl-tests/all_reduce.txt", ": 78.82", ": 99.00", ("99.00 GB/s", "78.82 GB/s", "the mean of its rows")),
        ("perftest/write_bw.txt", "390.87", "290.87", ("36.36 GB/s", "48.86 GB/s", "message rate times size")),
        ("torchtitan/llama3.txt", "mfu: 34.29%", "mfu: 54.29%", ("0.5429", "0.3429")),
        ("deepspeed-profile/summary.txt", "81.9 TFLOPS", "99.9 TFLOPS", ("99.90 TFLOP/s", "81.91 TFLOP/s")),
    ],
)  # fmt: skip
def test_a_contradiction_is_told_with_both_numbers(name: str, old: str, new: str, both: tuple[str, ...]) -> None:
    assert not said(changed(name, old, old))
    found = said(changed(name, old, new))
    for words in both:
        assert words in found


def test_the_record_stays_as_the_log_has_it() -> None:
    records = changed("nccl-tests/all_reduce.txt", "33.37", "43.37")
    (algbw,) = [m for m in records[0].measurements if m.metric == "algbw"]
    assert algbw.samples == (pytest.approx(43.37e9),)


def test_a_lost_header_is_said_and_rows_of_another_shape_are_not_guessed() -> None:
    way = "    31.42   33.37   50.06      0"
    rows = f"     1048576        262144     float     sum      -1{way}{way}\n"
    records, heard = collected(rows.encode())
    assert len(records) == 2
    assert "the header" in heard.warnings[0][1]
    old = "        1024           256   float     sum    14.31    0.07    0.07  1e-07    14.12    0.07    0.07  1e-07\n"
    assert not collected(old.encode(), kind="nccl-tests")[0]


def test_ranks_are_derived_only_where_the_rounding_leaves_one() -> None:
    way = "    31.42   {:>6}   {:>6}      0"
    row = "{:>12}        262144     float     sum      -1" + way + way + "\n"
    text = "# all_reduce_perf\n" + row.format(1048576, "33.37", "50.06", "33.37", "50.06")
    assert [one.params.get("ranks") for one in collected(text.encode())[0]] == [4, 4]
    small = "# all_reduce_perf\n" + row.format(1048576, "0.03", "0.05", "0.03", "0.05").replace("31.42", "34952")
    assert [one.params.get("ranks") for one in collected(small.encode())[0]] == [None, None]
