"""Groups of ranks that a plan asks for, and the world that holds them."""

from __future__ import annotations

import msgspec
import pytest

from bench import parameters, placement, plan, suites
from bench.world import CPU_RANKS, World, group_world, holding, widest
from clusters import definition, local
from harness.errors import UsageError

MANY = World(nodes=16, ranks_per_node=8, threads=1)
ONE = World(nodes=1, ranks_per_node=8, threads=1)


def test_what_one_rank_can_do_is_doubled_from_one() -> None:
    def ranks(word: str, world: World, least: int) -> list[int]:
        return [one["ranks"][0] for one in placement.grids({"ranks": [word]}, world, least)]

    assert ranks("doubling", World(3, 4, 1), 1) == [1, 2, 4, 8, 12]
    assert ranks("doubling", World(1, 1, 1), 1) == ranks("all", World(1, 1, 1), 1) == [1]
    assert ranks("1", ONE, 1) == [1]
    assert ranks("all", World(1, 1, 1), 2) == []


def asked(world: World, **grid: object) -> list[tuple[object, ...]]:
    return [
        (one["placement"][0], one["ranks"][0], one["groups"][0])
        for one in placement.grids({key: [value] for key, value in grid.items()}, world)
    ]


def test_without_words_all_ranks_are_one_group() -> None:
    assert asked(MANY) == [("packed", 128, 1)]


def test_words_become_numbers() -> None:
    assert [ranks for _, ranks, _ in asked(MANY, ranks="doubling")] == [2, 4, 8, 16, 32, 64, 128]
    assert [ranks for _, ranks, _ in asked(World(3, 4, 1), ranks="doubling")] == [2, 4, 8, 12]
    assert [ranks for _, ranks, _ in asked(MANY, ranks="inside")] == [2, 3, 4, 5, 6, 7, 8]
    assert asked(MANY, ranks="8", groups="all") == [("packed", 8, 16)]


def test_a_rail_has_a_rank_on_each_node_and_all_rails_go_at_once() -> None:
    assert asked(MANY, placement="rail") == [("rail", 16, 1)]
    assert asked(MANY, placement="rail", groups="all") == [("rail", 16, 8)]
    assert [ranks for _, ranks, _ in asked(MANY, placement="rail", ranks="doubling")] == [2, 4, 8, 16]


def test_what_a_cluster_does_not_have_gives_no_cells() -> None:
    assert asked(ONE, placement="rail", groups="all") == []
    assert asked(MANY, placement="rail", ranks="inside") == []


@pytest.mark.parametrize(("grid", "says"), [
    ({"ranks": "1"}, r"ranks=1: a whole number of at least 2 and at most 128, or one of all, doubling, inside"),
    ({"ranks": "129"}, "ranks=129: .* at most 128"),
    ({"ranks": "some"}, "ranks=some: a whole number"),
    ({"ranks": "9" * 40}, "at most 128"),
    ({"placement": "rail", "ranks": "17"}, "at least 2 and at most 16"),
    ({"ranks": "8", "groups": "17"}, "groups=17: a whole number of at least 1 and at most 16, or all"),
    ({"ranks": "8", "groups": "0"}, "groups=0"),
])  # fmt: skip
def test_what_does_not_fit_is_refused_with_the_range(grid: dict[str, str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        asked(MANY, **grid)


def test_one_launch_holds_all_groups() -> None:
    """On as few nodes as that takes."""
    suite, mi300x = suites.load("quick"), definition.load("mi300x")
    for settings, nodes, ranks in (({"ranks": ["2", "8"]}, 1, 8), ({"ranks": ["2", "9"]}, 2, 16), ({}, 128, 1024)):
        made = plan.make(suite, mi300x, ["collectives.all_reduce"], settings)
        (group,) = made.groups
        assert (group.world.nodes, group.world.ranks) == (nodes, ranks)


def test_a_rail_takes_every_node() -> None:
    made = plan.make(
        suites.load("quick"), definition.load("mi300x"), ["collectives.barrier"],
        {"ranks": ["4"], "placement": ["rail"]},
    )  # fmt: skip
    (group,) = made.groups
    assert group.world.ranks == 32


def test_on_a_cpu_more_processes_share_the_cores_where_they_are_asked_for() -> None:
    here = local.detect()
    here = msgspec.structs.replace(here, accelerator="cpu")
    assert group_world(here).ranks == CPU_RANKS
    assert widest(here, ["2", "5"]).ranks == 5
    assert holding(here, []).ranks == CPU_RANKS


@pytest.mark.parametrize(("text", "values"), [
    ("8..64", ["8", "16", "32", "64"]),
    ("1KiB..1MiB*4", ["1024", "4096", "16384", "65536", "262144", "1048576"]),
    ("128..512+128", ["128", "256", "384", "512"]),
    ("10..100*10", ["10", "100"]),
    ("5..9", ["5"]),
    ("float32", ["float32"]),
    ("out/../x", ["out/../x"]),
])  # fmt: skip
def test_a_range_is_spread_out(text: str, values: list[str]) -> None:
    assert parameters.spread(text) == values
    assert parameters.parse_settings([f"size={text}"]) == {"size": values}


@pytest.mark.parametrize(("text", "says"), [
    ("64..8", "from the lower to the higher"),
    ("8..64*1", "by a factor"),
    ("8..64*", "is no size"),
    ("8x..64", "'8x' is no size"),
    ("1..1TiB+1", "more than 10,000 values"),
])  # fmt: skip
def test_a_range_that_leads_nowhere_is_refused(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parameters.spread(text)


def test_every_size_from_8_bytes_to_16_gib() -> None:
    sizes = parameters.spread("8..16GiB")
    assert len(sizes) == 32
    assert sizes[-1] == str(16 << 30)
