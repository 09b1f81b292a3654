"""Compiled loops and the threads that run them: what LLVM made of the text, and how a crew behaves."""

from __future__ import annotations

import os
import platform
import re
import threading
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from microbench_stubs import context

from harness.errors import Skip
from microbench.memory import loops
from microbench.memory.crew import Crew, Work, cpus_of, shares
from microbench.memory.kernels import assembly, machine_code
from microbench.memory.loops import LINE, TURN
from microbench.memory.native import touched

STREAMS = ("copy", "scale", "add", "triad", "write")
x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="the names of x86 instructions")


@pytest.fixture
def affinity():
    held = os.sched_getaffinity(0)
    yield held
    os.sched_setaffinity(0, held)


def body(text: str) -> list[str]:
    """Instructions of the work, without those of the crew."""
    return [line.strip() for line in assembly(text).split("retq")[0].splitlines()]


@x86
@pytest.mark.parametrize("op", STREAMS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_store_is_what_was_asked_for_and_there_is_no_call(op, dtype):
    past, ordinary = (body(loops.stream(op, dtype, streaming)) for streaming in (True, False))
    stores = [line for line in past if "movnt" in line]
    assert len(stores) in (TURN, 2 * TURN, 4 * TURN)  # of 64, 32 or 16 B
    assert not any("movnt" in line for line in ordinary)
    assert not any(line.startswith(("call", "jmpq")) for line in past + ordinary)  # no memcpy, no memset


@x86
@pytest.mark.parametrize("piece", [4, 8, 16, 32, 64, 128, 256])
@pytest.mark.parametrize("stride", [None, 4096])
def test_a_gather_stores_past_the_caches_too(piece, stride):
    assert sum("movnt" in line for line in body(loops.gather(piece, stride, True))) >= TURN
    assert not any("movnt" in line for line in body(loops.gather(piece, stride, False)))


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize(("name", "factor"), [("copy", 1.0), ("scale", 3.0), ("gather", 1.0)])
def test_no_sweep_is_left_out(affinity, name, factor, streaming):
    """The source lies one turn above the destination in the same array, so that every sweep moves the data
    down by one turn: where they are afterwards tells how many sweeps there were."""
    turn, turns, sweeps = 64, 100, 3  # float32 elements of four lines
    array = torch.arange(turn * (turns + 1), dtype=torch.float32)
    before = array.clone()
    text = loops.gather(LINE, LINE, streaming) if name == "gather" else loops.stream(name, "float32", streaming)
    with Crew(cpus_of(context(), 1)) as crew:
        work = Work(crew, machine_code(text), [array[:-turn], array[turn:]], turns * TURN, sweeps)
        work.prepare(2)
        work.step()
        work.step()
    moved, left = 2 * sweeps * turn, turn * (turns + 1 - 2 * sweeps)
    assert torch.equal(array[:left], before[moved:] * factor ** (2 * sweeps))


def test_every_sweep_of_a_read_reads(affinity):
    """The words change under the loop's feet: its last sweep is the one whose sums are left."""
    array = torch.ones(1 << 20, dtype=torch.int32)
    with Crew(cpus_of(context(), 1)) as crew:
        work = Work(crew, machine_code(loops.read()), [array], array.nbytes // LINE, 3)
        for value in (1, 2):
            array.fill_(value)
            work.prepare(1)
            work.step()
            assert int(work.results.sum()) == value << 20


@given(units=st.integers(0, 10**7), threads=st.integers(1, 300))
def test_shares_are_whole_turns_that_cover_all_once(units, threads):
    found = shares(units, threads)
    assert len(found) == threads
    assert found[0][0] == 0
    assert found[-1][1] == units // TURN * TURN
    assert all(one[1] == other[0] for one, other in pairwise(found))
    assert all(begin % TURN == end % TURN == 0 for begin, end in found)
    lengths = [end - begin for begin, end in found]
    assert max(lengths) - min(lengths) <= TURN


@pytest.mark.skipif(not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="a kernel without huge pages")
def test_pages_are_private_huge_ones_are_asked_for_and_every_array_is_touched(affinity):
    with Crew(cpus_of(context(), 1) * 2) as crew:
        held = touched([1 << 20, 3 << 20], crew)
    assert bool((held.view(torch.float32) == 3.0).all())
    mappings = re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text())
    ends = (re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+)", mapping) for mapping in mappings)
    (found,) = (
        (end[3], mapping) for end, mapping in zip(ends, mappings, strict=True)
        if end and int(end[1], 16) <= held.data_ptr() < int(end[2], 16)
    )  # fmt: skip
    assert found[0] == "rw-p"
    assert " hg" in found[1].split("VmFlags:")[1]


def counting(crew: Crew, steps: int) -> Work:
    """A write of one block for each thread."""
    array = torch.zeros(len(crew) * 64)
    work = Work(crew, machine_code(loops.stream("write", "float32", False)), [array], array.nbytes // LINE, 1)
    work.prepare(steps)
    return work


class TestCrew:
    def test_many_blocks_of_many_steps(self, affinity):
        with Crew(cpus_of(context(), 1) * 3) as crew:
            for steps in (1, 7, 2):
                work = counting(crew, steps)
                for _ in range(steps):
                    work.step()
                assert bool((work._arrays[0] == 3.0).all())

    def test_threads_are_pinned_and_the_leader_only_within_a_block(self, affinity):
        cpus = sorted(affinity)[-1:] * 2
        before = set(threading.enumerate())
        with Crew(cpus) as crew:
            (thread,) = set(threading.enumerate()) - before
            assert os.sched_getaffinity(thread.native_id) == {cpus[1]}
            assert os.sched_getaffinity(0) == affinity
            work = counting(crew, 2)
            work.step()
            assert os.sched_getaffinity(0) == {cpus[0]}
            work.step()
            assert os.sched_getaffinity(0) == affinity
        assert set(threading.enumerate()) == before

    def test_a_block_that_is_given_up_leaves_nothing_behind(self, affinity):
        before = set(threading.enumerate())

        def give_up():
            with Crew(cpus_of(context(), 1) * 2) as crew:
                counting(crew, 5).step()
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            give_up()
        assert os.sched_getaffinity(0) == affinity
        assert set(threading.enumerate()) == before

    def test_a_step_that_was_not_armed_is_an_error_and_no_hang(self, affinity):
        with Crew(cpus_of(context(), 1) * 2) as crew:
            work = counting(crew, 1)
            with pytest.raises(RuntimeError, match="1 steps of the block before"):
                work.prepare(1)
            work.step()
            with pytest.raises(RuntimeError, match="no step is armed"):
                work.step()

    def test_more_threads_than_cpus_are_a_skip(self, affinity):
        with pytest.raises(
            Skip, match=rf"{len(affinity) + 1} threads asked for, and this rank may use {len(affinity)}"
        ):
            cpus_of(context(), len(affinity) + 1)

    def test_without_a_number_the_threads_are_torchs(self, affinity):
        assert len(cpus_of(context(), 0)) == min(torch.get_num_threads(), len(affinity))
        assert len(set(cpus_of(context(), len(affinity)))) == len(affinity)
