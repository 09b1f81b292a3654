"""Engines of packages that are not here, or not for this device: what they say where they refuse, and that the adapters
call them rightly, against stand-ins with the interfaces that their sources give."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import msgspec
import pytest
from microbench_checkpoints import Answers
from microbench_checkpoints import Asked as There

from harness import children
from harness.errors import Skip
from harness.records import Origin
from microbench.checkpoint import engines, trial
from microbench.checkpoint.crash import CrashParams, crash
from microbench.checkpoint.engines import fastpersist
from microbench.checkpoint.state import Shape
from microbench.checkpoint.times import SaveParams, save
from microbench.checkpoint.trial import Asked, Restored, Saved

if TYPE_CHECKING:
    from harness.child import Place

SIZE = 4 << 20
LIMIT = 120.0

DATASTATES = '''
"""Its interface as DataStates' and DeepSpeed's sources have it, over torch.save; copies late, as it may."""
import os, sys, threading, time
import torch

class CheckpointEngine:
    def __init__(self, runtime_config={}, rank=0):
        if FAULT == "device":
            print("[DataStates.llm][ERROR] Got exception during DataStates init CUDA is not available.")
            sys.exit(-1)
        assert runtime_config["host_cache_size"] >= 1 and rank == int(os.environ['RANK'])
        self.copied, self.written, self.users = threading.Event(), threading.Event(), set()

    def save(self, state_dict, path):
        assert isinstance(state_dict, dict)
        self.copied.clear(), self.written.clear()
        threading.Thread(target=self._background, args=(state_dict, path), daemon=True).start()
        return True

    def _background(self, state_dict, path):
        time.sleep(0.3)
        held = {"world": state_dict["world"], "tensors": {k: t.clone() for k, t in state_dict["tensors"].items()}}
        self.copied.set()
        time.sleep(0.3)
        torch.save(held, path)
        self.written.set()

    def wait(self, persist=False):
        self.users.add(threading.get_ident())
        assert len(self.users) == 1, "waited for in two threads"
        (self.written if persist else self.copied).wait()

    def load(self, path, map_location=None):
        try:
            return torch.load(path, map_location=map_location, weights_only=True)
        except Exception as error:
            print(f"[DataStates.llm][ERROR] Could not load {path}")
            sys.exit(-1)
'''


def context(scratch: Path) -> SimpleNamespace:
    return SimpleNamespace(
        scratch=scratch, seed=3, device=SimpleNamespace(type="cpu"), meter=SimpleNamespace(origin=Origin.MEASURED),
        say=lambda _: None, ranks=SimpleNamespace(rank=0),
    )  # fmt: skip


def path_of(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
    held = [str(folder) for folder in folders]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([*held, *filter(None, [os.environ.get("PYTHONPATH")])]))
    for one in held:
        monkeypatch.syspath_prepend(one)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-in on the path of this process and its children; the folder it is in."""
    place = tmp_path / "site"
    place.mkdir()
    (place / "datastates.py").write_text('FAULT = ""\n' + DATASTATES)
    path_of(monkeypatch, place, Path(__file__).parent)
    (tmp_path / "scratch").mkdir()
    return place


# DataStates


def test_a_package_that_is_not_installed_is_named(tmp_path: Path) -> None:
    if engines._there("datastates"):
        pytest.skip("datastates is installed here")
    with pytest.raises(Skip, match=r"datastates is not installed.*engine=lazy"):
        save(context(tmp_path), SaveParams("datastates", SIZE))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_what_datastates_prints_where_it_ends_the_process_is_the_reason(tmp_path: Path, installed: Path) -> None:
    """It ends the whole process where there is no CUDA device: a worker must not go with it."""
    (installed / "datastates.py").write_text('FAULT = "device"\n' + DATASTATES)
    with pytest.raises(Skip, match=r"does not run here: .*CUDA is not available"):
        save(context(tmp_path / "scratch"), SaveParams("datastates", SIZE))  # type: ignore[arg-type]


def test_a_package_without_a_word_of_durability_is_refused(tmp_path: Path, installed: Path) -> None:
    (installed / "datastates.py").write_text("class CheckpointEngine:\n    def wait(self): ...\n")
    with pytest.raises(Skip, match=r"no engine with wait\(persist=...\)"):
        save(context(tmp_path / "scratch"), SaveParams("datastates", SIZE))  # type: ignore[arg-type]


def test_datastates_is_waited_for_before_tensors_change_and_loads_what_was_saved(
    tmp_path: Path, installed: Path
) -> None:  # fmt: skip
    """The stand-in copies 0.3 s after the call: an optimizer that did not wait would change what is saved."""
    asked = There("datastates", Shape(SIZE), str(tmp_path / "scratch"))
    ended = children.run(children.Work("microbench_checkpoints:there_and_back", asked, 2), tmp_path / "w", LIMIT)
    assert all(one.ok for one in ended), "\n".join(one.log for one in ended)
    for one in ended:
        answer = msgspec.json.decode(one.result, type=Answers).engines["datastates"]
        assert answer.after == answer.before != answer.changed
        assert answer.losses[0] == answer.losses[1]
        assert answer.complete == (False, True)


def test_a_cell_of_datastates_has_all_four_times(tmp_path: Path, installed: Path) -> None:
    params = SaveParams("datastates", SIZE, 1, saves=1, restores=1)
    found = {m.metric: m for m in save(context(tmp_path / "scratch"), params)}  # type: ignore[arg-type]
    assert {"blocked", "durable", "restore", "drag"} <= found.keys()
    assert max(found["blocked"].samples) < min(found["durable"].samples)
    assert min(found["durable"].samples) > 0.5, "the stand-in has written after 0.6 s"
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_damaged_file_of_datastates_is_reported_and_the_process_lives(tmp_path: Path, installed: Path) -> None:
    params = CrashParams("datastates", "truncated", trials=2, size=SIZE, processes=1)
    counts = {
        m.params["outcome"]: m.samples[0]
        for m in crash(context(tmp_path / "scratch"), params)  # type: ignore[arg-type]
        if m.metric == "outcomes"
    }
    assert counts["damage reported, previous loaded"] == 2


# DeepSpeed's fast writer


def test_what_deepspeed_says_of_its_fast_writer_is_tried_and_quoted(tmp_path: Path) -> None:
    """On a CPU 0.19.8 has no operator for it. Where a later one has, the cell runs."""
    pytest.importorskip("deepspeed")
    answer = fastpersist.probe("cpu")
    if not answer.refused:
        pytest.skip("this DeepSpeed has the operator for a CPU")
    with pytest.raises(Skip, match=r"DeepSpeed .*'utils': .*Error: .*not been implemented on CPU"):
        save(context(tmp_path), SaveParams("fastpersist", SIZE))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_the_fast_writer_takes_stage_3_by_itself_and_refuses_others() -> None:
    assert SaveParams("fastpersist", SIZE).sharding == "zero3"
    with pytest.raises(ValueError, match="takes zero3"):
        SaveParams("fastpersist", SIZE, sharding="zero2")


class Bytes:
    """Stands for the operator that is not there: a tensor's memory as bytes, without a copy."""

    def load(self) -> Bytes:
        return self

    @staticmethod
    def cast_to_byte_tensor(tensors):
        import torch

        return [tensor.detach().contiguous().view(-1).view(torch.uint8) for tensor in tensors]


def fast_save(place: Place) -> Saved:
    import deepspeed.io.fast_file_writer as writer

    writer.UtilsBuilder = Bytes
    return trial.save(place)


@pytest.mark.timeout(1800)  # of another checkout, the operator is built anew
def test_the_fast_writers_adapter_brings_back_every_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the operator stood in for: settings, environment, direct I/O and the load are DeepSpeed's own."""
    pytest.importorskip("deepspeed")
    from microbench.storage.operators import build_folder

    if not (build_folder("async_io") / "async_io.so").exists():
        pytest.skip("DeepSpeed's async_io is not built here, which takes minutes")
    path_of(monkeypatch, Path(__file__).parent)
    (tmp_path / "checkpoints").mkdir()
    asked = Asked("fastpersist", Shape(SIZE, "zero3"), str(tmp_path / "checkpoints"), 2, 1)
    ended = children.run(children.Work(f"{Path(__file__).stem}:fast_save", asked, 2), tmp_path / "save", 900)
    assert all(one.ok for one in ended), "\n".join(one.log for one in ended)
    saved = [msgspec.json.decode(one.result, type=Saved) for one in ended]
    (folder,) = (path for path in (tmp_path / "checkpoints").iterdir() if path.is_dir())
    held = msgspec.structs.replace(asked, folder=str(folder))
    ended = children.run(children.Work("microbench.checkpoint.trial:restore", held, 2), tmp_path / "restore", LIMIT)
    assert all(one.ok for one in ended), "\n".join(one.log for one in ended)
    for before, one in zip(saved, ended, strict=True):
        assert msgspec.json.decode(one.result, type=Restored).digests == before.digests
