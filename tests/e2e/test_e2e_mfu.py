"""`bench run --only e2e.mfu` and its kin as a user has them: real jobs on two ranks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.mfu import JobParams
from e2e.results import rates
from harness import store
from harness.models.counts import training_flops
from harness.records import Failed, Measurement, Ok, Record, Skipped
from harness.summary import cells

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("--set", "layers=1", "--set", "sequence=64", "--set", "dtype=float32", "--set", "seconds=1")


def run(folder: Path, *arguments: str) -> tuple[Record, ...]:
    done = subprocess.run(
        [sys.executable, "-m", "bench.main", "run", *arguments, "--no-report", "--budget", "none"], cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    (path,) = (folder / "runs").iterdir()
    return store.read(path).records


def held(record: Record, metric: str) -> list[Measurement]:
    return [one for one in record.measurements if one.metric.split(".")[0] == metric]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Record:
    (record,) = run(tmp_path_factory.mktemp("job"), "--only", "e2e.mfu", *SMALL, "--set", "trainer=torch")
    assert isinstance(record.outcome, Ok), record.outcome
    return record


def test_a_job_has_tokens_flop_and_every_part_of_a_step(job: Record) -> None:
    (time,) = held(job, "time")
    assert {rate.name for rate in time.rates} == {"tokens", "flops", "hardware_flops"}
    assert len(time.samples) >= 10
    assert len(time.evidence.rank_medians) == 2
    parts = {one.params["part"]: one.samples for one in held(job, "part")}
    assert set(parts) == {"data", "forward", "backward", "optimizer", "communication", "rest"}
    steps = [sum(values) for values in zip(*parts.values(), strict=True)]
    (flag,) = held(job, "part")[0].evidence.flags
    assert "under a profiler" in flag
    for name in ("forward", "backward", "optimizer"):
        assert all(0.0 < value < step for value, step in zip(parts[name], steps, strict=True)), name
    assert all(value > 0 for value in held(job, "memory")[0].samples)


def test_the_rate_is_all_tokens_over_all_the_time(job: Record) -> None:
    """A job pays for its slow steps, so neither their median nor a mean of rates will do."""
    (time,) = held(job, "time")
    (cell,) = cells([job])
    figure = cell.figure("tokens")
    assert figure is not None
    amount = next(rate.amount for rate in time.rates if rate.name == "tokens")
    assert figure.interval.value == pytest.approx(amount * len(time.samples) / sum(time.samples))
    assert figure.interval.low <= figure.interval.value <= figure.interval.high


def test_the_loss_falls_and_two_gradients_of_each_step_are_kept(job: Record) -> None:
    (loss,) = held(job, "loss")
    assert loss.samples[0] > loss.samples[-1]
    small, big = held(job, "gradient_small"), held(job, "gradient_big")
    assert len(small[0].samples) == len(big[0].samples) >= 10
    assert sum(small[0].samples) > sum(big[0].samples) > 0, "a smaller batch has the noisier gradient"


def test_flop_are_counted_exactly_and_what_is_done_again_is_apart() -> None:
    params = JobParams(trainer="torch", recompute="full", sequence=64, batch=4)
    asked = params.asked(2)
    by_name = {rate.name: rate.amount for rate in rates(asked, 2)}
    assert by_name["tokens"] == 4 * 64 / 2
    assert by_name["flops"] == training_flops(asked.model, 64, 4, causal=True) / 2
    assert by_name["flops"] < by_name["hardware_flops"] < 1.5 * by_name["flops"]


def test_a_library_that_cannot_says_so_in_a_skip(tmp_path: Path) -> None:
    (record,) = run(tmp_path, "--only", "e2e.mfu", *SMALL, "--set", "trainer=deepspeed", "--set", "optimizer=adafactor")
    assert isinstance(record.outcome, Skipped)
    assert "Adafactor" in record.outcome.reason


def test_a_job_that_diverges_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    given = ("--only", "e2e.mfu", *SMALL, "--set", "trainer=torch", "--set", "learning_rate=1e30,1e-3")
    by_rate = {record.params["learning_rate"]: record.outcome for record in run(tmp_path, *given)}
    assert isinstance(by_rate[1e-3], Ok)
    lost = by_rate[1e30]
    assert isinstance(lost, Failed)
    assert "is no number: the job diverged" in lost.reason


def test_one_rank_of_two_trains_while_the_other_waits(tmp_path: Path) -> None:
    records = run(tmp_path, "--only", "e2e.scaling", *SMALL, "--set", "ranks=doubling", "--set", "mode=strong")
    assert [record.params["ranks"] for record in sorted(records, key=lambda one: str(one.params["ranks"]))] == [1, 2]
    assert all(isinstance(record.outcome, Ok) for record in records), [record.outcome for record in records]
    amounts = {one.params["ranks"]: held(one, "time")[0].rates[0].amount for one in records}
    assert amounts[1] == 2 * amounts[2], "of strong scaling all ranks together take one batch"


def test_a_technique_has_its_factor_and_its_memory(tmp_path: Path) -> None:
    (record,) = run(tmp_path, "--only", "e2e.ablation", *SMALL, "--set", "technique=recompute=full")
    assert isinstance(record.outcome, Ok), record.outcome
    (ratio,) = held(record, "ratio")
    without, with_it = (one.samples for one in held(record, "step"))
    assert ratio.samples == pytest.approx([a / b for a, b in zip(without, with_it, strict=True)])
    assert {(one.params["job"], one.params["tier"]) for one in held(record, "memory")} >= {
        ("without", "host"), ("with", "host"),
    }  # fmt: skip
