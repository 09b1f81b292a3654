"""One trial: where a curve crosses, how a run ends, and that a checkpoint continues it exactly."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from e2e.cbs import truth
from e2e.cbs.crossing import crossing, next_look, smooth
from e2e.cbs.least_squares import LeastSquares
from e2e.cbs.train import Rule, train
from e2e.cbs.trials import Course, Trained, Trial, checkpoint_file, read, write
from harness.noise_scale import estimate

TASK = LeastSquares(dimensions=32)


def silent(_: str) -> None:
    return


def trained(folder: Path, rate: float, limit: int = 2000, target: float = TASK.target, save: float = 1e9) -> Trained:
    folder.mkdir(exist_ok=True)
    trial = Trial(8, 0, 1, limit)
    return train(trial, rate, TASK.begin(8, (5,)), Rule(target, 10, save), folder, silent)


def test_crossing_lies_between_looks() -> None:
    assert crossing([0, 10, 20, 30], [4.0, 3.0, 1.0, 0.5], 2.0) == 15.0


def test_a_single_low_look_is_no_crossing() -> None:
    """One lucky look must not end a run."""
    losses = [4.0, 3.5, 0.1, 3.4, 3.3, 1.5, 1.0]
    assert smooth(losses)[2] == 3.4
    assert crossing(list(range(7)), losses, 2.0) == pytest.approx(4 + 1.3 / 1.8)


def test_the_newest_look_waits_for_the_next_one() -> None:
    assert crossing([0, 1, 2], [4.0, 3.0, 1.0], 2.0) is None
    assert crossing([0, 1, 2], [4.0, 3.0, 1.0], 2.0, last=True) == 1.5


def test_looks_grow_apart() -> None:
    looks = [0]
    while looks[-1] < 10_000:
        looks.append(next_look(looks[-1]))
    assert looks[:11] == list(range(11))
    assert max(after / before for before, after in itertools.pairwise(looks[10:])) <= 1.1
    assert len(looks) < 250


def test_a_run_reaches_its_target(tmp_path: Path) -> None:
    found = trained(tmp_path, 0.1)
    assert found.ended == "reached"
    assert found.looks[0] == 0
    assert found.losses[0] == pytest.approx(TASK.initial)
    assert found.looks[-3] <= found.steps <= found.looks[-1]


def test_a_run_that_does_not_get_there_is_censored_with_its_curve(tmp_path: Path) -> None:
    found = trained(tmp_path, 0.1, limit=5)
    assert (found.ended, found.steps, found.looks[-1]) == ("censored", 5.0, 5)


@pytest.mark.parametrize("rate", [30.0, 1e200])
def test_a_run_that_diverges_says_so(tmp_path: Path, rate: float) -> None:
    """Past its beginning, or no number at all; the result is a file that can be read back either way."""
    found = trained(tmp_path, rate)
    assert found.ended == "diverged"
    assert all(math.isfinite(loss) for loss in found.losses)
    write(tmp_path, found)
    assert read(tmp_path, found.trial) == found


class Dies(Exception):
    pass


class Mortal:
    """A course that is killed at a step."""

    def __init__(self, course: Course, at: int) -> None:
        self.course, self.at, self.passes = course, at, 0.0
        self.taken = list[int]()

    def step(self, number: int, rate: float) -> None:
        if number == self.at:
            raise Dies
        self.taken.append(number)
        self.course.step(number, rate)

    def loss(self) -> float:
        return self.course.loss()

    def pairs(self) -> object:
        return self.course.pairs()

    def state(self) -> object:
        return self.course.state()

    def restore(self, state: object) -> None:
        self.course.restore(state)


def test_a_trial_goes_on_from_its_checkpoint_and_ends_the_same(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", 0.1)
    trial, rule = whole.trial, Rule(TASK.target, 10, save=0.0)
    folder = tmp_path / "cut"
    folder.mkdir()
    with pytest.raises(Dies):
        train(trial, 0.1, Mortal(TASK.begin(8, (5,)), 21), rule, folder, silent)
    again = Mortal(TASK.begin(8, (5,)), -1)
    found = train(trial, 0.1, again, rule, folder, silent)
    assert found == whole
    assert again.taken[0] == 21
    write(folder, found)
    assert not checkpoint_file(folder, trial).exists()


def test_a_checkpoint_of_another_limit_is_not_taken_up(tmp_path: Path) -> None:
    with pytest.raises(Dies):
        train(Trial(8, 0, 1, 50), 0.1, Mortal(TASK.begin(8, (5,)), 21), Rule(TASK.target, 10, 0.0), tmp_path, silent)
    again = Mortal(TASK.begin(8, (5,)), -1)
    train(Trial(8, 0, 1, 2000), 0.1, again, Rule(TASK.target, 10), tmp_path, silent)
    assert again.taken[0] == 1


def test_results_of_another_trial_or_cut_off_are_not_read(tmp_path: Path) -> None:
    found = trained(tmp_path, 0.1)
    write(tmp_path, found)
    assert read(tmp_path, Trial(8, 0, 1, 999)) is None
    path = next(tmp_path.glob("*.json"))
    path.write_bytes(path.read_bytes()[:-9])
    assert read(tmp_path, found.trial) is None


def test_data_follow_from_seed_and_step_alone() -> None:
    first, second = TASK.begin(4, (1, 2)), TASK.begin(4, (1, 2))
    other = TASK.begin(4, (1, 3))
    for course in (first, second, other):
        course.step(1, 0.1)
    assert np.array_equal(first.weights, second.weights)
    assert not np.array_equal(first.weights, other.weights)


def test_norms_on_the_way_give_the_noise_scale_that_is_true_there(tmp_path: Path) -> None:
    """Over the last steps of 20 runs: the estimate's interval holds what is worked out at the very weights."""
    task, small, big, trace, signal = LeastSquares(dimensions=64), list[float](), list[float](), 0.0, 0.0
    for seed in range(20):
        course, path = task.begin(64, (seed,)), list[np.ndarray]()
        for number in range(1, 41):
            path.append(course.weights)
            course.step(number, 0.1)
        found = train(Trial(64, 0, seed, 40), 0.1, task.begin(64, (seed,)), Rule(0.0, 1), tmp_path, silent)
        assert len(found.small) == len(found.big) == 10
        small, big = [*small, *found.small], [*big, *found.big]
        for weights in path[-10:]:
            square = float(((task.spectrum * (weights - task.solution)) ** 2).sum())
            trace, signal = trace + truth.noise_scale(task, weights) * square, signal + square
    known = estimate(small, big, 32, 64)
    assert known.low <= trace / signal <= known.high
    assert known.width < 0.35


def test_a_batch_without_halves_tells_no_noise_scale(tmp_path: Path) -> None:
    found = train(Trial(1, 0, 1, 9), 0.01, TASK.begin(1, (5,)), Rule(0.0, 1), tmp_path, silent)
    assert found.small == found.big == ()
