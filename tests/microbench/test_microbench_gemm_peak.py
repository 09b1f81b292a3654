"""The peak finder on a modelled device: what it finds, what it keeps, and what it spends."""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec
import pytest
import torch
from microbench_landscapes import LANDSCAPES, every
from microbench_stubs import StubAccelerator, context

from clusters.accelerators.simulated import SimulatedMeter
from harness.errors import Skip, WrongAnswer
from harness.ranks import OneProcess
from harness.records import Cadence
from harness.summary import cells
from harness.visits import joined
from microbench.gemm import product
from microbench.gemm.peak import PeakParams, peak

EDGES = {"low": 512, "high": 4096, "step": 512}


class Checking(SimulatedMeter):
    """Modelled times, and products that are really made to be checked."""

    def verify(self, task):
        task.check()


def place(landscape="tiles", meter=SimulatedMeter, device="meta", **stubs):
    """A context whose durations come from a landscape."""

    def timing(operation):
        return LANDSCAPES[landscape](*operation.shape) * operation.flops

    ctx = context(device, free=1 << 38, **stubs)
    return replace(ctx, meter=meter(timing, ctx.ranks, seed=1))


def find(ctx, **given):
    return peak(ctx, PeakParams(**({"dtype": "bfloat16"} | EDGES | given)))


@pytest.mark.parametrize("landscape", LANDSCAPES)
def test_the_best_is_within_two_percent_and_measured_anew(landscape):
    best, *trials = find(place(landscape), seconds=60.0)
    times = every(LANDSCAPES[landscape])
    shape = tuple(best.params[edge] for edge in "mnk")
    assert min(times.values()) / times[shape] >= 0.98
    assert best.metric == "time.streaming"
    assert len(best.samples) >= 3
    assert {rate.name: rate.amount for rate in best.rates}["flops"] == 2.0 * shape[0] * shape[1] * shape[2]
    own = next(trial for trial in trials if trial.params == best.params)
    assert not set(own.samples) & set(best.samples)
    assert f"best of {len(trials)} shapes timed, 0.1 of 512, within 60 s" in best.evidence.flags


def test_every_trial_is_kept_as_a_bid():
    best, *trials = find(place(), seconds=60.0)
    assert len({tuple(trial.params.values()) for trial in trials}) == len(trials) == 51
    for trial in trials:
        assert trial.metric == "trial.streaming"
        assert trial.cadence is Cadence.STREAMING
        assert len(trial.samples) % 3 == 0
        assert trial.rates == ()
        assert trial.evidence.width is None
    again = joined((best, *trials), (best, *trials))
    assert len(again) == len(trials) + 1  # a second visit's trials join the first's


def test_a_report_has_one_rate_the_winners(tmp_path):
    from harness.records import SCHEMA, Ok, Record

    record = Record(SCHEMA, "gemm.peak", 1, EDGES, 0, Ok(), tuple(find(place(), seconds=60.0)))
    (cell,) = cells([record])
    assert [figure.name for figure in cell.figures if figure.name == "flops"] == ["flops"]
    assert sum(figure.name == "trial" for figure in cell.figures) == 51


@pytest.mark.parametrize("seconds", [0.05, 0.5, 0.0])
def test_it_keeps_to_its_budget(seconds):
    """0 stands for four caps of the visit. A trial, and the winner's samples, may run over its end."""
    ctx = place()
    policy = msgspec.structs.replace(ctx.policy, cap=0.02)
    best, *trials = find(replace(ctx, policy=policy), seconds=seconds)
    assert trials
    assert best.params in [trial.params for trial in trials]
    assert ctx.meter.now() < (seconds or 4 * policy.cap) + 0.2


def test_all_ranks_drop_a_shape_that_one_of_them_cannot_make():
    """Another rank has less memory: what it skips, this one does not time."""

    @dataclass(frozen=True)
    class BesideAnother(OneProcess):
        world: int = 2

        def words(self, text):
            large = asked and max(asked[-1]) > 3000
            return [text, "needs 9 GiB on cuda, and 8 GiB may be used" if large else ""]

    asked, accelerator = [], StubAccelerator()
    refuses = accelerator.refuses
    accelerator.refuses = lambda operation: asked.append(operation.shape) or refuses(operation)
    ctx = replace(place(accelerator=accelerator), ranks=BesideAnother())
    best, *trials = find(ctx, seconds=60.0)
    assert max(best.params.values()) < 3000
    assert all(max(trial.params.values()) < 3000 for trial in trials)


def test_a_type_that_the_device_lacks_is_one_skip():
    with pytest.raises(Skip, match="no matrix units"):
        find(place(accelerator=StubAccelerator(reason="no matrix units for it")))


def test_no_memory_for_any_shape_is_a_skip_that_says_so():
    ctx = place()
    with pytest.raises(Skip, match=r"needs .* may be used"):
        find(replace(ctx, arena=context("meta", free=1 << 16).arena))


def test_a_wrong_product_ends_the_search(monkeypatch):
    monkeypatch.setattr(product, "_plain", lambda a, b, c: torch.mm(a[:, 1:], b[1:], out=c))
    ctx = place(meter=Checking, device="cpu")
    with pytest.raises(WrongAnswer, match="float32 product: element"):
        find(ctx, low=16, high=64, step=16, dtype="float32", seconds=1.0)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"low": 2048, "high": 1024}, "low=2048 lies above high=1024"),
        ({"dtype": "float8", "low": 100}, "multiples of 16"),
        ({"dtype": "float8", "low": 128, "step": 8}, "multiples of 16"),
        ({"step": 0}, ">= 1"),
        ({"seconds": -1.0}, ">= 0"),
        ({"dtype": "float12"}, "Invalid enum value"),
    ],
)
def test_parameters_that_make_no_range_are_refused(given, said):
    with pytest.raises(msgspec.ValidationError, match=said):
        msgspec.convert(given, PeakParams)


def test_a_range_of_one_shape_is_measured():
    best, trial = find(place(), low=1024, high=1024, seconds=1.0)
    assert best.params == trial.params == {"m": 1024, "n": 1024, "k": 1024}
