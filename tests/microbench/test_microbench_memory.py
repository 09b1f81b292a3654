"""Loops over memory, torch's and compiled: bytes counted, working sets, checks that find planted faults."""

from __future__ import annotations

import msgspec
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from microbench_stubs import StubAccelerator, context

from harness.errors import Skip, WrongAnswer
from harness.records import Better, Cadence, Evidence, Measurement, Origin
from harness.units import Unit
from microbench.memory import native, streams
from microbench.memory.crew import Crew
from microbench.memory.streams import ARRAYS, BLOCK, ITEM, StreamParams, build, build_compiled, elements

CASES = [(op, dtype) for op in ARRAYS for dtype in ITEM]
STREAM = {"copy": 2, "scale": 2, "add": 3, "triad": 3, "read": 1, "write": 1}  # arrays, as STREAM counts them


def params(op: str, size: int = 3 << 20, dtype: str = "float32", **more: object) -> StreamParams:
    return msgspec.convert({"op": op, "size": size, "dtype": dtype, **more}, StreamParams)


def host(**more: object):
    """A context of this host's processors."""
    return context(accelerator=StubAccelerator("gloo", **more))


@pytest.fixture(scope="module", params=[1, 2])
def crew(request):
    """As many threads, on the same CPU where there is but one: slow, and right all the same."""
    cpus = native.cpus_of(context(), 1)
    with Crew(cpus * request.param) as crew:
        yield crew


# Torch's loops


@pytest.mark.parametrize(("op", "dtype"), CASES)
@pytest.mark.parametrize("size", [192 * 8, 3 << 18, 48 << 20])
def test_a_right_sweep_passes(op, dtype, size):
    build(context(), params(op, size, dtype)).check()


@pytest.mark.parametrize(("op", "dtype"), CASES)
def test_bandwidth_counts_as_stream_and_traffic_adds_the_write_allocate(op, dtype):
    task = build(context(), params(op, dtype=dtype))
    each = elements(params(op, dtype=dtype)) * ITEM[dtype]
    rates = {rate.name: rate.amount for rate in task.rates}
    assert rates["bandwidth"] == task.operation.bytes == STREAM[op] * each
    assert rates.get("traffic") == (None if op == "read" else (STREAM[op] + 1) * each)
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


@given(size=st.integers(BLOCK * 3, 1 << 30).map(lambda size: size // 8 * 8), case=st.sampled_from(CASES))
def test_arrays_are_whole_blocks_and_fill_the_working_set(size, case):
    op, dtype = case
    used = elements(params(op, size, dtype)) * ITEM[dtype]
    assert used % BLOCK == 0
    assert 0 <= size - ARRAYS[op] * used < ARRAYS[op] * BLOCK


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"size": 767}, "767 B is no whole number of float32 elements of 4 B; nearest: 768 or 768"),
        ({"size": 512}, "triad needs at least 768 B: 256 B for each of 3 arrays"),
        ({"threads": 2}, "threads=2 is for kernel=compiled"),
        ({"threads": -1, "kernel": "compiled"}, "threads"),
        ({"op": "swap"}, "swap"),
        ({"kernel": "numba"}, "numba"),
        ({"dtype": "bfloat16"}, "bfloat16"),
    ],
)
def test_bad_parameters_are_refused_by_name(given, words):
    with pytest.raises((ValueError, msgspec.ValidationError)) as refused:
        params(**{"op": "triad", **given})
    assert words in str(refused.value)


def test_more_than_there_is_memory_for_is_a_skip(crew):
    with pytest.raises(Skip, match="needs"):
        build(context(free=1 << 20), params("copy", 1 << 30))
    with pytest.raises(Skip, match=r"needs 1 GiB on cpu, and 409.6 KiB may be used"):
        build_compiled(context(free=1 << 20, accelerator=StubAccelerator("gloo")), params("copy", 1 << 30), crew)


FAULTS = {
    "copy": lambda t: t[0][:-1].copy_(t[1][:-1]),
    "scale": lambda t: torch.mul(t[1], 3.001, out=t[0]),
    "add": lambda t: torch.sub(t[1], t[2], out=t[0]),
    "triad": lambda t: torch.add(t[2], t[1], alpha=3.0, out=t[0]),
    "write": lambda t: t[0].fill_(3.0000002),
}


@pytest.mark.parametrize("op", FAULTS)
def test_a_planted_fault_is_found(op, monkeypatch):
    monkeypatch.setattr(streams, "sweeps", lambda kept: {op: FAULTS[op]})
    with pytest.raises(WrongAnswer, match=rf"{op}: (element \d+ of|part of the)"):
        build(context(), params(op)).check()


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("size", [1 << 16, 1 << 24])
def test_a_read_that_skips_some_of_the_data_is_found(share, size, monkeypatch):
    def part(kept):
        return {"read": lambda t: kept.copy_(t[0][: int(len(t[0]) * share)].sum())}

    monkeypatch.setattr(streams, "sweeps", part)
    with pytest.raises(WrongAnswer, match="read: the sum of"):
        build(context(), params("read", size)).check()


# Compiled loops


@pytest.mark.parametrize(("op", "dtype"), CASES)
@pytest.mark.parametrize("size", [BLOCK * 3, 3 << 18, 12 << 20])
def test_a_right_compiled_sweep_passes(crew, op, dtype, size):
    task, sweeps = build_compiled(host(), params(op, size, dtype), crew)
    task.check()
    assert sweeps == len(crew) * (128 << 20) // size
    assert [rate.name for rate in task.rates] == ["bandwidth"]
    assert task.rates[0].amount == task.operation.bytes == STREAM[op] * elements(params(op, size, dtype)) * ITEM[dtype]


@pytest.mark.parametrize(
    ("size", "cache", "words"),
    [(3 << 20, 1 << 20, "non-temporal stores"), (3 << 18, 1 << 20, "the caches hold the working set"),
     (3 << 20, None, "ordinary stores: the caches are not known")],
)  # fmt: skip
def test_stores_go_past_the_caches_where_these_do_not_hold_the_working_set(crew, size, cache, words):
    task, _ = build_compiled(host(held=cache), params("copy", size), crew)
    assert any(words in flag for flag in task.flags)
    task, _ = build_compiled(host(held=cache), params("read", size), crew)
    assert not any("stores" in flag for flag in task.flags)


def test_the_working_sets_of_all_ranks_share_the_caches():
    ctx = context(world=4, accelerator=StubAccelerator("gloo"))
    assert not native.streams(ctx, 1 << 18)
    assert native.streams(ctx, (1 << 18) + 1)


@pytest.mark.parametrize("op", ["copy", "scale", "add", "triad", "write", "read"])
def test_a_share_that_was_not_done_is_found(crew, op, monkeypatch):
    """The last turn of the loop's last share is left out: 256 B of each array."""
    right = streams.Work

    def short(crew, kernel, arrays, units, count):
        return right(crew, kernel, arrays, units - 4, count)

    monkeypatch.setattr(streams, "Work", short)
    task, _ = build_compiled(host(), params(op, 3 << 18), crew)
    with pytest.raises(WrongAnswer, match=rf"{op}: (part of the|the words of) \d+ elements"):
        task.check()


@pytest.mark.parametrize(("op", "other"), [("copy", "scale"), ("scale", "copy"), ("add", "triad"), ("triad", "add")])
def test_another_loop_than_the_one_asked_for_is_found(crew, op, other, monkeypatch):
    right = streams.loops.stream
    monkeypatch.setattr(streams.loops, "stream", lambda name, *rest: right(other if name == op else name, *rest))
    task, _ = build_compiled(host(), params(op, 3 << 18), crew)
    with pytest.raises(WrongAnswer, match=rf"{op}: element \d+ of"):
        task.check()


def test_a_simulated_host_builds_and_runs_nothing():
    ctx = context("meta", free=1 << 34, accelerator=StubAccelerator("gloo"))
    task, sweeps = build_compiled(ctx, params("triad", 3 << 30), None)
    assert (task.operation.bytes, sweeps) == (3 << 30, 1)
    with pytest.raises(RuntimeError, match="nothing is executed"):
        task.step(0)


def test_a_gpu_has_no_compiled_loops():
    with pytest.raises(Skip, match="kernel=torch"):
        native.timed(context("meta"), 0, lambda crew: build_compiled(context("meta"), params("copy"), crew))


def test_a_step_is_a_block_of_sweeps():
    evidence = Evidence(warmup=8, block=3, rank_medians=(0.5, 1.0), width=0.01)
    step = Measurement("time.streaming", Unit.SECOND, Better.LOWER, (0.5, 1.0), Origin.MEASURED, Cadence.STREAMING,
                       evidence=evidence)  # fmt: skip
    (sweep,) = native.per_sweep([step], 10)
    assert sweep.samples == (0.05, 0.1)
    assert sweep.evidence == Evidence(warmup=80, block=30, rank_medians=(0.05, 0.1), width=0.01)
    assert native.per_sweep([step], 1) == [step]
