"""checkpoint.save: four times from a real run, nothing left behind, and its record says where time went."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import msgspec
import pytest

from harness import children
from harness.records import Origin
from harness.units import Unit
from microbench.checkpoint import engines, trial
from microbench.checkpoint.engines.durable import Then
from microbench.checkpoint.engines.torch_file import TorchFile, parts
from microbench.checkpoint.measured import measurements
from microbench.checkpoint.roof import Roof
from microbench.checkpoint.state import Shape
from microbench.checkpoint.times import SaveParams, save
from microbench.checkpoint.trial import Asked, Restored, Saved, different

if TYPE_CHECKING:
    from harness.child import Place

SIZE = 4 << 20


def context(scratch: Path) -> SimpleNamespace:
    return SimpleNamespace(
        scratch=scratch, seed=3, device=SimpleNamespace(type="cpu"), meter=SimpleNamespace(origin=Origin.MEASURED),
        say=lambda _: None,
    )  # fmt: skip


def test_a_background_save_gives_four_times_and_leaves_nothing(tmp_path: Path) -> None:
    found = {m.metric: m for m in save(context(tmp_path), SaveParams("lazy", SIZE, 2, saves=2, restores=1))}  # type: ignore[arg-type]
    assert {"blocked", "durable", "restore", "drag", "share", "raw", "staging"} <= found.keys()
    assert len(found["durable"].samples) == 2
    assert all(b <= d for b, d in zip(found["blocked"].samples, found["durable"].samples, strict=True))
    assert found["state"].samples[0] == pytest.approx(SIZE, rel=0.15)
    assert found["written"].samples[0] >= found["state"].samples[0]
    assert all(measurement.evidence.width is None for measurement in found.values())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("engine", "sharding"), [("deepspeed", "zero2"), ("deepspeed", "zero3"), ("deepspeed_universal", "zero2")]
)
def test_deepspeed_restores_what_it_saved_in_processes_of_their_own(tmp_path: Path, engine: str, sharding: str) -> None:
    """The cell compares every partition bit for bit, after each save and after the restore."""
    reason = engines.refuses("deepspeed", 2, "cpu")
    if reason is not None:
        pytest.skip(reason)
    params = msgspec.convert(
        {"engine": engine, "size": SIZE, "sharding": sharding, "saves": 1, "restores": 1}, SaveParams
    )
    found = {m.metric: m for m in save(context(tmp_path), params)}  # type: ignore[arg-type]
    assert found["state"].samples[0] == pytest.approx(SIZE, rel=0.15)
    assert list(tmp_path.iterdir()) == []


def test_an_engine_and_a_sharding_that_do_not_fit_are_refused() -> None:
    for engine, sharding in (("deepspeed", "fsdp"), ("dcp", "zero3")):
        with pytest.raises(msgspec.ValidationError, match="save zero2 and zero3"):
            msgspec.convert({"engine": engine, "sharding": sharding}, SaveParams)


def test_a_synchronous_save_has_no_drag_and_tells_its_phases(tmp_path: Path) -> None:
    found = save(context(tmp_path), SaveParams("dcp", SIZE, 1, saves=1, restores=1))  # type: ignore[arg-type]
    assert "drag" not in {measurement.metric for measurement in found}
    phases = {str(m.params["part"]): m.samples[0] for m in found if m.metric == "phase"}
    blocked = next(m.samples[0] for m in found if m.metric == "blocked")
    assert sum(phases.values()) == pytest.approx(blocked, rel=0.05)  # one rank: nothing is left out or counted twice


@pytest.mark.parametrize("values", [{"engine": "nobody"}, {"size": 1000}, {"processes": 0}, {"saves": 0}])
def test_what_cannot_be_measured_is_refused_by_name(values: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError, match=str(next(iter(values))) if "size" not in values else "1000 B"):
        msgspec.convert(values, SaveParams)


def saved(durable: float, beside: list[list[float]]) -> Saved:
    return Saved(
        1000, 1100, 2, [0.5], [durable], [1.0, 1.0], beside, {"buffered": [2.0], "direct": [1.0]},
        {"planning": [durable / 4]}, 100, {}, ("a note",),
    )  # fmt: skip


def record(durable: float, beside: list[list[float]], cold: float = 0.0) -> dict[str, tuple[tuple[float, ...], str]]:
    made = measurements(Origin.MEASURED, [saved(durable, beside)] * 2, [Restored(3.0, 2.0, {})], cold, "disk")
    return {m.metric: (m.samples, "; ".join(m.evidence.flags)) for m in made}


def test_the_share_is_of_the_faster_way_and_the_rest_is_accounted_for_below_the_target() -> None:
    short, near = record(2.0, [[]]), record(1.05, [[]])
    assert short["share"][0] == (0.5,)
    assert "planning 25%" in short["durable"][1]
    assert "planning" not in near["durable"][1]


def test_drag_is_of_a_step_alone_and_absent_where_none_ran() -> None:
    assert record(2.0, [[1.5, 2.5]])["drag"][0] == (1.5, 2.5)
    quiet = record(2.0, [[]])
    assert "drag" not in quiet
    assert "n/a: drag" in quiet["durable"][1]


def test_memory_for_staging_is_of_all_ranks_and_a_warm_read_is_called_cached() -> None:
    assert record(2.0, [[]])["staging"][0] == (200.0,)
    assert "cached" in record(2.0, [[]], cold=0.5)["restore"][1]
    assert "cached" not in record(2.0, [[]])["restore"][1]


def test_a_difference_is_named_and_a_missing_tensor_is_one() -> None:
    assert different({"a": "1"}, {"a": "1"}) == ""
    assert different({"a": "1", "b": "2"}, {"a": "1"}) == "b"
    assert different(dict.fromkeys("abcde", "1"), {}) == "a, b, c and 2 more"


def test_plain_writes_write_what_is_asked_and_remove_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    monkeypatch.setattr(Path, "unlink", lambda path: written.append(path.stat().st_size))
    Roof(None).write(tmp_path / "a", (8 << 20) + 77, direct=False)
    assert written == [(8 << 20) + 77]
    with pytest.raises(ValueError, match="no direct"):
        Roof(None).write(tmp_path / "b", 1, direct=True)


def test_rates_are_of_the_bytes_that_were_written() -> None:
    made = measurements(Origin.MEASURED, [saved(2.0, [[]])], [Restored(3.0, 2.0, {})], 0.0, "disk")
    durable = next(m for m in made if m.metric == "durable")
    assert [(rate.name, rate.amount, rate.unit) for rate in durable.rates] == [
        ("bandwidth", 1100.0, Unit.BYTE_PER_SECOND)
    ]


class Holding(TorchFile):
    """Copies the state twice, and holds both until the save is durable, as an engine with two tiers would."""

    def save(self, state, folder):
        copies = [{name: tensor.clone() for name, tensor in parts(state.tensors()).items()} for _ in range(2)]
        pending = super().save(state, folder)
        return Then(lambda: (pending.wait(), copies.clear()))


def holding(place: Place) -> Saved:
    engines.EVERY["holding"] = Holding
    return trial.save(place)


def test_memory_of_a_known_copy_is_found_though_training_has_freed_as_much(tmp_path: Path, monkeypatch) -> None:
    """A copy into memory that a step had left behind would not show against the peak of that step."""
    here = str(Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])]))
    found = {}
    for engine in ("holding", "torch"):
        place = tmp_path / engine
        place.mkdir()
        asked = Asked(engine, Shape(32 << 20), str(place), 1, 1)
        (ended,) = children.run(children.Work(f"{Path(__file__).stem}:holding", asked), tmp_path / f"w{engine}", 120)
        assert ended.ok, ended.log
        found[engine] = msgspec.json.decode(ended.result, type=Saved)
    held, plain = found["holding"].staging, found["torch"].staging
    if held is None or plain is None:
        pytest.skip("the system lets no process count its greatest resident memory anew")
    assert held - plain == pytest.approx(2 * found["holding"].bytes, rel=0.1)
    assert plain < found["torch"].bytes / 4
