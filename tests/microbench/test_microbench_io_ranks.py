"""Several ranks on one disk: a file each or a shared one, all of them or some, and a skip that all of them hear of."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from microbench_disk import Answer, Asked

from harness import children
from harness.records import Measurement
from microbench.offload.io_asked import IoParams

SIZE, BLOCK = 4 << 20, 256 << 10


def params(op: str, engine: str = "positional", depth: int = 1, threads: int = 2, **more: object) -> IoParams:
    given = {"op": op, "engine": engine, "size": SIZE, "block": BLOCK, "depth": depth, "threads": threads, **more}
    return msgspec.convert(given, IoParams)


CELLS = (
    params("write", layout="own", writers=2),
    params("write", layout="shared", writers=2),
    params("read", layout="shared", writers=2),
    params("read", layout="own", writers=1),
    params("read", layout="shared", writers=0),
    params("write", writers=3),
    params("write", "fio", depth=4, threads=1, layout="shared", writers=2),
    params("read", "fio", depth=4, threads=1, layout="own", writers=2),
    params("read", "fio", depth=4, threads=1, writers=1),
)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Answer], Path]:
    """What each of two ranks found."""
    scratch = tmp_path_factory.mktemp("scratch")
    here = str(Path(__file__).parent)
    path = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
    work = children.Work("microbench_disk:act", Asked(str(scratch), CELLS), 2, environment={"PYTHONPATH": path})
    ended = children.run(work, tmp_path_factory.mktemp("world") / "two", 120)
    assert [one.reason for one in ended if not one.ok] == []
    return [msgspec.json.decode(one.result, type=Answer) for one in ended], scratch


def test_all_ranks_report_the_same_and_the_bytes_of_those_that_took_part(both: tuple[list[Answer], Path]) -> None:
    (first, second), _ = both
    for cell, one, other in zip(CELLS, first.found, second.found, strict=True):
        if not isinstance(one, Measurement):
            assert one
            continue
        assert isinstance(other, Measurement)
        assert one.samples == other.samples
        writers = cell.writers or 2
        assert one.rates[0].amount == SIZE * writers
        assert one.params == ({} if cell.writers else {"writers": writers})


def test_more_writers_than_ranks_skip_on_all(both: tuple[list[Answer], Path]) -> None:
    (first, second), _ = both
    index = next(at for at, cell in enumerate(CELLS) if cell.writers == 3)
    assert first.found[index] == second.found[index] == "3 writers, and the launch has 2 rank(s)"


def test_only_what_cannot_be_measured_here_is_skipped(both: tuple[list[Answer], Path]) -> None:
    (first, _), _ = both
    for cell, one in zip(CELLS, first.found, strict=True):
        assert isinstance(one, Measurement) or cell.writers == 3 or cell.engine == "fio"


def test_nothing_is_left(both: tuple[list[Answer], Path]) -> None:
    assert list(both[1].iterdir()) == []
