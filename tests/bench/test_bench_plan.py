"""What a run may take, and which cells share a launch."""

from __future__ import annotations

import pytest

from bench import plan, suites
from clusters import local


def made(*only: str) -> plan.Plan:
    return plan.make(suites.load("quick"), local.detect(), only, {})


def test_a_run_of_few_cells_takes_no_longer_than_they_do() -> None:
    few = made("checkpoint.reshape")
    (cell,) = few.cells
    seconds = few.benchmarks[cell.benchmark].seconds
    assert plan.budget(few) == pytest.approx(seconds + plan.START_UP)
    assert plan.budget(few) < few.suite.budget


def test_a_whole_suite_has_the_suites_budget() -> None:
    whole = plan.make(suites.load("standard"), local.detect(), (), {})
    assert whole.suite.launches * whole.seconds(whole.cells) > whole.suite.budget
    assert plan.budget(whole) == whole.suite.budget


def test_cells_of_hosts_have_a_launch_of_their_own_before_the_others() -> None:
    names = [group.name for group in made("checkpoint.reshape", "memory.latency").groups]
    assert names == ["hosts", "1-ranks"]
