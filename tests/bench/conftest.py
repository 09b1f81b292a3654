from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from bench_process import Result, command, environment


@pytest.fixture
def bench(tmp_path: Path) -> Callable[..., Result]:
    """bench('run', '--json', ...): runs in tmp_path; a traceback on standard error fails the test."""

    def call(*arguments: str, timeout: float = 240) -> Result:
        done = subprocess.run(
            command(*arguments), cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=timeout
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Result(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Like `bench`, but leaves the process running for the test to disturb."""

    def call(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command(*arguments), cwd=tmp_path, env=environment(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    return call
