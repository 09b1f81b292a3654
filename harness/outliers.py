"""Which pairs of ranks, ranks, nodes or rails are slow, from times that should be alike.

Something is called slow where all of this holds (harness.contrasts has the numbers and their reasons):
its ratio to the others of its class, with the 95 % interval, lies beyond the practical margin; it stands
out from what is of its kind *and* its samples from theirs, after Benjamini and Hochberg over all that
was tested; and, where it is several pairs with a rank, a node or a rail in common, most of them are
slow. What explains most is named first and taken off before the rest is looked at: a slow rank is
named once, not as n - 1 slow pairs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from harness.contrasts import MARGIN, Contrasts, Group, Index, Kind, Mask, Verdict, classes, contrasts, judge, parts
from harness.detectable import smallest
from harness.statistics import Interval
from harness.tails import Array, discoveries

DISCOVERY = 0.02  # of what is named, at most this share is expected to be healthy; and of maps without fault
FEWEST = 3  # samples of each: of two, a median cannot tell one disturbed sample from a slow path
CROWD = 0.1  # of a class: more slow pairs than that, with nothing in common, are no outliers
TRACE = 0.1  # correlation of neighbours' sides that makes a median's deviation a sixth larger: it is left
TWO_SLOW = 6  # ranks from which most pairs of a healthy rank are healthy with two slow ones about

CLASSES = ("inside nodes", "between nodes on one rail", "between nodes across rails")

_SAID: dict[Kind, str] = {
    "rank": "rank {0}",
    "rank inside": "rank {0} inside its node",
    "rank outside": "rank {0} to other nodes",
    "node inside": "node {0} inside",
    "node outside": "node {0} to other nodes",
    "rail": "rail {0}",
    "pair": "pair {0}–{1}",
}


@dataclass(frozen=True)
class Fault:
    """Something slow. where: a rank, node or rail, or both ranks of a pair. ratio: its times over those
    of its class, 1.2 for a fifth longer. pairs: places in the list of pairs that it covers."""

    kind: Kind
    where: tuple[int, ...]
    ratio: Interval
    p: float
    pairs: tuple[int, ...]

    @property
    def label(self) -> str:
        """'rank 5', 'pair 3–7', 'node 2 inside'."""
        return _SAID[self.kind].format(*self.where)


@dataclass(frozen=True)
class Findings:
    """What was found, the slowest first. smallest: for each kind of suspect, the least ratio of times that
    this design finds in nine trials of ten at this noise (harness.detectable). notes: what cannot be
    told, in words."""

    faults: tuple[Fault, ...]
    smallest: dict[Kind, float]
    notes: tuple[str, ...]


_TOO_FEW = Findings(
    (), {}, (f"Fewer than {FEWEST} measurements of each: what is slow cannot be told from what was disturbed.",)
)


def slow_pairs(pairs: Sequence[tuple[int, int]], samples: ArrayLike, per_node: int) -> Findings:
    """Slow pairs, and the ranks, nodes or rails that slow pairs have in common.

    pairs: P pairs of ranks, each at most once; rank r is device r % per_node of node r // per_node.
    samples: (P, k) times in s. Raises ValueError for times that are not positive.
    """
    ends = np.asarray(pairs, dtype=np.intp).reshape(-1, 2)
    logs = _independent(_logs(samples, len(ends)))
    if logs.shape[1] < FEWEST:
        return _TOO_FEW
    inside, rail = _alike(ends // per_node), _alike(ends % per_node)
    labels: Index = np.where(inside, 0, np.where(rail, 1, 2))
    faults, smallest = _search(logs, labels, list(_groups(ends, per_node)), "pair", [tuple(pair) for pair in pairs])
    outliers, crowds = _crowds(faults, labels)
    return Findings(outliers, smallest, (*_limits(ends, per_node, labels), *crowds))


def slow_ranks(medians: ArrayLike) -> Findings:
    """Slow ranks among some that did the same work, each by itself.

    medians: (rows, ranks) in s, a row for each cell, launch or block. Rows may be of different work: each
    is compared with its own middle. Raises ValueError for times that are not positive.
    """
    table = np.atleast_2d(np.asarray(medians, dtype=np.float64)).T
    ranks = len(table)
    logs = _logs(table, ranks)
    if logs.shape[1] < FEWEST:
        return _TOO_FEW
    logs = logs - np.median(logs, axis=0)
    found = _search(logs, np.zeros(ranks, dtype=np.intp), [], "rank", [(rank,) for rank in range(ranks)])
    notes = {
        1: ("One rank: there is nothing to compare it with.",),
        2: ("Two ranks can be said to differ, not which of them is wrong; the slower one is named.",),
    }
    return Findings(*found, notes.get(ranks, ()))


def _logs(samples: ArrayLike, rows: int) -> Array:
    table = np.asarray(samples, dtype=np.float64)
    if table.ndim != 2 or len(table) != rows or not table.size or not (np.isfinite(table) & (table > 0)).all():
        raise ValueError(f"times must be positive, in one row for each of {rows}; got the shape {table.shape}")
    logs: Array = np.log(table)
    return logs


def _independent(logs: Array) -> Array:
    """Medians of as many successive samples as what disturbs them lasts, at least FEWEST of each path.

    Samples that are taken in a row share a busy moment, and ten of them then say no more than one. It shows
    in neighbours that lie on the same side of their path's median more often than half the time
    (Wald & Wolfowitz's runs, Ann. Math. Stat. 11, 1940), counted over all paths: more than chance explains,
    and more than is of weight, since among thousands of paths any trace of it shows.
    """
    count, made = logs.shape[1], logs
    for length in range(1, count // FEWEST + 1):
        whole = logs[:, count % length :].reshape(len(logs), -1, length)
        made = np.median(whole, axis=2)
        side = np.sign(made - np.median(made, axis=1, keepdims=True))
        near = (side[:, 1:] * side[:, :-1]).ravel()
        coins = np.abs(near).sum()
        if near.sum() <= max(2 * math.sqrt(coins), TRACE * coins):  # two standard errors of as many coins
            break
    return made


def _alike(column: Index) -> Mask:
    alike: Mask = column[:, 0] == column[:, 1]
    return alike


def _groups(ends: Index, per_node: int) -> Iterator[Group]:
    """All pairs that have a rank, a node or a rail in common."""
    node, device = ends // per_node, ends % per_node
    inside, rail = _alike(node), _alike(device)
    several = per_node > 1 and node.max() > 0  # else a node is a rank, or there is only one
    for rank in np.unique(ends).tolist():
        own = (ends == rank).any(axis=1)
        yield Group("rank", (rank,), np.flatnonzero(own))
        if several:
            yield Group("rank inside", (rank,), np.flatnonzero(own & inside))
            yield Group("rank outside", (rank,), np.flatnonzero(own & ~inside))
    if several:
        for index in np.unique(node).tolist():
            own = (node == index).any(axis=1)
            yield Group("node inside", (index,), np.flatnonzero(own & inside))
            yield Group("node outside", (index,), np.flatnonzero(own & ~inside))
        for index in np.unique(device[:, 0]).tolist():
            yield Group("rail", (index,), np.flatnonzero(rail & ~inside & (device[:, 0] == index)))


def _search(
    logs: Array, labels: Index, groups: list[Group], single: Kind, names: Sequence[tuple[int, ...]]
) -> tuple[tuple[Fault, ...], dict[Kind, float]]:
    """Faults, and the smallest effects, of groups of paths and of paths, which are called `single`."""
    logs, found = logs.copy(), dict[int, Fault]()
    held = classes(logs, labels)
    groups = [group for group in groups if len(group.members) > 1 and parts(group, held)]
    suspects = [*groups, *(Group(single, name, np.array([place])) for place, name in enumerate(names))]
    families = _families(labels, groups, single)
    while True:
        tests = contrasts(held, groups)
        verdict = judge(tests, [family for _, family in families])
        guilty = _guilty(tests, verdict, len(groups), found)
        if not guilty:
            break
        for place in guilty:
            suspect, effect, reach = suspects[place], tests.effect[place], verdict.reach[place]
            ratio = Interval(*(float(np.exp(log)) for log in (effect, effect - reach, effect + reach)))
            members = tuple(suspect.members.tolist())
            found[place] = Fault(suspect.kind, suspect.where, ratio, float(verdict.p[place]), members)
            for part in parts(suspect, held):
                logs[part.of.members[part.inside]] -= part.effect
        held = classes(logs, labels)
    least = dict[Kind, float]()
    for kind, family in families:
        if tests.weight[family].any():  # else a class of one path
            enough = smallest(suspects, family, held, tests, verdict, DISCOVERY / len(suspects))
            least[kind] = max(enough, least.get(kind, 1.0))
    return tuple(sorted(found.values(), key=lambda fault: -fault.ratio.value)), least


def _families(labels: Index, groups: list[Group], single: Kind) -> list[tuple[Kind, Index]]:
    """Suspects that are alike: groups of one kind, paths of one class."""
    kinds = dict.fromkeys(group.kind for group in groups)
    found = [(kind, np.flatnonzero([group.kind == kind for group in groups])) for kind in kinds]
    return found + [(single, len(groups) + np.flatnonzero(labels == label)) for label in np.unique(labels)]


def _guilty(tests: Contrasts, verdict: Verdict, groups: int, found: dict[int, Fault]) -> list[int]:
    """The group that explains most, or all single paths at once where no group explains them."""
    slow = discoveries(verdict.p, DISCOVERY) & tests.shared & (tests.effect - verdict.reach > MARGIN)
    slow[list(found)] = False
    guilty = np.flatnonzero(slow)
    if not (guilty < groups).any():
        return [int(place) for place in guilty]
    guilty = guilty[guilty < groups]
    return [int(guilty[np.argmax(tests.effect[guilty] ** 2 * tests.weight[guilty])])]


def _crowds(faults: tuple[Fault, ...], labels: Index) -> tuple[tuple[Fault, ...], list[str]]:
    """Outliers, and words for a class that has too many slow pairs to call them that."""
    kept, said = list(faults), list[str]()
    for label in np.unique(labels).tolist():
        those = [fault for fault in faults if fault.kind == "pair" and labels[fault.pairs[0]] == label]
        size = int((labels == label).sum())
        if len(those) > max(2, CROWD * size):
            kept = [fault for fault in kept if fault not in those]
            most, least = (100 * (fault.ratio.value - 1) for fault in (those[0], those[-1]))
            said.append(
                f"{len(those)} of {size} pairs {CLASSES[label]} are slower by {least:.0f} to {most:.0f} %: too many, "
                "with nothing in common, to be outliers. Are their links alike?"
            )
    return tuple(kept), said


def _limits(ends: Index, per_node: int, labels: Index) -> list[str]:
    """What so few ranks or nodes cannot tell."""
    ranks, nodes = len(np.unique(ends)), len(np.unique(ends // per_node))
    if len(ends) == 1:
        return ["One pair: there is nothing to compare it with."]
    said = [
        f"One pair {name}: there is nothing to compare it with."
        for label, name in enumerate(CLASSES) if (labels == label).sum() == 1
    ]  # fmt: skip
    if ranks == 3:
        said.append("Three ranks: a slow rank looks like a fast pair of the other two; the rank is named.")
    if ranks < TWO_SLOW:
        said.append(f"Among {ranks} ranks one slow rank can be told, not two at once.")
    if nodes == 2 and per_node > 1:
        said.append("Two nodes: every pair between them touches both, so a slow way out of one is not seen.")
    return said
