"""The data of correctness checks: exact in every type for any number of ranks, and telling."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import WrongAnswer
from microbench.collectives.formulas import COLLECTIVES
from microbench.collectives.patterns import SENTINEL, addend, compare, moved, randomise, total, write

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


@pytest.mark.parametrize("name", COLLECTIVES)
@pytest.mark.parametrize("wrong", [SENTINEL, float("nan")])
def test_the_comparison_names_the_first_wrong_element(name, wrong):
    """All ranks' results put together here, by definition, without any communication."""
    collective, ranks, count = COLLECTIVES[name], 4, 40_000
    for rank in range(ranks):
        result = _by_definition(collective, rank, ranks, count)
        compare(result, collective, rank, ranks, count)
        at = len(result) - 7
        result[at] = wrong
        with pytest.raises(WrongAnswer, match=rf"{name}: element {at} of {len(result)} is (-1|nan), expected \d+"):
            compare(result, collective, rank, ranks, count)


def _by_definition(collective, rank, ranks, count):
    _, sent = collective.elements(count, ranks)
    data = []
    for origin in range(ranks):
        data.append(torch.empty(sent))
        write(data[-1], collective, origin, ranks)
    part = count // ranks
    return {
        "all_reduce": lambda: sum(data),
        "reduce_scatter": lambda: sum(data)[rank * part : (rank + 1) * part],
        "all_gather": lambda: torch.cat(data),
        "broadcast": lambda: data[0].clone(),
        "all_to_all": lambda: torch.cat([one[rank * part : (rank + 1) * part] for one in data]),
        "send_recv": lambda: data[(rank - 1) % ranks].clone(),
    }[collective.name]()


def test_buffers_hold_random_normal_data_again():
    buffer = torch.full((200_000,), SENTINEL)
    randomise(buffer)
    assert abs(float(buffer.mean())) < 0.05
    assert abs(float(buffer.std()) - 1) < 0.05
