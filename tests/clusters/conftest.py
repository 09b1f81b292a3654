"""A stand-in for NVIDIA's library, compiled once a session."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from clusters_nvml import FakeNvml

SOURCE = Path(__file__).parent.parent / "fixtures/fake_nvml.c"


@pytest.fixture(scope="session")
def build_nvml(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Compiles the stand-in with the given flags; gives the folder it is in."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler: the stand-in for NVML cannot be built (Debian: apt-get install gcc)")

    def build(*flags: str) -> Path:
        folder = tmp_path_factory.mktemp("nvml")
        subprocess.run(
            [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", *flags, SOURCE,
             "-o", folder / "libnvidia-ml.so.1"],
            check=True,
        )  # fmt: skip
        return folder

    return build


@pytest.fixture(scope="session")
def nvml_library(build_nvml: Callable[..., Path]) -> Path:
    return build_nvml()


@pytest.fixture
def fake_nvml(nvml_library: Path, tmp_path: Path) -> FakeNvml:
    return FakeNvml(nvml_library, tmp_path)
