"""Detectors under injected faults: what was planted is found and named, and healthy maps stay silent.

Everything is seeded. Trials are counted, and the bounds say what a run of so many trials may show: with a
true rate of 2 % false alarms, more than `ALLOWED` of 100 would come by chance less than once in a thousand.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.random import Generator
from numpy.typing import NDArray

from harness.outliers import DISCOVERY, Findings, slow_pairs, slow_ranks
from harness.tails import discoveries, rank_sum_tail, spread, student_quantile, student_tail

Array = NDArray[np.float64]
Pairs = list[tuple[int, int]]
Noise = Callable[[Generator, tuple[int, int]], Array]

TRIALS, ALLOWED = 100, 7

NOISES: dict[str, Noise] = {
    "narrow": lambda rng, shape: rng.lognormal(0, 0.05, shape),
    "wide": lambda rng, shape: rng.lognormal(0, 0.3, shape),
    "one in ten thrice as long": lambda rng, shape: rng.lognormal(0, 0.04, shape) * _mode(rng, shape, 0.1, 3.0),
    "two even modes": lambda rng, shape: rng.lognormal(0, 0.02, shape) * _mode(rng, shape, 0.5, 1.3),
    "two uneven modes": lambda rng, shape: rng.lognormal(0, 0.02, shape) * _mode(rng, shape, 0.35, 1.3),
    "Student's t": lambda rng, shape: np.exp(0.04 * rng.standard_t(2, shape)),
    "Pareto": lambda rng, shape: 1 + 0.1 * rng.pareto(1.5, shape),
    "pairs differ": lambda rng, shape: rng.lognormal(0, 0.04, shape) * rng.lognormal(0, 0.02, (shape[0], 1)),
}


def _mode(rng: Generator, shape: tuple[int, int], share: float, factor: float) -> Array:
    return np.where(rng.random(shape) < share, factor, 1.0)


def every(ranks: int) -> Pairs:
    return [(a, b) for a in range(ranks) for b in range(a + 1, ranks)]


def covering(nodes: int, per_node: int) -> Pairs:
    """All pairs inside nodes, and every pair of nodes over every rail."""
    return [
        (a, b) for a, b in every(nodes * per_node) if a // per_node == b // per_node or a % per_node == b % per_node
    ]


class Fabric:
    """Times of pairs, with each class eight times as slow as the one before; faults multiply times."""

    def __init__(self, pairs: Pairs, per_node: int, seed: int, samples: int = 9, noise: str = "narrow") -> None:
        self.pairs, self.per_node = pairs, per_node
        self.ends = np.array(pairs)
        self.node, self.device = self.ends // per_node, self.ends % per_node
        self.inside = self.node[:, 0] == self.node[:, 1]
        level = np.where(self.inside, 1e-5, np.where(self.device[:, 0] == self.device[:, 1], 8e-5, 64e-5))
        self.times = level[:, None] * NOISES[noise](np.random.default_rng(seed), (len(pairs), samples))

    def slow(self, chosen: NDArray[np.bool_], factor: float = 1.2) -> Fabric:
        self.times[chosen] *= factor
        return self

    def of_rank(self, rank: int) -> NDArray[np.bool_]:
        return (self.ends == rank).any(axis=1)

    def of_node(self, node: int) -> NDArray[np.bool_]:
        return (self.node == node).any(axis=1)

    def of_pair(self, a: int, b: int) -> NDArray[np.bool_]:
        return self.of_rank(a) & self.of_rank(b)

    def find(self) -> Findings:
        return slow_pairs(self.pairs, self.times, self.per_node)


def named(found: Findings) -> list[str]:
    return [fault.label for fault in found.faults]


class TestHealthy:
    @pytest.mark.parametrize("noise", NOISES)
    @pytest.mark.parametrize(("ranks", "per_node"), [(3, 3), (4, 4), (4, 2), (8, 8)])
    def test_small_maps_are_silent(self, noise: str, ranks: int, per_node: int) -> None:
        alarms = sum(
            bool(Fabric(every(ranks), per_node, seed, samples=7, noise=noise).find().faults) for seed in range(TRIALS)
        )
        assert alarms <= ALLOWED

    @pytest.mark.parametrize("noise", NOISES)
    @pytest.mark.parametrize(("ranks", "per_node", "trials"), [(16, 8, 20), (64, 8, 5)])
    def test_large_maps_are_silent(self, noise: str, ranks: int, per_node: int, trials: int) -> None:
        alarms = sum(
            bool(Fabric(every(ranks), per_node, seed, samples=7, noise=noise).find().faults) for seed in range(trials)
        )
        assert alarms <= 1

    @pytest.mark.parametrize("ranks", [3, 4, 8])
    def test_samples_that_share_a_busy_moment_are_no_fault(self, ranks: int) -> None:
        """Ten passes of three samples, each pass of a pair 15 % faster or slower than the last."""
        alarms = 0
        for seed in range(TRIALS):
            fabric, rng = Fabric(every(ranks), ranks, seed, samples=30), np.random.default_rng(seed)
            fabric.times *= np.repeat(rng.lognormal(0, 0.15, (len(fabric.pairs), 10)), 3, axis=1)
            alarms += bool(fabric.find().faults)
        assert alarms <= ALLOWED

    def test_a_difference_within_the_margin_is_no_fault_however_sure(self) -> None:
        fabric = Fabric(every(8), 8, seed=1, samples=400)
        assert not fabric.slow(fabric.of_rank(3), 1.04).find().faults

    def test_classes_are_never_held_against_each_other(self) -> None:
        assert not Fabric(every(6), 2, seed=2).find().faults  # between nodes: 8 and 64 times as long

    def test_exact_times_are_healthy(self) -> None:
        """A model has no noise at all."""
        assert not slow_pairs(every(8), np.full((28, 5), 1e-5), 8).faults


class TestPlanted:
    @pytest.mark.parametrize(("ranks", "per_node"), [(4, 4), (8, 8), (8, 4), (16, 8), (64, 8)])
    def test_a_slow_rank_is_named_once(self, ranks: int, per_node: int) -> None:
        trials, rng = (20 if ranks <= 16 else 5), np.random.default_rng(ranks)
        hits = 0
        for seed in range(trials):
            fabric, rank = Fabric(every(ranks), per_node, seed, samples=7), int(rng.integers(ranks))
            hits += named(fabric.slow(fabric.of_rank(rank)).find()) == [f"rank {rank}"]
        assert hits >= trials * 0.95

    @pytest.mark.parametrize(("ranks", "per_node"), [(4, 4), (8, 8), (16, 4), (64, 8)])
    def test_a_slow_pair_is_named_as_a_pair(self, ranks: int, per_node: int) -> None:
        trials, rng = (20 if ranks <= 16 else 5), np.random.default_rng(ranks)
        pairs, hits = every(ranks), 0
        for seed in range(trials):
            fabric, (a, b) = Fabric(pairs, per_node, seed, samples=10), pairs[int(rng.integers(len(pairs)))]
            hits += named(fabric.slow(fabric.of_pair(a, b)).find()) == [f"pair {a}–{b}"]
        assert hits >= trials * 0.9

    def test_three_ranks_tell_a_rank_from_a_pair(self) -> None:
        for seed in range(10):
            rank, pair = (Fabric(every(3), 3, seed, samples=15) for _ in range(2))
            assert named(rank.slow(rank.of_rank(1), 1.3).find()) == ["rank 1"]
            assert named(pair.slow(pair.of_pair(0, 2), 1.3).find()) == ["pair 0–2"]

    def test_a_slow_rank_and_a_slow_pair_at_once(self) -> None:
        fabric = Fabric(every(8), 8, seed=3)
        found = fabric.slow(fabric.of_rank(2)).slow(fabric.of_pair(5, 7), 1.5).find()
        assert named(found) == ["pair 5–7", "rank 2"]  # the slowest first

    def test_two_slow_ranks(self) -> None:
        fabric = Fabric(every(8), 8, seed=4)
        found = fabric.slow(fabric.of_rank(2)).slow(fabric.of_rank(6), 1.4).find()
        assert named(found) == ["rank 6", "rank 2"]

    def test_the_ratio_and_its_interval_hold_what_was_planted(self) -> None:
        held = 0
        for seed in range(20):
            fabric = Fabric(every(8), 8, seed)
            (fault,) = fabric.slow(fabric.of_rank(5), 1.25).find().faults
            assert fault.ratio.value == pytest.approx(1.25, rel=0.05)
            assert fault.pairs == tuple(np.flatnonzero(fabric.of_rank(5)))
            assert fault.p < DISCOVERY
            held += fault.ratio.low <= 1.25 <= fault.ratio.high
        assert held >= 18


class TestTopology:
    """Where the fault lies is said: device, its network card, a node's inside or way out, a rail."""

    @pytest.mark.parametrize("pairs", [every(24), covering(3, 8), covering(16, 8)], ids=["all", "few", "covering"])
    def test_each_place_has_its_name(self, pairs: Pairs) -> None:
        def planted(choose: Callable[[Fabric], NDArray[np.bool_]]) -> list[str]:
            fabric = Fabric(pairs, 8, seed=7)
            return named(fabric.slow(choose(fabric), 1.25).find())

        assert planted(lambda f: f.of_rank(9)) == ["rank 9"]
        assert planted(lambda f: f.of_rank(9) & f.inside) == ["rank 9 inside its node"]
        assert planted(lambda f: f.of_node(1) & f.inside) == ["node 1 inside"]
        assert planted(lambda f: f.of_node(1) & ~f.inside) == ["node 1 to other nodes"]

    def test_a_network_card(self) -> None:
        for pairs in (every(24), covering(16, 8)):
            fabric = Fabric(pairs, 8, seed=8, samples=15)
            assert named(fabric.slow(fabric.of_rank(9) & ~fabric.inside, 1.25).find()) == ["rank 9 to other nodes"]

    @pytest.mark.parametrize("nodes", [4, 16])
    def test_a_rail(self, nodes: int) -> None:
        fabric = Fabric(covering(nodes, 8), 8, seed=9)
        rail = ~fabric.inside & (fabric.device == 5).all(axis=1)
        assert named(fabric.slow(rail, 1.25).find()) == ["rail 5"]

    def test_one_rank_a_node_is_called_a_rank(self) -> None:
        fabric = Fabric(every(6), 1, seed=10)
        assert named(fabric.slow(fabric.of_rank(4), 1.3).find()) == ["rank 4"]


class TestLimits:
    def test_one_pair_cannot_be_compared(self) -> None:
        found = slow_pairs([(0, 1)], [[1.0, 1.1, 1.2]], 2)
        assert found == Findings((), {}, ("One pair: there is nothing to compare it with.",))

    def test_what_few_ranks_cannot_tell_is_said(self) -> None:
        three, two_nodes = Fabric(every(3), 3, seed=1).find(), Fabric(every(4), 2, seed=1).find()
        assert any("fast pair of the other two" in note for note in three.notes)
        assert any("not two at once" in note for note in three.notes)
        assert any("touches both" in note for note in two_nodes.notes)
        assert Fabric(every(8), 8, seed=1).find().notes == ()

    def test_two_samples_say_nothing(self) -> None:
        fabric = Fabric(every(4), 4, seed=1, samples=2)
        found = fabric.slow(fabric.of_rank(1), 9.0).find()
        assert not found.faults
        assert "Fewer than 3" in found.notes[0]

    def test_unlike_links_are_no_crowd_of_outliers(self) -> None:
        """A third of the pairs on slower links, as on a node whose devices are not all joined alike."""
        fabric = Fabric(every(8), 8, seed=11)
        slower = fabric.ends.sum(axis=1) % 3 == 0
        found = fabric.slow(slower, 2.0).find()
        assert not found.faults
        assert "Are their links alike?" in found.notes[0]

    @pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
    def test_times_must_be_positive(self, bad: float) -> None:
        with pytest.raises(ValueError, match="positive"):
            slow_pairs([(0, 1), (0, 2), (1, 2)], [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, bad]], 3)
        with pytest.raises(ValueError, match="positive"):
            slow_ranks([[1.0, bad]])

    def test_a_row_for_each_pair(self) -> None:
        with pytest.raises(ValueError, match="one row for each of 3"):
            slow_pairs([(0, 1), (0, 2), (1, 2)], [[1.0, 1.0, 1.0]], 3)


class TestSmallest:
    @pytest.mark.parametrize(("ranks", "samples"), [(4, 9), (8, 5), (8, 9)])
    @pytest.mark.parametrize("noise", ["narrow", "pairs differ"])
    def test_what_is_printed_is_found_about_nine_times_in_ten(self, ranks: int, samples: int, noise: str) -> None:
        pairs, trials = every(ranks), 100
        printed = [Fabric(pairs, ranks, seed, samples, noise).find().smallest for seed in range(30)]
        rank, pair = (float(np.median([one[kind] for one in printed])) for kind in ("rank", "pair"))
        hits = {"rank": 0, "pair": 0}
        for seed in range(100, 100 + trials):
            of_rank, of_pair = (Fabric(pairs, ranks, seed, samples, noise) for _ in range(2))
            where = seed % len(pairs)
            hits["rank"] += f"rank {seed % ranks}" in named(of_rank.slow(of_rank.of_rank(seed % ranks), rank).find())
            label = f"pair {pairs[where][0]}–{pairs[where][1]}"
            hits["pair"] += label in named(of_pair.slow(of_pair.of_pair(*pairs[where]), pair).find())
        assert min(hits.values()) >= 78  # 90 less four standard errors, of a number that is an estimate itself
        assert 1.05 < rank < pair < 1.25

    def test_more_noise_hides_more(self) -> None:
        calm, loud = (Fabric(every(8), 8, 1, noise=noise).find().smallest for noise in ("narrow", "wide"))
        assert all(loud[kind] > calm[kind] for kind in calm)

    def test_it_is_of_what_is_left_when_faults_are_taken_off(self) -> None:
        healthy, faulty = Fabric(every(8), 8, 1), Fabric(every(8), 8, 1)
        found = faulty.slow(faulty.of_rank(2), 1.5).find()
        assert found.smallest["pair"] == pytest.approx(healthy.find().smallest["pair"], rel=0.05)

    def test_where_no_slowness_is_enough_it_is_infinite(self) -> None:
        """Two pairs in each class, five samples of each: that all of one are longer is too likely by chance."""
        found = Fabric(every(4), 2, seed=1, samples=5).find()
        assert found.smallest["pair"] == math.inf
        assert found.smallest["rank"] < 1.3


class TestRanks:
    def rows(self, seed: int, ranks: int, rows: int = 7, noise: float = 0.02) -> Array:
        """Medians of unlike work: each row has a level of its own."""
        rng = np.random.default_rng(seed)
        return 1e-3 * rng.lognormal(0, 1, (rows, 1)) * rng.lognormal(0, noise, (rows, ranks))

    @pytest.mark.parametrize("ranks", [3, 4, 8, 64])
    def test_a_slow_rank_is_named_and_healthy_ones_are_not(self, ranks: int) -> None:
        hits = alarms = 0
        for seed in range(40):
            table = self.rows(seed, ranks)
            alarms += bool(slow_ranks(table).faults)
            table[:, seed % ranks] *= 1.2
            hits += named(slow_ranks(table)) == [f"rank {seed % ranks}"]
        assert hits >= 39
        assert alarms <= 2

    def test_two_ranks_only_differ(self) -> None:
        table = self.rows(1, 2)
        table[:, 1] *= 1.3
        found = slow_ranks(table)
        assert named(found) == ["rank 1"]
        assert "differ" in found.notes[0]

    def test_one_rank_has_no_peers(self) -> None:
        assert slow_ranks(self.rows(1, 1)) == Findings((), {}, ("One rank: there is nothing to compare it with.",))

    def test_one_disturbed_row_is_no_slow_rank(self) -> None:
        table = self.rows(2, 4, rows=3)
        table[1, 2] *= 3
        assert not slow_ranks(table).faults

    def test_two_rows_say_nothing(self) -> None:
        table = self.rows(2, 4, rows=2)
        table[:, 2] *= 3
        found = slow_ranks(table)
        assert not found.faults
        assert "Fewer than 3" in found.notes[0]

    def test_the_smallest_effect_is_printed(self) -> None:
        (least,) = slow_ranks(self.rows(3, 8)).smallest.values()
        assert 1.05 < least < 1.2


class TestTails:
    @pytest.mark.parametrize(("df", "t"), [(2, 9.925), (4, 4.604), (9, 3.250), (30, 2.750), (120, 2.617)])
    def test_student_as_in_the_tables(self, df: int, t: float) -> None:
        """Abramowitz & Stegun, table 26.10: 99.5 % quantiles."""
        assert student_quantile(0.005, df) == pytest.approx(t, abs=6e-4)
        assert float(student_tail(t, df)) == pytest.approx(0.005, rel=2e-3)
        assert float(student_tail(-t, df)) == pytest.approx(0.995, rel=2e-3)

    @pytest.mark.parametrize(("own", "others"), [(5, 5), (5, 10), (7, 14), (9, 40), (20, 12), (15, 15)])
    def test_rank_sums_as_counted(self, own: int, others: int) -> None:
        """Against the count of all orders. In the tail it may be too large, never much too small."""
        ways = _orders(own, others)
        exact = np.cumsum(ways) / math.comb(own + others, own)
        given = rank_sum_tail(np.arange(len(ways)), own, others)
        tail = exact < 0.05
        assert (given[tail] > 0.95 * exact[tail]).all()
        middle = (exact > 0.005) & tail
        assert (given[middle] < 1.5 * exact[middle]).all()

    def test_benjamini_and_hochberg(self) -> None:
        p = np.array([0.012, 0.3, 0.02, 0.001, 0.9])  # thresholds 0.01, 0.02, 0.03, 0.04, 0.05
        assert discoveries(p, 0.05).tolist() == [True, False, True, True, False]
        assert not discoveries(p, 0.001).any()

    @pytest.mark.parametrize("count", [3, 5, 9, 30])
    def test_the_robust_spread_is_unbiased_for_normal_values(self, count: int) -> None:
        values = np.random.default_rng(count).normal(5.0, 2.0, (20_000, count))
        assert spread(values).mean() == pytest.approx(2.0, rel=0.02)


def _orders(own: int, others: int) -> Array:
    """How many orders of `own` and `others` values have each number of inversions (Gaussian binomial)."""
    ways = [1] + [0] * (own * others)
    for step in range(1, own + 1):
        for at in range(own * others, others + step - 1, -1):
            ways[at] -= ways[at - others - step]
        for at in range(step, own * others + 1):
            ways[at] += ways[at - step]
    return np.array(ways, dtype=np.float64)
