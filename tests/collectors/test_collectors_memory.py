"""Logs of memory, products and disks: what contradicts itself, what was lost, and real logs where they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from collected import LOGS, collected

from collectors.parser import Found

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "logs"


def values(records: list[Found], metric: str) -> list[float]:
    return [value for one in records for held in one.measurements if held.metric == metric for value in held.samples]


@pytest.mark.parametrize(
    ("log", "rounded", "wrong"),
    [
        ("nvbandwidth/pairs.txt", ("109.43", "109.44"), ("109.43", "119.43")),
        ("babelstream/double.txt", ("536870.912", "537100.912"), ("536870.912", "636870.912")),
        ("transferbench/lines.txt", ("14.351 GB/s │", "14.352 GB/s │"), ("14.351 GB/s │", "15.351 GB/s │")),
        ("gemm-sizing/products.txt", ("267.113", "268.113"), ("253.725", "283.725")),
        ("fio/groups.json", ('"iops": 8514.333333', '"iops": 8514.9'), ('"iops": 8514.333333', '"iops": 9514.333333')),
        ("mlperf-storage/summary.json", ("182.875", "182.876"), ("182.875", "192.875")),
    ],
)
def test_a_log_that_contradicts_itself_is_told_from_one_that_rounds(
    log: str, rounded: tuple[str, str], wrong: tuple[str, str]
) -> None:
    """Would break if a check were lost, or were so strict that honest rounding is reported."""
    text = (LOGS / log).read_text()
    for (old, new), expected in ((rounded, 0), (wrong, 1)):
        assert old in text
        records, _ = collected(text.replace(old, new, 1).encode())
        assert sum(len(one.contradictions) for one in records) == expected


def test_a_row_of_babelstream_without_its_head_has_no_unit_and_is_not_read() -> None:
    text = (LOGS / "babelstream" / "double.txt").read_text()
    without = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("Function"))
    records, heard = collected(without.encode(), "babelstream")
    assert not records
    assert heard.unread or heard.warned


def test_an_error_of_fio_is_a_failure_without_numbers() -> None:
    records, _ = collected((LOGS / "fio" / "groups.json").read_bytes())
    assert [one.failed for one in records if not one.measurements] == ["fio ended with error 28"]


def test_a_time_that_rounds_to_nothing_is_no_time() -> None:
    records, _ = collected((LOGS / "gemm-sizing" / "products.txt").read_bytes())
    assert 0.0 not in values(records, "time")


def test_superbench_gives_a_unit_only_where_its_documents_do() -> None:
    line = json.dumps({"node": "a", "some-bench/strange:0": 12.5, "nccl-bw/allreduce_8_busbw:0": 2.0})
    records, _ = collected(line.encode())
    flags = {held.metric: held.evidence.flags for one in records for held in one.measurements}
    assert flags["value"]
    assert not flags["busbw"]


@pytest.mark.parametrize(
    "job",
    [
        '{"bw":1e999,"io_bytes":5,"iops":1,"runtime":200,"total_ios":1,"slat":{"percentile":5,"mean":1}}',
        '{"bw_bytes":1e999,"io_bytes":5,"iops":1e999,"runtime":200,"total_ios":1}',
        '{"bw_bytes":' + "9" * 400 + ',"io_bytes":5,"iops":1,"runtime":200,"total_ios":1}',
    ],
    ids=["no table", "infinite", "too large"],
)
def test_what_fio_never_writes_raises_nothing_and_gives_no_infinity(job: str) -> None:
    text = '{"fio version":"fio-3.1","jobs":[{"jobname":"a","error":0,"read":' + job + "}]}"
    records, _ = collected(text.encode())
    assert float("inf") not in values(records, "bandwidth")


@pytest.mark.parametrize(
    ("log", "metric", "known"),
    [
        ("fio/sb_disk_performance_fio.json", "iops", 85138.890741),
        ("babelstream/bs_v3.3_titanxp_cuda.txt", "bandwidth", 433182.244e6),
        ("babelstream/bs_opencl-results.csv", "bandwidth", 202334.005e6),
        ("babelstream/sb_gpu_stream.log", "bandwidth", 6711.67e9),
        ("transferbench/amd_p2p_v1.50.txt", "bandwidth", 127.61e9),
        ("other/sb_nvbandwidth_results.log", "latency", 772.58e-9),
    ],
)
def test_real_logs_give_their_numbers(log: str, metric: str, known: float) -> None:
    if not (REAL / log).is_file():
        pytest.skip("the real logs are not here")
    records, heard = collected((REAL / log).read_bytes())
    assert any(value == pytest.approx(known) for value in values(records, metric))
    assert not any(one.contradictions for one in records)
    assert heard.unread <= 3
