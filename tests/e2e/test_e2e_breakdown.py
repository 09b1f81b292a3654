"""The parts of a step: what a profiler saw is shared out without a second counted twice or lost."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2e.breakdown import Event, by_step, events, length, overlap, split, union, without
from e2e.told import EXPOSED, PARTS

SPANS = st.lists(
    st.tuples(st.integers(0, 40), st.integers(1, 9)).map(lambda held: (float(held[0]), float(held[0] + held[1]))),
    max_size=8,
)


def seconds(spans: list[tuple[float, float]]) -> set[int]:
    return {second for begin, end in spans for second in range(int(begin), int(end))}


@given(SPANS, SPANS)
def test_spans_are_sets_of_moments(one: list[tuple[float, float]], other: list[tuple[float, float]]) -> None:
    a, b = union(one), union(other)
    assert seconds(a) == seconds(one)
    assert length(a) == len(seconds(one))
    assert seconds(overlap(a, b)) == seconds(one) & seconds(other)
    assert seconds(without(a, b)) == seconds(one) - seconds(other)
    assert length(without(a, b)) + length(overlap(a, b)) == pytest.approx(length(a))


def made(*rows: tuple[str, str, float, float]) -> list[Event]:
    return [Event("step", "mark", 0.0, 10.0), *(Event(*row) for row in rows)]


def test_only_communication_that_nothing_hides_is_exposed() -> None:
    """Forward computes to 3 and waits to 4; backward's all-reduce is hidden but for its last second."""
    parts = split(
        made(
            ("data", "mark", 0.0, 1.0), ("forward", "mark", 1.0, 4.0), ("backward", "mark", 4.0, 8.0),
            ("optimizer", "mark", 8.0, 9.5), ("aten::mm", "arithmetic", 1.0, 3.0), ("aten::mm", "arithmetic", 4.0, 7.0),
            ("gloo:all_gather", "collective", 3.0, 4.0), ("gloo:all_reduce", "collective", 5.0, 8.0),
        )
    )  # fmt: skip
    found = dict(zip(PARTS, parts.parts, strict=True))
    expected = {"data": 1.0, "forward": 2.0, "backward": 3.0, "optimizer": 1.5, "communication": 2.0, "rest": 0.5}
    assert found == pytest.approx(expected)
    assert parts.step == 10.0


@given(st.lists(st.tuples(st.sampled_from(["data", "forward", "backward", "optimizer"]), st.sampled_from(["mark"]),
                          st.floats(0, 9), st.floats(9, 10)), max_size=1), SPANS, SPANS)  # fmt: skip
def test_the_parts_add_up_to_the_step(phases: list[tuple[str, str, float, float]], busy: list, sent: list) -> None:
    rows = [*phases, *(("aten::mm", "arithmetic", *span) for span in busy),
            *(("gloo:all_reduce", "collective", *span) for span in sent)]  # fmt: skip
    parts = split(made(*rows))
    assert sum(parts.parts) == pytest.approx(parts.step)
    assert parts.parts[PARTS.index(EXPOSED)] <= 10.0 + 1e-9


def seen(name: str, begin: float, end: float, device: str) -> SimpleNamespace:
    return SimpleNamespace(
        name=name, device_type=device, time_range=SimpleNamespace(start=begin * 1e6, end=end * 1e6)
    )  # fmt: skip


def test_on_a_device_its_kernels_count_and_the_hosts_calls_do_not() -> None:
    """A stand-in for a GPU's profile: names as torch, NCCL and RCCL give them."""
    held = list(
        events(
            [
                seen("bench.step", 0, 5, "DeviceType.CUDA"), seen("bench.forward", 0, 3, "DeviceType.CUDA"),
                seen("bench.forward", 0, 1, "DeviceType.CPU"), seen("aten::mm", 0, 1, "DeviceType.CPU"),
                seen("sm90_xmma_gemm_bf16", 0, 2, "DeviceType.CUDA"),
                seen("ncclDevKernel_AllReduce_Sum_bf16_RING_LL", 1, 3, "DeviceType.CUDA"),
            ],
            on_device=True,
        )
    )  # fmt: skip
    assert [one.kind for one in held] == ["mark", "mark", "arithmetic", "collective"]
    (step,) = by_step(held)
    assert dict(zip(PARTS, split(step).parts, strict=True))["communication"] == pytest.approx(1.0)


def test_each_step_has_its_own_events() -> None:
    rows = [Event("step", "mark", 0.0, 1.0), Event("step", "mark", 1.0, 3.0), Event("aten::mm", "arithmetic", 1.5, 2.0)]
    assert [len(held) for held in by_step(rows)] == [1, 2]
