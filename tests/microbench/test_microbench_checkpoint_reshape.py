"""Loading at another sharding: equal is equal bit for bit, a wrong tensor is named, and what cannot be is said."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from harness import children
from harness.child import Place
from harness.errors import Skip, WrongAnswer
from harness.records import Origin
from microbench.checkpoint import reshape
from microbench.checkpoint.engines import EVERY, refuses
from microbench.checkpoint.engines.dcp import Dcp
from microbench.checkpoint.reshape import Asked, Loaded, ReshapeParams, load
from microbench.checkpoint.state import Shape

SIZE = 4 << 20  # B


class Sloppy(Dcp):
    """Loses one number of one tensor on the way."""

    def load(self, state, folder):
        super().load(state, folder)
        next(state.model.parameters()).data.view(-1)[0].neg_()


def sloppily(place: Place) -> Loaded:
    EVERY["dcp"] = Sloppy
    return load(place)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    here = str(Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])]))


def context(folder: Path) -> SimpleNamespace:
    return SimpleNamespace(scratch=folder, seed=7, say=print, meter=SimpleNamespace(origin=Origin.MEASURED))


def test_two_fully_sharded_ranks_become_one_tensor_parallel(tmp_path: Path) -> None:
    params = ReshapeParams("dcp", 2, 1, "fsdp", "tp", SIZE)
    (restore,) = reshape.reshape(context(tmp_path), params)
    assert (restore.metric, len(restore.samples)) == ("restore", reshape.LOADS)
    assert min(restore.samples) > 0
    (rate,) = restore.rates
    assert SIZE * 0.5 < rate.amount < SIZE * 2
    assert list(tmp_path.iterdir()) == []  # nothing is left


def test_what_an_engine_cannot_reshape_is_skipped_in_its_own_words(tmp_path: Path) -> None:
    with pytest.raises(Skip, match=r"torch: saved by 1 ranks, loaded by 2: shards are not reshaped"):
        reshape.reshape(context(tmp_path), ReshapeParams("torch", 1, 2, size=SIZE))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(refuses("deepspeed", 2, "cpu") is not None, reason="DeepSpeed is not installed")
def test_deepspeeds_universal_form_is_loaded_by_fewer_ranks_and_its_own_is_not(tmp_path: Path) -> None:
    """A state filled by parts that are not where they seem would differ on one rank."""
    asked = ReshapeParams("deepspeed_universal", 2, 1, "zero3", "zero3", SIZE)
    (restore,) = reshape.reshape(context(tmp_path), asked)
    assert len(restore.samples) == reshape.LOADS
    with pytest.raises(Skip, match="world size of 2 but the current world size is 1"):
        reshape.reshape(context(tmp_path), msgspec.structs.replace(asked, engine="deepspeed"))
    assert list(tmp_path.iterdir()) == []


def test_a_tensor_that_differs_is_named(tmp_path: Path) -> None:
    """A comparison that missed it would call any engine's reshaping right."""
    asked = Asked("dcp", Shape(SIZE), str(tmp_path / "checkpoint"))
    (saved,) = children.run(children.Work("microbench.checkpoint.reshape:save", asked), tmp_path / "save", 120)
    assert saved.ok, saved.log
    work = children.Work(f"{Path(__file__).stem}:sloppily", asked)
    (loaded,) = children.run(work, tmp_path / "load", 120)
    assert loaded.ok, loaded.log
    found = msgspec.json.decode(loaded.result, type=Loaded)
    assert found.wrong == "model.embedding.weight"
    assert len(found.seconds) == 1  # the first wrong load ends it


def test_a_wrong_load_has_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {reshape.Saved: [reshape.Saved(10)], Loaded: [Loaded((1.0,)), Loaded((1.0,), 0.0, "model.x")]}
    monkeypatch.setattr(reshape, "_world", lambda *asked: answers[asked[-1]])
    with pytest.raises(WrongAnswer, match=r"rank 1: model\.x"):
        reshape.reshape(context(tmp_path), ReshapeParams(loaded=2, size=SIZE))


@pytest.mark.parametrize(("wrong", "says"), [
    ({"engine": "tar"}, "engine 'tar' is not known"),
    ({"engine": "deepspeed"}, "zero2 and zero3"),
    ({"saved": 0}, "1"), ({"sharding_to": "pp"}, "pp"),
])  # fmt: skip
def test_bad_parameters_are_refused_by_name(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        msgspec.convert(wrong, ReshapeParams)
