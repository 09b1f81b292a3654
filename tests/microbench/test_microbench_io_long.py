"""A long write, disk beside memory traffic, and operators that are compiled first."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from microbench_disk import context

from harness.children import Ended
from harness.errors import Skip, WrongAnswer
from harness.plateaus import phases
from harness.records import Measurement
from microbench.offload.contention import ContentionParams, contention
from microbench.offload.io_memory import Region, fill
from microbench.offload.sustained import SustainedParams, Written, check, describe, sustained
from microbench.storage import operators
from microbench.storage.operators import stale_lock

MIB = 1 << 20
PARAMS = SustainedParams(size=64 * MIB, chunk=2 * MIB, block=256 << 10, threads=4)


def series(*levels: tuple[float, int], spread: float = 0.1, seed: int = 1) -> list[float]:
    random = np.random.default_rng(seed)
    return [time * float(np.exp(spread * random.standard_normal())) for time, count in levels for _ in range(count)]


def by(found: list[Measurement]) -> dict[tuple[str, object], Measurement]:
    return {(one.metric, one.params.get("part")): one for one in found}


@pytest.mark.parametrize("spread", [0.02, 0.1, 0.25])
def test_a_burst_ends_where_the_level_changes(spread: float) -> None:
    found = phases(series((1.0, 40), (2.0, 80), spread=spread))
    assert abs(found.burst - 40) <= 2
    assert abs(found.steady - 40) <= 2


def test_what_is_level_or_gets_faster_has_no_burst() -> None:
    assert sum(phases(series((1.0, 100), spread=0.2, seed=seed)).burst > 0 for seed in range(30)) <= 3
    faster = phases(series((2.0, 50), (1.0, 50)))
    assert faster.burst == 0
    assert abs(faster.steady - 50) <= 2


def test_a_step_between_is_neither_burst_nor_steady() -> None:
    found = phases(series((1.0, 40), (4.0, 20), (2.0, 60)))
    assert abs(found.burst - 40) <= 2
    assert abs(found.steady - 60) <= 2


@pytest.mark.parametrize("times", [[1.0], [1.0, 2.0], [1.0] * 5])
def test_a_short_series_is_one_level(times: list[float]) -> None:
    assert phases(times).burst == 0


def test_a_long_write_is_a_series_of_all_its_chunks_and_leaves_nothing(tmp_path: Path) -> None:
    found = by(list(sustained(context(tmp_path), PARAMS)))
    whole = found["chunk", "series"]
    assert len(whole.samples) == 32
    assert min(whole.samples) >= 0
    assert whole.rates[0].amount == 2 * MIB
    assert set(found["chunk", "steady"].samples) <= set(whole.samples)
    assert all(one.evidence.width is None for one in found.values())  # a second visit would write all of it again
    assert list(tmp_path.iterdir()) == []


def test_burst_and_steady_state_are_told_apart_with_the_place(tmp_path: Path) -> None:
    times = tuple(series((1.0, 20), (3.0, 40)))
    found = by(describe(context(tmp_path), PARAMS, Written(times, 0.1), ()))
    assert abs(found["change", None].samples[0] / (2 * MIB) - 20) <= 2
    burst, steady = (np.median(found["chunk", part].samples) for part in ("burst", "steady"))
    assert 2.5 < steady / burst < 3.5
    assert "faster until" in found["chunk", "steady"].evidence.flags[0]


def test_a_long_write_that_went_astray_gets_no_number(tmp_path: Path) -> None:
    region = Region(64 * MIB, locked=False)
    fill(region.array, (1,))
    path = tmp_path / "file"
    path.write_bytes(region.view)
    check(PARAMS, region, path)
    with open(path, "r+b") as file:
        file.seek(64 * MIB - 1)
        file.write(bytes([region.array[-1] ^ 1]))
    with pytest.raises(WrongAnswer, match="block 255 of 256 does not hold"):
        check(PARAMS, region, path)


@pytest.mark.parametrize(
    ("given", "said"),
    [({"block": 1000}, "multiples of 512 B"), ({"chunk": 3 * MIB + 512}, "chunk=.* is no multiple"),
     ({"size": 5 * MIB}, "size=.* is no multiple of 2097152 B; nearest: 4194304")],
)  # fmt: skip
def test_sizes_that_do_not_divide_are_refused(given: dict[str, int], said: str) -> None:
    held = {"size": 64 * MIB, "chunk": 2 * MIB, "block": MIB} | given
    with pytest.raises(msgspec.ValidationError, match=said):
        msgspec.convert(held, SustainedParams)


def test_too_little_space_is_a_skip(tmp_path: Path) -> None:
    with pytest.raises(Skip, match="is free there"):
        sustained(context(tmp_path), SustainedParams(size=1 << 50))


@pytest.mark.parametrize("op", ["read", "write"])
def test_each_kind_of_traffic_gets_its_slow_down(tmp_path: Path, op: str) -> None:
    asked = msgspec.convert({"op": op, "size": 4 * MIB, "copied": 4 * MIB, "threads": 2}, ContentionParams)
    found = {one.metric.partition(".")[0]: one for one in contention(context(tmp_path), asked)}
    for what in ("disk", "copy"):
        alone, beside = (found[f"{what}_{how}"].samples for how in ("alone", "beside"))
        assert found[f"{what}_slowdown"].samples == pytest.approx([b / a for a, b in zip(alone, beside, strict=True)])
    assert any("host's processors" in flag for flag in found["disk_slowdown"].evidence.flags)
    assert list(tmp_path.iterdir()) == []


def test_a_host_has_no_other_memory_to_copy_to(tmp_path: Path) -> None:
    with pytest.raises(Skip, match="set direction=host"):
        contention(context(tmp_path), ContentionParams(direction="h2d"))


def test_a_lock_is_stale_when_its_owner_is_gone_and_nothing_happens(tmp_path: Path) -> None:
    assert stale_lock(tmp_path) is None
    lock = tmp_path / "lock"
    owner = os.open(lock, os.O_CREAT | os.O_EXCL)
    long_ago = time.time() - 3600
    for path in (lock, tmp_path):
        os.utime(path, (long_ago, long_ago))
    assert stale_lock(tmp_path) is None  # held
    os.close(owner)
    assert stale_lock(tmp_path) == lock
    (tmp_path / "object.o").touch()  # another host's compiler is at work
    assert stale_lock(tmp_path) is None


def test_a_left_lock_is_named_before_anything_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr(operators, "build_folder", lambda name: tmp_path / name)
    monkeypatch.setattr(operators, "_ready", set())
    folder = tmp_path / "async_io"
    folder.mkdir()
    (folder / "lock").touch()
    for path in (folder / "lock", folder):
        os.utime(path, (1.0, 1.0))
    with pytest.raises(Skip, match=f"remove {folder}/lock and run again"):
        operators.ensure(context(tmp_path), "async_io")


def test_the_build_folder_is_where_torch_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.utils import cpp_extension

    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "given"))
    assert str(operators.build_folder("x")) == cpp_extension._get_build_directory("x", False)
    monkeypatch.delenv("TORCH_EXTENSIONS_DIR")
    monkeypatch.setattr(cpp_extension, "get_default_build_root", lambda: str(tmp_path / "root"))
    assert str(operators.build_folder("x")) == cpp_extension._get_build_directory("x", False)


def test_an_operator_that_cannot_be_built_is_a_skip_with_the_compilers_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = "[1/2] c++ ...\nfatal error: libaio.h: No such file or directory\nRuntimeError: Error building extension"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr(operators, "build_folder", lambda name: tmp_path / name)
    monkeypatch.setattr(operators, "_ready", set())
    monkeypatch.setattr(operators, "children", SimpleNamespace(
        Work=lambda *given, **more: given, run=lambda *given: [Ended(0, 1, 0, b"", log)]))  # fmt: skip
    ctx = replace(context(tmp_path), say=lambda text: None)
    with pytest.raises(Skip, match=r"async_io cannot be built here: fatal error: libaio\.h"):
        operators.ensure(ctx, "async_io")
