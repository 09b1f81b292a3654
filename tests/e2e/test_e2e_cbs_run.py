"""`bench run --only e2e.cbs` as a user has it: killed and continued, and what is refused before training."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from bench import catalog, parameters
from harness import store
from harness.errors import UsageError
from harness.job import kept_folder
from harness.records import Ok, Record, Skipped

ROOT = Path(__file__).resolve().parents[2]
TASK = [
    "--set",
    "low=16",
    "--set",
    "high=64",
    "--set",
    "seeds=7",
    "--set",
    "tuning=2",
    "--seed",
    "3",
    "--launches",
    "2",
]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "bench.main", *arguments]


def bench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command(*arguments), cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=240,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done


def stored(folder: Path) -> tuple[Record, ...]:
    (path,) = (folder / "runs").iterdir()
    return store.read(path).records


def trials(folder: Path) -> list[Path]:
    return sorted(folder.glob("runs/*/kept/*/*.json"))


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Record, ...]:
    """A run of two launches that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    done = bench(folder, "run", "--only", "e2e.cbs", *TASK, "--no-report")
    assert done.returncode == 0, done.stderr
    return stored(folder)


def by_batch(record: Record) -> dict[object, tuple[float, ...]]:
    return {one.params["batch"]: one.samples for one in record.measurements if one.metric == "steps"}


def test_a_run_stores_what_every_seed_took(whole: tuple[Record, ...]) -> None:
    record = whole[0]
    assert isinstance(record.outcome, Ok)
    steps = by_batch(record)
    assert sorted(map(int, map(str, steps))) == [16, 32, 64]
    assert all(len(samples) == 7 for samples in steps.values())
    assert all(one.evidence.width is None for one in record.measurements)  # nothing here gets narrower by a revisit
    medians = [sorted(steps[batch])[3] for batch in (16, 32, 64)]
    assert 1.5 < medians[0] / medians[1] < 2.1
    assert 1.3 < medians[1] / medians[2] < 2.1
    norms = {one.metric: one for one in record.measurements if one.metric != "trial" and one.params["batch"] == 64}
    assert norms["gradient_small"].params["b_small"] == 32
    assert len(norms["gradient_small"].samples) == len(norms["gradient_big"].samples) > 7
    swept = [one for one in record.measurements if one.metric == "trial" and one.params["batch"] == 16]
    assert len({one.params["learning_rate"] for one in swept}) >= 3


def test_each_launch_draws_lots_of_its_own(whole: tuple[Record, ...]) -> None:
    """Launches that trained on the same data would look like certainty."""
    first, second = whole
    assert set(by_batch(first).values()).isdisjoint(by_batch(second).values())


def test_a_killed_run_goes_on_where_it_was_and_ends_the_same(tmp_path: Path, whole: tuple[Record, ...]) -> None:
    process = subprocess.Popen(
        command("run", "--only", "e2e.cbs", *TASK, "--no-report"), cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wait_for(lambda: len(trials(tmp_path)) >= 8)
    family = [process, *psutil.Process(process.pid).children(recursive=True)]
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for(lambda: not any(one.is_running() for one in family[1:]))
    kept = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in trials(tmp_path)}
    (run,) = (tmp_path / "runs").iterdir()
    assert not store.read(run).finished, "the run was killed too late: this tests nothing"

    assert bench(tmp_path, "run", "--resume", str(run), "--no-report").returncode == 0
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in kept} == kept
    assert len(trials(tmp_path)) > len(kept)
    assert [record.measurements for record in stored(tmp_path)] == [record.measurements for record in whole]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("target=0.6", "begins at a held-out loss of 0.51"),
        ("target=0.01", "cannot fall to 0.01"),
        ("high=8", "raise high to 32"),
        ("low=512", "low=512 is above high=256"),
        ("task=txt", "accepted are least_squares, text. Near: text"),
        ("model=tiny", "is for task=text"),
        ("per_doubling=0", "per_doubling="),
        ("factor=1", "factor"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(setting: str, words: str) -> None:
    asked = {key: one for key, (one,) in parameters.parse_settings(["low=8", setting]).items()}
    with pytest.raises(UsageError, match=re.escape(words)):
        parameters.complete(catalog.benchmarks()["e2e.cbs"], asked)


def test_a_simulated_cluster_skips_it(tmp_path: Path) -> None:
    done = bench(tmp_path, "run", "--only", "e2e.cbs", *TASK, "--cluster", "h100", "--simulate", "--no-report")
    assert done.returncode == 0, done.stderr
    outcome = stored(tmp_path)[0].outcome
    assert isinstance(outcome, Skipped)
    assert "found by training" in outcome.reason


def test_what_is_kept_is_of_one_cell_of_one_version_and_launch(tmp_path: Path) -> None:
    """Anything that changes the work changes the folder, so that nothing of another is taken up."""
    cells = [store.Planned("e2e.cbs", version, {"low": low, "high": 64}) for version, low in ((1, 8), (2, 8), (1, 16))]
    folders = {kept_folder(str(tmp_path), cell, launch) for cell in cells for launch in (0, 1)}
    assert len(folders) == 6
    other_order = store.Planned("e2e.cbs", 1, {"high": 64, "low": 8})
    assert kept_folder(str(tmp_path), other_order, 0) == kept_folder(str(tmp_path), cells[0], 0)
