"""The sampler with scripted probes: what it remembers, what it calls a disturbance, how it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.policy import Policy
from harness.telemetry import Joined, ProbeLost, Sampler, Throttle

POLICY = Policy(steal=0.05)


class Scripted:
    """A probe that answers what it is told to; the last answer repeats."""

    def __init__(self, *answers: Mapping[str, float] | Exception) -> None:
        self.answers = list(answers)
        self.reads = 0
        self.closed = False

    def read(self) -> Mapping[str, float]:
        self.reads += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        self.closed = True


def until(condition: Callable[[], object]) -> None:
    end = time.perf_counter() + 20
    while not condition():
        assert time.perf_counter() < end, "waited in vain"
        time.sleep(0.001)


Make = Callable[..., tuple[Sampler, Scripted]]


@pytest.fixture
def make() -> Iterator[Make]:
    """Samplers whose thread reads once and then sleeps, so that a test decides what is read when."""
    made: list[Sampler] = []

    def start(
        *answers: Mapping[str, float] | Exception, period: float = 0.002, once: bool = False
    ) -> tuple[Sampler, Scripted]:
        probe = Scripted(*answers)
        sampler = Sampler(probe, period=3600 if once else period, stale=0.0 if once else 3600)
        made.append(sampler)
        until(lambda: sampler.summary() or sampler.ended)
        return sampler, probe

    yield start
    for sampler in made:
        sampler.close()


def test_it_samples_at_its_pace(make: Make) -> None:
    _, probe = make({"load": 1.0}, period=0.02)
    begin, reads = time.perf_counter(), probe.reads
    time.sleep(0.3)
    expected = (time.perf_counter() - begin) / 0.02
    assert 1 <= probe.reads - reads <= expected + 2


def test_the_summary_is_least_median_and_greatest(make: Make) -> None:
    sampler, _ = make({"power": 3.0}, {"power": 1.0, "ecc": 0.0}, {"power": 2.0}, {"steal": 0.0})
    until(lambda: "steal" in sampler.summary())
    summary = sampler.summary()
    assert summary["power"] == (1.0, 2.0, 3.0)
    assert summary["ecc"] == (0.0, 0.0, 0.0)


def test_reset_forgets(make: Make) -> None:
    sampler, _ = make({"power": 9.0}, {"power": 1.0})
    until(lambda: sampler.summary()["power"][0] == 1.0)
    sampler.reset()
    until(lambda: "power" in sampler.summary())
    assert sampler.summary()["power"] == (1.0, 1.0, 1.0)


def test_memory_is_bounded() -> None:
    sampler = Sampler(probe := Scripted({"x": 1.0}), period=0.0005, kept=5)
    until(lambda: probe.reads > 30)
    assert len(sampler.window(0.0, time.perf_counter())["x"]) <= 5
    sampler.close()


def test_a_window_has_the_samples_whose_time_it_overlaps(make: Make) -> None:
    before = time.perf_counter()
    sampler, _ = make({"x": 1.0}, once=True)
    now = time.perf_counter()
    assert sampler.window(before, now) == {"x": [1.0]}
    assert sampler.window(now + 1, now + 2) == {}
    assert sampler.window(before - 2, before - 1) == {}


def test_a_short_block_after_the_last_sample_is_still_judged(make: Make) -> None:
    """Ten readings a second would miss most blocks of 20 ms: the judge reads once more."""
    sampler, probe = make({"steal": 0.0}, {"steal": 0.5}, once=True)
    begin = time.perf_counter()
    reason = sampler.disturbed(begin, time.perf_counter(), POLICY)
    assert reason == "50% of CPU time was stolen by the hypervisor (limit 5%)"
    assert probe.reads == 2


def test_a_judge_does_not_wait_for_a_slow_driver() -> None:
    hold, inside = threading.Event(), threading.Event()

    class Slow(Scripted):
        def read(self) -> Mapping[str, float]:
            if self.reads:
                inside.set()
                hold.wait(20)
            return super().read()

    sampler = Sampler(Slow({"steal": 0.9}), period=0.001)
    assert inside.wait(20)
    begin = time.perf_counter()
    sampler.disturbed(begin, begin + 1, POLICY)
    assert time.perf_counter() - begin < 5
    hold.set()
    sampler.close()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"steal": 0.05}, None),
        ({"steal": 0.051}, "stolen by the hypervisor"),
        ({"throttle": 0.0, "power_cap": 1.0}, None),
        ({"throttle": float(Throttle.THERMAL)}, "slowed: thermal"),
        ({"throttle": float(Throttle.HARDWARE | Throttle.POWER_BRAKE)}, "slowed: hardware, power brake"),
        ({"ecc": 7.0}, None),  # old errors
        ({"load": 99.0, "foreign": 1.0}, None),
        ({}, None),
    ],
)
def test_what_disturbs(make: Make, values: dict[str, float], words: str | None) -> None:
    begin = time.perf_counter()
    sampler, _ = make({"load": 1.0, **values})
    reason = sampler.disturbed(begin, time.perf_counter(), POLICY)
    assert (reason is None) if words is None else (words in (reason or ""))


def test_stolen_time_is_averaged_over_the_window(make: Make) -> None:
    sampler, probe = make({"steal": 0.2}, {"steal": 0.0})
    begin = 0.0
    until(lambda: probe.reads > 12)
    assert sampler.disturbed(begin, time.perf_counter(), POLICY) is None
    assert max(sampler.window(begin, time.perf_counter())["steal"]) == 0.2


def test_new_memory_errors_disturb_and_old_ones_do_not(make: Make) -> None:
    sampler, _ = make({"ecc": 3.0}, {"ecc": 5.0}, once=True)
    begin = time.perf_counter()
    assert sampler.disturbed(begin, time.perf_counter(), POLICY) == "2 new uncorrected memory errors"
    begin = time.perf_counter()
    assert sampler.disturbed(begin, time.perf_counter(), POLICY) is None


def test_an_error_between_two_cells_is_seen_after_a_reset(make: Make) -> None:
    sampler, _ = make({"ecc": 3.0}, {"ecc": 4.0}, once=True)
    sampler.reset()
    begin = time.perf_counter()
    assert sampler.disturbed(begin, time.perf_counter(), POLICY) == "1 new uncorrected memory errors"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ProbeLost("device 3: GPU is lost"), "device 3: GPU is lost"),
        (OSError("no such file"), "OSError: no such file"),
        (ValueError("odd answer"), "ValueError: odd answer"),
    ],
)
def test_a_failing_probe_ends_the_sampler_and_nothing_else(make: Make, error: Exception, said: str) -> None:
    sampler, probe = make({"power": 7.0}, error)
    until(lambda: sampler.ended)
    reads = probe.reads
    assert sampler.ended == said
    assert sampler.disturbed(0.0, time.perf_counter(), POLICY) is None
    assert sampler.summary() == {"power": (7.0, 7.0, 7.0)}
    assert probe.reads == reads


def test_closing_stops_reading_and_closes_the_probe() -> None:
    probe = Scripted({"x": 1.0})
    sampler = Sampler(probe, period=0.001)
    sampler.close()
    reads = probe.reads
    time.sleep(0.02)
    assert probe.closed
    assert probe.reads == reads
    assert not sampler._thread.is_alive()


@settings(max_examples=50, deadline=None)
@given(st.sets(st.sampled_from(list(Throttle))))
def test_words_name_every_reason_and_no_other(flags: set[Throttle]) -> None:
    both = Throttle(sum(flags))
    said = set(filter(None, both.words.split(", ")))
    assert said == {(flag.name or "").lower().replace("_", " ") for flag in flags}


def test_errors_that_the_driver_reports_spoil_a_block(make: Make) -> None:
    begin = time.perf_counter()
    sampler, _ = make({"xid_errors": 0.0}, {"xid_errors": 2.0})
    until(lambda: sampler.summary()["xid_errors"][2] == 2.0)
    reason = sampler.disturbed(begin, time.perf_counter(), POLICY)
    assert reason == "2 new XID errors that the driver reported"


def test_what_grew_during_a_cell_is_told_in_words_and_only_once(make: Make) -> None:
    """A cell in which the network sent again is worth a word; old counts, and bytes, are not."""
    sampler, _ = make({"retransmits": 5.0, "sent": 1.0}, {"retransmits": 5.0, "sent": 9.0})
    until(lambda: sampler.summary()["sent"][2] == 9.0)
    assert sampler.troubles() is None
    sampler.close()
    sampler, probe = make({"retransmits": 5.0}, once=True)
    sampler.reset()
    probe.answers = [{"retransmits": 12.0, "congestion": 0.0}]
    sampler.disturbed(0.0, time.perf_counter() + 1, POLICY)
    assert sampler.troubles() == "7 retransmits of the network"
    sampler.reset()
    assert sampler.troubles() is None


def test_joined_probes_read_and_close_as_one() -> None:
    first, second = Scripted({"power": 1.0}), Scripted({"sent": 2.0})
    both = Joined(first, second)
    assert both.read() == {"power": 1.0, "sent": 2.0}
    both.close()
    assert first.closed
    assert second.closed
