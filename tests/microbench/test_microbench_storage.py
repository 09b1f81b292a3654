"""What benchmarks of disks share: a folder with room, and what memory holds of a file."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from clusters.filesystem import holding
from harness.errors import Skip
from microbench.storage.residency import PAGE, evict, resident
from microbench.storage.room import opened, require

PAGES = 64


@pytest.fixture
def file(tmp_path: Path) -> Path:
    if holding(tmp_path).in_memory:
        pytest.skip(f"{tmp_path} lies in memory, which cannot be evicted")
    path = tmp_path / "file"
    path.write_bytes(os.urandom(PAGES * PAGE - 100))
    return path


def test_what_was_written_is_in_memory_until_it_is_evicted(file: Path) -> None:
    assert resident(file) == 1.0
    assert evict(file) == 0.0


def test_the_share_is_that_of_the_pages_that_were_read(file: Path) -> None:
    evict(file)
    descriptor = os.open(file, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)  # no reading ahead
    os.pread(descriptor, 16 * PAGE, 0)
    os.close(descriptor)
    assert resident(file) == 16 / PAGES


def test_what_is_mapped_elsewhere_stays_and_is_said(file: Path) -> None:
    with open(file, "rb") as held, mmap.mmap(held.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert sum(mapped[::PAGE]) >= 0  # touches every page
        assert evict(file) > 0.9


def test_an_empty_file_has_nothing_in_memory(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert resident(tmp_path / "empty") == 0.0


def test_too_little_space_is_a_skip_before_a_byte_is_written(tmp_path: Path) -> None:
    ctx = SimpleNamespace(scratch=tmp_path)
    free = holding(tmp_path).free
    assert require(ctx, free // 2).free > 0
    with pytest.raises(Skip, match=r"needs .* in .*, and .* is free there"):
        require(ctx, 2 * free)
    assert list(tmp_path.iterdir()) == []


def test_a_simulated_cluster_has_no_disk() -> None:
    with pytest.raises(Skip, match="nothing models a disk"):
        require(SimpleNamespace(scratch=None), 1)


def test_a_cells_folder_goes_with_the_cell(tmp_path: Path) -> None:
    ctx = SimpleNamespace(scratch=tmp_path)
    with pytest.raises(RuntimeError), opened(ctx, "cell") as folder:
        raise RuntimeError((folder / "file").touch())
    assert list(tmp_path.iterdir()) == []
