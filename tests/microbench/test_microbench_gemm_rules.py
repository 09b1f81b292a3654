"""Sizing rules: widths in turns, their gains, and the work that each stands for."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from microbench_stubs import StubAccelerator, context
from torch.utils.flop_counter import FlopCounterMode

from clusters.accelerators.simulated import SimulatedMeter
from harness.accelerator import Operation
from harness.errors import Skip, WrongAnswer
from harness.policy import Policy
from harness.records import Cadence, Origin
from harness.sampling import Block, Task
from harness.units import Unit
from microbench.gemm import interleaved, rules
from microbench.gemm.rules import MULTIPLES, RuleParams, build, rule, widths

KINDS = ("hidden", "ffn", "expert", "vocab", "head_dim")


@given(width=st.integers(1, 200_000))
def test_widths_are_the_asked_one_first_and_wider_ones_after_it(width):
    asked, *others = widths(width)
    assert asked == width
    assert others == sorted(set(others))
    assert others[0] > width
    for multiple in MULTIPLES:
        padded = -(-width // multiple) * multiple
        assert padded in (width, *others)
    assert width + 1 in others


def test_the_vocabulary_of_gpt2_and_what_it_is_padded_to():
    assert widths(50257) == (50257, 50258, 50264, 50272, 50304, 50432)
    assert widths(4096) == (4096, 4097)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", KINDS)
def test_work_is_right_and_counted(kind, dtype):
    params = RuleParams(kind, 40, 64, 96, dtype)
    task = build(context(), params, 48)
    task.check()
    expected = {"vocab": 6 * 64 * 96 * 48, "head_dim": 12 * 2 * 48 * 64 * 65 // 2}  # 96 // 40 heads
    assert task.operation.flops == expected.get(kind, 2 * 6 * 64 * 96 * 48)
    assert {rate.name: rate.amount for rate in task.rates} == {
        "flops": task.operation.flops, "traffic": task.operation.bytes
    }  # fmt: skip


def test_flop_are_those_that_torch_counts_for_two_layers_in_training():
    params = RuleParams("ffn", 40, 64, 96)
    task = build(context(), params, 40)
    x, up, down = torch.randn(64, 96, requires_grad=True), torch.nn.Linear(96, 40), torch.nn.Linear(40, 96)
    with FlopCounterMode(display=False) as counter:
        down(up(x)).sum().backward()
    assert task.operation.flops == counter.get_total_flops()


@pytest.mark.parametrize("left_out", [0, 1, 2])
@pytest.mark.parametrize("kind", ["ffn", "vocab"])
def test_a_product_of_training_that_is_left_out_is_found(kind, left_out, monkeypatch):
    right = rules._train

    def wrong(tensors):
        results = [tensors[at] for at in (5, 3, 4)]
        before = results[left_out].clone()
        right(tensors)
        results[left_out].copy_(before)

    monkeypatch.setattr(rules, "_train", wrong)
    with pytest.raises(WrongAnswer, match=r"float32 product: element .* is nan"):
        build(context(), RuleParams(kind, 40, 64, 96), 40).check()


def test_gradients_that_miss_the_last_rows_are_found(monkeypatch):
    def wrong(tensors):
        x, w, of_y, of_x, of_w, y = tensors
        torch.mm(x, w.t(), out=y)
        torch.mm(of_y, w, out=of_x)
        torch.mm(of_y[:-16].t(), x[:-16], out=of_w)

    monkeypatch.setattr(rules, "_train", wrong)
    with pytest.raises(WrongAnswer):
        build(context(), RuleParams("ffn", 40, 512, 96), 40).check()


class Drifting:
    """Durations by task name that grow by a thousandth with each block, and now and then are disturbed."""

    origin, resolution = Origin.MEASURED, 0.0

    def __init__(self, times, taints=()):
        self._times, self._taints, self._random = times, set(taints), np.random.default_rng(1)
        self.order, self.clock, self.checked = [], 0.0, []

    def now(self):
        return self.clock

    def verify(self, task):
        self.checked.append(task.operation.name)

    def block(self, task, cadence, samples, operations):
        assert cadence is Cadence.STREAMING
        name = task.operation.name
        drift = 1 + 0.001 * len(self.order)
        each = self._times[name] * drift * self._random.lognormal(0, 0.002, samples)
        self.clock += float(each.sum()) * operations
        taint = "stolen" if len(self.order) in self._taints else None
        self.order.append((name, operations))
        return Block(each.tolist(), [float(np.median(each))], float(each.sum()), taint=taint)


def tasks(*names):
    return [Task(Operation("gemm", name, "float32"), lambda index: None, ()) for name in names]


def test_laps_go_there_and_back_and_drift_falls_on_all_alike():
    meter = Drifting({"a": 1.32e-3, "b": 1.2e-3, "c": 2.4e-3})
    laps = interleaved.take(meter, tasks("a", "b", "c"), Policy(), seconds=60.0)
    timed = "".join(name for name, _ in meter.order)
    assert timed.startswith("abc" + "abccba" + "abccbaabc")  # once to see how long each is; two laps; then samples
    assert laps.warmup == 2
    assert laps.settled
    assert laps.stopped == "width reached"
    assert len(laps.samples[0]) >= interleaved.LAPS
    assert np.median(laps.gain(1)) == pytest.approx(1.1, rel=0.005)
    assert np.median(laps.gain(2)) == pytest.approx(0.55, rel=0.005)
    assert meter.checked == ["a", "b", "c"] * 2
    assert laps.blocks == (2, 2, 1)  # a sample lasts a tenth of a look, 2 ms


def test_disturbed_laps_are_taken_again_and_counted():
    meter = Drifting({"a": 1e-3, "b": 1e-3}, taints=(8, 13))
    laps = interleaved.take(meter, tasks("a", "b"), Policy(), seconds=60.0)
    assert laps.tainted == 2
    assert laps.kept == 0
    steady = Drifting({"a": 1e-3, "b": 1e-3}, taints=range(1000))
    laps = interleaved.take(steady, tasks("a", "b"), Policy(), seconds=60.0)
    assert laps.tainted == Policy().remeasure
    assert laps.kept == len(laps.samples[0])
    assert "disturbed laps" in laps.evidence(tasks("a")[0], 0).flags[0]


def test_laps_end_with_the_time_after_three():
    meter = Drifting({"a": 1.0, "b": 1.0})
    laps = interleaved.take(meter, tasks("a", "b"), Policy(), seconds=0.5)
    assert laps.stopped == "time cap"
    assert len(laps.samples[0]) == 3


def test_a_warm_up_that_does_not_settle_ends_at_its_cap_and_says_so():
    class Slowing(Drifting):
        def block(self, task, cadence, samples, operations):
            self._times = {name: 1.5 * time for name, time in self._times.items()}
            return super().block(task, cadence, samples, operations)

    laps = interleaved.take(Slowing({"a": 0.01, "b": 0.01}), tasks("a", "b"), Policy(), seconds=0.1)
    assert not laps.settled
    assert "did not settle" in laps.evidence(tasks("a")[0], 0).flags[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_planted_gain_is_found_on_a_simulated_device(kind):
    """Whatever is a multiple of 64 runs a tenth faster."""

    def timing(operation):
        return seconds[next(times)]

    known = widths(80)
    seconds = {width: 1e-3 / (1.1 if width % 64 == 0 else 1.0) for width in known}
    ctx = context("meta", free=1 << 38)
    built = []

    class Meter(SimulatedMeter):
        def block(self, task, cadence, samples, operations):
            if task not in built:
                built.append(task)
            nonlocal times
            times = iter([known[built.index(task)]])
            return super().block(task, cadence, samples, operations)

    times = iter(())
    ctx = replace(ctx, meter=Meter(timing, ctx.ranks, seed=3))
    found = rule(ctx, RuleParams(kind, 80, 256, 1024, "bfloat16"))
    gains = {m.params["to"]: m for m in found if m.metric == "gain.streaming"}
    taken = {m.params["to"]: m for m in found if m.metric == "time.streaming"}
    assert tuple(taken) == known
    assert tuple(gains) == known[1:]
    assert np.median(gains[128].samples) == pytest.approx(1.1, rel=0.02)
    assert np.median(gains[81].samples) == pytest.approx(1.0, rel=0.02)
    assert gains[128].unit is Unit.RATIO
    assert gains[128].rates == ()
    assert [rate.name for rate in taken[80].rates] == ["flops", "traffic"]
    assert all(m.evidence.width is not None for m in found)


def test_what_the_device_refuses_is_a_skip():
    ctx = context("meta", accelerator=StubAccelerator(reason="no vector instructions for it"))
    with pytest.raises(Skip, match="no vector instructions"):
        rule(ctx, RuleParams("ffn", dtype="float16"))


def test_too_little_memory_for_a_width_is_a_skip():
    with pytest.raises(Skip, match="may be used"):
        rule(context("meta", free=1 << 20), RuleParams("vocab", 50257))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kind": "head_dim", "width": 80, "dtype": "tf32"}, "no tf32"),
        ({"kind": "head_dim", "width": 80, "edge": 64}, "less than one head"),
        ({"kind": "depth"}, "Invalid enum value"),
        ({"width": 0}, ">= 1"),
    ],
)
def test_parameters_that_make_no_rule_are_refused(given, said):
    with pytest.raises(msgspec.ValidationError, match=said):
        msgspec.convert(given, RuleParams)
