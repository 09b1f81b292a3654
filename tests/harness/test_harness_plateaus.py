"""Plateaus: planted hierarchies are found and named; what must hold for any curve does."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.plateaus import SLOPE, Point, plateaus, reaching
from harness.statistics import Interval

KIB = 1024
CACHES = {"L3": 32 * KIB**2, "L1": 64 * KIB, "L2": 2 * KIB**2}  # two cores of a Zen 4, in any order
LEVELS = {"L1": 600e9, "L2": 230e9, "L3": 150e9, "memory": 45e9}


def point(size: float, rate: float, width: float = 0.01) -> Point:
    return Point(size, Interval(rate, rate * (1 - width), rate * (1 + width)))


def holder(size: float) -> str:
    return next((name for name, held in sorted(CACHES.items(), key=lambda c: c[1]) if size <= held), "memory")


def hierarchy(noise: float, seed: int, sizes: list[float]) -> list[Point]:
    rng = random.Random(seed)
    return [point(size, LEVELS[holder(size)] * math.exp(rng.gauss(0, noise)), max(noise, 0.001)) for size in sizes]


SIZES = [12 * KIB * 2**step for step in range(18)]  # to 1.5 GiB


@pytest.mark.parametrize("seed", range(20))
def test_a_planted_hierarchy_is_found_and_named(seed):
    found = plateaus(hierarchy(0.03, seed, SIZES), CACHES)
    assert [plateau.name for plateau in found] == ["L1", "L2", "L3", "memory"]
    for plateau in found:
        inside = [size for size in SIZES if holder(size) == plateau.name]
        assert (plateau.first, plateau.last, plateau.points) == (inside[0], inside[-1], len(inside))
        assert plateau.level.value == pytest.approx(LEVELS[plateau.name], rel=0.08)
        assert plateau.level.low < plateau.level.value < plateau.level.high


def test_points_on_the_way_down_are_no_plateau():
    levels = [600, 600, 600, 450, 300, 200, 200, 200]
    found = plateaus([point(2.0**at, level * 1e9) for at, level in enumerate(levels)])
    assert [(plateau.first, plateau.last, plateau.name) for plateau in found] == [(1, 4, ""), (32, 128, "")]


@pytest.mark.parametrize("seed", range(20))
def test_noise_alone_is_one_plateau(seed):
    rng = random.Random(seed)
    found = plateaus([point(size, 45e9 * math.exp(rng.gauss(0, 0.03)), 0.03) for size in SIZES])
    assert [plateau.points for plateau in found] == [len(SIZES)]


def test_wide_intervals_do_not_make_a_step():
    """A step of 15 % that the intervals of the points do not bear out, and one that they do."""
    levels = [100.0] * 3 + [115.0] * 3
    assert len(plateaus([point(2.0**at, level, 0.30) for at, level in enumerate(levels)])) == 1
    levels = [100.0] * 5 + [130.0] * 5
    assert len(plateaus([point(2.0**at, level, 0.01) for at, level in enumerate(levels)])) == 2


def test_few_points():
    assert plateaus([]) == []
    assert plateaus([point(1.0, 5.0)], CACHES) == []
    (one,) = plateaus([point(64, 100.0), point(128, 101.0)], CACHES)
    assert (one.first, one.last, one.name) == (64, 128, "L1")


rates = st.floats(1e6, 1e13)
curves = st.lists(
    st.builds(point, st.integers(64, 2**40).map(float), rates, st.floats(1e-4, 0.5)),
    max_size=25, unique_by=lambda p: p.size,
)  # fmt: skip


@settings(deadline=None)
@given(curves, st.randoms(use_true_random=False))
def test_the_order_of_points_does_not_matter(curve, rng):
    shuffled = list(curve)
    rng.shuffle(shuffled)
    assert plateaus(shuffled, CACHES) == plateaus(curve, CACHES)


@settings(deadline=None)
@given(st.integers(0, 10**6), st.floats(1e-3, 1e3))
def test_the_unit_of_the_rate_does_not_matter(seed, factor):
    rng = random.Random(seed)
    curve = [point(size, rng.lognormvariate(0, 0.3), 0.02) for size in SIZES]
    scaled = [
        Point(p.size, Interval(*(factor * end for end in (p.rate.value, p.rate.low, p.rate.high)))) for p in curve
    ]
    one, other = plateaus(curve, CACHES), plateaus(scaled, CACHES)
    assert [(p.first, p.last, p.points, p.name) for p in one] == [(p.first, p.last, p.points, p.name) for p in other]
    assert [p.level.value * factor for p in one] == pytest.approx([p.level.value for p in other])


@settings(deadline=None)
@given(curves)
def test_plateaus_are_apart_in_order_and_level(curve):
    found = plateaus(curve, CACHES)
    assert all(one.last < other.first for one, other in pairwise(found))
    for plateau in found:
        inside = [p.rate.value for p in curve if plateau.first <= p.size <= plateau.last]
        assert plateau.points == len(inside) >= 2
        assert max(inside) <= SLOPE * min(inside)
        assert min(inside) * (1 - 1e-12) <= plateau.level.value <= max(inside) * (1 + 1e-12)
        assert plateau.name in (*CACHES, "memory")


class TestReaching:
    def test_a_message_curve(self):
        curve = [point(2.0**at, 100 * 2**at / (2**at + 64)) for at in range(12)]  # half of the peak at 64 B
        assert reaching(curve) == 512
        assert reaching(curve, 0.5) == 64

    def test_a_dip_before_the_peak_is_not_passed_over(self):
        curve = [point(1, 95), point(2, 60), point(4, 92), point(8, 100), point(16, 50)]
        assert reaching(curve) == 4

    def test_without_points_there_is_no_peak(self):
        with pytest.raises(ValueError, match="no points"):
            reaching([])

    @settings(deadline=None)
    @given(curves.filter(bool), st.floats(0.01, 1.0))
    def test_every_point_from_there_to_the_peak_reaches_the_share(self, curve, share):
        size, peak = reaching(curve, share), max(sorted(curve), key=lambda p: p.rate.value)
        between = [p.rate.value for p in curve if size <= p.size <= peak.size]
        assert min(between) >= share * peak.rate.value
        before = [p for p in curve if p.size < size]
        assert not before or max(before, key=lambda p: p.size).rate.value < share * peak.rate.value
