from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SMALL = [
    "--only", "gemm.square", "--only", "collectives.all_reduce", "--set", "m=64,96", "--set", "dtype=float32",
    "--set", "size=1KiB..64KiB*4", "--budget", "4s", "--no-report",
]  # fmt: skip

Shell = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def shell() -> Shell:
    """shell(command, cwd, PYTHONPATH=...): runs it as a user with the environment activated would."""

    def call(command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            ["bash", "-euc", command], cwd=cwd, env={**os.environ, "PATH": path, **environment},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240,
        )  # fmt: skip

    return call


@pytest.fixture(scope="session")
def example_run(shell: Shell, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run that pages may show, report and resume."""
    folder = tmp_path_factory.mktemp("example")
    done = shell(" ".join(["bench", "run", *SMALL]), folder)
    assert done.returncode == 0, done.stderr
    (run,) = (folder / "runs").iterdir()
    return run
