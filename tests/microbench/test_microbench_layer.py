"""The really run layer: against float64 and torch's own FLOP count; planted faults are found."""

from __future__ import annotations

import msgspec
import pytest
import torch
from microbench_layers import MODELS, asked, roomy
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from harness.errors import Skip, WrongAnswer
from harness.models import layer as run_layer
from harness.models.counts import layer_flops, layer_parameters, weights
from harness.models.parts import parts
from harness.operands import Spec
from microbench.gemm import layer
from microbench.gemm.reference import misled

TYPES = ["float32", "bfloat16", "float16"]


@pytest.fixture(params=[True, False], ids=["kernel", "loop"])
def _experts(request, monkeypatch):
    """Experts by torch's grouped product, and one after the other."""
    monkeypatch.setattr(run_layer, "KERNEL", request.param and run_layer.KERNEL)


@pytest.mark.usefixtures("_experts")
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("model", MODELS)
def test_a_right_layer_passes(model, dtype):
    task = layer.build(roomy(), asked(model, dtype))
    task.check()
    task.prepare(2)
    task.step(0)
    task.step(1)


@pytest.mark.parametrize("model", MODELS)
def test_flop_are_those_that_torch_counts(model, monkeypatch):
    """With attention by its formula, whose whole square torch counts, and experts in a loop: torch counts
    neither the CPU's fused attention nor grouped products."""
    monkeypatch.setattr(run_layer, "KERNEL", False)
    task = layer.build(roomy(), asked(model))
    task.prepare(1)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        task.step(0)
    assert counter.get_total_flops() == layer_flops(MODELS[model], 40, 2)


@pytest.mark.parametrize("model", MODELS)
def test_rates_and_operation_are_of_the_causal_layer(model):
    task = layer.build(roomy(), asked(model))
    rates = {rate.name: rate.amount for rate in task.rates}
    assert rates == {"flops": layer_flops(MODELS[model], 40, 2, causal=True), "tokens": 80}
    streams = [part for part in parts(MODELS[model], 40, 2, 4) if part.kind == "stream"]
    assert (task.operation.kind, task.operation.flops) == ("step", rates["flops"])
    assert task.operation.bytes == sum(part.bytes * part.times for part in streams)


@pytest.mark.parametrize("model", MODELS)
def test_gradients_are_of_the_input_and_of_every_weight(model):
    shapes = list(weights(MODELS[model]).values())
    step = layer.Layer(asked(model), roomy().operands(Spec((1,), "float32")))
    _, _, found = step.run(torch.randn(80, 96), torch.randn(80, 96), [torch.randn(shape) for shape in shapes])
    assert [tuple(gradient.shape) for gradient in found] == [(80, 96), *shapes]
    assert all(bool(gradient.any()) for gradient in found)
    assert sum(gradient.numel() for gradient in found[1:]) == layer_parameters(MODELS[model])


def unmasked(q, k, v):
    q, k, v = (part.transpose(1, 2) for part in (q, k, v))
    found = functional.scaled_dot_product_attention(q, k, v, enable_gqa=q.shape[1] != k.shape[1])
    return found.transpose(1, 2).flatten(2).flatten(0, 1)


def shifted(model, sequence, device, dtype):
    cosines, sines = TABLE(model, sequence + 1, device, dtype)
    return cosines[1:], -sines[:-1]


TABLE, NORM, ATTEND, ACTIVATE, COMBINE = (
    run_layer.table, run_layer.normalise, run_layer.attend, run_layer.activate, run_layer.combine
)  # fmt: skip
ROUTE, FORWARD, PERMUTE = run_layer.route, run_layer.forward, run_layer.permute


def without_residual(model, w, x, batch, turned):
    y, routing = FORWARD(model, w, x, batch, turned)
    return y - x, routing


def last_row_lost(q, k, v):
    found = ATTEND(q, k, v).clone()
    found[-1] = 0
    return found


def no_gradient_of_the_gate(x, gated):
    gate, value = x.chunk(2, -1)
    return functional.silu(gate.detach()) * value


def not_normalised(logits, active):
    given, order, ends = ROUTE(logits, active)
    return given * 1.5, order, ends


def last_instead_of_first(logits, active):
    return ROUTE(-logits, active)


FAULTS = {
    "attention sees what comes later": ("llama", "attend", unmasked),
    "rotation the wrong way": ("llama", "table", shifted),
    "norm without its weight": ("llama", "normalise", lambda x, w, b=None: NORM(x, w.detach() * 0 + 1, b) + 0 * w),
    "gate and value changed": ("llama", "activate", lambda x, g: ACTIVATE(x.roll(x.shape[1] // 2, 1), g)),
    "a residual left out": ("llama", "forward", without_residual),
    "the last query's output lost": ("llama", "attend", last_row_lost),
    "no gradient through the gate": ("llama", "activate", no_gradient_of_the_gate),
    "exact GELU for its approximation": ("gpt", "activate", lambda x, _: functional.gelu(x)),
    "LayerNorm without its bias": ("gpt", "normalise", lambda x, w, b: NORM(x, w, b * 0)),
    "weights of experts not normalised": ("moe", "route", not_normalised),
    "the least of the experts": ("moe", "route", last_instead_of_first),
    "tokens to other places": ("moe", "combine", lambda rows, w, order: COMBINE(rows, w, order.flip(0))),
    "tokens from other places": ("switch", "permute", lambda x, order, active: PERMUTE(x.flip(0), order, active)),
}


UNSEEN = ("exact GELU for its approximation", "bfloat16")
"""The two forms differ by less than a rounding of that type."""


@pytest.mark.parametrize(
    ("fault", "dtype"),
    [(fault, dtype) for fault in FAULTS for dtype in ("float32", "bfloat16") if (fault, dtype) != UNSEEN],
)
def test_a_wrong_layer_is_found(fault, dtype, monkeypatch):
    model, name, planted = FAULTS[fault]
    monkeypatch.setattr(run_layer, name, planted)
    with pytest.raises(WrongAnswer, match=f"{dtype} layer"):
        layer.build(roomy(), asked(model, dtype)).check()


def test_an_expert_is_misled_by_as_much_as_the_better_one_lies_above():
    logits = torch.tensor([[3.0, 1.0, -1.0], [0.0, 2.0, 1.0]], dtype=torch.float64)
    assert misled(logits, torch.tensor([[0, 1], [1, 2]])) < 0
    assert misled(logits, torch.tensor([[0, 2], [1, 2]])) == pytest.approx(2 / (16 / 6) ** 0.5)


def test_the_weights_are_as_at_the_start_of_a_training_in_every_set():
    context = roomy()
    sets = context.operands(*[Spec(shape, "float32") for shape in ((80, 96), (80, 96), *shapes_of("llama"))])
    layer.Layer(asked("llama"), sets)
    assert sets.count > 1
    sets.prepare(sets.count)
    down = [sets[index][-1] for index in range(sets.count)]
    assert down[0].std().item() == pytest.approx(80**-0.5, rel=0.05)
    assert all(bool((weight == down[0]).all()) for weight in down)


def test_no_two_experts_are_alike_however_large():
    """The operands that a context gives repeat after 2^20 elements: equal experts teach a router nothing."""
    wide = msgspec.structs.replace(MODELS["moe"], hidden=1024, ffn=1024)
    shapes = [(80, 1024), (80, 1024), *weights(wide).values()]
    sets = roomy().operands(*[Spec(shape, "bfloat16") for shape in shapes])
    layer.Layer(asked(wide, "bfloat16"), sets)
    down = sets[0][-1]
    assert not bool((down[0] == down[1]).all())


def shapes_of(model):
    return weights(MODELS[model]).values()


def test_too_little_memory_is_a_skip():
    needed = layer.memory(asked("llama"))
    with pytest.raises(Skip, match="needs"):
        layer.build(roomy(free=2 * needed), asked("llama"))  # 0.4 of it may be used
    layer.build(roomy(free=3 * needed), asked("llama")).check()


def test_what_the_device_refuses_is_a_skip():
    with pytest.raises(Skip, match="no vector instructions"):
        layer.build(roomy(reason="no vector instructions"), asked("llama", "float16"))
