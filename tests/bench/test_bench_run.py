"""Real runs of real ranks, and the faults that real runs meet."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from bench_process import left_behind, workers

from harness import store
from harness.records import Incomplete, Ok, Skipped, cell_name

SMALL = ["--only", "collectives.all_reduce", "--only", "gemm.square", "--only", "memory.stream",
         "--set", "m=64,128", "--set", "op=triad", "--set", "dtype=float32"]  # fmt: skip


def only_run(folder: Path) -> Path:
    (run,) = (folder / "runs").iterdir()
    return run


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def measured(folder: Path) -> int:
    files = list((folder / "runs").glob("*/records.jsonl"))
    return sum(b'"type":"record"' in line for file in files for line in file.read_bytes().splitlines())


def test_a_run_measures_reports_and_shows(bench, tmp_path: Path) -> None:
    result = bench("run", *SMALL, "--set", "size=1KiB,64KiB", "--budget", "30s", "--json")
    assert result.code == 0, result.err
    document = result.document
    assert document["outcome"] == "complete"
    assert {Path(path).suffix for path in document["reports"]} == {".html", ".pdf"}
    quantity = next(iter(document["records"][0]["quantities"].values()))
    assert {"value", "low", "high", "unit", "origin"} <= set(quantity)
    assert quantity["origin"] == "measured"
    run = store.read(Path(tmp_path, document["run"]))
    assert all(isinstance(record.outcome, Ok) for record in run.records)
    reduce = next(record for record in run.records if record.benchmark == "collectives.all_reduce")
    assert len(reduce.measurements[0].evidence.rank_medians) == 2
    assert run.provenance[reduce.provenance].ranks == 2
    shown = bench("show", document["run"])
    assert "gemm.square" in shown.out
    assert "busbw" in shown.out
    assert not left_behind(tmp_path)


def test_what_cannot_be_measured_is_a_skip_with_its_reason(bench, tmp_path: Path) -> None:
    bench(
        "run",
        "--only",
        "gemm.square",
        "--set",
        "m=64",
        "--set",
        "dtype=float8,float32",
        "--budget",
        "30s",
        "--no-report",
    )
    outcomes = {record.params["dtype"]: record.outcome for record in store.read(only_run(tmp_path)).records}
    assert isinstance(outcomes["float32"], Ok)
    assert isinstance(outcomes["float8"], Skipped)
    assert outcomes["float8"].reason


def test_a_killed_rank_leaves_an_incomplete_record_and_what_was_measured(start, bench, tmp_path: Path) -> None:
    process = start("run", "--only", "collectives.all_reduce", "--set", "dtype=float32",
                    "--set", "size=1KiB,4KiB,16KiB,64KiB,256KiB,1MiB", "--budget", "60s")  # fmt: skip
    wait_for(lambda: measured(tmp_path) >= 2)
    workers(process.pid)[1].send_signal(signal.SIGKILL)
    out, err = process.communicate(timeout=90)
    assert process.returncode == 3, err
    run = store.read(only_run(tmp_path))
    broken = [record for record in run.records if isinstance(record.outcome, Incomplete)]
    assert [record.outcome.missing for record in broken] == [(1,)]
    assert "1" in broken[0].outcome.reason
    assert sum(isinstance(record.outcome, Ok) for record in run.records) >= 2
    assert "--resume" in out
    assert not left_behind(tmp_path)
    assert bench("run", "--resume", str(run.path), "--budget", "20s", "--no-report").code == 0
    again = store.read(run.path)
    assert len(again.finished) == 6
    assert not again.problems


def test_no_rank_outlives_a_killed_run_or_launcher(start, tmp_path: Path) -> None:
    for victim in ("run", "launcher"):
        before = measured(tmp_path)
        process = start("run", "--only", "collectives.all_reduce", "--set", "dtype=float32", "--set", "size=1KiB,1MiB",
                        "--budget", "60s", "--no-report")  # fmt: skip
        wait_for(lambda before=before: measured(tmp_path) > before)
        ranks = workers(process.pid)
        assert len(ranks) == 2
        if victim == "run":
            process.kill()
        else:
            ranks[0].parent().kill()
        _, err = process.communicate(timeout=60)
        assert "Traceback" not in err
        wait_for(lambda ranks=ranks: not any(rank.is_running() for rank in ranks.values()), 20)
        wait_for(lambda: not left_behind(tmp_path), 20)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_is_valid_and_resume_repeats_nothing(
    start, bench, tmp_path: Path, number: signal.Signals
) -> None:  # fmt: skip
    process = start("run", *SMALL, "--set", "size=1KiB,4KiB,16KiB,64KiB", "--budget", "60s", "--no-report")
    wait_for(lambda: measured(tmp_path) >= 2)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 3, err
    run = store.read(only_run(tmp_path))
    assert not run.problems
    before = Counter((cell_name(r.benchmark, r.params), r.launch) for r in run.records)
    assert 2 <= len(run.finished) < len(run.info.cells)
    assert not left_behind(tmp_path)
    assert bench("run", "--resume", str(run.path), "--budget", "40s", "--no-report").code == 0
    after = store.read(run.path)
    assert len(after.finished) == len(run.info.cells)
    count = Counter((cell_name(r.benchmark, r.params), r.launch) for r in after.records)
    assert all(count[key] == times for key, times in before.items())


def test_a_full_disk_stops_the_run_and_every_earlier_record_reads(bench, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(disk)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    sizes = ",".join(f"{48 * step}KiB" for step in range(1, 16))  # 75 cells: more than the disk holds
    try:
        result = bench("run", "--only", "memory.stream", "--set", "op=copy,add,triad,read,scale", "--set",
                       f"size={sizes}", "--budget", "15s", "--out", str(disk))  # fmt: skip
        assert result.code == 3, result.err
        assert "No space left" in result.err
        assert "--resume" in result.err
        (path,) = disk.iterdir()
        run = store.read(path)
        assert run.records
        assert not run.problems
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_two_runs_cannot_write_one_folder(start, bench, tmp_path: Path) -> None:
    process = start("run", "--only", "memory.stream", "--set", "op=triad", "--budget", "60s", "--no-report")
    wait_for(lambda: measured(tmp_path) >= 1)
    result = bench("run", "--resume", str(only_run(tmp_path)))
    assert result.code == 3
    assert "another" in result.err
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)


def test_the_declared_cluster_runs_whole_when_simulated(bench, tmp_path: Path) -> None:
    result = bench("run", "--cluster", "mi300x", "--simulate", "--only", "collectives.all_reduce", "--only", "gemm",
                   "--set", "size=1KiB,16MiB", "--set", "m=8192", "--json")  # fmt: skip
    assert result.code == 0, result.err
    origins = {q["origin"] for record in result.document["records"] for q in record["quantities"].values()}
    assert origins == {"modelled"}
    run = store.read(Path(tmp_path, result.document["run"]))
    reports = list(Path(tmp_path, result.document["run"]).glob("logs/*/rank-*.json"))
    assert len(reports) == 1024
    assert json.loads(reports[0].read_text())["status"] == "done"
    assert all(
        "modelled" in Path(tmp_path, path).read_text() for path in result.document["reports"] if path.endswith("html")
    )
    assert next(iter(run.provenance.values())).ranks == 1024


def test_the_environment_of_a_launch_is_free_of_secrets(bench, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(os.environ, "MY_API_TOKEN", "hidden-value")
    bench("run", "--only", "memory.stream", "--set", "op=copy", "--set", "size=48KiB", "--budget", "2s", "--no-report")
    texts = [path.read_text(errors="replace") for path in only_run(tmp_path).rglob("*") if path.is_file()]
    assert not any("hidden-value" in text for text in texts)
