"""Raw disk traffic: what was moved is compared, cold reads are proved, bad input is refused, nothing stays."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from microbench_disk import context

from clusters.filesystem import direct_alignment, holding
from harness.errors import Skip, WrongAnswer
from harness.ranks import Team
from harness.records import Measurement
from microbench.offload import io_asked, io_engines, io_files, io_fio
from microbench.offload.io import io
from microbench.offload.io_asked import IoParams
from microbench.offload.io_engines import Positional, Shape
from microbench.offload.io_files import Place, check_read, check_write, random_region
from microbench.offload.io_memory import CHUNK, Region, difference, fill
from microbench.storage import operators

SIZE, BLOCK = 4 << 20, 256 << 10
ENGINES = {
    "positional": {"depth": 2, "threads": 4}, "uring": {"depth": 8}, "fio": {"depth": 8}, "fio_uring": {"depth": 8},
}  # fmt: skip


def params(op: str = "write", engine: str = "positional", **more: object) -> IoParams:
    given = {"size": SIZE, "block": BLOCK, **ENGINES.get(engine, {"depth": 8}), **more}
    return msgspec.convert({"op": op, "engine": engine, **given}, IoParams)


def measured(folder: Path, asked: IoParams) -> Measurement:
    """The cell's one measurement; a missing program, package or privilege skips the test with the cell's reason."""
    try:
        (found,) = io(context(folder), asked)
    except Skip as reason:
        pytest.skip(str(reason))
    return found


def shape(**more: object) -> Shape:
    return Shape(**{"size": SIZE, "block": BLOCK, "depth": 1, "threads": 2, "pinned": True, "direct": False, **more})


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, False, 0, 1, SIZE, Team(((0,),), 0, (0,)))


@pytest.mark.parametrize("layout", ["own", "shared"])
@pytest.mark.parametrize("op", ["read", "write"])
@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_moves_the_region_and_leaves_nothing(tmp_path: Path, engine: str, op: str, layout: str) -> None:
    found = measured(tmp_path, params(op, engine, layout=layout))
    assert [(rate.name, rate.amount) for rate in found.rates] == [("bandwidth", SIZE)]
    assert len(found.samples) >= 3
    assert min(found.samples) > 0
    assert any(flag.startswith(holding(tmp_path).kind) for flag in found.evidence.flags)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("op", ["read", "write"])
@pytest.mark.parametrize("engine", ["positional", "uring"])
def test_blocks_that_go_through_a_bounce_buffer_arrive_whole(tmp_path: Path, engine: str, op: str) -> None:
    assert measured(tmp_path, params(op, engine, pinned=False)).samples


@pytest.mark.timeout(1800)  # the first time, DeepSpeed's operator is compiled: minutes on two cores
@pytest.mark.filterwarnings("default")  # DeepSpeed's and torch's own
@pytest.mark.parametrize("pinned", [True, False])
def test_deepspeeds_handle_moves_the_region_too(tmp_path: Path, pinned: bool) -> None:
    for op in ("write", "read"):
        found = measured(tmp_path, params(op, "aio", threads=2, pinned=pinned))
        assert found.rates[0].amount == SIZE
    assert list(tmp_path.iterdir()) == []


def test_what_memory_held_before_a_read_is_said(tmp_path: Path) -> None:
    if holding(tmp_path).in_memory:
        pytest.skip(f"{tmp_path} lies in memory")
    flags = measured(tmp_path, params("read")).evidence.flags
    assert "memory held at most 0.0% of a file before it was read" in flags


def test_files_in_memory_are_measured_and_said_to_be() -> None:
    folder = Path("/dev/shm")
    if not folder.is_dir() or not holding(folder).in_memory or not os.access(folder, os.W_OK):
        pytest.skip("no folder in memory to write in")
    folder = folder / f"bench-test-{os.getpid()}"
    folder.mkdir()
    try:
        found = measured(folder, params("read"))
        assert "files lie in memory: no disk is reached" in found.evidence.flags
        assert list(folder.iterdir()) == []
    finally:
        shutil.rmtree(folder)


def test_a_read_that_did_not_come_from_the_disk_gets_no_number(place: Place) -> None:
    engine = Positional(shape())
    random_region(engine, (1, 0))
    place.fresh()
    engine.write(place.path, 0)
    check_read(place, engine, (1, 0), in_memory=False)
    place.held = 0.5
    with pytest.raises(WrongAnswer, match="memory held 50% of rank-0"):
        check_read(place, engine, (1, 0), in_memory=False)
    check_read(place, engine, (1, 0), in_memory=True)


def test_a_wrong_byte_on_the_disk_is_found_in_what_was_read(place: Place) -> None:
    engine = Positional(shape())
    random_region(engine, (1, 0))
    place.fresh()
    engine.write(place.path, 0)
    with open(place.path, "r+b") as file:
        file.seek(SIZE - 7)
        (old,) = file.read(1)
        file.seek(SIZE - 7)
        file.write(bytes([old ^ 1]))
    with pytest.raises(WrongAnswer, match=f"byte {SIZE - 7} that was read"):
        check_read(place, engine, (1, 0), in_memory=False)


def test_an_engine_that_forgets_a_block_is_found_out(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Positional(shape())
    random_region(engine, (1, 0))
    check_write(place, engine, (1, 0))
    starts = Positional._starts
    monkeypatch.setattr(Positional, "_starts", lambda self, thread: [at for at in starts(self, thread) if at != BLOCK])
    with pytest.raises(WrongAnswer, match=f"byte {BLOCK} that was written"):
        check_write(place, engine, (1, 0))


def test_a_write_is_durable_before_its_time_ends(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    right = os.fsync
    monkeypatch.setattr(io_engines.os, "fsync", lambda file: (synced.append(file), right(file)))
    place.fresh()
    before = len(synced)
    Positional(shape()).write(place.path, 0)
    assert len(synced) == before + 1


def test_every_write_begins_with_a_new_file(place: Place) -> None:
    place.fresh()
    first = place.path.stat().st_ino
    held = os.open(place.path, os.O_RDONLY)  # so that its number is not given out again
    place.fresh()
    os.close(held)
    assert place.path.stat().st_ino != first
    assert place.path.stat().st_size == SIZE


def test_random_data_differ_by_seed_and_repeat(place: Place) -> None:
    a = Region(CHUNK + 4096, locked=False).array
    fill(a, (1, 0))
    assert difference(a, (1, 0)) is None
    assert difference(a[CHUNK:], (1, 0), CHUNK) is None
    assert difference(a, (1, 1)) is not None
    assert len(np.unique(a[:4096])) > 200
    a[CHUNK + 5] ^= 1
    assert difference(a, (1, 0)) == CHUNK + 5


def test_a_region_begins_at_a_large_page() -> None:
    assert Region(SIZE, locked=True).array.ctypes.data % (2 << 20) == 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"block": 1000, "size": 4000}, "no multiple of a sector of 512 B.*nearest: 512 or 1024, or direct=false"),
        ({"size": SIZE + 512}, r"no multiple of 1048576 B, a block for each of 4 .*; nearest: 4194304 or 5242880"),
        ({"engine": "uring", "threads": 2}, "a rank drives one ring"),
        ({"engine": "fio", "threads": 2}, "fio is the roof of one thread"),
        ({"engine": "aio", "direct": False}, "direct I/O only; set direct=true"),
        ({"cached": True}, "cached=true is about reads"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_refused_by_name(given: dict[str, object], said: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=said):
        params(**{"op": "write", "engine": "positional", **given})


def test_a_block_that_the_disk_does_not_take_is_a_skip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(io_asked, "direct_alignment", lambda folder: 4096)
    with pytest.raises(Skip, match="block=512 B is no multiple of 4096 B, what direct I/O takes here"):
        io(context(tmp_path), params(block=512))


def test_a_file_system_without_direct_io_is_measured_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(io_asked, "direct_alignment", lambda folder: None)
    if holding(tmp_path).in_memory:
        pytest.skip(f"{tmp_path} lies in memory")
    flags = measured(tmp_path, params("read")).evidence.flags
    assert "the file system has no direct I/O: through the system's cache" in flags
    with pytest.raises(Skip, match="handle opens files for direct I/O"):
        io(context(tmp_path), params(engine="aio"))


def test_too_little_space_and_too_many_writers_are_skips(tmp_path: Path) -> None:
    with pytest.raises(Skip, match=r"needs .* in .*, and .* is free there"):
        io(context(tmp_path), params(size=1 << 50))
    with pytest.raises(Skip, match=r"3 writers, and the launch has 1 rank"):
        io(context(tmp_path), params(writers=3))
    with pytest.raises(Skip, match="nothing models a disk"):
        io(replace(context(tmp_path), scratch=None), params())
    assert list(tmp_path.iterdir()) == []


def test_missing_programs_and_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(io_fio.shutil, "which", lambda name: None)
    with pytest.raises(Skip, match="apt-get install fio"):
        io(context(tmp_path), params(engine="fio"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(operators, "_ready", set())
    with pytest.raises(Skip, match="pip install liburing"):
        io(context(tmp_path), params(engine="uring"))
    with pytest.raises(Skip, match="pip install deepspeed"):
        io(context(tmp_path), params(engine="aio"))
    with pytest.raises(Skip, match="there is none here"):
        io(context(tmp_path), params(engine="gds"))
    assert list(tmp_path.iterdir()) == []


def output(op: str = "write", **more: object) -> bytes:
    side = {"io_bytes": SIZE, "runtime": 12, "bw": 1, **more}
    other = {"io_bytes": 0, "runtime": 0}
    sides = {"read": other, "write": other, op: side}
    return json.dumps({"fio version": "fio-3.33", "jobs": [{"jobname": "io", "error": 0, **sides}]}).encode()


def test_fios_output_is_read_and_what_is_none_is_refused() -> None:
    assert io_fio.parse(output(), "write") == io_fio.Result(SIZE, 0.012)
    for text, said in (
        (output(), "fio reports 0 B"), (output("read", runtime=0), "in 0 ms"), (b"note: no JSON", "cannot be read"),
        (output("read")[:-9], "cannot be read"), (b'{"jobs": []}', "no job"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            io_fio.parse(text, "read")


def test_fio_that_fails_says_why(tmp_path: Path) -> None:
    if shutil.which("fio") is None:
        pytest.skip("fio is not installed")
    with pytest.raises(RuntimeError, match="fio ended with code"):
        io_fio.run(["fio", "--name=x", "--rw=nonsense"], tmp_path / "out.json", "read")


def test_direct_io_is_used_where_the_folder_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if direct_alignment(tmp_path) is None:
        pytest.skip(f"{tmp_path} has no direct I/O")
    flags: list[int] = []
    right = os.open
    monkeypatch.setattr(io_engines.os, "open", lambda path, how, *rest: (flags.append(how), right(path, how, *rest))[1])
    measured(tmp_path, params("read"))
    assert any(how & os.O_DIRECT for how in flags)
    assert io_files.COLD < 0.05
