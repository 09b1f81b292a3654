"""Collectives on real gloo ranks: right answers for every case, and planted wrong ones found."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from microbench_ranks import PLANTED, SIZES, cases

from harness.records import Measurement
from microbench.collectives.formulas import COLLECTIVES

PROGRAM = Path(__file__).with_name("microbench_ranks.py")
CASES = [case.label for case in cases()]


def launch(world: int, folder: Path, only: str = "") -> list[dict]:
    """What each of `world` ranks found; 3 ranks tell the next from the one before, 2 do not."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = os.environ | {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world),
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    ranks = [
        subprocess.Popen(
            [sys.executable, "-W", "error", str(PROGRAM), str(folder), only],
            env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    try:
        errors = [rank.communicate(timeout=120)[1] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0] * world, "\n".join(errors)
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(world)]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return launch(2, tmp_path_factory.mktemp("two"))


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    return launch(3, tmp_path_factory.mktemp("three"))


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    """Four ranks: sub-groups of two, side by side, and rails of two pretended nodes."""
    return launch(4, tmp_path_factory.mktemp("four"), "groups")


@pytest.mark.parametrize("label", CASES)
def test_every_case_gives_the_right_answer_on_two_ranks(two, label):
    assert [rank["cases"][label] for rank in two] == ["ok", "ok"]


@pytest.mark.parametrize("label", CASES)
def test_every_case_gives_the_right_answer_on_three_ranks(three, label):
    assert [rank["cases"][label] for rank in three] == ["ok"] * 3


def test_every_operation_is_right_in_sub_groups_of_four_ranks(four):
    for rank in four:
        assert set(rank["groups"].values()) == {"ok"}, rank["groups"]
    assert len(four[0]["groups"]) == 4 * len(COLLECTIVES)


@pytest.mark.parametrize("label", PLANTED)
@pytest.mark.parametrize("world", ["two", "three"])
def test_a_wrong_operation_is_found_on_all_ranks_alike(request, world, label):
    said = {rank["planted"][label] for rank in request.getfixturevalue(world)}
    assert len(said) == 1
    assert said.pop().startswith("wrong: rank ")


def test_a_wrong_answer_names_rank_element_and_values(two):
    said = two[0]["planted"]["all_reduce: last element wrong"]
    assert said == "wrong: rank 1: all_reduce: element 1023 of 1024 is 6, expected 5"


def test_in_place_on_gloo_is_a_skip_with_its_reason(two):
    assert two[0]["in place on gloo"].startswith("skip: gloo copies all_gather")


def test_less_than_an_element_a_rank_is_a_skip_with_its_reason(two):
    assert two[0]["too small"] == "skip: 4 B is less than one float32 element for each of 2 ranks"


def test_a_type_that_gloo_lacks_is_a_skip_with_its_reason(two):
    assert two[0]["no float8"] == "skip: gloo has no float8 in all_gather: invalid scalar type"


def test_groups_that_a_launch_cannot_hold_are_a_skip_with_the_numbers(two):
    assert two[0]["too many"] == "skip: 4 group(s) of 2 ranks need 8, and the launch has 2"
    assert two[0]["no rail"].startswith("skip: 1 rail(s) over 2 nodes: the launch has 1 node(s) with 2 rank(s) each")


@pytest.mark.parametrize("name", COLLECTIVES)
def test_a_run_gives_both_cadences_and_both_rates(two, three, name):
    for found in (two, three):
        taken = msgspec.convert(found[0]["records"][name], list[Measurement])
        assert [m.metric for m in taken] == ["time.isolated", "time.streaming"]
        assert all(len(m.evidence.rank_medians) == len(found) for m in taken)
        for measurement in taken:
            algbw, busbw = measurement.rates
            assert (algbw.name, busbw.name) == ("algbw", "busbw")
            assert busbw.amount == pytest.approx(algbw.amount * COLLECTIVES[name].factor(len(found)))


def test_a_size_that_three_ranks_cannot_share_is_rounded_down_and_says_so(three):
    taken = msgspec.convert(three[0]["records"]["all_gather"], list[Measurement])
    assert taken[0].rates[0].amount == (1 << 14) // 6 * 6
    assert any(flag.startswith("16380 B were measured, not 16384") for flag in taken[0].evidence.flags)
    whole = msgspec.convert(three[0]["records"]["all_reduce"], list[Measurement])
    assert whole[0].rates[0].amount == 1 << 14


def test_a_part_of_the_ranks_is_named_and_the_others_count_for_nothing(three):
    taken = msgspec.convert(three[0]["records"]["in part"], list[Measurement])
    assert all("ranks 0-1 of 3, on 1 node" in m.evidence.flags for m in taken)
    assert all(len(m.evidence.rank_medians) == 2 for m in taken)
    waiting = msgspec.convert(three[2]["records"]["in part"], list[Measurement])
    assert [m.samples for m in waiting] == [m.samples for m in taken]


def test_a_barrier_has_a_time_and_no_rate(three):
    taken = msgspec.convert(three[0]["records"]["barrier"], list[Measurement])
    assert [(m.metric, m.rates) for m in taken] == [("time.isolated", ()), ("time.streaming", ())]


def test_a_map_has_equal_shares_for_every_pair(two, three):
    for found, pairs in ((two, ((0, 1),)), (three, ((0, 1), (0, 2), (1, 2)))):
        (taken,) = msgspec.convert(found[0]["records"]["pairwise"], list[Measurement])
        assert taken.pairs == pairs
        assert len(taken.samples) % len(pairs) == 0
        assert len(taken.samples) >= 9 * len(pairs)
        assert {rate.amount for rate in taken.rates} == {float(1 << 14)}


def test_overlap_gives_each_ones_slow_down_turn_by_turn(two):
    taken = {m.metric: m for m in msgspec.convert(two[0]["records"]["overlap"], list[Measurement])}
    for what in ("gemm", "collective"):
        alone, beside = taken[f"{what}_alone.isolated"].samples, taken[f"{what}_beside.isolated"].samples
        ratios = [b / a for a, b in zip(alone, beside, strict=True)]
        assert taken[f"{what}_slowdown"].samples == pytest.approx(ratios)
        assert taken[f"{what}_slowdown"].unit == "ratio"


def test_sizes_cover_more_than_one_tile_of_a_pattern():
    from microbench.collectives.patterns import SPAN

    assert max(SIZES) // 4 > 2 * SPAN
