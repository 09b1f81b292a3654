"""Finds the shape whose product runs fastest, timing few of the shapes there are.

Explore: some shapes far apart first, then one after another that a surrogate model holds to be
fastest by its expectation less one standard deviation (Srinivas et al., ICML 2010). Race: the best go
on to rounds of successive halving (Jamieson & Talwalkar, AISTATS 2016): half as many, twice the
samples each, in turns, so that what drifts falls on all alike.

What disturbs a timing only makes it slower: exploring goes by the fastest sample and asks again where
one is slower than the model can believe; the race goes by the median. The winner of a race is also the
luckiest of its runners: whoever reports its rate measures it anew.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Sequence
from statistics import median

import numpy as np

from microbench.gemm.surrogate import Array, Surrogate

Shape = tuple[int, int, int]
Samples = dict[Shape, list[float]]
"""Seconds of one FLOP, by shape; none where that product cannot be made."""

Trial = Callable[[Shape], list[float]]
"""Times a shape a few times; gives the seconds of one FLOP, or nothing where it cannot be made."""

SHARE = 0.1  # of the shapes, that are timed at most
FEWEST = 8  # shapes that are timed where there are few
MOST = 256  # shapes beyond which the model itself would take the time
SPREAD = 0.3  # of what may be timed: far apart, before the model is asked
POOL = 2000  # shapes that the model judges at a time
CLOSE = 64  # shapes at random, of which the farthest from all others is the next
CLIP = 0.5  # logarithm of a time above the best, beyond which it is merely slow
SURPRISE = 0.03  # logarithm of a time, beyond two standard deviations, that is asked again
RUNNERS = 8  # in the first round of the race


def allowed(edges: int) -> int:
    """Shapes that may be timed where m, n and k have that many values each."""
    return min(max(int(SHARE * edges**3), min(edges**3, FEWEST)), MOST)


def explore(edges: Sequence[int], trial: Trial, more: Callable[[], bool], seed: int) -> Samples:
    """What was timed, until `allowed` shapes are or `more`, asked before each trial, says no."""
    random, known, again = np.random.default_rng(seed), Samples(), set[Shape]()
    model, count = Surrogate(edges[0]), allowed(len(edges))
    apart = max(min(FEWEST, count), int(SPREAD * count))
    known[_corner(edges)] = trial(_corner(edges))
    while more():
        right = [shape for shape in known if known[shape]]
        if len(known) < apart or not right:
            if len(known) == count:
                break
            chosen = _farthest(random.permutation(_pool(edges, known, random))[:CLOSE], known)
        else:
            model.fit(right, _clipped([known[shape] for shape in right]))
            doubted = [right[at] for at in model.slower(SURPRISE) if right[at] not in again]
            again.update(doubted[:1])
            if not doubted and len(known) == count:
                break
            chosen = doubted[0] if doubted else _lowest(model, _pool(edges, known, random))
        known[chosen] = known.get(chosen, []) + trial(chosen)
    return known


def race(known: Samples, trial: Trial, more: Callable[[], bool]) -> Shape:
    """The winner among the best known; the best so far where `more`, asked before each trial, says no.
    Samples are added to `known`, of which some shape must have some."""
    right = [shape for shape in known if known[shape]]
    runners, laps = sorted(right, key=lambda shape: min(known[shape]))[:RUNNERS], 1
    while len(runners) > 1:
        for lap in range(laps):
            for shape in runners if lap % 2 == 0 else runners[::-1]:
                if not more():
                    return min(runners, key=lambda shape: median(known[shape]))
                known[shape] += trial(shape)
        runners = sorted(runners, key=lambda shape: median(known[shape]))[: len(runners) // 2]
        laps *= 2
    return runners[0]


def _clipped(samples: Sequence[Sequence[float]]) -> Array:
    """Logarithms of the fastest samples; far from the best, only that it is far."""
    least = np.log([min(those) for those in samples])
    clipped: Array = np.minimum(least, least.min() + CLIP)
    return clipped


def _pool(edges: Sequence[int], known: Samples, random: np.random.Generator) -> Array:
    """Shapes not yet timed: all, or where there are many, some at random and those next to the best."""
    if len(edges) ** 3 <= POOL:
        return np.array([shape for shape in itertools.product(edges, repeat=3) if shape not in known], dtype=np.float64)
    drawn = {_shape(row) for row in random.choice(edges, (POOL, 3))}
    best = sorted((shape for shape in known if known[shape]), key=lambda shape: min(known[shape]))[:RUNNERS]
    near = {shape for one in best for shape in _near(edges, one)}
    return np.array(sorted((drawn | near) - known.keys()), dtype=np.float64)


def _near(edges: Sequence[int], shape: Shape) -> Collection[Shape]:
    """Shapes at most one step away along each edge."""
    along_m, along_n, along_k = (edges[max(at - 1, 0) : at + 2] for at in map(edges.index, shape))
    return set(itertools.product(along_m, along_n, along_k))


def _corner(edges: Sequence[int]) -> Shape:
    """The largest shape: most often among the fastest."""
    return edges[-1], edges[-1], edges[-1]


def _lowest(model: Surrogate, pool: Array) -> Shape:
    expected, spread = model.predict(pool)
    return _shape(pool[int(np.argmin(expected - spread))])


def _farthest(pool: Array, known: Collection[Shape]) -> Shape:
    """The one of the pool whose nearest timed shape is farthest, in octaves."""
    apart = np.log2(pool)[:, None] - np.log2(np.array(list(known), dtype=np.float64))[None]
    return _shape(pool[int(np.argmax((apart**2).sum(-1).min(axis=1)))])


def _shape(row: Array) -> Shape:
    m, n, k = row.tolist()
    return int(m), int(n), int(k)
