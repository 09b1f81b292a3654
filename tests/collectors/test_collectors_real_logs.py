"""Real logs, where they lie beside the checkout: every one parses, and numbers read in them by eye come out."""

from __future__ import annotations

from pathlib import Path

import pytest
from collected import collected

from collectors.parser import Found

LOGS = Path(__file__).resolve().parents[3] / "shared" / "data" / "logs"
FILES = sorted(path for path in LOGS.glob("*/*") if path.name != "SOURCE.txt")
REAL = pytest.mark.skipif(not FILES, reason="the real logs are not beside this checkout (../shared/data/logs)")
HEADLESS = "issue_nccl_583_a100_old_error_cols_truncated.txt"  # the excerpt ends before the first row


def numbers(records: list[Found], metric: str) -> list[float]:
    return [value for one in records for m in one.measurements if m.metric == metric for value in m.samples]


@REAL
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_real_log_gives_records_and_no_contradiction(path: Path) -> None:
    records, heard = collected(path.read_bytes())
    assert bool(records) == (path.name != HEADLESS), heard
    assert not [said for one in records for said in one.contradictions]


@REAL
@pytest.mark.parametrize(
    ("name", "metric", "expected"),
    [
        ("nccl-tests/aws_p5_2node_16gpu.txt", "busbw", 487.26e9),
        ("rccl-tests/amd_mi300x_8gpu_all_reduce.txt", "time", 19.28e-6),
        ("osu/issue_ompi_12318_osu_reduce_cuda_v7.3.txt", "time_max", 158.96e-6),
        ("perftest/sb_ib_loopback_8M_size.log", "bandwidth", 24056.72 * 2**20),
        ("megatron/issue_Megatron-LM_756_mixtral_16xh100.txt", "flops", 239.8e12),
        ("megatron/sb_megatron_deepspeed.log", "samples_total", 26.942),
        ("torchtitan/pr_1287_h100_steps200_250.txt", "mfu", 0.3436),
        ("babelstream/bs_v3.3_titanxp_cuda.txt", "bandwidth", 436491.299e6),
        ("other/sb_nvbandwidth_results.log", "bandwidth", 412.11e9),
        ("transferbench/amd_p2p_v1.50.txt", "bandwidth", 110.94e9),
        ("fio/local_fio3.33_seqread_libaio_group.json", "bandwidth", 1231054918.0),
        ("mllog/lambda_1cc_bert_tail_srun_prefix.txt", "eval_accuracy", 0.6973460912704468),
        ("smi/h100-80gb-hbm3_load_query_gpu.csv", "power", 631.95),
        ("amd-smi/mi300x_monitor_putm.txt", "clock", 1613e6),
        ("deepspeed/bs_hf_ds_gpt2_base_n4.out", "samples_total", 1.088),
    ],
)  # fmt: skip
def test_numbers_come_out_as_they_stand_in_the_log(name: str, metric: str, expected: float) -> None:
    records, _ = collected((LOGS / name).read_bytes())
    assert any(value == pytest.approx(expected, rel=1e-12) for value in numbers(records, metric))


@REAL
def test_ranks_that_a_log_does_not_say_follow_from_its_bandwidths_and_are_marked() -> None:
    records, _ = collected((LOGS / "nccl-tests/aws_p5_2node_16gpu.txt").read_bytes())
    assert {one.params["ranks"] for one in records} == {16}
    assert all("derived: ranks" in " ".join(m.evidence.flags) for one in records for m in one.measurements)
