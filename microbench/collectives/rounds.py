"""Which pairs of ranks are measured at the same time: rounds of disjoint pairs, as in a tournament.

Inside nodes every pair of devices meets, on all nodes at once. Between nodes every pair of nodes meets
over every rail, and up to `EVERYONE` ranks every device of one meets every device of the other, so
that all pairs of ranks are there. Either way there are fewer rounds than ranks, and a round never mixes
pairs inside nodes with pairs between them.
"""

from __future__ import annotations

from collections.abc import Iterator

EVERYONE = 64
"""Ranks up to which every pair is measured: 2,016 pairs in 63 rounds. 1,024 ranks would have 523,776."""

Pair = tuple[int, int]
Round = tuple[Pair, ...]


def rounds(ranks: int, per_node: int) -> list[Round]:
    """Rounds of disjoint pairs (a < b) over `ranks` ranks, `per_node` on each node, at most ranks - 1
    (ranks, where a number of devices or of nodes is odd). ranks: at most one node's, or whole nodes."""
    devices = min(per_node, ranks)
    nodes, shifts = ranks // devices, range(devices) if ranks <= EVERYONE else range(1)
    inside = [
        tuple((node * devices + a, node * devices + b) for node in range(nodes) for a, b in pairs)
        for pairs in tournament(devices)
    ]
    between = [
        tuple((a * devices + device, b * devices + (device + shift) % devices)
              for a, b in pairs for device in range(devices))
        for pairs in tournament(nodes) for shift in shifts
    ]  # fmt: skip
    return inside + between


def tournament(players: int) -> Iterator[Round]:
    """Every pair once, in rounds where nobody plays twice (the circle method: one stays, the others move
    on by one place). With an odd number one rests in each round."""
    if players < 2:
        return
    circle = [*range(players), *([-1] if players % 2 else [])]
    for _ in range(len(circle) - 1):
        half = len(circle) // 2
        met = zip(circle[:half], reversed(circle[half:]), strict=True)
        yield tuple((min(a, b), max(a, b)) for a, b in met if min(a, b) >= 0)
        circle = [circle[0], circle[-1], *circle[1:-1]]
