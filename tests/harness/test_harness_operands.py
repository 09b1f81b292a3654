"""Operand sets: how many there are, what they hold, when they are written again, and what fits."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import Skip
from harness.operands import ALIGN, CACHES, REFILL, SHARE, TILE, Arena, Operands, Spec

CPU = torch.device("cpu")
FREE = 1 << 30


def arena(cache: int | None = None, free: int = FREE, ranks: int = 1, seed: int = 0) -> Arena:
    return Arena(CPU, lambda: free, cache, ranks, seed)


class TestRotation:
    @given(st.integers(1, 5000), st.integers(1, 3), st.integers(1, 1 << 20))
    def test_sets_cover_four_caches_and_no_more_than_needed(self, elements: int, tensors: int, cache: int) -> None:
        sets = arena(cache).operands([Spec((elements,), "float32")] * tensors)
        one = tensors * math.ceil(4 * elements / ALIGN) * ALIGN
        assert sets.count * one >= CACHES * cache
        assert sets.count == 1 or (sets.count - 1) * one < CACHES * cache
        assert sets.flags == ()

    def test_the_next_sets_are_others_until_all_were_used(self) -> None:
        sets = arena(cache=1024).operands([Spec((64,), "float32"), Spec((3,), "bfloat16")])
        assert sets.count == 8
        sets.prepare(5)
        first = [sets[index][0].data_ptr() for index in range(5)]
        sets.prepare(5)
        second = [sets[index][0].data_ptr() for index in range(5)]
        assert len({*first, *second[:3]}) == 8
        assert second[3:] == first[:2]

    def test_tensors_lie_apart_and_have_the_shapes_asked_for(self) -> None:
        sets = arena(cache=4096).operands([Spec((5, 7), "float32"), Spec((9,), "bfloat16"), Spec((2, 3, 4), "float64")])
        sets.prepare(sets.count)
        spans = []
        for index in range(sets.count):
            tensors = sets[index]
            assert [(tuple(t.shape), str(t.dtype)) for t in tensors] == [
                ((5, 7), "torch.float32"), ((9,), "torch.bfloat16"), ((2, 3, 4), "torch.float64"),
            ]  # fmt: skip
            spans += [(t.data_ptr(), t.data_ptr() + t.nbytes) for t in tensors]
        spans.sort()
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
        assert {start % ALIGN for start, _ in spans} == {spans[0][0] % ALIGN}

    def test_without_rotation_there_is_one_set(self) -> None:
        sets = arena(cache=1 << 20).operands([Spec((64,), "float32")], rotate=False)
        assert (sets.count, sets.flags) == (1, ())

    def test_an_unknown_cache_is_said(self) -> None:
        sets = arena(cache=None).operands([Spec((64,), "float32")])
        assert sets.count == 1
        assert "last-level cache unknown" in sets.flags[0]


class TestMemory:
    def test_what_is_too_big_is_skipped_with_both_sizes(self) -> None:
        with pytest.raises(Skip, match=r"needs 1 MiB on cpu, and 409\.6 KiB may be used"):
            arena(free=1 << 20).operands([Spec((1 << 18,), "float32")])

    def test_ranks_of_a_host_share_its_memory(self) -> None:
        spec = [Spec((int((1 << 20) * SHARE) // 4 - ALIGN,), "float32")]
        assert arena(free=1 << 20).operands(spec).count == 1
        with pytest.raises(Skip):
            arena(free=1 << 20, ranks=2).operands(spec)

    def test_fewer_sets_than_wanted_are_said(self) -> None:
        sets = arena(cache=1 << 20, free=1 << 20).operands([Spec((1 << 15,), "float32")])
        assert sets.count == 3
        assert sets.flags == ("operands cover 384 KiB, less than 4 caches: memory",)

    def test_cells_share_one_arena_that_grows(self) -> None:
        held = arena()

        def place(elements: int) -> int:
            sets = held.operands([Spec((elements,), "float32")])
            sets.prepare(1)
            return sets[0][0].data_ptr()

        large = place(1 << 20)
        assert place(1 << 10) == large
        assert place(1 << 20) == large

    def test_no_memory_is_touched_on_the_meta_device(self) -> None:
        held = Arena(torch.device("meta"), lambda: 192 * 10**9, 0, 1, 0)
        sets = held.operands([Spec((1 << 32,), "float32")] * 3)
        sets.prepare(4)
        assert sets.count == 1
        assert sets.flags == ()
        assert [t.is_meta and t.nbytes for t in sets[3]] == [1 << 34] * 3
        with pytest.raises(Skip):
            held.operands([Spec((1 << 36,), "float32")])


class TestData:
    @pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64", "float8_e4m3fn"])
    def test_is_random_normal_in_every_set(self, dtype: str) -> None:
        sets = arena(cache=1 << 17, seed=3).operands([Spec((100, 200), dtype)])
        sets.prepare(sets.count)
        assert sets.count > 1
        for index in range(sets.count):
            values = sets[index][0].double()
            assert abs(float(values.mean())) < 0.03
            assert abs(float(values.std()) - 1.0) < 0.03
            assert float((values == 0).double().mean()) < 0.01

    def test_two_tensors_of_a_set_differ_and_seeds_differ(self) -> None:
        spec = Spec((1000,), "float32")
        (a, b), (c, _) = (self.first(arena(seed=seed), spec) for seed in (1, 9))
        assert not torch.equal(a, b)
        assert not torch.equal(a, c)
        again, _ = self.first(arena(seed=1), spec)
        assert torch.equal(a, again)

    @staticmethod
    def first(held: Arena, spec: Spec) -> tuple[torch.Tensor, torch.Tensor]:
        sets = held.operands([spec, spec])
        sets.prepare(1)
        a, b = sets[0]
        return a.clone(), b.clone()

    def test_the_whole_of_a_large_tensor_is_written(self) -> None:
        sets = arena().operands([Spec((2 * TILE + 1000,), "float32")])
        sets.prepare(1)
        sets[0][0].zero_()
        sets.refill()
        assert int((sets[0][0] == 0).sum()) < 10
        assert torch.equal(sets[0][0][-1000:], sets[0][0][:1000])

    def test_is_written_again_when_it_has_worn_out(self) -> None:
        sets = arena(cache=1024).operands([Spec((256,), "float32")])
        assert sets.count == 4
        sets.prepare(1)
        fresh = sets[0][0].clone()
        sets[0][0].fill_(math.inf)
        for _ in range(REFILL * sets.count - 1):
            sets.prepare(1)
        assert not all_finite(sets)
        sets.prepare(1)
        assert all_finite(sets)
        assert torch.equal(sets[0][0], fresh)


def all_finite(sets: Operands) -> bool:
    return bool(torch.isfinite(sets._arena.view(torch.float32)).all())
