"""The end-to-end chapter from made-up runs whose numbers are known: three denominators, alarms, parts, the batch."""

from __future__ import annotations

import pytest
from reports_e2e_jobs import ablation, host, job, local_steps, product, run_of, subject, training_runs

from bench import training_text
from bench.critical_batch import critical_batches
from harness.summary import Cell
from reports.chapters.e2e import chapter
from reports.subject import Subject
from reports.utilisation import HARDWARE, alarms, of_job

PEAK = 1.3074e15  # FLOP/s, dense bf16 of an MI300X by its datasheet


def the_job(held: Subject) -> Cell:
    return next(cell for cell in held.measured if cell.benchmark == "e2e.mfu")


def test_mfu_has_three_denominators_each_with_its_source() -> None:
    held = subject(job(3e14, model="llama3-8b", clock=1.5e9), product(6e14, clock=2.0e9))
    found = of_job(held, the_job(held))
    assert found.datasheet.ratio == pytest.approx(3e14 / PEAK, rel=1e-3)
    assert found.measured.ratio == pytest.approx(0.5, rel=1e-3)
    assert found.clocked.ratio == pytest.approx(3e14 / (6e14 * 1.5 / 2.0), rel=1e-3)
    assert "datasheet" in found.datasheet.note.lower() or "MI300X" in found.datasheet.note
    assert "gemm.peak" in found.measured.note


def test_hfu_adds_what_is_computed_again_and_mfu_does_not() -> None:
    plain, again = (subject(job(3e14, model="llama3-8b", recompute=kind)) for kind in ("none", "full"))
    mfu = [of_job(held, the_job(held)).datasheet.ratio for held in (plain, again)]
    hfu = [of_job(held, the_job(held), HARDWARE).datasheet.ratio for held in (plain, again)]
    assert mfu[0] == pytest.approx(mfu[1])
    assert hfu[0] == pytest.approx(mfu[0])
    assert mfu[1] * 1.2 < hfu[1] < mfu[1] * 1.34


def test_what_is_not_known_has_no_number_and_says_how_to_get_one() -> None:
    held = subject(job(1e11, ranks=2, dtype="float32"), cluster=host(), ranks=2)
    for share in of_job(held, the_job(held)).all:
        assert share.ratio is None
    assert "gemm.peak" in of_job(held, the_job(held)).measured.note


def test_above_100_percent_is_an_alarm_with_both_sides() -> None:
    held = subject(job(2e15, model="llama3-8b"))
    (alarm,) = alarms(held)
    assert "100 %" in alarm
    assert not alarms(subject(job(3e14, model="llama3-8b")))


def test_a_measured_peak_of_another_type_is_no_denominator() -> None:
    held = subject(job(3e14, model="llama3-8b", dtype="bfloat16"), product(1e14, dtype="float32"))
    assert of_job(held, the_job(held)).measured.ratio is None


def test_the_chapter_has_every_section() -> None:
    records = [
        job(3e14, model="llama3-8b"), job(2e14, model="llama3-8b", trainer="megatron", tensor=2), product(6e14),
        ablation("recompute=full", 0.8, 0.6), ablation("compile=true", 1.1, 1.0), local_steps(ranks=8),
        *(job(3e14 * share, ranks, benchmark="e2e.scaling", mode="weak")
          for ranks, share in ((1, 1.0), (2, 0.97), (8, 0.9))),
        training_runs(),
    ]  # fmt: skip
    held = subject(*records, models=critical_batches(run_of(*records)))
    made = chapter(held, [cell for cell in held.cells if cell.benchmark.startswith("e2e.")])
    text = " ".join(
        str(cell) for table in made.tables for group in table.groups for row in group.rows for cell in row
    )  # fmt: skip
    for word in ("megatron", "palm", "korthikanti", "recompute full", "diloco", "noloco"):
        assert word in text.lower(), word
    assert len(made.pictures) >= 4
    assert all("<svg" in picture.svg and picture.alt for picture in made.pictures)


def test_the_critical_batch_is_that_of_the_curve_and_nothing_is_dropped() -> None:
    (model,) = critical_batches(run_of(training_runs(a=400, b=60_000)))
    assert model.fitted is not None
    assert model.fitted.b_crit.low <= 150 <= model.fitted.b_crit.high
    assert len(model.points) >= 5 * 8, "censored and diverged runs are kept"


def test_the_terminal_says_the_same() -> None:
    lines = training_text.lines(run_of(job(3e14, model="llama3-8b"), product(6e14), training_runs()))
    assert any("MFU" in line and "50.0%" in line for line in lines), lines
    assert any(line.startswith("critical batch") and "B*" in line for line in lines), lines
