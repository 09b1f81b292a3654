"""Memory formulas of ZeRO and the efficiency model of ZeRO-Infinity, against the papers' own figures."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import models
from harness.models import swapping
from harness.models.zero import MOST_LAYERS, Plan, Tiers, deepest, largest, model_states, needed

TABLE = {0: 120.0, 1: 31.4, 2: 16.6, 3: 1.88}  # GB of 7.5 B parameters on 64 devices: ZeRO, figure 1


@pytest.mark.parametrize(("stage", "gigabytes"), TABLE.items())
def test_stages_take_what_the_paper_prints(stage: int, gigabytes: float) -> None:
    held = model_states(7.5e9, Plan(stage, ranks=64, local=8))
    assert held.device / 1e9 == pytest.approx(gigabytes, rel=0.005)
    assert (held.host, held.nvme) == (0, 0)


def test_offloading_moves_states_and_loses_none() -> None:
    stage3 = Plan(3, ranks=8, local=8)
    for optimizer in ("none", "cpu", "nvme"):
        for weights in ("none", "cpu", "nvme"):
            plan = Plan(3, 8, 8, optimizer, weights)
            held = model_states(1e9, plan)
            assert 8 * held.device + held.host + held.nvme == pytest.approx(16e9)
    assert model_states(1e9, Plan(3, 8, 8, "nvme", "nvme")) == Tiers(0, 0, 16e9)
    assert model_states(1e9, stage3).device == pytest.approx(2e9)


def test_stage_1_keeps_gradients_on_the_device_when_the_optimizer_is_offloaded() -> None:
    assert model_states(1e9, Plan(1, 1, 1, "cpu")) == Tiers(4e9, 12e9, 0)
    assert model_states(1e9, Plan(2, 1, 1, "cpu")) == Tiers(2e9, 14e9, 0)


@given(limit=st.integers(0, 5000), guess=st.integers(-3, 6000), most=st.integers(1, 6000))
def test_bisection_finds_the_greatest_and_asks_nothing_twice(limit: int, guess: int, most: int) -> None:
    asked = list[int]()

    def fits(layers: int) -> bool:
        asked.append(layers)
        return layers <= limit

    assert deepest(fits, guess, most) == min(limit, most)
    assert len(asked) == len(set(asked)) <= 2 + 2 * math.ceil(math.log2(most + 1))
    assert all(1 <= layers <= most for layers in asked)


@pytest.mark.parametrize("apart", [True, False])
def test_the_largest_model_fits_and_one_layer_more_does_not(apart: bool) -> None:
    model, plan, room = models.load("llama3-8b"), Plan(3, 8, 8, "cpu"), Tiers(80e9, 2e12, 0)
    layers = largest(model, plan, room, 2048, 1, apart=apart)
    for depth, right in ((layers, True), (layers + 1, False)):
        held = needed(msgspec.structs.replace(model, layers=depth), plan, 2048, 1)
        assert (held if apart else held.together(8)).within(room) is right


def test_nothing_fits_into_nothing_and_a_bottomless_tier_has_a_bound() -> None:
    model = models.load("tiny")
    assert largest(model, Plan(0), Tiers(1e6, 0, 0), 128, 1) == 0
    assert largest(model, Plan(0), Tiers(math.inf, 0, 0), 128, 1) == MOST_LAYERS


def test_efficiency_is_half_where_traffic_takes_as_long_as_computing() -> None:
    ait = swapping.intensity("parameters", 1024, 2, 4096)
    assert ait == 2048
    assert swapping.efficiency(ait, bandwidth=70e12 / 2048, peak=70e12) == 0.5
    assert swapping.intensity("optimizer", 1024, 2, 4096) == ait / 4
    assert swapping.intensity("activations", 1024, 2, 4096, 2) == 24 * 4096 * 2


def test_the_bandwidth_asked_for_gives_the_efficiency_asked_for() -> None:
    for state in swapping.STATES:
        ait = swapping.intensity(state, 1024, 1, 8192)
        assert swapping.efficiency(ait, swapping.bandwidth_for(ait, 70e12, 0.9), 70e12) == pytest.approx(0.9)


seconds = st.floats(1e-3, 1e3)


@given(seconds, seconds, seconds, st.floats(0, 1e3), st.floats(0, 1e3))
def test_overlapping_never_loses(forward: float, backward: float, update: float, first: float, rest: float) -> None:
    work, swaps = swapping.Work(forward, backward, update), swapping.Swaps(first, rest)
    flat, shared, apart = swapping.unhidden(work, swaps), *(swapping.overlapped(work, swaps, a) for a in (False, True))
    assert flat <= shared * (1 + 1e-9)
    assert shared <= apart * (1 + 1e-9)
    assert shared <= 1 + 1e-9, "one processor cannot do more than all of its work at once"


def test_a_schedule_is_bound_by_the_longest_of_what_it_overlaps() -> None:
    work = swapping.Work(1.0, 2.0, 1.0)
    assert swapping.overlapped(work, swapping.Swaps(3.0, 5.0), apart=True) == 4 / (3 + 5)
    assert swapping.overlapped(work, swapping.Swaps(0.0, 0.0), apart=True) == 4 / (1 + 2)
    assert swapping.unhidden(work, swapping.Swaps(1.0, 3.0)) == 0.5
