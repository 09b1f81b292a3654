"""Matrix products: the FLOP count, the check and its bound, TF32, float8."""

from __future__ import annotations

import msgspec
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from microbench_stubs import StubAccelerator, context
from torch.utils.flop_counter import FlopCounterMode

from harness.errors import Skip, WrongAnswer
from microbench.gemm import product as gemm
from microbench.gemm.product import ARITHMETIC, GemmParams, build, flop, precision

TYPES = sorted(ARITHMETIC)


def params(dtype: str, m: int = 96, n: int = 64, k: int = 160) -> GemmParams:
    return msgspec.convert({"dtype": dtype, "m": m, "n": n, "k": k}, GemmParams)


@settings(max_examples=30, deadline=None)
@given(m=st.integers(1, 64), n=st.integers(1, 64), k=st.integers(1, 64))
def test_flop_are_those_that_torch_counts(m, n, k):
    with FlopCounterMode(display=False) as counter:
        torch.mm(torch.empty(m, k), torch.empty(k, n))
    assert counter.get_total_flops() == flop(m, n, k)


@pytest.mark.parametrize("dtype", TYPES)
def test_a_right_product_passes_and_has_its_rate(dtype):
    task = build(context(), params(dtype))
    task.check()
    assert task.rates[0].amount == 2 * 96 * 64 * 160
    assert task.operation.shape == (96, 64, 160)
    assert task.operation.dtype == dtype
    assert task.rotation > 4


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("k", [160, 4096])
def test_a_product_that_leaves_out_a_part_of_k_is_found(dtype, k, monkeypatch):
    """As a kernel does that forgets its last tile of 16."""
    cut = k - 16
    monkeypatch.setattr(gemm, "_plain", lambda a, b, c: torch.mm(a[:, :cut], b[:cut], out=c))
    monkeypatch.setattr(gemm, "_scaled", lambda _: lambda a, b, c: c.copy_(a[:, :cut].float() @ b[:, :cut].float().t()))
    monkeypatch.setattr(gemm, "_integer", lambda a, b, c: torch._int_mm(a[:, :cut], b[:, :cut].t(), out=c))
    with pytest.raises(WrongAnswer, match=rf"{dtype} product: element \(\d+, \d+\) is .* expected .* to within"):
        build(context(), params(dtype, k=k)).check()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_product_that_leaves_rows_unwritten_is_found(dtype, monkeypatch):
    monkeypatch.setattr(gemm, "_plain", lambda a, b, c: c[:-1].copy_(a[:-1].float() @ b.float()))
    with pytest.raises(WrongAnswer, match=r"element \(95, 0\) is nan"):
        build(context(), params(dtype)).check()


def test_float32_with_the_precision_of_tf32_is_found(monkeypatch):
    """The bound of a type is tight enough to see that another one was used."""
    monkeypatch.setattr(gemm, "_plain", lambda a, b, c: c.copy_(a.bfloat16().float() @ b.bfloat16().float()))
    with pytest.raises(WrongAnswer):
        build(context(), params("float32")).check()


def test_an_integer_that_is_one_off_is_found(monkeypatch):
    """Integers are exact: nothing is allowed for."""

    def off(a, b, c):
        torch._int_mm(a, b.t(), out=c)
        c[-1, -1] += 1

    assert gemm.bound(16384, ARITHMETIC["int8"]) == 0
    monkeypatch.setattr(gemm, "_integer", off)
    with pytest.raises(WrongAnswer, match=r"int8 product: element \(95, 63\) is .* to within 0$"):
        build(context(), params("int8")).check()


def test_integers_left_unwritten_are_found(monkeypatch):
    monkeypatch.setattr(gemm, "_integer", lambda a, b, c: None)
    with pytest.raises(WrongAnswer, match=r"element \(0, 0\) is -2\.14748e\+09"):
        build(context(), params("int8")).check()


def test_an_integer_product_that_torch_refuses_is_a_skip_in_its_words(monkeypatch):
    """As a GPU does that takes edges in multiples of 8 only."""

    def refuse(a, b, c):
        raise RuntimeError("self.size(1) needs to be a multiple of 8\nC++ frames")

    monkeypatch.setattr(gemm, "_integer", refuse)
    with pytest.raises(Skip, match=r"no int8 product of 96 x 64 x 160 here: self.size\(1\) needs .* of 8$"):
        build(context(), params("int8"))


@pytest.mark.parametrize(("dtype", "moved"), [("float32", 4 * 31744), ("tf32", 4 * 31744), ("int8", 25600 + 4 * 6144)])
def test_the_least_traffic_is_every_operand_once(dtype, moved):
    task = build(context(), params(dtype))
    assert {rate.name: rate.amount for rate in task.rates}["traffic"] == task.operation.bytes == moved


@pytest.mark.parametrize("dtype", sorted(set(TYPES) - {"int8"}))
def test_the_bound_holds_with_room_and_is_not_void(dtype):
    """Below the size of an element itself, which is about 1 in these units, for sizes up to 16384."""
    assert 0 < gemm.bound(64, ARITHMETIC[dtype]) < gemm.bound(16384, ARITHMETIC[dtype]) < 0.6


@pytest.mark.parametrize("dtype", TYPES)
def test_tf32_is_on_for_tf32_only_and_comes_back(dtype):
    torch.set_float32_matmul_precision("medium")
    try:
        with precision(dtype):
            assert torch.get_float32_matmul_precision() == ("high" if dtype == "tf32" else "highest")
        assert torch.get_float32_matmul_precision() == "medium"
        with pytest.raises(KeyError), precision(dtype):
            raise KeyError
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_what_the_device_refuses_is_a_skip():
    accelerator = StubAccelerator(reason="no vector instructions for it")
    with pytest.raises(Skip, match="no vector instructions"):
        build(context(accelerator=accelerator), params("float16"))
    assert accelerator.asked[0].dtype == "float16"


def test_float8_takes_the_format_that_the_device_multiplies(monkeypatch):
    """MI300 has fnuz only; a device without either is a skip that says what it said."""
    device = torch.device("cpu")
    assert gemm.float8_type(device) == "float8_e4m3fn"

    def device_with(*formats: torch.dtype):
        def multiply(a, b, c):
            if a.dtype not in formats:
                raise RuntimeError(f"no kernel for {a.dtype}\nC++ frames")

        return lambda _: multiply

    monkeypatch.setattr(gemm, "_scaled", device_with(torch.float8_e4m3fnuz))
    assert gemm.float8_type(device) == "float8_e4m3fnuz"
    monkeypatch.setattr(gemm, "_scaled", device_with())
    with pytest.raises(Skip, match=r"no float8 product on cpu: no kernel for torch.float8_e4m3fnuz$"):
        gemm.float8_type(device)
    assert gemm.float8_type(torch.device("meta")) == "float8_e4m3fn"


def test_a_simulated_device_has_shapes_and_no_memory():
    for dtype in TYPES:
        task = build(context("meta", free=1 << 38), params(dtype, 16384, 16384, 16384))
        assert task.operation.flops == 2 * 16384**3
