"""Which groups of ranks the cells of a plan ask for: numbers, or words that the cluster's size fills in.

ranks:  a number, "all", "doubling" (1 where one rank will do, 2, 4, 8 ... all) or "inside" (2, 3, 4 ... one node's).
groups: a number, or "all": as many groups at once as there is room for.
For a placement along a rail, "all" ranks are one on each node, and all groups are all rails.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.world import World
from harness.errors import UsageError

WORDS = ("all", "doubling", "inside")
PLACEMENTS = ("packed", "rail")
DIGITS = 9  # of a number of ranks: more are a slip


def grids(grid: Mapping[str, Sequence[Any]], world: World, least: int = 2) -> Iterator[dict[str, Sequence[Any]]]:
    """The grid once for each (placement, ranks, groups) that it asks for, with these as numbers. Words that
    name nothing on this cluster (all rails of a single node) give no cells. least: ranks that it takes."""
    given = [str(text) for text in grid.get("ranks", ["all"])]
    for placement in grid.get("placement", ["packed"]):
        for ranks in dict.fromkeys(count for text in given for count in _ranks(text, placement, world, least)):
            for text in grid.get("groups", [1]):
                room = world.ranks // ranks if placement == "packed" else world.ranks_per_node
                groups = room if text == "all" else _number("groups", str(text), 1, max(room, 1))
                if room:
                    yield {**grid, "placement": [placement], "ranks": [ranks], "groups": [groups]}


def _ranks(text: str, placement: str, world: World, least: int) -> list[int]:
    """Numbers of ranks that `text` stands for, ascending."""
    most = world.nodes if placement == "rail" else world.ranks
    if text == "all":
        return [most] if most >= least else []
    if text == "doubling":
        below = [2**power for power in range(most.bit_length()) if least <= 2**power < most]
        return [*below, *([most] if most >= least else [])]
    if text == "inside":
        return [] if placement == "rail" else list(range(max(2, least), world.ranks_per_node + 1))
    return [_number("ranks", text, least, most)]


def _number(name: str, text: str, least: int, most: int) -> int:
    """A whole number in its range; UsageError names the range and the words."""
    number = int(text) if text.isdecimal() and len(text) <= DIGITS else -1
    if not least <= number <= most:
        words = f", or one of {', '.join(WORDS)}" if name == "ranks" else ", or all"
        raise UsageError(f"--set {name}={text}: a whole number of at least {least} and at most {most}{words}")
    return number
