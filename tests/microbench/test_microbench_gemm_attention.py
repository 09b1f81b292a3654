"""Attention: its counts, its check and what the check finds, backends that are not there."""

from __future__ import annotations

import itertools
import math
import warnings

import msgspec
import pytest
import torch
from microbench_stubs import StubAccelerator, context
from torch.utils.flop_counter import FlopCounterMode

from harness.errors import Skip, WrongAnswer
from microbench.gemm import attention
from microbench.gemm.attention import BACKENDS, AttentionParams, attend, build, chosen, parts

TYPES = ("float64", "float32", "bfloat16", "float16")


def asked(**given):
    return AttentionParams(
        **({"sequence": 96, "head_dim": 32, "heads": 4, "batch": 2, "backend": "math", "dtype": "float32"} | given)
    )


@pytest.mark.parametrize("backward", [False, True])
def test_flop_are_those_that_torch_counts_without_a_mask(backward):
    """The math backend, whose backward computes no score again."""
    params = asked(causal=False, backward=backward)
    q, k, v = torch.randn(3, 2, 4, 96, 32, requires_grad=backward).unbind()
    with FlopCounterMode(display=False) as counter, chosen("math"):
        result = torch.nn.functional.scaled_dot_product_attention(q, k, v)
        if backward:
            result.sum().backward()
    assert counter.get_total_flops() == params.flops


def test_a_causal_mask_leaves_half_of_the_pairs_and_the_diagonal():
    params = asked(sequence=100)
    assert params.pairs == int(torch.ones(100, 100).tril().sum())
    assert params.flops == 4 * 2 * 4 * 32 * params.pairs
    assert asked(causal=False, sequence=100).pairs == 10_000


def test_the_least_traffic_is_every_tensor_once():
    task = build(context(), asked(heads=4, kv_heads=2))
    queries, keys = 2 * 96 * 32 * 4 * 4, 2 * 96 * 32 * 2 * 4
    assert task.operation.bytes == 2 * queries + 2 * keys
    both = build(context(), asked(heads=4, kv_heads=2, backward=True))
    assert both.operation.bytes == 2 * queries + 2 * keys + 4 * queries + 4 * keys
    assert task.operation.kind == "gemm"
    assert task.operation.shape == (2, 4, 96, 32)


def test_every_backend_is_a_cell_of_its_own():
    assert [each.backend for each in parts(asked(backend="every"))] == list(BACKENDS)
    assert parts(asked(backend="torch")) == [asked(backend="torch")]


@pytest.mark.parametrize("backend", ["flash", "math", "torch"])
@pytest.mark.parametrize("dtype", TYPES)
def test_right_attention_passes(backend, dtype):
    for backward, causal, kv_heads, sequence in itertools.product((False, True), (False, True), (1, 4), (1, 97)):
        params = asked(backend=backend, dtype=dtype, backward=backward, causal=causal, kv_heads=kv_heads,
                       sequence=sequence)  # fmt: skip
        with chosen(backend):
            task = build(context(), params)
            task.check()
            task.prepare(3)
            task.step(2)


def plain(q, k, v, *, shift=0, scale=1.0, keys=None, interleave=True):
    """Attention by hand, to be made wrong: each parameter has its right value."""
    group = q.shape[1] // k.shape[1]
    k, v = (tensor.repeat_interleave(group, 1) if interleave else tensor.repeat(1, group, 1, 1) for tensor in (k, v))
    scores = q @ k.mT * scale / math.sqrt(q.shape[-1])
    hidden = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1 + shift)
    if keys is not None:
        hidden[64:, keys] = True
    return scores.masked_fill(hidden, -math.inf).softmax(-1) @ v


WRONG = {
    "a mask that shows the next": {"shift": 1},
    "the scale of another head": {"scale": math.sqrt(40 / 32)},
    "16 of 512 keys forgotten": {"keys": slice(480, 496)},
    "keys of other heads": {"interleave": False},
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("fault", [*WRONG, "nothing"])
def test_wrong_attention_is_found(fault, dtype, monkeypatch):
    params = asked(sequence=512, heads=4, kv_heads=2, dtype=dtype, backend="torch")
    task = build(context(), params)

    def wrong(tensors, causal):
        q, k, v = (tensor.float() for tensor in tensors)
        return (plain(q, k, v, **WRONG.get(fault, {})).to(tensors[0].dtype),)

    monkeypatch.setattr(attention, "attend", wrong)
    if fault == "nothing":
        task.check()
        return
    with pytest.raises(WrongAnswer, match=rf"{dtype} attention, result: element \(\d+, \d+, \d+\) of the last heads"):
        task.check()


@pytest.mark.parametrize(("at", "name"), [(1, "gradient of q"), (2, "gradient of k"), (3, "gradient of v")])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_wrong_gradients_are_found(at, name, dtype, monkeypatch):
    """Scaled by a quarter too much, and unwritten."""
    task = build(context(), asked(backward=True, dtype=dtype, backend="torch"))
    for fault in (1.25, math.nan):

        def wrong(tensors, causal, fault=fault):
            results = list(attend(tensors, causal))
            results[at] = results[at] * fault
            return tuple(results)

        monkeypatch.setattr(attention, "attend", wrong)
        with pytest.raises(WrongAnswer, match=f"{dtype} attention, {name}: element"):
            task.check()


def test_a_backend_that_is_not_there_is_a_skip_in_torchs_words():
    with chosen("cudnn"), pytest.raises(Skip, match="torch refuses cudnn attention here: No viable backend"):
        build(context(), asked(backend="cudnn"))


def test_the_reasons_that_a_gpu_warns_of_are_the_skips_reason(monkeypatch):
    def refuse(tensors, causal):
        for text in (
            "Flash attention kernel not used because: (Triggered internally at sdp_utils.cpp:720.)",
            "Expected query, key and value to be of dtype: {Half, BFloat16}. (Triggered internally at cpp_utils.h:98.)",
            "Memory Efficient attention has been runtime disabled. (Triggered internally at cpp_utils.h:495.)",
        ):
            warnings.warn(text, stacklevel=1)
        raise RuntimeError("No available kernel. Aborting execution.")

    monkeypatch.setattr(attention, "attend", refuse)
    reason = r"^torch refuses flash attention here: Expected query, key and value to be of dtype: {Half, BFloat16}\.$"
    with pytest.raises(Skip, match=reason):
        build(context(), asked(backend="flash"))


def test_what_the_device_refuses_is_a_skip():
    with pytest.raises(Skip, match="no vector instructions"):
        build(context(accelerator=StubAccelerator(reason="no vector instructions for it")), asked())


def test_scores_that_do_not_fit_are_a_skip_before_they_are_made():
    free = 1 << 28
    build(context("meta", free=free), asked(sequence=4096, backend="flash"))
    with pytest.raises(Skip, match="may be used"):
        build(context("meta", free=free), asked(sequence=4096, backend="math"))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_simulated_device_has_shapes_and_no_memory(backend):
    params = asked(sequence=8192, head_dim=128, heads=64, kv_heads=8, dtype="bfloat16", backend=backend, backward=True)
    with chosen(backend):
        task = build(context("meta", free=1 << 40), params)
    assert task.operation.flops == 12 * 2 * 64 * 128 * 8192 * 8193 // 2


@pytest.mark.parametrize(
    ("given", "said"),
    [({"heads": 6, "kv_heads": 4}, "no multiple"), ({"sequence": 0}, ">= 1"), ({"backend": "x"}, "Invalid enum")],
)
def test_parameters_that_make_no_attention_are_refused(given, said):
    with pytest.raises(msgspec.ValidationError, match=said):
        msgspec.convert(given, AttentionParams)
