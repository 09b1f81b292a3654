"""How long the map of pairs is sampled: until a slow pair would be found, or the visit's time is over."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from harness.outliers import slow_pairs
from harness.policy import Policy
from harness.ranks import Team
from microbench.collectives import pairwise
from microbench.collectives.rounds import rounds

RANKS, EACH = 6, 1e-3


class Noisy:
    """A meter whose pairs take EACH s with log-normal noise; `slow` pairs take a fifth longer."""

    def __init__(self, noise: float, slow: tuple[int, int] | None = None) -> None:
        self._noise, self._slow, self._clock, self._rng = noise, slow, 0.0, np.random.default_rng(1)

    def now(self) -> float:
        return self._clock

    def by_rank(self, task, cadence, samples):
        self._clock += samples * EACH
        return [
            list(EACH * (1.2 if pair == self._slow else 1.0) * np.exp(self._noise * self._rng.normal(size=samples)))
            for pair in task.team.members for _ in pair
        ]  # fmt: skip


def sampled(noise: float, cap: float, slow: tuple[int, int] | None = None):
    ctx = SimpleNamespace(meter=Noisy(noise, slow), policy=Policy(cap=cap), seed=1, per_node=RANKS)
    tasks = [SimpleNamespace(team=Team(pairs, None)) for pairs in rounds(RANKS, RANKS)]
    taken, stopped = pairwise._sample(ctx, tasks)
    counts = {len(samples) for samples in taken.values()}
    assert len(counts) == 1, "every pair has the same number of samples"
    return taken, stopped, counts.pop()


def test_a_quiet_fabric_is_known_after_the_first_look():
    _, stopped, count = sampled(noise=0.01, cap=10)
    assert (stopped, count) == ("width reached", pairwise.PASSES * pairwise.MOST)


def test_noise_is_met_with_more_samples_until_a_slow_pair_would_be_found():
    taken, stopped, count = sampled(noise=0.15, cap=10, slow=(1, 4))
    assert stopped == "width reached"
    assert count > pairwise.PASSES * pairwise.MOST
    pairs = sorted(taken)
    found = slow_pairs(pairs, [taken[pair] for pair in pairs], RANKS)
    assert [fault.label for fault in found.faults] == ["pair 1–4"]


@pytest.mark.parametrize(("cap", "why"), [(0.05, "time cap"), (60.0, "sample cap")])
def test_there_is_an_end_to_it(cap, why):
    _, stopped, count = sampled(noise=2.0, cap=cap)
    assert stopped == why
    assert pairwise.PASSES * pairwise.LEAST <= count <= pairwise.MANY
