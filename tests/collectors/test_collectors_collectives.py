"""Logs of collectives and links: what contradicts itself, what only rounds, what is derived, and real logs."""

from __future__ import annotations

from pathlib import Path

import pytest
from collected import LOGS, collected

from collectors.collectives import implied
from collectors.numbers import Number
from collectors.parser import DERIVED, Found

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "logs"
NCCL = """# nThread 1 nGpus 8 minBytes 1048576 maxBytes 2097152 step: 2(factor) warmup iters: 5 iters: 20 validation: 1
#       size         count      type   redop    root     time   algbw   busbw #wrong     time   algbw   busbw #wrong
#        (B)    (elements)                               (us)  (GB/s)  (GB/s)            (us)  (GB/s)  (GB/s)
     1048576        262144     float     sum      -1    52.43   20.00   35.00      0    52.43   20.00   35.00      0
     2097152        524288     float     sum      -1    87.38   24.00   42.00      0    87.38   24.00   42.00      0
# Out of bounds values : 0 OK
# Avg bus bandwidth    : 38.5
#
"""


def _read(name: str, *changes: tuple[str, str]) -> list[Found]:
    """Records of a golden log with some of its text changed."""
    text = (LOGS / name).read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    return collected(text.encode())[0]


def _said(records: list[Found]) -> list[str]:
    return [sentence for one in records for sentence in one.contradictions]


def test_a_table_that_only_rounds_does_not_contradict_itself() -> None:
    records = collected(NCCL.encode())[0]
    assert len(records) == 4
    assert not _said(records)


@pytest.mark.parametrize(
    ("old", "new", "numbers"),
    [
        ("24.00   42.00      0\n", "34.00   42.00      0\n", ("34.00 GB/s", "24.00 GB/s")),
        (": 38.5\n", ": 48.5\n", ("48.50 GB/s", "38.50 GB/s")),
    ],
    ids=["algbw", "average"],
)  # fmt: skip
def test_a_number_that_others_contradict_is_reported_with_both(old: str, new: str, numbers: tuple[str, str]) -> None:
    said = _said(collected(NCCL.replace(old, new, 1).encode())[0])
    assert any(all(number in sentence for number in numbers) for sentence in said), said


def test_ranks_that_no_line_says_are_derived_and_marked() -> None:
    records = collected(NCCL.encode())[0]
    assert all(one.params["ranks"] == 8 and one.params["operation"] == "all_reduce" for one in records)
    assert all(one.evidence.flags[0].startswith(DERIVED) for record in records for one in record.measurements)


@pytest.mark.parametrize(
    ("busbw", "algbw", "half", "operation", "ranks"),
    [
        (35.0, 20.0, 0.005, "all_reduce", 8),
        (0.02, 0.01, 0.005, "all_reduce", None),  # any number rounds to this
        (199.9, 100.0, 0.005, "all_reduce", None),  # 2,000 ranks, or 1,905 to 2,105
        (20.0, 20.0, 0.005, "broadcast", None),  # the factor is 1 for any number
        (30.0, 40.0, 0.005, "all_gather", 4),
        (30.0, 20.0, 0.005, "all_gather", None),  # more than there can be
        (1.0, 0.0, 0.005, "all_reduce", None),
    ],
)  # fmt: skip
def test_ranks_are_derived_only_where_one_number_fits(
    busbw: float, algbw: float, half: float, operation: str, ranks: int | None
) -> None:
    assert implied.ranks(Number(busbw, half), Number(algbw, half), operation) == ranks


def test_a_csv_row_that_contradicts_itself_is_reported() -> None:
    assert not _said(_read("nccl-tests/rccl.csv"))
    assert len(_said(_read("nccl-tests/rccl.csv", ("32.123329", "17.132442")))) == 1


def test_a_row_that_may_have_lost_its_mark_of_a_wrong_result_gives_no_number() -> None:
    text = (LOGS / "nccl-tests" / "old_error_column.txt").read_bytes()
    whole, cut = collected(text)[0], collected(text[: text.index(b"*")])[0]
    assert any(one.failed for one in whole)
    assert {(one.params["size"], one.params["in_place"]) for one in cut if one.measurements} <= {
        (one.params["size"], one.params["in_place"]) for one in whole if one.measurements
    }


def test_csv_rows_need_no_header() -> None:
    lines = (LOGS / "nccl-tests" / "rccl.csv").read_text().splitlines()
    assert len(collected("\n".join([*lines[1:], ""]).encode(), "nccl-tests")[0]) == 3


def test_param_bandwidths_are_held_against_times_and_ranks() -> None:
    assert not _said(_read("param/collectives.txt"))
    (sentence,) = _said(_read("param/collectives.txt", ("144.818     271.535", "144.818     144.818")))
    assert "271.5 GB/s" in sentence
    assert "144.8 GB/s" in sentence
    said = _said(_read("param/collectives.txt", ("144.818     271.535", "184.818     346.534")))
    assert len(said) == 1
    assert "latency" in said[0]


def test_a_replayed_average_is_held_against_total_and_count() -> None:
    assert not _said(_read("param/replay.txt"))
    assert len(_said(_read("param/replay.txt", ("655.12", "755.12")))) == 1


def test_param_ranks_are_derived_where_no_launch_says_them() -> None:
    for one in _read("param/with_compute.txt"):
        assert one.params["ranks"] == 8
        assert all(held.evidence.flags[0].startswith(DERIVED) for held in one.measurements)


def test_a_param_row_cut_short_is_no_row_of_another_table() -> None:
    """A row of a collective that ends after its least latency has the shape of a quantised one."""
    row = "\tCOMMS-RES-all_reduce-float32  1048576  262144  58.3  59.5  61.2  56.6\n"
    records, heard = collected(row.encode())
    assert not records
    assert "not whole" in heard.warnings[0][1]


def test_a_message_rate_that_contradicts_the_bandwidth_is_reported() -> None:
    assert not _said(_read("perftest/two_ports.txt"))
    assert len(_said(_read("perftest/two_ports.txt", ("0.747452", "0.947452")))) == 1


def test_an_osu_row_that_lost_its_last_column_keeps_the_others() -> None:
    text = "# OSU MPI Allreduce Latency Test v5.9\n# Size       Avg Latency(us)   Min Latency(us)\n8    3.25\n16   3.3"
    records, heard = collected(text.encode())
    assert [(one.params["size"], one.measurements[0].metric) for one in records] == [(8, "time")]
    assert heard.warned == 2


@pytest.mark.parametrize(
    ("name", "kind", "least"),
    [
        ("nccl-tests/aws_p5_2node_16gpu.txt", "nccl-tests", 64),
        ("nccl-tests/gcp_a3mega_h100_16gpu.txt", "nccl-tests", 62),
        ("nccl-tests/sb_nccl_alltoall.log", "nccl-tests", 68),
        ("rccl-tests/amd_mi300x_16gpu_all_reduce_old_header.txt", "nccl-tests", 64),
        ("osu/issue_ompi_12318_osu_reduce_cuda_v7.3.txt", "osu", 12),
        ("perftest/sb_ib_loopback_all_sizes.log", "perftest", 24),
    ],
)  # fmt: skip
def test_real_logs_give_every_row_and_contradict_nothing(name: str, kind: str, least: int) -> None:
    path = REAL / name
    if not path.is_file():
        pytest.skip("the real logs are not beside this checkout")
    records, heard = collected(path.read_bytes())
    assert heard.kinds == {kind: least}
    assert not _said(records)
