"""What is trained next, on landscapes that are made up."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from e2e.cbs import results
from e2e.cbs.campaign import Share, carry_out
from e2e.cbs.sweep import Sweep, best, starts, wanted
from e2e.cbs.trials import Ended, Key, Trained, Trial
from harness.records import Origin

Landscape = Callable[[Trial], tuple[Ended, float, float]]


def valley(bottom: int) -> Landscape:
    """Steps that grow by a tenth with each notch away from the bottom; four notches above it, runs diverge."""

    def at(trial: Trial) -> tuple[Ended, float, float]:
        if trial.notch >= bottom + 4:
            return "diverged", 3.0, 7.0
        steps = 100 * 1.1 ** abs(trial.notch - bottom) + trial.seed % 3
        return ("reached", steps, 1.0) if steps <= trial.limit else ("censored", trial.limit, 2.0)

    return at


def climbed(sweep: Sweep, landscape: Landscape) -> dict[Key, Trained]:
    held: dict[Key, Trained] = {}
    for _ in range(100):
        asked = wanted(sweep, held)
        if not asked:
            return held
        for trial in asked:
            ended, steps, loss = landscape(trial)
            held[trial.key] = Trained(trial, ended, steps, (0, 1), (8.0, loss))
    raise AssertionError("the sweep does not end")


def sweep_of(start: int, reach: int = 8, tuning: int = 2, seeds: int = 3, limit: int = 1000) -> Sweep:
    return Sweep({16: start}, reach, tuning, seeds, limit)


@pytest.mark.parametrize("start", [-5, -1, 0, 3, 6])
def test_the_best_rate_is_found_from_any_side_and_has_both_neighbours_tried(start: int) -> None:
    sweep = sweep_of(start)
    held = climbed(sweep, valley(0))
    assert best(sweep, 16, held) == (0, True)
    assert sorted(seed for (_, notch, seed) in held if notch == 0) == [-1, 0, 1, 2, 3]
    assert {notch for (_, notch, seed) in held if seed > 0} == {0}


def test_neighbours_are_cut_off_where_they_are_worse() -> None:
    held = climbed(sweep_of(0), valley(0))
    assert {one.trial.limit for one in held.values() if one.trial.notch == 1} == {math.ceil(1.25 * 101)}
    assert {one.trial.limit for one in held.values() if one.trial.seed > 0} == {4 * 101}


def test_no_run_is_longer_than_the_limit() -> None:
    held = climbed(sweep_of(0, limit=130), valley(0))
    assert {one.trial.limit for one in held.values() if one.trial.seed > 0} == {130}


def test_the_reach_is_kept_and_told() -> None:
    sweep = sweep_of(-6, reach=2)
    held = climbed(sweep, valley(0))
    assert best(sweep, 16, held) == (-4, False)
    found = results.measurements(sweep, held, lambda notch: 2.0**notch, 1.5, Origin.MEASURED)
    steps = next(one for one in found if one.metric == "steps")
    assert "end of what was tried" in steps.evidence.flags[0]
    assert steps.params == {"batch": 16, "learning_rate": 2.0**-4, "target": 1.5}
    assert len(steps.samples) == 3


def test_a_target_that_nobody_reaches_is_named_with_what_was() -> None:
    sweep = sweep_of(0, limit=90)
    held = climbed(sweep, valley(0))
    found = results.measurements(sweep, held, lambda notch: 2.0**notch, 1.5, Origin.MEASURED)
    assert {one.metric for one in found} == {"trial"}
    assert "the lowest loss was 2" in found[0].evidence.flags[0]
    assert {one.params["ended"] for one in found} >= {"censored"}


def test_a_seed_that_does_not_get_there_is_kept_beside_those_that_do() -> None:
    def unlucky(trial: Trial) -> tuple[Ended, float, float]:
        by_seed: dict[int, tuple[Ended, float, float]] = {2: ("censored", 1000, 2.0), 3: ("diverged", 17, 9.0)}
        return by_seed.get(trial.seed, valley(0)(trial))

    sweep = sweep_of(0)
    found = results.measurements(sweep, climbed(sweep, unlucky), lambda notch: 2.0**notch, 1.5, Origin.MEASURED)
    held = {one.metric: one.samples for one in found if one.metric != "trial"}
    assert held == {"steps": (101.0,), "censored": (1000.0,), "diverged": (17.0,)}


def test_a_batch_size_that_diverges_everywhere_leaves_the_others_alone() -> None:
    def at(trial: Trial) -> tuple[Ended, float, float]:
        return ("diverged", 1.0, 9.0) if trial.batch == 8 else valley(0)(trial)

    sweep = Sweep({8: 0, 16: 0}, 3, 1, 2, 1000)
    found = results.measurements(sweep, climbed(sweep, at), lambda notch: 2.0**notch, 1.5, Origin.MEASURED)
    assert [one.params["batch"] for one in found if one.metric == "steps"] == [16]
    assert {one.params["ended"] for one in found if one.params["batch"] == 8} == {"diverged"}


def test_starts_scale_with_the_batch() -> None:
    assert starts((8, 32, 128), 1.0, 2.0) == {8: -4, 32: -2, 128: 0}
    assert starts((8, 32, 128), 0.5, 2.0) == {8: -2, 32: -1, 128: 0}


def test_what_the_folder_holds_is_not_trained_again(tmp_path: Path) -> None:
    """Trials are shared out, so that two ranks train each of them once; after that nobody trains any."""
    sweep, count = sweep_of(-2), list[Key]()

    def train(trial: Trial, say: Callable[[str], None]) -> Trained:
        count.append(trial.key)
        ended, steps, loss = valley(0)(trial)
        return Trained(trial, ended, steps, (0, 1), (8.0, loss))

    first = carry_out(sweep, train, Share(tmp_path))
    assert sorted(count) == sorted(first)
    kept = len(count)
    lost = next(tmp_path.glob("*-seed2.json"))
    lost.unlink()
    assert carry_out(sweep, train, Share(tmp_path)) == first
    assert len(count) == kept + 1
