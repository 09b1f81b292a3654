"""Who exchanges with whom: a new random matching of the ranks for every outer step, the same on all of them."""

from __future__ import annotations

import numpy as np


def partners(world: int, step: int, seed: int) -> tuple[int | None, ...]:
    """Each rank's partner at an outer step, in rank order; None where an odd number of ranks leaves one over.

    Neighbours in a random order of all ranks are pairs, so that every matching is as likely as any other (NoLoCo,
    arXiv 2506.10911: pairs are drawn anew at each outer step). It follows from the numbers alone: nobody needs to be
    told, which would be one more message to all."""
    order = np.random.default_rng([seed, step]).permutation(world).tolist()
    held: list[int | None] = [None] * world
    for one, other in zip(order[0::2], order[1::2], strict=False):
        held[one], held[other] = other, one
    return tuple(held)
