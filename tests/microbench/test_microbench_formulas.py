"""Bus bandwidth and sizes against nccl-tests, and what is refused before anything is measured."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import registry
from harness.accelerator import UNEVEN
from microbench import BENCHMARKS
from microbench.collectives import CollectiveParams, PlacedParams, ReducingParams
from microbench.collectives.formulas import COLLECTIVES, ITEM, ROOT, partner, uneven
from microbench.gemm import SquareParams
from microbench.memory.streams import StreamParams

RATES = (
    "busbw",
    "flops",
    "bandwidth",
    "time",
    "gemm_slowdown",
    "gain",
    "disk_slowdown",
    "tokens",
    "largest",
    "outcomes",
)

RANKS = st.integers(2, 4096)

# nccl-tests, doc/PERFORMANCE.md, "Summary": factors that busbw is algbw times.
PUBLISHED = {
    "all_reduce": lambda n: 2 * (n - 1) / n,
    "reduce_scatter": lambda n: (n - 1) / n,
    "all_gather": lambda n: (n - 1) / n,
    "broadcast": lambda n: 1,
    "all_to_all": lambda n: (n - 1) / n,
    "send_recv": lambda n: 1,
    "reduce": lambda n: 1,
    "gather": lambda n: (n - 1) / n,
    "scatter": lambda n: (n - 1) / n,
}


@given(ranks=RANKS)
def test_factors_are_those_of_nccl_tests(ranks):
    for name, factor in PUBLISHED.items():
        assert COLLECTIVES[name].factor(ranks) == pytest.approx(factor(ranks), rel=1e-15)


@given(ranks=RANKS)
def test_a_factor_is_what_crosses_a_link_of_a_ring(ranks):
    """Per rank and byte of S: a ring gather or scatter sends n-1 parts of S/n, an all-reduce both."""
    part = 1 / ranks
    ring = sum(part for _ in range(ranks - 1))
    assert COLLECTIVES["all_gather"].factor(ranks) == pytest.approx(ring)
    assert COLLECTIVES["all_reduce"].factor(ranks) == pytest.approx(2 * ring)


@given(ranks=RANKS, parts=st.integers(1, 1000), dtype=st.sampled_from(sorted(ITEM)))
def test_s_is_the_gathered_output_or_the_whole_input(ranks, parts, dtype):
    size = parts * ranks * ITEM[dtype]
    expected = {
        "all_gather": (size, size // ranks),
        "reduce_scatter": (size // ranks, size),
        "gather": (size, size // ranks),  # of the root
        "scatter": (size // ranks, size),
    }
    for name, collective in COLLECTIVES.items():
        count = collective.count(size, dtype, ranks)
        buffers = tuple(elements * ITEM[dtype] for elements in collective.elements(0, ranks, count))
        if name != "all_to_all_uneven":
            assert buffers == expected.get(name, (size, size))


@given(ranks=RANKS, parts=st.integers(1, 1000))
def test_an_uneven_all_to_all_sends_all_and_loses_nothing(ranks, parts):
    count = parts * ranks
    split = uneven(ranks, count)
    assert sum(split) == count
    assert min(split) >= 0
    assert split[0] == int(parts * UNEVEN)
    uneven_to = COLLECTIVES["all_to_all_uneven"]
    for rank in (0, 1, ranks - 1):
        assert uneven_to.elements(rank, ranks, count) == (ranks * split[rank], count)


@given(ranks=RANKS)
def test_partners_are_each_others_and_half_way_round(ranks):
    for rank in range(min(ranks, 50)):
        other = partner(rank, ranks)
        assert partner(other, ranks) == rank
        assert other == rank == ranks - 1 or abs(other - rank) == ranks // 2


@given(ranks=RANKS, size=st.integers(1, 10**7), dtype=st.sampled_from(sorted(ITEM)))
def test_a_split_buffer_gives_every_rank_the_same(ranks, size, dtype):
    for collective in COLLECTIVES.values():
        count = collective.count(size, dtype, ranks)
        assert 0 <= size - count * ITEM[dtype] < ITEM[dtype] * (ranks if collective.split else 1)
        assert not collective.split or count % ranks == 0


@pytest.mark.parametrize("name", COLLECTIVES)
def test_what_is_received_fills_the_destination(name):
    collective = COLLECTIVES[name]
    for rank in range(6):
        received, _ = collective.elements(rank, 6, 600)
        pieces = list(collective.received(rank, 6, 600))
        assert sum(piece.count for piece in pieces) == (received if pieces else 0)
        assert pieces or rank != ROOT


def refused(params: type, **given_params: object) -> str:
    with pytest.raises(msgspec.ValidationError) as error:
        msgspec.convert(given_params, params)
    return str(error.value)


def test_a_size_that_is_no_multiple_of_the_element_names_the_nearest():
    said = refused(CollectiveParams, size=1002, ranks=2, dtype="float32")
    assert "1002 B is no whole number of float32 elements of 4 B; nearest: 1000 or 1004" in said
    assert "nearest: 2" in refused(PlacedParams, size=1, ranks=2, dtype="bfloat16")
    said = refused(StreamParams, size=(1 << 20) + 2, op="triad")
    assert "nearest: 1048576 or 1048580" in said


def test_a_collective_needs_two_ranks_and_a_known_type():
    assert "ranks" in refused(CollectiveParams, size=1024, ranks=1)
    assert "dtype" in refused(CollectiveParams, size=1024, ranks=2, dtype="float3")
    assert "size" in refused(CollectiveParams, size=0, ranks=2)
    said = refused(ReducingParams, size=1024, ranks=2, dtype="int64", reduction="avg")
    assert "use float32, bfloat16, float16" in said


def test_only_gathering_and_scattering_have_two_placements():
    known = registry.load(BENCHMARKS)
    placed = {name for name, entry in known.items() if "in_place" in entry.params.__struct_fields__}
    assert placed == {"collectives.all_gather", "collectives.reduce_scatter", "collectives.nccl_tests"}


def test_a_working_set_holds_a_block_of_each_array():
    assert "triad needs at least 768 B" in refused(StreamParams, size=512, op="triad")


def test_a_square_has_equal_edges_and_one_is_enough():
    assert "m = n = k, not 4, 8, 4" in refused(SquareParams, m=4, n=8)
    held = msgspec.convert({"m": 64}, SquareParams)
    assert (held.m, held.n, held.k, held.dtype) == (64, 64, 64, "float32")
    assert msgspec.convert(msgspec.to_builtins(held), SquareParams) == held


def test_float8_edges_are_multiples_of_16():
    assert "multiples of 16" in refused(SquareParams, m=72, dtype="float8")


def test_listing_the_benchmarks_imports_neither_torch_nor_numpy():
    code = (
        "import sys; from harness import registry; from microbench import BENCHMARKS; "
        "assert len(registry.load(BENCHMARKS)) >= 8; print({'torch', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_every_benchmark_says_what_it_is():
    known = registry.load(BENCHMARKS).items()
    for name, entry in ((n, e) for n, e in known if e.run.__module__.startswith("microbench.")):  # others may be loaded
        assert entry.summary.endswith("."), name
        assert entry.rate in RATES, name
