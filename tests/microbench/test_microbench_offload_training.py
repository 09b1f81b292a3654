"""Training under ZeRO: what is asked of DeepSpeed, what is counted, what is refused and why, and real steps of it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
import torch
from microbench_stubs import context

from harness import models
from harness.errors import Skip, WrongAnswer
from harness.models.counts import parameters
from harness.records import Origin
from microbench.offload import zero_results
from microbench.offload.decoder import Decoder
from microbench.offload.training import TrainingParams, compare, training
from microbench.offload.zero_asked import Asked, Moved, Replay, Step, Told
from microbench.offload.zero_child import refusal
from microbench.offload.zero_config import configuration
from microbench.offload.zero_fit import out_of_memory
from microbench.offload.zero_swap import Counted, Traffic

SMALL = """title = "small"
source = "made up"
layers = 2
hidden = 64
heads = 2
kv_heads = 2
head_dim = 32
ffn = 128
vocabulary = 256
context = 64
"""


class Handle:
    """An I/O handle that moves nothing."""

    def async_pread(self, buffer, path, offset):
        return 0

    def async_pwrite(self, buffer, path, offset):
        return 0

    def wait(self):
        return 3

    def get_block_size(self):
        return 7


def test_traffic_is_counted_by_phase_and_kind() -> None:
    traffic = Traffic()
    handle = Counted(Handle(), traffic)
    traffic.phase = "forward"
    handle.async_pread(torch.empty(1024), "a", 0)
    handle.async_pwrite(torch.empty(256, dtype=torch.bfloat16), "b", 0)
    assert handle.wait() == 3
    traffic.phase = "step"
    handle.async_pread(torch.empty(16), "a", 0)
    handle.wait()
    moved = {(m.phase, m.kind): m.size for m in traffic.moved()}
    assert moved == {("forward", "read"): 4096, ("forward", "write"): 512, ("step", "read"): 64}
    assert traffic.groups == [("forward", [("read", 4096), ("write", 512)]), ("step", [("read", 64)])]
    assert handle.get_block_size() == 7
    traffic.begin()
    assert traffic.moved() == ()


def test_parts_make_up_the_step() -> None:
    moved = (
        Moved("forward", "read", 8, 0.1), Moved("backward", "read", 8, 0.2), Moved("step", "read", 8, 0.5),
        Moved("step", "write", 8, 0.4),
    )  # fmt: skip
    step = Step(1.0, 2.0, 3.0, 0.75, 5.0, moved)
    parts = zero_results.split(step)
    assert sum(parts.values()) == pytest.approx(step.total)
    assert parts["forward"] == pytest.approx(0.9)
    assert parts["swap in"] == pytest.approx(0.8)
    assert parts["other"] == pytest.approx(3.0 - 0.75 - 0.9)


def told(**changes: object) -> Told:
    step = Step(1.0, 2.0, 1.0, 0.5, 5.0, (Moved("step", "read", 1000, 0.3), Moved("step", "write", 500, 0.2)))
    base = Step(1.0, 2.0, 0.5, 0.4, 5.0)
    whole = Told(
        parameters=10, steps=(step, step), losses=(5.0,), base=(base,) * 4, replays=(Replay(0.6, 0.4, 0.0),) * 2,
        reference=(5.0,), memory={"host": 1000, "nvme": 500}, device="cpu",
    )  # fmt: skip
    return msgspec.structs.replace(whole, **changes)


def test_efficiency_is_predicted_from_the_base_and_the_swaps() -> None:
    params = TrainingParams(3, "nvme", "nvme")
    found = zero_results.measurements(params, [told()], Origin.MEASURED, ())
    by = {(m.metric, *map(str, m.params.values())): m for m in found}
    assert by["efficiency",].samples == pytest.approx((3.5 / 4, 3.5 / 4))
    flat = by["predicted", "nothing overlapped"]
    assert (flat.samples[0], flat.origin) == (pytest.approx(3.5 / 4.5), Origin.MODELLED)
    swap = by["swap", "in"]
    assert swap.rates[0].amount / swap.samples[0] == pytest.approx(1000 / 0.6)
    assert by["memory", "host", "formula"].origin is Origin.MODELLED
    assert by["memory", "host", "measured"].origin is Origin.MEASURED
    assert all(m.evidence.width is None for m in found), "a visit for a narrower interval costs a whole world"


def test_the_slowest_rank_counts_and_bytes_are_of_all() -> None:
    slow = tuple(msgspec.structs.replace(step, forward=9.0) for step in told().steps)
    params = TrainingParams(3, "nvme", "nvme", processes=2)
    found = zero_results.measurements(params, [told(), told(steps=slow)], Origin.MEASURED, ())
    by = {(m.metric, *map(str, m.params.values())): m for m in found}
    assert by["step",].samples == (12.0, 12.0)
    assert by["moved", "in"].samples == (2000.0,)
    assert by["memory", "host", "measured"].samples == (2000.0,)


def test_a_loss_that_differs_beyond_rounding_is_no_number() -> None:
    compare(0, [5.0, 4.0], [5.0, 4.0001], "float32")
    with pytest.raises(WrongAnswer, match=r"rank 1, step 1: the loss is 4.1, and 4 at stage 0"):
        compare(1, [5.0, 4.1], [5.0, 4.0], "bfloat16")
    with pytest.raises(WrongAnswer):
        compare(0, [float("nan")], [5.0], "bfloat16")


def test_only_deepspeeds_own_refusals_are_reasons() -> None:
    pytest.importorskip("deepspeed")
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig

    with pytest.raises(ValueError, match="offload_optimizer") as wrong:
        DeepSpeedZeroConfig(stage=2, offload_optimizer={"device": "cpu", "ratio": 0.5, "nonsense": 1})
    assert "DeepSpeed: ValidationError" in (refusal(wrong.value) or "")
    with pytest.raises(ZeroDivisionError) as ours:
        _ = 1 / 0
    assert refusal(ours.value) is None
    with pytest.raises(ValueError, match="int") as ours_too:
        int("no number")
    assert refusal(ours_too.value) is None


@pytest.mark.parametrize("name", ["tiny", "tiny-moe", "gpt3-175b"])
def test_the_decoder_is_the_model_that_is_described(name: str) -> None:
    model = models.load(name)
    if parameters(model) > 1e9:
        model = msgspec.structs.replace(
            model, layers=1, hidden=64, heads=2, kv_heads=2, head_dim=32, ffn=128, context=64
        )
    one, other = Decoder(model, 3), Decoder(model, 3)
    assert sum(p.numel() for p in one.parameters()) == parameters(model)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    tokens = torch.arange(32).view(2, 16)
    loss = one(tokens, tokens)
    loss.backward()
    assert loss.item() == pytest.approx(torch.tensor(float(model.vocabulary)).log().item(), rel=0.1)
    assert all(p.grad is not None for p in one.parameters())


def test_swap_files_go_to_the_folder_given_and_only_there() -> None:
    asked = Asked(3, "nvme", "nvme", models.load("tiny"), 64, 1, "bfloat16", "/given", 1, 1, 0)
    zero = configuration(asked, pinned=False)["zero_optimization"]
    assert zero["offload_optimizer"]["nvme_path"] == zero["offload_param"]["nvme_path"] == "/given"
    assert (
        "offload_optimizer"
        not in configuration(msgspec.structs.replace(asked, optimizer="none"), False)["zero_optimization"]
    )


@pytest.mark.parametrize(
    ("given", "words"), [({"stage": 4}, "stage"), ({"optimizer": "tape"}, "optimizer"), ({"batch": 0}, "batch")]
)
def test_parameters_are_refused_by_name(given: dict[str, object], words: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=words):
        msgspec.convert(given, TrainingParams)


def test_words_of_too_little_memory_are_told_apart() -> None:
    assert out_of_memory("RuntimeError: DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")
    assert out_of_memory("terminate called after throwing an instance of 'std::bad_alloc'")
    assert not out_of_memory("RuntimeError: mat1 and mat2 shapes cannot be multiplied")


def test_a_simulated_cluster_has_no_disk() -> None:
    with pytest.raises(Skip, match="nothing models a disk"):
        training(context(), TrainingParams())


@pytest.fixture
def real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A context that may write, and a model so small that only DeepSpeed's start takes time."""
    pytest.importorskip("deepspeed")
    root = Path(__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])]))
    (tmp_path / "small.toml").write_text(SMALL)
    (tmp_path / "scratch").mkdir()
    meter = SimpleNamespace(origin=Origin.MEASURED)
    return replace(context(), scratch=tmp_path / "scratch", meter=meter), str(tmp_path / "small.toml")


def test_stage_3_with_states_in_host_memory_trains_as_stage_0_does(real) -> None:
    ctx, model = real
    found = training(ctx, TrainingParams(3, "cpu", "cpu", model=model, dtype="float32"))
    by = {m.metric for m in found}
    assert {"step", "base", "part", "memory", "efficiency"} <= by
    assert not list(ctx.scratch.iterdir()), "something was left behind"


@pytest.mark.timeout(1800)  # the first time, DeepSpeed's operator is compiled: minutes on two cores
def test_stage_3_with_states_on_disk_moves_them_and_predicts_its_efficiency(real) -> None:
    ctx, _ = real
    try:
        found = training(ctx, TrainingParams(3, "nvme", "nvme", model="tiny", layers=1, sequence=32, dtype="float32"))
    except Skip as reason:
        if "cannot be built" in str(reason):
            pytest.skip(str(reason))
        raise
    moved = {m.params["direction"]: m.samples[0] for m in found if m.metric == "moved"}
    assert set(moved) == {"in", "out"}
    assert min(moved.values()) > 0
    predicted = [m for m in found if m.metric == "predicted"]
    assert predicted
    assert all(m.origin is Origin.MODELLED for m in predicted)
    assert not list(ctx.scratch.iterdir()), "swap files were left behind"


def test_a_stage_that_deepspeed_does_not_offload_is_its_own_reason(real) -> None:
    ctx, model = real
    with pytest.raises(Skip, match="Valid only with stage 3"):
        training(ctx, TrainingParams(2, "none", "cpu", model=model))
    assert not list(ctx.scratch.iterdir())
