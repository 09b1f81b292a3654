"""How much slower some paths are than the others of their class, and how sure that is.

A suspect is one path (a pair of ranks, or a rank by itself) or a group of paths that share a rank, a
node or a rail. Paths come in classes that are never mixed: in each, the median of the suspect's paths is
held against the median of the others, and the differences are averaged. Everything is in logarithms
of times, so that a difference is a ratio.

Few suspects cannot tell their own spread. It is therefore moderated (Smyth, Stat. Appl. Genet. Mol.
Biol. 3:3, 2004): averaged with what the samples say, as if `PRIOR` healthy suspects had been seen before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.statistics import CONFIDENCE
from harness.tails import Array, normal_tail, rank_sum_tail, spread, student_quantile, student_tail

MARGIN = math.log(1.05)  # slower by less than 5 % is of no practical weight: healthy paths differ by as much
HEALTHY = MARGIN / 3  # spread of healthy suspects before any is seen: the margin is three of it
PRIOR = 8.0  # suspects that this assumption weighs as much as
MOST = 20.0  # suspects that their own spread counts for at most: the tails stay heavier than a normal's
EFFICIENCY = 0.37  # of the median absolute deviation: so many of its values are worth one of Student's
SHARED = 0.75  # of a group's paths in each class, at least, show half its effect or more

Kind = Literal["rank", "rank inside", "rank outside", "node inside", "node outside", "rail", "pair"]
Index = NDArray[np.intp]
Mask = NDArray[np.bool_]


class Group(NamedTuple):
    """Paths that share something. where: the rank, node or rail; members: places of the paths."""

    kind: Kind
    where: tuple[int, ...]
    members: Index


@dataclass(frozen=True)
class Class:
    """Paths that should be alike. members: their places; pool: all their samples, sorted; ordered: their
    medians, sorted; place: each member's in there; noise: variance of a path's median, as far as samples
    tell; own: samples of each member, (members, samples)."""

    members: Index
    own: Array
    pool: Array
    ordered: Array
    place: Index
    noise: float


@dataclass(frozen=True)
class Part:
    """A group in one class. inside: its places in the class's members; apart: how much slower each is than
    the median of those outside, ascending."""

    of: Class
    inside: Index
    apart: Array

    @property
    def effect(self) -> float:
        return float(np.median(self.apart))

    @property
    def counts(self) -> tuple[int, int]:
        """Paths of the group, and others."""
        return len(self.inside), len(self.of.members) - len(self.inside)

    def lacking(self, effect: float) -> float:
        """By how much slower a group with this effect must be for enough of its paths to show half of it."""
        return effect - 2 * float(self.apart[len(self.apart) - math.ceil(SHARED * len(self.apart))])

    def fewer(self, shift: float = 0.0) -> float:
        """Pairs of a sample of the group, made slower by `shift`, and a larger one of the others."""
        own = self.of.own[self.inside].ravel()
        return float((_larger(self.of.pool, own + shift) - _larger(np.sort(own), own + shift)).sum())


class Contrasts(NamedTuple):
    """Of each suspect, the groups before the paths. effect: 0 where there is nothing to compare with;
    within: its variance from samples alone; weight: what a unit of effect explains; chance: p-value of
    the rank sum; shared: enough of a group's paths have the effect."""

    effect: Array
    within: Array
    weight: Array
    chance: Array
    shared: Mask


class Verdict(NamedTuple):
    """Of each suspect: p-value, standard deviation of its effect, its degrees of freedom, and half the
    width of the effect's 95 % interval."""

    p: Array
    scale: Array
    df: Array
    reach: Array


def classes(logs: Array, labels: Index) -> list[Class]:
    """logs: (paths, samples). labels: (paths,), the class of each."""
    found = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        own = logs[members]
        medians = np.median(own, axis=1)
        order = np.argsort(medians, kind="stable")
        noise = float(np.median(spread(own))) ** 2 * _of_median(own.shape[1])
        found.append(Class(members, own, np.sort(own, axis=None), medians[order], np.argsort(order), noise))
    return found


def parts(group: Group, held: Sequence[Class]) -> list[Part]:
    """The group in each class that has some of it, and others to compare them with."""
    found = []
    for one in held:
        at = np.searchsorted(one.members, group.members).clip(max=len(one.members) - 1)
        inside = at[one.members[at] == group.members]
        if 0 < len(inside) < len(one.members):
            place = np.sort(one.place[inside])
            found.append(Part(one, inside, one.ordered[place] - _median_without(one.ordered, place)))
    return found


def contrasts(held: Sequence[Class], groups: Sequence[Group]) -> Contrasts:
    """Each group of paths, then each path, against the others of its class."""
    count = sum(len(one.members) for one in held)
    columns = [np.zeros(len(groups) + count) for _ in Contrasts._fields]
    for index, group in enumerate(groups):
        for column, value in zip(columns, _of_group(parts(group, held)), strict=True):
            column[index] = value
    for one in held:
        for column, values in zip(columns, _of_paths(one), strict=True):
            column[len(groups) + one.members] = values
    effect, within, weight, chance, shared = columns
    return Contrasts(effect, within, weight, chance, shared > 0)


def judge(tests: Contrasts, families: Sequence[Index]) -> Verdict:
    """Each suspect against those of its kind. The p-value is the larger of Student's and the rank sum's: the
    first knows how much healthy suspects differ, the second whatever shape the noise of samples has."""
    p, scale, df, reach = (np.ones_like(tests.effect) for _ in range(4))
    for family in families:
        # One value goes for the middle, and one or two more may be at fault.
        seen = min(EFFICIENCY * max(len(family) - 3, 0), MOST)
        assumed = tests.within[family] + HEALTHY**2
        own = np.sqrt((PRIOR * assumed + seen * spread(tests.effect[family]) ** 2) / (PRIOR + seen))
        student = student_tail(tests.effect[family] / own, PRIOR + seen)
        p[family], scale[family], df[family] = np.maximum(student, tests.chance[family]), own, PRIOR + seen
        reach[family] = student_quantile((1 - CONFIDENCE) / 2, PRIOR + seen) * own
    return Verdict(p, scale, df, reach)


def chance(found: Sequence[Part], shift: float = 0.0) -> float:
    """p-value of the rank sum over all classes, were the group slower by `shift`."""
    samples = found[0].of.own.shape[1]
    fewer = sum(part.fewer(shift) for part in found)
    own, others = (samples * np.array(counts) for counts in zip(*(part.counts for part in found), strict=True))
    if len(found) == 1:
        return float(rank_sum_tail(fewer, int(own[0]), int(others[0])))
    sd = math.sqrt((own * others * (own + others + 1)).sum() / 12)
    return float(normal_tail(((own * others).sum() / 2 - fewer) / sd))


def _of_group(found: Sequence[Part]) -> tuple[float, ...]:
    """A group over all its classes (at least one), each weighted by how well it is known."""
    effect, noise = (np.array(values) for values in zip(*((p.effect, p.of.noise) for p in found), strict=True))
    size = np.array([1 / sum(_of_median(count) for count in part.counts) for part in found])
    weight = size / (noise + HEALTHY**2)
    total = weight.sum()
    whole, within = float(weight @ effect / total), float(weight**2 @ (noise / size) / total**2)
    by_chance = chance(found) if whole > MARGIN else 1.0  # spared: nothing within the margin is ever named
    return whole, within, total, by_chance, float(all(part.lacking(whole) <= 0 for part in found))


def _of_paths(one: Class) -> tuple[Array, ...]:
    """Each path of a class against all others of it."""
    (count, samples), place = one.own.shape, one.place
    if count == 1:
        return tuple(np.array([value]) for value in (0.0, 0.0, 0.0, 1.0, 0.0))
    middle = [one.ordered[at + (place <= at)] for at in ((count - 2) // 2, (count - 1) // 2)]
    effect = one.ordered[place] - (middle[0] + middle[1]) / 2
    size = np.full(count, 1 / (1 + _of_median(count - 1)))
    fewer = _larger(one.pool, one.own).sum(axis=1) - samples**2 / 2
    by_chance = rank_sum_tail(fewer, samples, (count - 1) * samples)
    return effect, one.noise / size, size / (one.noise + HEALTHY**2), by_chance, np.ones(count)


def _larger(pool: Array, values: Array) -> Array:
    """How many samples of the sorted pool are above each value; ties count one half."""
    above: Array = pool.size - (np.searchsorted(pool, values, "left") + np.searchsorted(pool, values, "right")) / 2
    return above


def _of_median(count: int) -> float:
    """Variance of the median of `count` normal values over that of one; of two it is their mean."""
    return (math.pi / 2 if count > 2 else 1.0) / count


def _median_without(ordered: Array, place: Index) -> float:
    """Median of sorted values, those at the (ascending) places left out."""
    left = len(ordered) - len(place)
    at = np.array([(left - 1) // 2, left // 2])
    return float(ordered[at + np.searchsorted(place - np.arange(len(place)), at, "right")].mean())
