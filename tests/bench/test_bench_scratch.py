"""The folder that cells write in: made for a launch, gone after it, whatever happened."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench import scratch
from harness.errors import CannotRun, UsageError

HOLD = """
import sys, time
from bench import scratch
with scratch.made(sys.argv[1]):
    print("made", flush=True)
    time.sleep(60)
"""


def filled(folder: Path) -> Path:
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "file").write_bytes(b"x" * 4096)
    return folder


def test_what_was_written_is_gone_after_the_launch(tmp_path: Path) -> None:
    path = scratch.of_run(tmp_path / "run-1", str(tmp_path))
    with scratch.made(str(path)):
        filled(path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_also_after_a_failure_or_an_interrupt(error: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "bench-scratch-run"
    with pytest.raises(error), scratch.made(str(path)):
        raise error(filled(path))
    assert not path.exists()


def test_nothing_else_in_the_folder_is_touched(tmp_path: Path) -> None:
    own = filled(tmp_path / "mine")
    alike = filled(tmp_path / "bench-scratch-of-somebody")  # no lock of ours in it
    with scratch.made(str(tmp_path / "bench-scratch-run")):
        pass
    assert (own / "deep/er/file").exists()
    assert (alike / "deep/er/file").exists()


def test_what_a_killed_run_left_is_removed_by_the_next_and_what_is_at_work_is_not(tmp_path: Path) -> None:
    killed, working = tmp_path / "bench-scratch-killed", tmp_path / "bench-scratch-working"
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(killed)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    working.mkdir()
    with open(working / scratch.LOCK, "wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert killed.exists()
        with scratch.made(str(tmp_path / "bench-scratch-new")):
            assert not killed.exists()
            assert working.exists()


def test_without_a_folder_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with scratch.made(""):
        assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--scratch .*nowhere: No such file or directory\. Name a writable folder"):
        scratch.check(str(tmp_path / "nowhere"))
    with pytest.raises(CannotRun, match="cannot create"), scratch.made(str(tmp_path / "nowhere" / "bench-scratch-x")):
        pass
    scratch.check(str(tmp_path))
    assert list(tmp_path.iterdir()) == [], "looking leaves nothing behind"


def test_the_command_refuses_such_a_folder_before_it_measures(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "bench.main", "run", "--only", "memory.latency", "--out", str(tmp_path / "runs")]
    done = subprocess.run(
        [*argv, "--scratch", str(tmp_path / "nowhere")], capture_output=True, text=True, cwd=tmp_path, env=os.environ
    )
    assert done.returncode == 2
    assert "Name a writable folder" in done.stderr
    assert not (tmp_path / "runs").exists()
