"""What a cell of training says that it takes, by which a run's budget is shared out."""

from __future__ import annotations

from typing import Any

import e2e
from e2e.cbs import CbsParams
from e2e.cbs.tasks import trial
from e2e.mfu import AROUND
from harness import registry

TEXT = {"task": "text", "high": 128, "seeds": 3, "tuning": 1, "per_doubling": 1}  # as the suites have it


def takes(name: str, **params: Any) -> float:
    return registry.find(name, registry.load(e2e.BENCHMARKS)).takes(params)


def test_a_longer_job_takes_longer() -> None:
    """Else a budget gives a minute's job on a GPU what a few seconds' job on a host gets."""
    for name in ("e2e.mfu", "e2e.scaling"):
        assert takes(name, seconds=60) - takes(name, seconds=20) == 1.25 * 40
        assert takes(name, seconds=20) > 20 + AROUND
    assert takes("e2e.ablation", seconds=60) - takes("e2e.ablation", seconds=20) == 1.25 * 40
    assert takes("e2e.local_steps", seconds=600) > 2 * 600
    assert takes("e2e.local_steps", seeds=6) > takes("e2e.local_steps") > takes("e2e.local_steps", local_steps=4)


def test_a_critical_batch_takes_as_long_as_its_trials() -> None:
    """On a host of two cores the text cell of the suites took 4 to 8 minutes, and the least-squares one 4 seconds."""
    assert 265 < takes("e2e.cbs", **TEXT) < 480
    assert 3 < takes("e2e.cbs", task="least_squares") < 15
    assert takes("e2e.cbs", **{**TEXT, "seeds": 6}) > 1.3 * takes("e2e.cbs", **TEXT)
    assert trial(CbsParams(task="text", sequence=128)) == 2 * trial(CbsParams(task="text"))
    assert trial(CbsParams(task="text", model="tiny")) > 10 * trial(CbsParams(task="text"))


def test_every_benchmark_of_training_says_what_it_takes() -> None:
    """One that did not would be planned with a few seconds, the most that a cell of microseconds gets."""
    assert all(takes(name) > 5 for name in registry.load(e2e.BENCHMARKS) if name.startswith("e2e."))
