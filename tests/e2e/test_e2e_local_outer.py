"""Outer steps on real ranks, against the papers' formulas worked out apart; what is sent, and when."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2e.asked import Asked
from e2e.local.pairs import partners
from e2e.local.wire import Wire, ring
from harness import children
from harness.child import Place
from harness.models import Model
from harness.records import Struct

SIZE, ROUNDS, STEPS = 40, 5, 3  # weights of a made-up model, outer steps, and local steps where a real one trains
EXACT = 1e-5  # float32 against float64, a few steps on
SMALL = Model(
    title="small", source="made up", layers=1, hidden=16, heads=2, kv_heads=1, head_dim=8, ffn=24, vocabulary=32,
    context=64,
)  # fmt: skip


Rows = dict[str, list[list[float]]]
Arrays = dict[str, np.ndarray]


class Spec(Struct, frozen=True):
    parts: tuple[str, ...]


class Found(Struct, frozen=True):
    """Of one rank: rows of numbers by part and name."""

    rows: dict[str, Rows]


def moves(rank: int) -> np.ndarray:
    """What a round's local steps add to each weight on that rank: (ROUNDS, SIZE), another on each."""
    return np.random.default_rng([7, rank]).normal(0, 0.1, (ROUNDS, SIZE)).astype(np.float32)


def found(ranks: int, folder: Path, *parts: str) -> list[dict[str, Arrays]]:
    """What those parts came to on each rank, in one world."""
    here = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    work = children.Work(f"{Path(__file__).stem}:on_rank", Spec(parts), ranks, environment={"PYTHONPATH": here})
    ended = children.run(work, folder / "world", 120.0)
    assert all(one.ok for one in ended), "\n".join(f"{one.reason}\n{one.log}" for one in ended if not one.ok)
    decoded = [msgspec.json.decode(one.result, type=Found).rows for one in ended]
    return [{part: {name: np.array(rows) for name, rows in one[part].items()} for part in one} for one in decoded]


def on_rank(place: Place) -> Found:
    """The entry of every rank."""
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    try:
        return Found({part: PARTS[part](place.rank, place.world) for part in place.read(Spec).parts})
    finally:
        dist.destroy_process_group()


def _outer_steps(rank: int, world: int) -> Rows:
    """Weights after each outer step of each method, from the same beginning."""
    import torch

    from e2e.local.outer import CO2, DiLoCo, NoLoCo

    makers: dict[str, Callable[..., Any]] = {
        "averaging": lambda held, wire: DiLoCo(held, wire, rate=1.0, momentum=0.0),
        "diloco": DiLoCo,
        "co2": CO2,
        "co2 clipped": lambda held, wire: CO2(held, wire, momentum=0.5, clip=0.02),
        "noloco": lambda held, wire: NoLoCo(held, wire, seed=3, pull=0.4),
    }
    rows = {}
    for name, make in makers.items():
        parameters = [torch.ones(SIZE // 4, 2), torch.ones(SIZE // 2)]
        outer = make(parameters, Wire(rank, world))
        rows[name] = []
        for added in torch.from_numpy(moves(rank)):
            for one, part in zip(parameters, added.split(SIZE // 2), strict=True):
                one += part.view_as(one)
            outer.step()
            rows[name].append(torch.cat([one.flatten() for one in parameters]).tolist())
        outer.finish()
        rows[name].append(torch.cat([one.flatten() for one in parameters]).tolist())
    return rows


def _like_ddp(rank: int, world: int) -> Rows:
    """Weights after each of a few steps of SGD: gradients averaged by DDP; each rank for itself, then averaged."""
    import torch
    from torch import nn

    from e2e import data, network
    from e2e.local.outer import DiLoCo, Flat

    rows = {}
    for name in ("ddp", "diloco"):
        held = network.Network(SMALL)
        network.fill(held, 1)
        called = nn.parallel.DistributedDataParallel(held) if name == "ddp" else held
        inner = torch.optim.SGD(held.parameters(), lr=0.1)
        flat = Flat(list(held.parameters()))
        outer = DiLoCo(list(held.parameters()), Wire(rank, world), rate=1.0, momentum=0.0)
        rows[name] = []
        for step in range(STEPS):
            tokens = torch.from_numpy(data.batch(1, step, 2 * world, rank, world, 17, SMALL.vocabulary))
            network.mean_loss(called(tokens[:, :-1]), tokens[:, 1:]).backward()
            inner.step()
            inner.zero_grad()
            if name == "diloco":
                outer.step()
            rows[name].append(flat.read().tolist())
    return rows


def _sent(rank: int, world: int) -> Rows:
    """B that this rank sent in two rounds of each method: on a link as it is, and on a declared one."""
    import torch

    from e2e.local.courses import Course
    from e2e.local.told import METHODS

    asked = Asked("torch", SMALL, 16, 2 * world, 2, dtype="float32", seed=5)
    rows = {}
    for method in METHODS:
        rows[method] = []
        for bandwidth in (0.0, 1e12):
            wire = Wire(rank, world, bandwidth)
            course = Course(method, asked, torch.device("cpu"), wire, STEPS)
            for _ in range(2):
                course.round()
            course.finish()
            rows[method].append([wire.sent])
    rows["weights"] = [[float(sum(one.numel() for one in course.replica.parameters))]]
    return rows


def _in_flight(rank: int, world: int) -> Rows:
    """Rank 1 enters the all-reduce only when rank 0 says that its local steps after it are done; and a link whose
    clock goes only where someone waits for it."""
    import torch
    import torch.distributed as dist

    from e2e.local.outer import CO2, DiLoCo

    store = dist.distributed_c10d._get_default_store()
    weights = [torch.ones(SIZE)]
    outer = CO2(weights, Wire(rank, world))
    if rank == 0:
        outer.step()
        weights[0] += 1  # a local step of the next round, which rank 1's weights have not come for
        store.set("trained on", "yes")
    else:
        store.wait(["trained on"], timedelta(seconds=30))
        outer.step()
    outer.finish()

    clock, rows = [0.0], {}

    def hold(seconds: float) -> None:
        clock[0] += seconds

    for name, method, meanwhile in (("co2", CO2, 0.0), ("co2 long rounds", CO2, 1000.0), ("diloco", DiLoCo, 0.0)):
        clock[0] = 0.0
        weights = [torch.ones(SIZE)]
        outer = method(weights, Wire(rank, world, bandwidth=1.0, now=lambda: clock[0], hold=hold))
        rows[name] = [[clock[0]]]
        for _ in range(2):
            outer.step()
            rows[name].append([clock[0]])
            clock[0] += meanwhile
            weights[0] += 1
    return rows


PARTS = {"outer": _outer_steps, "ddp": _like_ddp, "sent": _sent, "flight": _in_flight}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Arrays]]:
    return found(2, tmp_path_factory.mktemp("two"), "ddp", "sent", "flight")


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Arrays]]:
    """Three ranks: one of them is always without a partner."""
    return found(3, tmp_path_factory.mktemp("odd"), "outer", "sent")


@pytest.fixture(scope="module")
def three(odd: list[dict[str, Arrays]]) -> list[Arrays]:
    return [one["outer"] for one in odd]


def differences(world: int) -> np.ndarray:
    """What local steps add, on all ranks: (ranks, ROUNDS, SIZE), float64."""
    return np.stack([moves(rank) for rank in range(world)]).astype(np.float64)


@pytest.mark.parametrize("method", ["averaging", "diloco", "co2", "co2 clipped"])
def test_all_ranks_hold_the_same_after_an_outer_step(three: list[Arrays], method: str) -> None:
    """Bit by bit: what differs would drift apart unseen."""
    for other in three[1:]:
        assert (three[0][method] == other[method]).all()


def test_rate_one_without_momentum_is_averaging(three: list[Arrays]) -> None:
    expected = 1 + differences(3).mean(0).cumsum(0)
    np.testing.assert_allclose(three[0]["averaging"][:ROUNDS], expected, rtol=EXACT)


def test_one_local_step_of_sgd_is_synchronous_sgd(two: list[dict[str, Arrays]]) -> None:
    """H 1, outer rate 1, no momentum: averaging weights is averaging gradients."""
    for one in (rank["ddp"] for rank in two):
        np.testing.assert_allclose(one["diloco"], one["ddp"], atol=1e-6)
        assert np.abs(one["ddp"][0] - one["ddp"][-1]).max() > 1e-3  # it trains


def test_diloco_is_nesterov_momentum_on_the_mean_difference(three: list[Arrays]) -> None:
    x, momentum = np.ones(SIZE), np.zeros(SIZE)
    for at, added in enumerate(differences(3).mean(0)):
        momentum = 0.9 * momentum - added
        x = x - 0.7 * (-added + 0.9 * momentum)
        np.testing.assert_allclose(three[0]["diloco"][at], x, rtol=EXACT)


@pytest.mark.parametrize(("method", "beta", "phi"), [("co2", 0.2, 1.0), ("co2 clipped", 0.5, 0.02)])
def test_co2_is_one_round_late_penalised_and_clipped(three: list[Arrays], method: str, beta: float, phi: float) -> None:
    """And `finish` applies the round that was still on its way."""
    before = now = np.ones(SIZE)
    momentum, late = np.zeros(SIZE), None
    clipped = 0
    for at, added in enumerate([*differences(3).mean(0), None]):
        ahead = now
        if late is not None:
            difference = before - late
            gap = 1 + np.abs(now - before) / np.sqrt((difference**2).mean())
            momentum = beta * momentum + difference / gap
            clipped += int((np.abs(momentum) > phi).sum())
            ahead = now - np.clip(momentum, -phi, phi)
        late = None if added is None else now + added
        before, now = now, ahead
        np.testing.assert_allclose(three[0][method][at], now, rtol=EXACT)
    assert (three[0][method][0] == 1).all()  # the first round has heard of nothing yet
    assert (clipped > 0) == (phi < 1)


def test_noloco_pulls_pairs_together_and_lets_one_sit_out(three: list[Arrays]) -> None:
    added, slow, momentum = differences(3), np.ones((3, SIZE)), np.zeros((3, SIZE))
    for at in range(ROUNDS):
        gradient = -added[:, at]
        pairs = partners(3, at, 3)
        own = [[rank] if other is None else [rank, other] for rank, other in enumerate(pairs)]
        mean = np.stack([gradient[group].mean(0) for group in own])
        apart = slow - np.stack([slow[group].mean(0) for group in own])
        momentum = 0.5 * momentum - 0.7 * mean - 0.4 * apart
        slow = slow + momentum
        for rank in range(3):
            np.testing.assert_allclose(three[rank]["noloco"][at], slow[rank], rtol=EXACT)
    assert np.abs(slow[0] - slow[1]).max() > 0.01  # else nothing was pulled


@given(st.integers(2, 64), st.integers(0, 1000), st.integers(0, 2**32 - 1))
def test_partners_are_a_perfect_matching(world: int, step: int, seed: int) -> None:
    """A rank that waits for one that waits for another never returns."""
    held = partners(world, step, seed)
    assert held.count(None) == world % 2
    for rank, other in enumerate(held):
        assert other is None or (other != rank and held[other] == rank)


def test_partners_change_and_nobody_is_left_out_for_good() -> None:
    assert {partners(4, step, 0)[0] for step in range(40)} == {1, 2, 3}
    assert {partners(3, step, 0).index(None) for step in range(40)} == {0, 1, 2}


@pytest.mark.parametrize("ranks", [2, 3])
def test_bytes_sent_are_those_of_the_formula(
    ranks: int, two: list[dict[str, Arrays]], odd: list[dict[str, Arrays]]
) -> None:
    """Two rounds of STEPS steps: DDP sends gradients at each, as its own buckets count them too; the others weights
    once a round, NoLoCo two vectors and none without a partner."""
    every = [one["sent"] for one in (two if ranks == 2 else odd)]
    size = 4 * every[0]["weights"][0, 0]
    for rank, one in enumerate(every):
        alone = sum(partners(ranks, at, 5)[rank] is None for at in range(2))
        expected = {
            "ddp": 2 * STEPS * 2 * (ranks - 1) / ranks * size,
            "diloco": 2 * 2 * (ranks - 1) / ranks * size,
            "co2": 2 * 2 * (ranks - 1) / ranks * size,
            "noloco": (2 - alone) * 2 * size,
        }
        for method, wanted in expected.items():
            np.testing.assert_allclose(one[method], wanted, err_msg=f"{method}, rank {rank}")


def test_co2_trains_on_while_its_all_reduce_is_on_its_way(two: list[dict[str, Arrays]]) -> None:
    """That rank 0 comes to the end at all says so: rank 1 joins the all-reduce after rank 0's next local step. On the
    declared link, whose clock moves only where someone waits, CO2 waits a round later than DiLoCo, and not at all where
    the round was longer than the transfer."""
    whole = ring(4.0 * SIZE, 2)  # s at 1 B/s
    for one in (rank["flight"] for rank in two):
        assert one["diloco"].ravel().tolist() == [0, whole, 2 * whole]
        assert one["co2"].ravel().tolist() == [0, 0, whole]
        assert one["co2 long rounds"].ravel().tolist() == [0, 0, 1000]


def test_a_declared_link_lets_nothing_by_and_saves_nothing_up() -> None:
    clock, held = [0.0], list[float]()

    def hold(seconds: float) -> None:
        held.append(seconds)
        clock[0] += seconds

    wire = Wire(0, 2, 10.0, lambda: clock[0], hold)
    assert [wire.send(20), wire.send(30)] == [2, 5]  # one after the other
    wire.settle()
    assert (held, wire.sent) == ([5], 50)
    clock[0] = 100
    assert wire.send(10) == 101  # idle time is lost
    Wire(0, 2, 0.0, lambda: clock[0], hold).settle()
    assert held == [5]
