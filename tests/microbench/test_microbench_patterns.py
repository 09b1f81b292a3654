"""The data of correctness checks: exact in every type for any number of ranks, and telling."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import WrongAnswer
from microbench.collectives.formulas import COLLECTIVES, partner, uneven
from microbench.collectives.patterns import SENTINEL, Wanted, addend, compare, moved, randomise, total, write

PLACES = torch.arange(3000)


@settings(max_examples=40, deadline=None)
@given(ranks=st.integers(2, 2048))
def test_the_total_is_the_sum_of_all_addends_and_exact_in_bfloat16(ranks):
    added = sum(addend(origin, ranks)(PLACES) for origin in range(ranks))
    expected = total(ranks)(PLACES)
    assert torch.equal(added, expected)
    assert int(expected.min()) >= 1
    assert int(expected.max()) <= 256
    assert torch.equal(expected.to(torch.bfloat16).long(), expected)


@settings(max_examples=40, deadline=None)
@given(ranks=st.integers(2, 2048), data=st.data())
def test_a_rank_that_does_not_add_shows(ranks, data):
    """In any stretch of as many places as there are ranks to a stride (57 of 2,048)."""
    missing, first = data.draw(st.integers(0, ranks - 1)), data.draw(st.integers(0, 2900))
    assert bool(addend(missing, ranks)(PLACES[first : first + 57]).any())


@settings(max_examples=60, deadline=None)
@given(origin=st.integers(0, 4095), other=st.integers(0, 4095))
def test_data_that_travels_tells_its_rank(origin, other):
    mine, theirs = moved(origin)(PLACES), moved(other)(PLACES)
    assert torch.equal(mine.to(torch.bfloat16).long(), mine)
    assert torch.equal(mine, theirs) == (origin == other)


@pytest.mark.parametrize("shift", [1, 2, 64, 128, 250, 256, 1024])
def test_data_in_the_wrong_place_shows(shift):
    assert not torch.equal(moved(3)(PLACES), moved(3)(PLACES + shift))
    assert not torch.equal(total(8)(PLACES), total(8)(PLACES + shift))


REDUCING = [name for name, collective in COLLECTIVES.items() if collective.reduces]
CASES = [
    *((name, dtype, "sum" if collective.reduces else "") for name, collective in COLLECTIVES.items()
      for dtype in ("float32", "bfloat16", "int64", "float8_e4m3fn")),
    *((name, dtype, "max") for name in REDUCING for dtype in ("int64", "float8_e4m3fn")),
    *((name, dtype, "avg") for name in REDUCING for dtype in ("float32", "bfloat16")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "dtype", "reduction"), CASES)
@pytest.mark.parametrize("ranks", [2, 4, 7])
def test_the_comparison_names_the_first_wrong_element(name, dtype, reduction, ranks):
    """All ranks' results put together here, by definition, without any communication."""
    collective, dtype = COLLECTIVES[name], getattr(torch, dtype)
    count = 2800 * 7
    for rank in range(ranks):
        wanted = Wanted(collective, rank, ranks, count, reduction)
        result = _by_definition(wanted, dtype)
        compare(result, wanted)
        if not len(result) or not collective.elements(rank, ranks, count)[0]:
            continue
        if not any(True for _ in collective.received(rank, ranks, count)):
            continue  # the result is the root's; what is left here is nobody's
        at = len(result) - 7
        result[at] = SENTINEL
        with pytest.raises(WrongAnswer, match=rf"{name}: element {at} of {len(result)} is -1, expected \d+"):
            compare(result, wanted)


@pytest.mark.parametrize("reduction", ["sum", "max", "avg"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("ranks", [2, 3, 8, 100, 1024])
def test_a_rank_that_is_left_out_of_a_reduction_shows(reduction, dtype, ranks):
    wanted = Wanted(COLLECTIVES["all_reduce"], 0, ranks, 3000, reduction)
    for missing in {0, 1, ranks // 2, ranks - 1}:
        with pytest.raises(WrongAnswer):
            compare(_reduced(wanted, dtype, [origin for origin in range(ranks) if origin != missing]), wanted)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("ranks", [2, 3, 8, 100, 1024])
def test_an_average_may_be_divided_before_or_after_it_is_added(dtype, ranks):
    """NCCL multiplies by 1/n first, gloo's in torch divides at the end; both in the type itself."""
    wanted = Wanted(COLLECTIVES["all_reduce"], 0, ranks, 3000, "avg")
    data = _data(wanted, dtype)
    compare(torch.stack(data).sum(0, dtype=torch.float32).to(dtype) / ranks, wanted)
    first = torch.zeros(3000, dtype=dtype)
    for one in data:
        first += one * torch.tensor(1 / ranks, dtype=dtype)
    compare(first, wanted)


def _data(wanted, dtype):
    """What each rank sends."""
    made = []
    for origin in range(wanted.ranks):
        _, sent = wanted.collective.elements(origin, wanted.ranks, wanted.count)
        made.append(torch.empty(sent, dtype=dtype))
        write(made[-1], replace(wanted, rank=origin))
    return made


def _reduced(wanted, dtype, origins):
    data = torch.stack(_data(wanted, dtype)).double()[origins]
    if wanted.reduction == "max":
        return data.amax(0).to(dtype)
    return (data.sum(0) / (wanted.ranks if wanted.reduction == "avg" else 1)).to(dtype)


def _by_definition(wanted, dtype):
    rank, ranks, count = wanted.rank, wanted.ranks, wanted.count
    data, part = _data(wanted, dtype), count // ranks
    split = uneven(ranks, count)
    start = sum(split[:rank])
    every = range(ranks)
    made = {
        "all_reduce": lambda: _reduced(wanted, dtype, list(every)),
        "reduce": lambda: _reduced(wanted, dtype, list(every)),
        "reduce_scatter": lambda: _reduced(wanted, dtype, list(every))[rank * part : (rank + 1) * part],
        "all_gather": lambda: torch.cat(data),
        "gather": lambda: torch.cat(data) if rank == 0 else torch.empty(0, dtype=dtype),
        "scatter": lambda: data[0][rank * part : (rank + 1) * part].clone(),
        "broadcast": lambda: data[0].clone(),
        "all_to_all": lambda: torch.cat([one[rank * part : (rank + 1) * part] for one in data]),
        "all_to_all_uneven": lambda: torch.cat([one[start : start + split[rank]] for one in data]),
        "send_recv": lambda: data[(rank - 1) % ranks].clone(),
        "exchange": lambda: data[partner(rank, ranks)].clone(),
    }
    return made[wanted.collective.name]()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_buffers_hold_random_data_again(dtype):
    buffer = torch.full((200_000,), SENTINEL, dtype=dtype)
    randomise(buffer)
    spread = 1 if dtype.is_floating_point else 32
    assert abs(float(buffer.double().mean())) < 0.05 * spread
    assert abs(float(buffer.double().std()) / spread - 1) < 0.05
