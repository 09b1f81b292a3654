"""Checkpoint engines bring back what they saved, bit for bit, and refuse what is not whole or of another model."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest
from microbench_checkpoints import Answers, Asked, Cases, Complaints, Loss

from clusters.filesystem import direct_alignment
from harness import children
from microbench.checkpoint import engines
from microbench.checkpoint.engines.direct import BLOCK, BLOCKS, Blocks, Direct
from microbench.checkpoint.engines.lazy import MANIFEST, faults, list_files
from microbench.checkpoint.model import ADAM, sizes
from microbench.checkpoint.state import Shape

SIZE = 4 << 20  # B
LIMIT = 120.0
T = TypeVar("T")


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    here = str(Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])]))


def act(what: str, kind: type[T], asked: Asked | Cases, folder: Path, ranks: int = 2) -> list[T]:
    ended = children.run(children.Work(f"microbench_checkpoints:{what}", asked, ranks), folder, LIMIT)
    assert all(one.ok for one in ended), "\n".join(one.log for one in ended)
    return [msgspec.json.decode(one.result, type=kind) for one in ended]


# There and back


@pytest.mark.parametrize(
    ("wanted", "sharding"),
    [("torch,dcp,dcp_direct,dcp_async,lazy,megatron", "fsdp"), ("dcp,lazy", "tp"), ("torch,lazy", "ddp")],
)
def test_what_is_loaded_is_what_was_saved_though_training_went_on_at_once(
    tmp_path: Path, wanted: str, sharding: str
) -> None:
    """An asynchronous engine that copied too late would save the next step's tensors."""
    here = [name for name in wanted.split(",") if engines.refuses(name, 2, "cpu", tmp_path) is None]
    shape = msgspec.convert({"size": SIZE, "sharding": sharding}, Shape)
    for answers in act("there_and_back", Answers, Asked(",".join(here), shape, str(tmp_path)), tmp_path / "world"):
        for name, answer in answers.engines.items():
            assert answer.after == answer.before, name
            assert answer.changed != answer.before  # the step after the save does change what was saved
            assert answer.steps[0] == answer.steps[1]
            assert answer.positions[0] == answer.positions[1] > 0
            assert answer.losses[0] == answer.losses[1], name  # the same sequences are read again
            assert answer.complete == (False, True), name


@pytest.mark.parametrize("size", [1, 4096, BLOCK, BLOCK + 1, 5 * BLOCK + 4097])
def test_a_file_past_the_cache_holds_each_byte_though_it_ends_within_a_block(tmp_path: Path, size: int) -> None:
    """The last block is padded on its way, and blocks are used again while others are still being written."""
    alignment = direct_alignment(tmp_path)
    if alignment is None:
        pytest.skip("the file system has no direct I/O")
    blocks, content = Blocks(alignment), os.urandom(size)
    for name in ("first", "second"):
        file = Direct(tmp_path / name, blocks, size // 2)
        for at in range(0, size, 3 << 20):
            file.write(content[at : at + (3 << 20)])
        os.fsync(file.fileno())
        file.close()
        assert (tmp_path / name).read_bytes() == content
    blocks.close()


def test_a_write_past_the_cache_that_fails_is_told_and_frees_its_blocks(tmp_path: Path) -> None:
    """A failure in the thread that nobody asked for would be a checkpoint with a hole."""
    alignment = direct_alignment(tmp_path)
    if alignment is None:
        pytest.skip("the file system has no direct I/O")
    blocks = Blocks(alignment)
    file = Direct(tmp_path / "file", blocks, 0)
    os.close(file._descriptor)
    file._descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    file.write(b"x")
    with pytest.raises(OSError, match="Bad file descriptor"):
        file.fileno()
    file.close()
    assert len(blocks.free) == BLOCKS
    blocks.close()


# The state


def test_content_follows_from_the_step_alone_and_ranks_share_the_work(tmp_path: Path) -> None:
    """Shards of all kinds hold the same whole, and training in tensor parallel is training on one rank."""
    found = {}
    for name, sharding, ranks in (("one", "ddp", 1), ("tp", "tp", 2)):
        shape = msgspec.convert({"size": SIZE, "sharding": sharding}, Shape)
        found[name] = act("train", Loss, Asked("torch", shape, ""), tmp_path / name, ranks)
    for answers in found.values():
        for answer in answers:
            assert answer.wrong[0] == []
            assert len(answer.wrong[1]) > 10
    assert found["tp"][0].losses == pytest.approx(found["one"][0].losses, rel=1e-4)


@pytest.mark.parametrize("state", [4 << 20, 64 << 20, 512 << 20, 1 << 30, 1 << 36])
def test_the_model_has_about_the_size_that_was_asked_for(state: int) -> None:
    made = sizes(state)
    assert made.layers >= 4
    assert made.parameters * ADAM == pytest.approx(state, rel=0.13)


def test_a_size_below_the_smallest_model_is_refused_with_that_one() -> None:
    with pytest.raises(ValueError, match="at least 3914496 B"):
        sizes(1000)


# Damage


def test_a_snapshot_is_loaded_only_where_each_file_is_what_its_manifest_says(tmp_path: Path) -> None:
    act("there_and_back", Answers, Asked("dcp,lazy", Shape(SIZE), str(tmp_path)), tmp_path / "saving", ranks=1)
    flipped = tmp_path / "flipped"
    shutil.copytree(tmp_path / "lazy", flipped)
    data = next(flipped.glob("*.distcp"))
    content = data.read_bytes()
    data.write_bytes(content[:1000] + bytes([content[1000] ^ 1]) + content[1001:])
    cases = [("lazy", "lazy", SIZE), ("lazy", "flipped", SIZE), ("dcp", "dcp", 2 * SIZE), ("dcp", "nothing", SIZE)]
    asked = Cases([(engine, str(tmp_path / name), size) for engine, name, size in cases])
    whole, wrong, other, nothing = act("complain", Complaints, asked, tmp_path / "loading", ranks=1)[0].each
    assert whole.kind == "loaded"
    assert (wrong.kind, wrong.reason) == ("Damaged", f"{data.name}: its checksum is not that of the manifest")
    assert other.kind == "Foreign"
    assert "of another model" in other.reason
    assert nothing.kind == "Damaged"

    data.write_bytes(content[:-1])
    assert "B of" in faults(flipped, 0, 1)
    data.unlink()
    assert faults(flipped, 0, 1) == f"{data.name}: missing"
    (flipped / MANIFEST).write_text("{")
    assert faults(flipped, 0, 1).startswith(MANIFEST)
    (flipped / MANIFEST).unlink()
    assert "did not end" in faults(flipped, 0, 1)


def test_a_manifest_of_another_version_is_refused_by_its_number(tmp_path: Path) -> None:
    list_files(tmp_path, 1, {})
    held = json.loads((tmp_path / MANIFEST).read_text())
    (tmp_path / MANIFEST).write_text(json.dumps(held | {"version": 99}))
    assert "version 99" in faults(tmp_path, 0, 1)


def test_a_manifest_names_no_file_outside_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (tmp_path / "other").write_bytes(b"x")
    list_files(folder, 1, {"../other": (1, 0)})
    assert faults(folder, 0, 1) == "../other: missing"


def test_shards_of_unequal_size_are_refused_before_anything_is_written() -> None:
    if engines.refuses("megatron", 2, "cpu") is not None:
        pytest.skip("megatron-core is not installed")
    assert "divide by 3" in (engines.refuses("megatron", 3, "cpu") or "")
