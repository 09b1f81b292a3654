"""Rounds of disjoint pairs, and groups of ranks in a launch."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import Skip
from microbench.collectives.groups import described, members, needed, nodes_of
from microbench.collectives.rounds import EVERYONE, rounds, tournament


@given(st.integers(2, 80))
def test_in_a_tournament_everyone_meets_everyone_once(players):
    held = list(tournament(players))
    assert len(held) == players - 1 + players % 2
    for pairs in held:
        met = [player for pair in pairs for player in pair]
        assert len(met) == len(set(met)) >= players - 1
    assert sorted(pair for pairs in held for pair in pairs) == list(combinations(range(players), 2))


@given(nodes=st.integers(1, 8), devices=st.integers(1, 8))
def test_up_to_64_ranks_every_pair_is_measured_in_at_most_as_many_rounds(nodes, devices):
    ranks = nodes * devices
    held = rounds(ranks, devices)
    assert sorted(pair for pairs in held for pair in pairs) == list(combinations(range(ranks), 2))
    assert len(held) <= (ranks if ranks > 1 else 0) or (nodes % 2 and nodes > 1 and len(held) <= ranks + devices)
    for pairs in held:
        assert len({rank for pair in pairs for rank in pair}) == 2 * len(pairs)
        assert len({a // devices == b // devices for a, b in pairs}) == 1  # never mixed


@pytest.mark.parametrize(("nodes", "devices"), [(128, 8), (9, 8), (65, 1), (33, 4)])
def test_beyond_that_all_pairs_of_a_node_and_all_pairs_of_nodes_over_every_rail(nodes, devices):
    ranks = nodes * devices
    assert ranks > EVERYONE
    held = rounds(ranks, devices)
    assert len(held) <= ranks
    found = {pair for pairs in held for pair in pairs}
    assert len(found) == sum(map(len, held))
    inside = {(a, b) for a, b in found if a // devices == b // devices}
    assert len(inside) == nodes * devices * (devices - 1) // 2
    rails = {(a // devices, b // devices, a % devices, b % devices) for a, b in found - inside}
    assert rails == {(a, b, d, d) for a, b in combinations(range(nodes), 2) for d in range(devices)}


def test_groups_fill_one_node_after_another_or_lie_along_a_rail():
    assert members("packed", 3, 2, 8, 4) == ((0, 1, 2), (3, 4, 5))
    assert members("rail", 2, 1, 8, 4) == ((0, 4),)
    assert members("rail", 2, 4, 8, 4) == ((0, 4), (1, 5), (2, 6), (3, 7))
    assert nodes_of((0, 4), 4) == 2
    assert nodes_of((0, 1, 2), 4) == 1


@given(
    ranks=st.integers(2, 64), groups=st.integers(1, 8), nodes=st.integers(1, 16), devices=st.integers(1, 8),
    placement=st.sampled_from(["packed", "rail"]),
)  # fmt: skip
def test_groups_are_disjoint_and_within_the_launch_or_refused(ranks, groups, nodes, devices, placement):
    world = nodes * devices
    if needed(placement, ranks, groups, devices) > world or (placement == "rail" and groups > devices):
        with pytest.raises(Skip, match=str(ranks)):
            members(placement, ranks, groups, world, devices)
        return
    held = members(placement, ranks, groups, world, devices)
    every = [rank for group in held for rank in group]
    assert len(set(every)) == len(every) == ranks * groups
    assert max(every) < world
    assert needed(placement, ranks, groups, devices) <= world


def test_where_ranks_sit_is_said_in_words():
    assert described(((0, 1, 2),), 8, 4) == "ranks 0-2 of 8, on 1 node"
    assert described(((0, 4), (1, 5)), 8, 4) == "2 groups at once, the first of ranks 0, 4 of 8, on 2 nodes"
    long = described(members("rail", 128, 1, 1024, 8), 1024, 8)
    assert long.startswith("ranks 0, 8, 16,")
    assert long.endswith(", ... 1016 of 1024, on 128 nodes")
