"""The timed loops on a scripted device: what is timed, in which order, and how ranks are merged."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from harness.accelerator import Operation
from harness.errors import WrongAnswer
from harness.meter import TorchMeter, timer_honesty
from harness.policy import Policy
from harness.ranks import Team
from harness.records import Cadence
from harness.sampling import Task

GROUP = Operation(kind="collective", name="all_reduce", dtype="float32", bytes=1024.0, ranks=2)
DEVICE = Operation(kind="gemm", name="mm", dtype="float32", flops=1.0)


class FakeDevice:
    """A device whose clock moves only when something is done on it."""

    name = "fake"

    def __init__(self, cost: float = 1.0) -> None:
        self.time, self.cost, self.log = 0.0, cost, list[str]()

    def step(self, index: int) -> None:
        self.log.append(f"step {index}")
        self.time += self.cost

    def align(self) -> None:
        self.log.append("align")
        self.time += 0.25

    def synchronise(self) -> None:
        self.log.append("sync")

    def stopwatch(self, regions: int) -> FakeWatch:
        return FakeWatch(self, regions)


class FakeWatch:
    def __init__(self, device: FakeDevice, regions: int) -> None:
        self._device, self._begin, self._spent = device, [0.0] * regions, [0.0] * regions

    def start(self, index: int) -> None:
        self._begin[index] = self._device.time

    def stop(self, index: int) -> None:
        self._spent[index] = self._device.time - self._begin[index]

    def seconds(self) -> list[float]:
        return self._spent


class TwoRanks:
    """This rank and a scripted other one, whose values are this rank's times a factor."""

    rank, world, local = 0, 2, 0

    def __init__(self, factor: float = 1.0, other: str = "") -> None:
        self.factor, self.other = factor, other

    def barrier(self) -> None:
        return

    def agree(self, value: float) -> float:
        return value

    def column(self, value: float) -> list[float]:
        return [value, value * self.factor]

    def rows(self, values: Sequence[float]) -> list[list[float]]:
        return [list(values), [value * self.factor for value in values]]

    def maximum(self, values: Sequence[float]) -> list[float]:
        return [max(value, value * self.factor) for value in values]

    def words(self, text: str) -> list[str]:
        return [text, self.other]


class Calm:
    def disturbed(self, begin: float, end: float, policy: Policy) -> str | None:
        return None


class Shaken(Calm):
    def disturbed(self, begin: float, end: float, policy: Policy) -> str | None:
        return "12 % of CPU time was stolen"


def meter(device: FakeDevice, ranks: TwoRanks, sampler: Calm | None = None) -> TorchMeter:
    made = TorchMeter(device, ranks, Policy(), sampler or Calm())  # type: ignore[arg-type]
    device.log.clear()
    return made


def task(device: FakeDevice, operation: Operation = GROUP) -> Task:
    team = Team(((0, 1),), 0, (0, 1), device.align) if operation is GROUP else None
    return Task(operation, device.step, (), team=team)


def test_isolated_operations_are_aligned_before_and_synchronised_after_each() -> None:
    device = FakeDevice()
    block = meter(device, TwoRanks()).block(task(device), Cadence.ISOLATED, 2, 1)
    assert device.log == ["sync", "align", "step 0", "sync", "align", "step 1", "sync"]
    assert block.samples == [1.0, 1.0]  # the alignment is not in it


def test_streaming_operations_follow_each_other_with_one_synchronisation_a_sample() -> None:
    device = FakeDevice()
    block = meter(device, TwoRanks()).block(task(device), Cadence.STREAMING, 2, 3)
    assert device.log == [
        "sync",
        "align",
        "step 0",
        "step 1",
        "step 2",
        "sync",
        "align",
        "step 3",
        "step 4",
        "step 5",
        "sync",
    ]
    assert block.samples == [1.0, 1.0]  # of one operation


def test_an_operation_too_short_for_the_timer_is_measured_in_blocks_that_stay_isolated() -> None:
    device = FakeDevice()
    block = meter(device, TwoRanks()).block(task(device), Cadence.ISOLATED, 1, 2)
    assert device.log == ["sync", "align", "step 0", "sync", "step 1", "sync"]
    assert block.samples == [1.0]


def test_a_device_by_itself_is_not_aligned() -> None:
    device = FakeDevice()
    block = meter(device, TwoRanks()).block(task(device, DEVICE), Cadence.ISOLATED, 1, 1)
    assert "align" not in device.log
    assert block.skews == []


class OtherWorks(TwoRanks):
    """This rank only waits; the other one's alignment took 0.25 s and its operation 2 s."""

    def column(self, value: float) -> list[float]:
        return [value, 2.0]

    def maximum(self, values: Sequence[float]) -> list[float]:
        if len(values) == 1:
            return list(values)  # the timer's resolution
        samples = (len(values) - 2) // 3
        theirs = [2.0] * samples + [0.25] * samples + [-0.25] * samples + [2.5, 0.0]
        return [max(mine, other) for mine, other in zip(values, theirs, strict=True)]


def test_a_rank_that_takes_no_part_does_nothing_and_counts_for_nothing() -> None:
    device = FakeDevice()
    waiting = Task(GROUP, device.step, (), team=Team(((1,),), None))
    block = meter(device, OtherWorks()).block(waiting, Cadence.ISOLATED, 3, 1)
    assert device.log == []
    assert block.samples == [2.0] * 3
    assert block.rank_medians == [2.0]
    assert block.skews == [0.0] * 3


def test_durations_of_each_rank_of_a_team_in_its_order() -> None:
    device = FakeDevice()
    pair = Task(GROUP, device.step, (), team=Team(((1, 0),), 1, (1, 0), device.align))
    table = meter(device, TwoRanks(factor=1.5)).by_rank(pair, Cadence.ISOLATED, 2)
    assert table == [[1.5, 1.5], [1.0, 1.0]]


def test_a_sample_is_the_slowest_rank_and_the_median_of_each_rank_is_kept() -> None:
    device = FakeDevice()
    block = meter(device, TwoRanks(factor=1.2)).block(task(device), Cadence.ISOLATED, 3, 1)
    assert block.samples == pytest.approx([1.2] * 3)
    assert block.rank_medians == pytest.approx([1.0, 1.2])


def test_the_skew_is_the_difference_of_the_waits_in_the_alignment() -> None:
    device = FakeDevice()
    block = meter(device, TwoRanks(factor=3.0)).block(task(device), Cadence.ISOLATED, 2, 1)
    assert block.skews == pytest.approx([0.5, 0.5])  # one waited 0.25 s, the other 0.75 s


def test_a_disturbance_of_one_rank_taints_the_block_on_all() -> None:
    device = FakeDevice()
    assert meter(device, TwoRanks(), Shaken()).block(task(device), Cadence.ISOLATED, 1, 1).taint is not None
    assert meter(device, TwoRanks()).block(task(device), Cadence.ISOLATED, 1, 1).taint is None


def test_a_wrong_answer_anywhere_is_a_wrong_answer_everywhere() -> None:
    device = FakeDevice()
    with pytest.raises(WrongAnswer, match=r"rank 1: index 3: got 5, expected 4"):
        meter(device, TwoRanks(other="index 3: got 5, expected 4")).verify(task(device))
    meter(device, TwoRanks()).verify(task(device))


def test_this_ranks_wrong_answer_is_told_to_the_others() -> None:
    device = FakeDevice()

    def check() -> None:
        raise WrongAnswer("index 0")

    with pytest.raises(WrongAnswer, match="rank 0: index 0"):
        meter(device, TwoRanks()).verify(Task(GROUP, device.step, (), check=check))


def test_timer_honesty_reads_resolution_and_cost_from_empty_regions() -> None:
    class Ticking(FakeWatch):
        def start(self, index: int) -> None:
            super().start(index)
            self._device.time += (index % 3) * 1e-7

    device = FakeDevice()
    device.stopwatch = lambda regions: Ticking(device, regions)  # type: ignore[method-assign]
    timer = timer_honesty(device)  # type: ignore[arg-type]
    assert timer.resolution == pytest.approx(1e-7, rel=1e-3)
    assert timer.overhead == pytest.approx(1e-7, rel=1e-3)
