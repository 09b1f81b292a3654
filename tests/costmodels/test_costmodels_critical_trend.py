"""Power laws of the critical batch over sizes of data and model: planted exponents, and what cannot be told apart."""

from __future__ import annotations

import numpy as np
import pytest

from costmodels.critical_batch import fit
from costmodels.critical_batch_points import Run
from costmodels.critical_batch_trend import PUBLISHED, Sized, trends

BATCHES = tuple(2.0**power for power in range(12, 24))


def sized(seed: int, tokens: float, parameters: float, p: float = 0.47, q: float = 0.0, wild: float = 0.0) -> Sized:
    rng = np.random.default_rng([seed, int(tokens), int(parameters)])
    crit = 20 * tokens**p * (parameters / 1e8) ** q * float(np.exp(wild * rng.standard_normal()))
    runs = [Run(batch, 1e3 * (1 + crit / batch) * float(np.exp(0.04 * rng.standard_normal()))) for batch in BATCHES]
    return Sized(fit(runs, reference=1.0), tokens, parameters)


def test_the_planted_exponent_is_found_and_covered() -> None:
    held = 0
    for seed in range(20):
        star, crit = trends([sized(seed, tokens, 1e8) for tokens in (1e9, 4e9, 16e9, 64e9)])
        assert (star.batch, crit.batch, list(crit.exponents)) == ("b_star", "b_crit", ["tokens"])
        known = crit.exponents["tokens"]
        held += known.low <= 0.47 <= known.high
        assert known.value == pytest.approx(0.47, abs=0.1)
    assert held >= 17


def test_two_sizes_that_vary_apart_are_told_apart() -> None:
    grid = [sized(1, tokens, size, q=0.1) for tokens in (1e9, 8e9, 64e9) for size in (1e8, 4e8, 16e8)]
    _, law = trends(grid)
    assert law.exponents["tokens"].value == pytest.approx(0.47, abs=0.03)
    assert law.exponents["parameters"].value == pytest.approx(0.1, abs=0.03)
    assert law.notes == ()


def test_a_size_with_two_values_is_held_fixed_and_has_no_exponent() -> None:
    """Left out of the line, it would be mistaken for growth with tokens, since the larger model has more of them."""
    grid = [sized(2, tokens, size, q=0.8) for tokens, size in
            ((1e9, 1e8), (4e9, 1e8), (8e9, 1e8), (8e9, 4e8), (16e9, 4e8), (64e9, 4e8))]  # fmt: skip
    _, law = trends(grid)
    assert list(law.exponents) == ["tokens"]
    assert law.exponents["tokens"].value == pytest.approx(0.47, abs=0.06)


def test_sizes_that_grow_together_are_not_told_apart() -> None:
    found = trends([sized(3, 20 * size, size) for size in (1e8, 2e8, 4e8, 8e8)])
    assert [list(law.exponents) for law in found] == [["tokens"], ["parameters"]] * 2
    assert all("the exponent holds for this path only" in law.notes[0] for law in found)


def test_scatter_around_the_line_widens_the_interval() -> None:
    quiet, wild = (
        trends([sized(4, tokens, 1e8, wild=wild) for tokens in (1e9, 4e9, 16e9, 64e9, 256e9)])[1]
        for wild in (0.0, 0.5)
    )  # fmt: skip
    assert wild.scatter > 0.1 > quiet.scatter
    assert wild.exponents["tokens"].width > 3 * quiet.exponents["tokens"].width


def test_two_sizes_and_unknown_sizes_have_no_law() -> None:
    assert trends([sized(0, tokens, 1e8) for tokens in (1e9, 4e9)]) == ()
    known = sized(0, 1e9, 1e8)
    assert trends([Sized(known.fit), Sized(known.fit), Sized(known.fit)]) == ()


def test_published_exponents_are_there_for_every_law() -> None:
    for law in trends([sized(3, 20 * size, size) for size in (1e8, 2e8, 4e8, 8e8)]):
        assert all(PUBLISHED[law.batch, name] for name in law.exponents)
