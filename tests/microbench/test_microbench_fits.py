"""The largest model that fits: real processes that run out of memory, and other faults that must not pass for it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from microbench_stubs import context

from harness import children
from harness.children import Ended
from harness.errors import Skip
from harness.models.counts import parameters as count
from harness.models.zero import Tiers
from harness.records import Origin
from microbench.offload import fits
from microbench.offload.zero_config import set_aside
from microbench.offload.zero_fit import PARTS, Trial, Tried

WIDE = """title = "two layers that weigh something"
source = "made up"
layers = 1
hidden = 512
heads = 8
kv_heads = 8
head_dim = 64
ffn = 2048
vocabulary = 256
context = 64
"""


@pytest.fixture
def ctx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = Path(__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])]))
    (tmp_path / "wide.toml").write_text(WIDE)
    (tmp_path / "scratch").mkdir()
    return replace(context(), scratch=tmp_path / "scratch", meter=SimpleNamespace(origin=Origin.MEASURED))


def told(status: int = 0, tried: Tried | None = None, log: str = "") -> Ended:
    return Ended(0, status, 0, msgspec.json.encode(tried) if tried else b"", log)


def scripted(monkeypatch: pytest.MonkeyPatch, limited: Ended, free: Ended) -> list[int]:
    """Trials end as given, with and without a limit; the memory each was given is noted."""
    given = list[int]()

    def run(work, folder, *_):
        given.append(work.spec.memory)
        return [limited if work.spec.memory else free]

    monkeypatch.setattr("harness.children.run", run)
    return given


def test_memory_that_runs_out_is_found_and_the_depth_with_it(ctx) -> None:
    pytest.importorskip("deepspeed")
    params = fits.FitsParams(
        memory=300 * 2**20, stage=0, model=str(ctx.scratch.parent / "wide.toml"), most=4, dtype="float32"
    )
    found = {(m.metric, m.params.get("by")): m for m in fits.fits(ctx, params)}
    layers = found["layers", "search"]
    assert 1 <= layers.samples[0] < 4, "300 MiB hold some layers of 4 Mi parameters with Adam, and not 4 and all copies"
    assert any(f"{layers.samples[0] + 1:.0f} does not" in flag for flag in layers.evidence.flags)
    assert found["layers", "formula"].origin is Origin.MODELLED
    assert layers.samples[0] <= found["layers", "overheads"].samples[0] <= found["layers", "formula"].samples[0]
    assert not list(ctx.scratch.iterdir())


def test_parts_make_up_the_peak_and_tensors_are_those_that_training_holds(ctx) -> None:
    """Parts that left something out, or counted it twice, would explain nothing."""
    pytest.importorskip("deepspeed")
    params = fits.FitsParams(stage=0, model=str(ctx.scratch.parent / "wide.toml"), dtype="float32")
    (ended,) = children.run(
        children.Work("microbench.offload.zero_fit:fit", Trial(params.asked(4), 0), environment=fits.GIVEN_BACK),
        ctx.scratch / "world", 120,
    )  # fmt: skip
    assert ended.ok, ended.log
    tried = msgspec.json.decode(ended.result, type=Tried)
    assert tried.parts.keys() == PARTS.keys()
    assert sum(tried.parts.values()) == tried.peak
    states = 12 * count(params.deep(4))  # weight and two moments; at stage 0 gradients end with the step
    assert states <= tried.parts["tensors"] <= 1.1 * states
    assert tried.parts["step"] >= states / 3, "gradients, all there at the end of backward"
    assert tried.parts["kept"] < 0.1 * tried.peak, "the allocator gives back what is freed"


def test_what_was_held_over_the_formula_leaves_the_depth_that_was_found() -> None:
    """With all overheads known, the formula gives the layers that fit: no fewer, and no more than the slack holds."""
    params = fits.FitsParams(stage=3)
    formula = fits._formula(params, 7)
    tried = Tried(peak=int(formula) + 300 * 2**20, parts=dict.fromkeys(PARTS, 1) | {"tensors": 600 * 2**20})
    (layers,) = (m.samples[0] for m in fits._overheads(params, 7, tried, Tiers(0.0, formula + 300 * 2**20, 0.0))
                 if m.metric == "layers")  # fmt: skip
    assert layers == 7


def test_a_death_without_words_is_memorys_only_if_the_limit_is_what_kills(ctx, monkeypatch) -> None:
    given = scripted(monkeypatch, told(-6, log="libgomp: Thread creation failed"), told(tried=Tried(peak=5)))
    search = fits._Search(ctx, fits.FitsParams())
    assert search.fits(3) is False
    assert "not without the limit" in search.words[3]
    assert given == [2**30, 0]


def test_a_fault_that_stays_without_the_limit_is_no_lack_of_memory(ctx, monkeypatch) -> None:
    fault = told(1, log="KeyError: 'weight'")
    scripted(monkeypatch, fault, fault)
    with pytest.raises(RuntimeError, match="3 layers, also without a limit of memory: rank 0: KeyError"):
        fits._Search(ctx, fits.FitsParams()).fits(3)


def test_words_of_memory_are_believed_at_once(ctx, monkeypatch) -> None:
    given = scripted(monkeypatch, told(-6, log="std::bad_alloc"), told(1))
    assert fits._Search(ctx, fits.FitsParams()).fits(3) is False
    assert given == [2**30]


def test_what_deepspeed_does_not_offload_is_a_skip_with_its_words(ctx, monkeypatch) -> None:
    scripted(monkeypatch, told(tried=Tried(refused="Valid only with stage 3.")), told())
    with pytest.raises(Skip, match="Valid only with stage 3"):
        fits._Search(ctx, fits.FitsParams()).fits(3)


def test_a_trial_at_its_time_limit_is_no_lack_of_memory(ctx, monkeypatch) -> None:
    scripted(monkeypatch, replace(told(-15), late=True), told())
    with pytest.raises(RuntimeError, match="time limit"):
        fits._Search(ctx, fits.FitsParams()).fits(3)


def test_a_device_with_memory_of_its_own_is_said(ctx) -> None:
    apart = replace(ctx, arena=context("meta").arena)
    with pytest.raises(Skip, match="in its own"):
        fits.fits(apart, fits.FitsParams())


def test_buffers_are_of_what_is_offloaded_to_disk() -> None:
    sizes = [set_aside(fits.FitsParams(stage=3, optimizer=o, parameters=p).asked(2)) for o, p in (
        ("none", "none"), ("cpu", "cpu"), ("nvme", "none"), ("nvme", "nvme"))]  # fmt: skip
    assert sizes[0] == sizes[1] < sizes[2] < sizes[3]
    assert sizes[0] == sizes[1] == 2 * 2 * 8192 * 512, "a bucket of gradients of the embedding and the output"


def test_a_simulated_cluster_has_the_formulas_and_no_search() -> None:
    modelled = replace(context(), meter=SimpleNamespace(origin=Origin.MODELLED))
    found = fits.fits(modelled, fits.FitsParams(stage=2))
    assert {m.params["by"] for m in found} == {"formula", "buffers"}
    assert {m.origin for m in found} == {Origin.MODELLED}
    with pytest.raises(Skip, match="disk"):
        fits.fits(modelled, fits.FitsParams(optimizer="nvme"))
