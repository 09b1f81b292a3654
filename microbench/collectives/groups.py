"""Which ranks do a collective: one group or several at once, inside nodes or along a rail.

Rank r sits on node r // d as its device r % d, with d ranks on each node: so every launcher numbers
them. A rail is what joins the devices of one index over the nodes.
"""

from __future__ import annotations

from typing import Literal

from harness.errors import Skip
from harness.ranks import Members

Placement = Literal["packed", "rail"]
"""packed: ranks one after the other, which fills a node before the next. rail: one rank on each node,
all of the same index."""

NAMED = 12  # ranks of a group that are named one by one


def members(placement: Placement, ranks: int, groups: int, world: int, per_node: int) -> Members:
    """`groups` groups of `ranks` ranks in a launch of `world` ranks, `per_node` on each node. Skips what
    the launch cannot hold, with the numbers."""
    if placement == "packed":
        if ranks * groups > world:
            raise Skip(f"{groups} group(s) of {ranks} ranks need {ranks * groups}, and the launch has {world}")
        return tuple(tuple(range(at, at + ranks)) for at in range(0, ranks * groups, ranks))
    nodes = world // per_node
    if ranks > nodes or groups > per_node:
        raise Skip(
            f"{groups} rail(s) over {ranks} nodes: the launch has {nodes} node(s) with {per_node} rank(s) each, "
            "so as many rails"
        )
    return tuple(tuple(node * per_node + index for node in range(ranks)) for index in range(groups))


def needed(placement: Placement, ranks: int, groups: int, per_node: int) -> int:
    """Ranks that a launch must have to hold the groups."""
    return ranks * groups if placement == "packed" else ranks * per_node


def nodes_of(ranks: tuple[int, ...], per_node: int) -> int:
    """How many nodes hold these ranks."""
    return len({rank // per_node for rank in ranks})


def described(groups: Members, world: int, per_node: int) -> str:
    """Where the ranks sit, in words: 'ranks 0-7 of 16, on 1 node'."""
    first = groups[0]
    nodes = nodes_of(first, per_node)
    several = f"{len(groups)} groups at once, the first of " if len(groups) > 1 else ""
    return f"{several}ranks {_said(first)} of {world}, on {nodes} node{'s' if nodes > 1 else ''}"


def _said(ranks: tuple[int, ...]) -> str:
    """'0-7' where they follow each other, else each one, or the first few of many."""
    if len(ranks) > 1 and ranks == tuple(range(ranks[0], ranks[-1] + 1)):
        return f"{ranks[0]}-{ranks[-1]}"
    listed = ", ".join(map(str, ranks[:NAMED]))
    return f"{listed}, ... {ranks[-1]}" if len(ranks) > NAMED else listed
