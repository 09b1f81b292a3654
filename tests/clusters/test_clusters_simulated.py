"""The simulated accelerator: declared devices, one process for all ranks, and jitter that is what it says."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
import torch

from clusters.accelerators.simulated import JITTER, Simulated, SimulatedMeter, jitter_note
from harness.accelerator import Accelerator, Operation
from harness.context import Context
from harness.errors import Skip
from harness.hardware import Cluster, Device, Node, Peak
from harness.operands import Arena, Spec
from harness.policy import Policy
from harness.ranks import OneProcess, Ranks
from harness.records import Cadence, Origin
from harness.sampling import Meter, Task, measure
from harness.units import Unit

EACH = 1e-3  # s
WORLD = 1024
REDUCE = Operation("collective", "all_reduce", "float32", bytes=1024.0, ranks=WORLD)
MEMORY = Peak(192e9, Unit.BYTE, "HBM3", "test")


def cluster(memory: Peak | None = MEMORY) -> Cluster:
    return Cluster("toy", "Toy", "rocm", 128, Device("Toy X", "amd", "GPU", ("Toy X",), memory=memory), Node(8))


def never(_: int = 0) -> None:
    raise AssertionError("a simulated operation was executed")


TASK = Task(REDUCE, step=never, rates=(), prepare=never, check=never)


def meter(world: int = WORLD, seed: int = 1, jitter: float = JITTER, slow: dict[int, float] | None = None) -> Meter:
    return SimulatedMeter(lambda _: EACH, OneProcess(world=world), seed, jitter, slow)


def quantile_of_maximum(at: float, world: int, spread: float) -> float:
    return EACH * math.exp(spread * NormalDist().inv_cdf(at ** (1 / world)))


class TestAccelerator:
    def test_is_an_accelerator_of_declared_devices_of_one_node(self) -> None:
        accelerator: Accelerator = Simulated(cluster())
        found = accelerator.found()
        assert [(d.name, d.vendor, d.index, d.memory) for d in found] == [
            ("Toy X", "simulated", index, 192 * 10**9) for index in range(8)
        ]
        assert found[0].details == {"origin": "declared by the definition toy, not detected"}
        assert accelerator.memory_free() == 192 * 10**9
        assert accelerator.refuses(REDUCE) is None
        assert accelerator.probe(0).read() == {}
        assert accelerator.backend() == "nccl"

    def test_memory_that_is_not_declared_is_a_skip(self) -> None:
        with pytest.raises(Skip, match="no memory size known for Toy X"):
            Simulated(cluster(memory=None)).memory_free()

    def test_has_no_clock(self) -> None:
        with pytest.raises(RuntimeError, match="SimulatedMeter"):
            Simulated(cluster()).stopwatch(1)

    def test_a_cell_of_16_gib_touches_no_memory_and_runs_nothing(self) -> None:
        accelerator = Simulated(cluster())
        arena = Arena(accelerator.bind(0, 1), accelerator.memory_free, accelerator.cache(), 1, 0)
        context = Context(accelerator, OneProcess(world=WORLD), meter(), Policy(), arena, 0, WORLD)
        sets = context.operands(Spec((1 << 32,), "float32"), Spec((1 << 32,), "bfloat16"))
        context.require(REDUCE)
        isolated, streaming = context.time(TASK)
        assert context.device == torch.device("meta")
        assert (sets.count, sets.flags) == (1, ())
        assert isolated.origin is streaming.origin is Origin.MODELLED
        assert len(isolated.evidence.rank_medians) == WORLD
        with pytest.raises(Skip, match="needs 256 GiB on meta"):
            context.operands(Spec((1 << 36,), "float32"))


class TestRanks:
    def test_one_process_speaks_for_all(self) -> None:
        ranks: Ranks = OneProcess(world=4)
        assert (ranks.rank, ranks.world, ranks.local) == (0, 4, 0)
        assert ranks.column(2.0) == [2.0] * 4
        assert ranks.words("no") == ["no"] * 4
        assert ranks.maximum([1.0, 2.0]) == [1.0, 2.0]
        assert ranks.agree(3.0) == 3.0


class TestMeter:
    def test_is_repeatable_by_its_seed(self) -> None:
        one, same, other = (measure(meter(seed=s), TASK, Cadence.ISOLATED, Policy()) for s in (1, 1, 2))
        assert one == same
        assert one.samples != other.samples

    def test_without_jitter_it_is_the_model(self) -> None:
        block = meter(jitter=0.0).block(TASK, Cadence.ISOLATED, 5, 1)
        assert block.samples == pytest.approx([EACH] * 5)
        assert block.rank_medians == pytest.approx([EACH] * WORLD)

    @pytest.mark.parametrize("world", [1, 8, WORLD])
    @pytest.mark.parametrize("operations", [1, 25])
    def test_samples_are_distributed_as_the_maximum_over_ranks(self, world: int, operations: int) -> None:
        """Kolmogorov-Smirnov against the exact distribution of the maximum; 1.95/√n is its 0.1 % point."""
        count, spread = 4000, JITTER / math.sqrt(operations)
        samples = np.sort(meter(world).block(TASK, Cadence.STREAMING, count, operations).samples)
        z = np.log(samples / EACH) / spread
        expected = np.array([NormalDist().cdf(value) ** world for value in z])
        steps = np.arange(count + 1) / count
        distance = max(np.abs(expected - steps[1:]).max(), np.abs(expected - steps[:-1]).max())
        assert distance < 1.95 / math.sqrt(count)

    @pytest.mark.parametrize("samples", [1, 2, 5, 10])
    def test_rank_medians_are_distributed_as_medians_of_drawn_samples(self, samples: int) -> None:
        """Two-sample Kolmogorov-Smirnov against rank by rank draws of the log-normal."""
        count, spread = 4000, 0.3
        drawn = np.random.default_rng(0).lognormal(math.log(EACH), spread, (samples, count))
        expected = np.sort(np.median(drawn, axis=0))
        found = np.sort(meter(count, jitter=spread).block(TASK, Cadence.ISOLATED, samples, 1).rank_medians)
        every = np.concatenate([expected, found])
        steps = [np.searchsorted(half, every, side="right") / count for half in (expected, found)]
        assert np.abs(steps[0] - steps[1]).max() < 1.95 * math.sqrt(2 / count)

    def test_a_slow_rank_decides_every_sample_and_stands_out(self) -> None:
        measurement = measure(meter(slow={700: 1.5}), TASK, Cadence.ISOLATED, Policy())
        medians = np.array(measurement.evidence.rank_medians)
        assert int(medians.argmax()) == 700
        assert medians[700] / np.median(medians) == pytest.approx(1.5, rel=0.05)
        assert np.median(measurement.samples) == pytest.approx(1.5 * EACH, rel=0.02)

    def test_the_clock_moves_by_what_was_modelled(self) -> None:
        held = meter()
        block = held.block(TASK, Cadence.STREAMING, 10, 7)
        assert block.wall == pytest.approx(7 * sum(block.samples))
        assert held.now() == block.wall
        assert held.resolution == 0.0

    def test_what_the_model_cannot_time_is_a_skip(self) -> None:
        def lacking(operation: Operation) -> float:
            raise Skip("no dense float8 peak known for Toy X")

        with pytest.raises(Skip, match="no dense float8"):
            measure(SimulatedMeter(lacking, OneProcess(world=2), 0), TASK, Cadence.ISOLATED, Policy())

    def test_the_note_states_the_jitter_and_what_it_does(self) -> None:
        above = quantile_of_maximum(0.5, WORLD, JITTER) / EACH - 1
        assert "by 2%" in jitter_note(WORLD)
        assert f"lies {above:.1%} above the model" in jitter_note(WORLD)
        assert 0.06 < above < 0.07
        median = np.median(meter().block(TASK, Cadence.ISOLATED, 2000, 1).samples)
        assert median / EACH - 1 == pytest.approx(above, abs=0.002)
