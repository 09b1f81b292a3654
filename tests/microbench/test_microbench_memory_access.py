"""Strided and random access, chains of loads and memory nodes: what is counted, checked, refused and skipped."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from microbench_stubs import StubAccelerator, context

from harness.errors import Skip, WrongAnswer
from harness.policy import Policy
from harness.records import Better, Cadence, Measurement, Origin
from harness.units import Unit
from microbench import memory
from microbench.memory import access, latency, native, nodes
from microbench.memory.access import PIECES, RandomParams, StridedParams, build, build_compiled
from microbench.memory.crew import Crew
from microbench.memory.latency import LOADS, LatencyParams, chain
from microbench.memory.nodes import NumaParams

SIZE = 3 << 19


def params(size: int = SIZE, **more: object) -> RandomParams:
    return msgspec.convert({"size": size, **more}, StridedParams if "stride" in more else RandomParams)


def host(**more: object):
    return context(accelerator=StubAccelerator("gloo", **more))


@pytest.fixture(scope="module")
def crew():
    with Crew(native.cpus_of(context(), 1) * 2) as crew:
        yield crew


class Timer:
    """A meter's place in a context: takes one sample of everything, and runs each task's check."""

    origin = Origin.MEASURED

    def __init__(self):
        self.tasks = []

    def take(self, task, cadences):
        task.check()
        task.prepare(2)
        task.step(0)
        task.step(1)
        self.tasks.append(task)
        return [
            Measurement(f"time.{c.value}", Unit.SECOND, Better.LOWER, (1.0,), self.origin, c, task.rates)
            for c in cadences
        ]


@pytest.fixture
def timer(monkeypatch):
    timer = Timer()
    monkeypatch.setattr("harness.context.Context.time", lambda ctx, task, cadences: timer.take(task, cadences))
    return timer


@given(size=st.integers(1 << 19, 1 << 33), piece=st.sampled_from(PIECES), times=st.integers(1, 20) | st.none())
def test_what_takes_part_fits_the_working_set_in_whole_groups(size, piece, times):
    held = params(size, piece=piece, **({"stride": piece * times} if times else {}))
    sizes = [torch.Size(spec.shape).numel() * 4 for spec in access.specs(held)]
    assert sum(sizes) == held.pieces * held.footprint <= size
    assert size - sum(sizes) < access.GROUP * held.footprint
    assert all(one % 256 == 0 for one in sizes)


def test_bytes_are_what_was_asked_for():
    """Counted by hand: of 1000 B for a piece of 200, nothing but pieces and indices counts."""
    assert access.describe(params(piece=64)).bytes == params(piece=64).pieces * (64 + 64 + 4)
    strided = params(piece=64, stride=4096)
    assert strided.pieces == SIZE // 4160 // 64 * 64
    assert access.describe(strided).bytes == strided.pieces * 128
    assert any("lines of 20 KiB are touched" in flag for flag in build(host(), strided).flags)


CASES = [{}, *({"piece": piece} for piece in PIECES), {"stride": 64}, {"stride": 320}, {"stride": 4096},
         {"stride": 12, "piece": 4}, {"stride": 8192, "piece": 256}]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("cache", [1 << 20, 1 << 22])
def test_a_right_copy_of_pieces_passes(crew, case, cache):
    build(host(), params(**case)).check()
    task, sweeps = build_compiled(host(held=cache), params(kernel="compiled", **case), crew)
    task.check()
    assert sweeps == 2 * (128 << 20) // SIZE
    assert any("non-temporal" in flag for flag in task.flags) == (cache < SIZE)


@pytest.mark.parametrize("case", [{"piece": 64}, {"piece": 4}, {"stride": 320}])
def test_planted_faults_are_found(crew, case, monkeypatch):
    name = "strided" if "stride" in case else "random"
    right = access.loops.gather
    monkeypatch.setattr(access.loops, "gather", lambda piece, stride, past: right(piece, 64 if stride else piece, past))
    task, _ = build_compiled(host(), params(**case), crew)
    with pytest.raises(WrongAnswer, match=rf"{name}: piece \d+ of"):
        task.check()
    monkeypatch.setattr(access, "_torch", lambda _, arrays: lambda: arrays[0][:-1].fill_(1.0))
    with pytest.raises(WrongAnswer, match=rf"{name}: part of the"):
        build(host(), params(**case)).check()


@given(count=st.integers(1, 5000), seed=st.integers(0, 99))
def test_a_random_order_visits_every_piece_once(count, seed):
    assert sorted(access.order(count, seed).tolist()) == list(range(count))
    assert count < 20 or not torch.equal(access.order(count, seed), access.order(count, seed + 1))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"stride": 100}, "a stride is a multiple of the piece, 64 B; nearest: 64"),
        ({"stride": 32}, "nearest: 64"),
        ({"size": 4096}, "needs at least 8448 B: 64 pieces, each 132 B of it"),
        ({"size": 1 << 18, "stride": 4096}, "needs at least 266240 B: 64 pieces, each 4160 B of it"),
        ({"size": 1 << 36, "piece": 4}, "take a larger piece"),
        ({"piece": 48}, "a piece of 48 B: accepted are 4, 8, 16, 32, 64, 128, 256"),
        ({"threads": 1}, "threads=1 is for kernel=compiled"),
    ],
)
def test_bad_parameters_are_refused_by_name(given, words):
    with pytest.raises((ValueError, msgspec.ValidationError)) as refused:
        params(**given)
    assert words in str(refused.value)


def test_too_little_memory_is_a_skip(crew):
    with pytest.raises(Skip, match="needs"):
        build_compiled(context(free=1 << 20, accelerator=StubAccelerator("gloo")), params(1 << 30), crew)
    with pytest.raises(Skip, match="needs"):
        latency.build(context(free=1 << 20), LatencyParams(1 << 20), crew)


def test_large_pieces_build_on_a_simulated_device():
    for held in (params(1 << 33), params(1 << 33, stride=4096)):
        ctx = context("meta", free=1 << 36)
        task = build(ctx, held)
        task.prepare(2)
        assert task.operation.bytes == access.describe(held).bytes
        task, sweeps = build_compiled(ctx, held, None)
        assert sweeps == 1


def test_access_out_of_order_is_not_simulated():
    with pytest.raises(Skip, match="nothing models memory that is not read in order"):
        memory.random(context("meta"), params())


# Latency


@pytest.mark.parametrize("lines", [2, 3, 64, 4096])
def test_a_chain_is_one_cycle_through_all_lines(lines):
    table = torch.zeros(lines, 8, dtype=torch.int64)
    order = chain(table, seed=1).tolist()
    seen, at = [], order[0]
    for _ in range(lines):
        seen.append(at)
        at = int(table[at, 0]) // 64
    assert seen == order
    assert sorted(seen) == list(range(lines))
    assert at == order[0]


@pytest.mark.parametrize("size", [512, 1 << 20])
def test_a_right_chase_passes_and_goes_on_where_it_was(size):
    with Crew(native.cpus_of(context(), 1)) as crew:
        task, loads = latency.build(host(), LatencyParams(size), crew)
        task.check()
        task.prepare(3)
        for index in range(3):
            task.step(index)
        task.check()
    assert loads == LOADS
    assert task.rates == ()
    assert any("time is of one load" in flag for flag in task.flags)
    assert not any("stores" in flag for flag in task.flags)


def test_a_chase_that_stops_short_is_found(monkeypatch):
    right = latency.Work
    monkeypatch.setattr(latency, "Work", lambda *rest: right(*rest[:-1], rest[-1] - 1))
    with Crew(native.cpus_of(context(), 1)) as crew:
        task, _ = latency.build(host(), LatencyParams(1 << 20), crew)
        with pytest.raises(WrongAnswer, match=r"chase: 262144 loads led to byte \d+, expected \d+"):
            task.check()


def test_latency_is_neither_simulated_nor_a_gpus(timer):
    with pytest.raises(Skip, match="nothing models the latency"):
        memory.chase(context("meta", accelerator=StubAccelerator("gloo")), LatencyParams(1 << 20))
    with pytest.raises(Skip, match="run on processors"):
        memory.chase(context("meta"), LatencyParams(1 << 20))
    with pytest.raises(ValueError, match="needs at least 512 B"):
        LatencyParams(256)
    (found,) = memory.chase(host(), LatencyParams(1 << 20))
    assert found.samples == (1.0 / LOADS,)


# Memory nodes


def test_each_nodes_cores_on_each_nodes_memory(timer):
    cpu = native.cpus_of(context(), 1)
    found = nodes.measure(host(), NumaParams(3 << 18), {0: cpu, 3: cpu * 2})
    assert [m.params for m in found] == [
        {"cores": 0, "memory": 0}, {"cores": 0, "memory": 3}, {"cores": 3, "memory": 0}, {"cores": 3, "memory": 3},
    ]  # fmt: skip
    assert [task.operation.name for task in timer.tasks] == ["triad"] * 4
    threads = [flag for task in timer.tasks for flag in task.flags if "threads:" in flag]
    assert ["threads: 1" in flag for flag in threads] == [True, True, False, False]


@pytest.mark.parametrize(("held", "words"), [({0: [0]}, "one memory node"), ({}, "no memory nodes are told")])
def test_a_host_with_one_memory_node_is_a_skip(held, words):
    with pytest.raises(Skip, match=words):
        nodes.measure(host(), NumaParams(3 << 18), held)


def test_ranks_that_share_a_host_and_hosts_that_differ_are_skips(monkeypatch):
    ctx = replace(host(), per_node=2)
    with pytest.raises(Skip, match="2 ranks share"):
        nodes.measure(ctx, NumaParams(3 << 18), {0: [0], 1: [1]})
    monkeypatch.setattr("harness.ranks.OneProcess.column", lambda ranks, value: [value, 4.0])
    with pytest.raises(Skip, match="hosts differ in their memory nodes: 2 to 4"):
        nodes.measure(host(), NumaParams(3 << 18), {0: [0], 1: [1]})


def test_memory_nodes_take_the_loops_parameters():
    with pytest.raises(ValueError, match="triad needs at least"):
        NumaParams(256)
    assert NumaParams(3 << 18, "read").loop().kernel == "compiled"


# The benchmarks


@pytest.mark.parametrize("kernel", ["torch", "compiled"])
def test_the_benchmarks_measure_what_was_asked(timer, kernel):
    ctx = replace(host(), policy=Policy())
    size = 3 << 18
    for run, held in (
        (memory.stream, msgspec.convert({"size": size, "kernel": kernel}, memory.swept.StreamParams)),
        (memory.random, params(size, kernel=kernel)),
        (memory.strided, params(size, kernel=kernel, stride=256)),
    ):
        (found,) = run(ctx, held)
        assert found.cadence is Cadence.STREAMING
        assert any("compiled by LLVM" in flag for flag in timer.tasks[-1].flags) == (kernel == "compiled")
        steps = found.samples[0]
        assert (steps == 1.0) == (kernel == "torch")
