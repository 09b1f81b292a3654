"""Every decision of `measure`, taken by a meter whose durations are scripted."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.accelerator import Operation
from harness.errors import WrongAnswer
from harness.policy import Policy
from harness.records import Cadence, Measurement, Origin, Rate
from harness.sampling import FEWEST, Block, Task, measure
from harness.units import Unit

STEADY = 1e-3  # s
POLICY = Policy()
RATE = Rate("flops", 1e9, Unit.FLOP_PER_SECOND)


def fail() -> None:
    raise WrongAnswer("2 + 2 = 5")


def task(check: Callable[[], None] = lambda: None, flags: tuple[str, ...] = ()) -> Task:
    return Task(Operation("gemm", "mm", "float32"), lambda _: None, (RATE,), check=check, rotation=7, flags=flags)


@dataclass
class Scripted:
    """durations: of successive operations, in s. taints: by number of the block, from 0."""

    durations: Iterator[float]
    taints: dict[int, str] = field(default_factory=dict)
    resolution: float = 0.0
    origin: Origin = Origin.MEASURED
    clock: float = 0.0
    blocks: list[tuple[int, int]] = field(default_factory=list)  # samples, operations
    checks: list[int] = field(default_factory=list)  # blocks taken before each check

    def now(self) -> float:
        return self.clock

    def verify(self, task: Task) -> None:
        self.checks.append(len(self.blocks))
        task.check()

    def block(self, task: Task, cadence: Cadence, samples: int, operations: int) -> Block:
        values = [
            sum(itertools.islice(self.durations, operations)) / operations for _ in range(samples)
        ]  # fmt: skip
        taint = self.taints.get(len(self.blocks))
        self.blocks.append((samples, operations))
        wall = sum(values) * operations
        self.clock += wall
        middle = float(np.median(values))
        return Block(values, [middle, 2 * middle], wall, [1e-6 * (i + 1) for i in range(samples)], taint)


def steady(each: float = STEADY, noise: float = 0.0, seed: int = 0) -> Iterator[float]:
    rng = np.random.default_rng(seed)
    while True:
        yield from each * rng.lognormal(0, noise, 1024) if noise else itertools.repeat(each, 1024)


def run(
    meter: Scripted, policy: Policy = POLICY, cadence: Cadence = Cadence.ISOLATED, what: Task | None = None
) -> Measurement:
    return measure(meter, what or task(), cadence, policy)


class TestWarmUp:
    def test_a_steady_cell_needs_the_minimum(self) -> None:
        """One operation, then blocks of 3 and 6 that agree."""
        meter = Scripted(steady())
        evidence = run(meter).evidence
        assert meter.blocks[:3] == [(1, 1), (3, 1), (6, 1)]
        assert (evidence.warmup, evidence.settled) == (10, True)

    def test_a_decaying_cell_needs_more_and_none_of_it_is_sampled(self) -> None:
        """Durations fall from 3 times to the steady one with a time constant of 10 operations."""
        decaying = (STEADY * (1 + 2 * np.exp(-i / 10)) for i in itertools.count())
        measurement = run(Scripted(decaying))
        assert measurement.evidence.settled
        assert measurement.evidence.warmup > 30
        assert max(measurement.samples) < 1.05 * STEADY

    def test_the_first_operation_is_never_compared(self) -> None:
        meter = Scripted(itertools.chain([1000 * STEADY], steady()))
        assert run(meter, Policy(warmup_cap=10.0)).evidence.warmup == 10

    def test_a_cell_that_never_settles_stops_at_its_cap_and_says_so(self) -> None:
        growing = (STEADY * 1.2**i for i in itertools.count())
        evidence = run(Scripted(growing), Policy(warmup_cap=0.05)).evidence
        assert not evidence.settled
        assert "warm-up did not settle before its cap" in evidence.flags

    def test_and_at_its_number_of_operations(self) -> None:
        growing = (1e-9 * 1.05**i for i in range(5000))
        evidence = run(Scripted(growing), Policy(warmup_maximum=100, cap=1e-6, maximum=50)).evidence
        assert (evidence.warmup, evidence.settled) == (100, False)


class TestStopping:
    def test_at_the_width_with_the_fewest_samples_that_show_it(self) -> None:
        measurement = run(Scripted(steady()))
        assert measurement.evidence.stopped == "width reached"
        assert len(measurement.samples) == POLICY.minimum
        assert measurement.evidence.width == 0.0

    def test_noise_takes_more_samples_and_reaches_the_width(self) -> None:
        measurement = run(Scripted(steady(noise=0.05)))
        assert measurement.evidence.stopped == "width reached"
        assert len(measurement.samples) > 2 * POLICY.minimum
        assert measurement.evidence.width is not None
        assert measurement.evidence.width <= POLICY.width

    def test_a_short_operation_is_content_with_the_wider_interval(self) -> None:
        short, long = (len(run(Scripted(steady(each, noise=0.03))).samples) for each in (90e-6, 110e-6))
        assert short == POLICY.minimum < long

    def test_at_the_time_cap_with_the_width_it_has(self) -> None:
        meter = Scripted(steady(10e-3, noise=1.0))
        measurement = run(meter, Policy(cap=0.5))
        assert measurement.evidence.stopped == "time cap"
        assert measurement.evidence.width is not None
        assert measurement.evidence.width > POLICY.width
        assert 0.5 <= sum(measurement.samples) < 0.7

    def test_at_the_sample_cap(self) -> None:
        measurement = run(Scripted(steady(1e-6, noise=3.0)), Policy(maximum=60))
        assert measurement.evidence.stopped == "sample cap"
        assert len(measurement.samples) == 60

    def test_an_operation_longer_than_the_cap_is_measured_a_few_times(self) -> None:
        measurement = run(Scripted(steady(5.0)))
        assert measurement.evidence.stopped == "time cap"
        assert len(measurement.samples) == FEWEST

    @given(st.floats(1e-7, 1.0), st.floats(0.0, 2.0), st.integers(0, 9), st.sampled_from(Cadence))
    def test_no_limit_is_ever_passed(self, each: float, noise: float, seed: int, cadence: Cadence) -> None:
        policy = Policy(cap=0.2, warmup_cap=0.1, maximum=200, warmup_maximum=50)
        meter = Scripted(steady(each, noise, seed))
        measurement = run(meter, policy, cadence)
        evidence = measurement.evidence
        assert 1 <= len(measurement.samples) <= policy.maximum
        assert evidence.warmup <= policy.warmup_maximum
        assert evidence.stopped in ("width reached", "time cap", "sample cap")
        if evidence.stopped == "width reached":
            assert evidence.width is not None
            assert evidence.width <= policy.latency_width
        assert all(samples >= 1 and operations >= 1 for samples, operations in meter.blocks)


class TestTaint:
    FIRST = 3  # blocks of the warm-up of a steady cell

    def test_a_disturbed_block_is_measured_again_and_counted(self) -> None:
        slow = itertools.chain(steady_for(10), [9 * STEADY] * POLICY.minimum, steady())
        measurement = run(Scripted(slow, taints={self.FIRST: "steal 20 %"}))
        assert measurement.evidence.tainted == 1
        assert set(measurement.samples) == {STEADY}
        assert not any("disturbed" in flag for flag in measurement.evidence.flags)

    def test_what_is_disturbed_too_often_is_kept_and_flagged(self) -> None:
        meter = Scripted(steady(), taints=dict.fromkeys(range(self.FIRST, 99), "steal 20 %"))
        evidence = run(meter, Policy(remeasure=2)).evidence
        assert evidence.tainted == 2
        assert evidence.flags == ("disturbed blocks among the samples: 1 (steal 20 %)",)

    def test_what_is_disturbed_at_the_time_cap_is_kept_and_flagged(self) -> None:
        meter = Scripted(steady(5.0), taints={self.FIRST: "throttled"})
        evidence = run(meter, Policy(warmup_cap=100.0)).evidence
        assert evidence.tainted == 0
        assert evidence.flags == ("disturbed blocks among the samples: 1 (throttled)",)

    def test_a_calm_block_after_many_disturbed_ones_is_not_flagged(self) -> None:
        meter = Scripted(steady(), taints={self.FIRST: "x", self.FIRST + 1: "x"})
        evidence = run(meter, Policy(remeasure=2)).evidence
        assert (evidence.tainted, evidence.flags) == (2, ())


def steady_for(operations: int) -> list[float]:
    return [STEADY] * operations


class TestOperationsPerSample:
    def test_isolated_is_one_by_one(self) -> None:
        assert run(Scripted(steady())).evidence.block == 1

    @pytest.mark.parametrize(
        ("each", "resolution", "operations"), [(1e-6, 1e-9, 1), (1e-6, 20e-9, 1), (1e-6, 40e-9, 2), (1e-6, 1e-6, 50)]
    )
    def test_a_sample_lasts_fifty_resolutions(self, each: float, resolution: float, operations: int) -> None:
        meter = Scripted(steady(each), resolution=resolution)
        measurement = run(meter)
        assert measurement.evidence.block == operations
        assert measurement.evidence.block * each >= 50 * resolution * (1 - 1e-9)
        assert measurement.samples[0] == pytest.approx(each)

    @pytest.mark.parametrize(("each", "operations"), [(1e-6, 1000), (20e-6, 100), (1e-3, 5), (0.2, 3), (5.0, 2)])
    def test_streaming_amortises_its_one_synchronisation(self, each: float, operations: int) -> None:
        meter = Scripted(steady(each))
        measurement = run(meter, cadence=Cadence.STREAMING)
        assert measurement.evidence.block == pytest.approx(operations, abs=1)
        assert measurement.samples[0] == pytest.approx(each)
        assert meter.blocks[-1][1] == measurement.evidence.block


class TestMeasurement:
    def test_says_what_it_is(self) -> None:
        measurement = run(Scripted(steady(), origin=Origin.MODELLED), cadence=Cadence.STREAMING)
        assert measurement.metric == "time.streaming"
        assert (measurement.unit, measurement.cadence, measurement.origin, measurement.rates) == (
            Unit.SECOND, Cadence.STREAMING, Origin.MODELLED, (RATE,),
        )  # fmt: skip

    def test_carries_the_evidence(self) -> None:
        evidence = run(Scripted(steady()), what=task(flags=("hot cache",))).evidence
        assert evidence.rank_medians == (STEADY, 2 * STEADY)
        assert evidence.skew_median == pytest.approx(5.5e-6)
        assert evidence.skew_max == pytest.approx(10e-6)
        assert (evidence.rotation, evidence.flags) == (7, ("hot cache",))

    def test_the_result_is_checked_before_and_after_the_samples_and_not_between(self) -> None:
        meter = Scripted(steady(noise=0.05))
        run(meter)
        assert len(meter.blocks) > 4
        assert meter.checks == [3, len(meter.blocks)]

    def test_a_wrong_answer_gives_no_number(self) -> None:
        with pytest.raises(WrongAnswer, match=r"2 \+ 2 = 5"):
            run(Scripted(steady()), what=task(check=fail))
