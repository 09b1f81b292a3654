"""Layouts that cannot be are refused before anything starts, and the nearest that can be is named."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2e.ablation import AblationParams
from e2e.data import batch, sequences
from e2e.layout import Layout, check
from e2e.mfu import JobParams, diverged
from e2e.scaling import ScalingParams
from harness import models

TINY = models.load("tiny")


@pytest.mark.parametrize(
    ("layout", "world", "words"),
    [
        (Layout(tensor=3), 4, "nearest product that does: 2"),
        (Layout(tensor=4), 4, "tensor=4 does not divide kv_heads=2; the nearest degree that does: 2"),
        (Layout(pipeline=3), 3, "pipeline=3 does not divide layers=4; the nearest degree that does: 2"),
        (Layout(expert=2), 2, "expert=2 does not divide experts=1; the nearest degree that does: 1"),
        (Layout(sequence=True), 2, "it needs tensor=2"),
        (Layout(context=2), 2, "the nearest that does"),
    ],
)
def test_what_does_not_divide_is_named_with_the_nearest(layout: Layout, world: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check(TINY, layout, world, batch=8, micro=1, sequence=130)


def test_a_batch_that_ranks_do_not_share_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="batch=7 sequences is no multiple of 2 data ranks x micro_batch=2; nearest: "):
        check(TINY, Layout(), 2, batch=7, micro=2, sequence=128)
    assert check(TINY, Layout(tensor=2), 4, batch=8, micro=2, sequence=128) == 2


@given(st.integers(1, 64), st.integers(1, 8), st.integers(1, 8))
def test_data_ranks_times_the_others_are_the_world(world: int, tensor: int, pipeline: int) -> None:
    layout = Layout(tensor=tensor, pipeline=pipeline)
    try:
        data = layout.data(world)
    except ValueError:
        assert world % (tensor * pipeline)
        return
    assert data * tensor * pipeline == world


@pytest.mark.parametrize("given_", [{"tensor": 5}, {"pipeline": 3}, {"tensor": 2, "sequence_parallel": True}])
def test_parameters_refuse_what_no_number_of_ranks_mends(given_: dict) -> None:
    if given_ == {"tensor": 2, "sequence_parallel": True}:
        assert JobParams(**given_).layout.words == "tensor 2, sequence parallel"
        return
    with pytest.raises(ValueError, match="does not divide"):
        JobParams(**given_)


@pytest.mark.parametrize(
    ("technique", "words"),
    [
        ("recompute", "accepted is KEY=VALUE with KEY one of"),
        ("sequence=64", "accepted is KEY=VALUE with KEY one of"),
        ("recompute=twice", "twice"),
        ("stage=7", "technique 'stage=7'"),
        ("stage=3+tensor=5", "does not divide"),
    ],
)
def test_a_technique_that_is_none_is_refused_with_what_is_accepted(technique: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        AblationParams(technique=technique)


def test_a_technique_changes_what_it_names_and_nothing_else() -> None:
    params = AblationParams(technique="stage=3+offload=cpu+compile=true", seconds=5)
    changed = msgspec.structs.asdict(params.other)
    assert (changed.pop("stage"), changed.pop("offload"), changed.pop("compile")) == (3, "cpu", True)
    base = msgspec.structs.asdict(params.base)
    assert changed == {key: value for key, value in base.items() if key in changed}


def test_weak_scaling_grows_the_batch_and_strong_does_not() -> None:
    assert [ScalingParams(mode="weak").job(ranks).batch for ranks in (1, 2, 4)] == [8, 16, 32]
    assert [ScalingParams(mode="strong").job(ranks).batch for ranks in (1, 2, 4)] == [8, 8, 8]
    assert ScalingParams(mode="weak", tensor=2).job(4).batch == 16, "tensor ranks share sequences"


@given(st.integers(0, 5), st.sampled_from([1, 2, 4]))
def test_ranks_share_out_one_batch_whatever_their_number(step: int, ranks: int) -> None:
    whole = sequences(3, step * 8, 8, 17, 100)
    shares = [batch(3, step, 8, rank, ranks, 17, 100) for rank in range(ranks)]
    assert [row for share in shares for row in share.tolist()] == whole.tolist()


def test_a_loss_that_is_no_number_is_named_with_its_step() -> None:
    assert diverged([2.0, 1.5]) == ""
    assert "step 1 is no number" in diverged([2.0, float("nan"), 1.0])
    assert "step 0 is no number" in diverged([float("inf")])
    assert "step 1 is no number" in diverged([1.0, None])
