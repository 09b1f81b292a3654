"""From what a job saw to the figures of its record, each against one worked out by hand: a factor of the ranks, of the
steps or of the tokens that is lost on the way gives a number that looks like any other."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import torch
import torch.distributed as dist
from e2e_losses import job, small

from e2e import breakdown
from e2e import job as jobs
from e2e.layout import Layout
from e2e.mfu import fits
from e2e.results import measurements
from e2e.steps import LEAST, Steps
from e2e.told import EXPOSED, PARTS, Job, Parts, Told
from e2e.turns import Pair, _turns
from harness import models
from harness.errors import Skip
from harness.ranks import OneProcess
from harness.records import Measurement, Origin

CPU = torch.device("cpu")


class Greatest(OneProcess):
    """Another rank has one more of everything."""

    def maximum(self, values: Sequence[float]) -> list[float]:
        return [value + 1.0 for value in values]


def measured(told: Told, name: str) -> Measurement:
    asked = job("torch", small())  # 8 sequences of 32 tokens
    (found,) = [one for one in measurements(told, asked, 2, Origin.MEASURED) if one.metric == name]
    return found


def test_energy_is_of_one_token_over_all_devices() -> None:
    assert jobs._a_step([30.0, 10.0], 4) == 10.0
    assert jobs._a_step([30.0, float("nan")], 4) is None, "of one device nothing is known"
    assert measured(Told(steps=(1.0,), energy=512.0), "energy").samples == (2.0,)


def test_what_the_profiler_cost_is_said_of_one_step() -> None:
    looked = Parts(3.0, (0.5,) * len(PARTS))
    told = Told(steps=(1.0, 2.0), parts=(looked, looked, looked, looked))
    parts = [one for one in measurements(told, job("torch", small()), 1, Origin.MEASURED) if one.metric == "part"]
    assert len(parts) == len(PARTS)
    assert all("2.00 times as long" in one.evidence.flags[0] for one in parts)


def test_a_rank_computes_when_it_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """By which stragglers are named."""
    at = PARTS.index(EXPOSED)
    seen = [Parts(1.0, tuple(waits if each == at else 0.0 for each in range(len(PARTS)))) for waits in (0.6, 0.4, 0.5)]
    monkeypatch.setattr(breakdown, "observe", lambda *_: seen)
    what = Job(job("torch", small()), "cpu", 1.0)
    assert jobs._parts(what, SimpleNamespace(one=None), OneProcess(), CPU) == (seen, [0.5])  # type: ignore[arg-type]


def test_memory_is_the_most_of_any_rank_beyond_what_there_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "peak", lambda: 500)
    accelerator: Any = SimpleNamespace(memory_peak=lambda: 70)
    assert jobs._memory(accelerator, Greatest(), 200) == {"host": 301, "device": 71}


class Clock:
    """A stopwatch whose regions last what they are given."""

    def __init__(self, lasts: Sequence[float]) -> None:
        self._lasts = lasts

    def start(self, index: int) -> None:
        return

    def stop(self, index: int) -> None:
        self._count = index + 1

    def seconds(self) -> list[float]:
        return [self._lasts[at % len(self._lasts)] for at in range(self._count)]


def steps(*lasts: float) -> Steps:
    accelerator: Any = SimpleNamespace(stopwatch=lambda count: Clock(lasts), synchronise=lambda: None)
    trainer: Any = SimpleNamespace(data_rank=0, data_ranks=1, step=lambda tokens, phase: torch.tensor(3.0))
    return Steps(trainer, job("torch", small()), accelerator, OneProcess(), CPU)


def test_timing_ends_when_the_mean_is_known_and_not_before() -> None:
    taken, stopped, width = steps(0.5).timed(1000.0)
    assert (len(taken), stopped, width) == (LEAST, "width reached", 0.0)
    taken, stopped, width = steps(0.2, 0.5, 0.8).timed(60.0)
    assert len(taken) > 4 * LEAST, "spread by a factor of four, ten steps do not tell a mean to 2 %"
    assert (stopped == "width reached") == (width <= 0.02)
    assert sum(taken) < 61.0


def test_losses_are_means_over_the_ranks_that_see_one(monkeypatch: pytest.MonkeyPatch) -> None:
    both = steps(0.5)
    both.block(2)
    monkeypatch.setattr(dist, "all_reduce", lambda held: held.mul_(2))  # a data rank alike
    assert both.losses() == [3.0, 3.0]
    first = steps(0.5)  # a pipeline's, which sees none; the last one does
    first.trainer.step = lambda tokens, phase: torch.tensor(0.0)  # type: ignore[method-assign]
    first.block(2)
    monkeypatch.setattr(dist, "all_reduce", lambda held: held.add_(torch.tensor([3.0, 2.0, 1.0])))
    assert first.losses() == [3.0, 2.0]


class Side:
    """One of two jobs in turns: its steps last 0.1 s."""

    def __init__(self, name: str, turns: list[str]) -> None:
        self._name, self._turns = name, turns
        self.trainer = SimpleNamespace(notes=())

    def warm_up(self, cap: float) -> None:
        return

    def block(self, count: int) -> list[float]:
        self._turns.append(self._name)
        return [0.1] * count

    def losses(self) -> list[float]:
        return []


def test_two_jobs_take_turns_so_that_a_drift_falls_on_both() -> None:
    turns: list[str] = []
    base, other = Side("a", turns), Side("b", turns)
    pair = Pair(job("torch", small()), job("torch", small()), "cpu", 100.0)
    found = _turns(pair, base, other)  # type: ignore[arg-type]
    assert "".join(turns[2:]) == "abba" * 3
    assert found.base == found.other == pytest.approx((0.1,) * 6), "of a step, however many there are in a turn"


def test_a_device_holds_its_share_of_the_states() -> None:
    """Llama 3 8B has 8.03 B parameters, of 16 B with Adam: 4 of them for weights and gradients."""
    asked = job("torch", models.load("llama3-8b"), dtype="bfloat16")
    accelerator = SimpleNamespace(memory_free=lambda: 40 * 10**9, name="cuda")
    context: Any = SimpleNamespace(accelerator=accelerator, per_node=8)
    with pytest.raises(Skip, match=r"59\.8\d GiB for weights"):
        fits(context, msgspec.structs.replace(asked, layout=Layout(tensor=2)), 8)
    with pytest.raises(Skip, match=r"41\.1\d GiB for weights"):
        fits(context, msgspec.structs.replace(asked, stage=1), 8)
    fits(context, msgspec.structs.replace(asked, stage=1, offload="cpu"), 8)
    with pytest.raises(Skip, match=r"1 x 131072 tokens.*recompute=full|activations of 1 x 131072 tokens"):
        fits(context, msgspec.structs.replace(asked, stage=3, sequence=131072, micro=1), 8)
