"""Memory operations: bytes counted, working sets, checks that find planted faults."""

from __future__ import annotations

import msgspec
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from microbench_stubs import StubAccelerator, context

from harness.errors import Skip, WrongAnswer
from microbench import memory
from microbench.memory import ARRAYS, ITEM, LINE, StreamParams, build, elements

CASES = [(op, dtype) for op in ARRAYS for dtype in ITEM]


def params(op: str, size: int = 3 << 20, dtype: str = "float32") -> StreamParams:
    return msgspec.convert({"op": op, "size": size, "dtype": dtype}, StreamParams)


@pytest.mark.parametrize(("op", "dtype"), CASES)
@pytest.mark.parametrize("size", [192 * 8, 3 << 18, 48 << 20])
def test_a_right_sweep_passes(op, dtype, size):
    build(context(), params(op, size, dtype)).check()


@pytest.mark.parametrize(("op", "dtype"), CASES)
def test_bandwidth_counts_as_stream_and_traffic_adds_the_write_allocate(op, dtype):
    task = build(context(), params(op, dtype=dtype))
    each = elements(params(op, dtype=dtype)) * ITEM[dtype]
    rates = {rate.name: rate.amount for rate in task.rates}
    stream = {"copy": 2, "scale": 2, "add": 3, "triad": 3, "read": 1}[op]
    assert rates["bandwidth"] == task.operation.bytes == stream * each
    assert rates.get("traffic") == (None if op == "read" else (stream + 1) * each)
    assert any("write-allocate" in flag for flag in task.flags) == (op != "read")


def test_a_gpu_has_no_write_allocate():
    task = build(context("meta"), params("triad"))
    assert [rate.name for rate in task.rates] == ["bandwidth"]
    assert not any("write-allocate" in flag for flag in task.flags)


@pytest.mark.parametrize("cache", [3 << 20, None])
def test_traffic_is_told_only_where_the_caches_are_known_not_to_hold_the_working_set(cache):
    task = build(context(accelerator=StubAccelerator(held=cache)), params("triad"))
    assert [rate.name for rate in task.rates] == ["bandwidth"]


def test_the_working_set_is_not_rotated_and_says_so():
    task = build(context(cache=1 << 28), params("triad"))
    assert task.rotation == 1
    assert any("the working set is reused" in flag for flag in task.flags)
    assert any("arrays of 256 KiB" in flag for flag in build(context(), params("triad", 3 << 18)).flags)
    assert not any("starting the operation" in flag for flag in task.flags)


@given(size=st.integers(192, 1 << 30).map(lambda size: size // 8 * 8), case=st.sampled_from(CASES))
def test_arrays_are_whole_lines_and_fill_the_working_set(size, case):
    op, dtype = case
    used = elements(params(op, size, dtype)) * ITEM[dtype]
    assert used % LINE == 0
    assert 0 <= size - ARRAYS[op] * used < ARRAYS[op] * LINE


def test_more_than_there_is_memory_for_is_a_skip():
    with pytest.raises(Skip, match="needs"):
        build(context(free=1 << 20), params("copy", 1 << 30))


FAULTS = {
    "copy": lambda t: t[0][:-1].copy_(t[1][:-1]),
    "scale": lambda t: torch.mul(t[1], 3.001, out=t[0]),
    "add": lambda t: torch.sub(t[1], t[2], out=t[0]),
    "triad": lambda t: torch.add(t[2], t[1], alpha=3.0, out=t[0]),
}


@pytest.mark.parametrize("op", FAULTS)
def test_a_planted_fault_is_found(op, monkeypatch):
    monkeypatch.setattr(memory, "sweeps", lambda kept: {op: FAULTS[op]})
    with pytest.raises(WrongAnswer, match=rf"{op}: element \d+ of"):
        build(context(), params(op)).check()


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("size", [1 << 16, 1 << 24])
def test_a_read_that_skips_some_of_the_data_is_found(share, size, monkeypatch):
    def part(kept):
        return {"read": lambda t: kept.copy_(t[0][: int(len(t[0]) * share)].sum())}

    monkeypatch.setattr(memory, "sweeps", part)
    with pytest.raises(WrongAnswer, match="read: the sum of"):
        build(context(), params("read", size)).check()
