"""The paths of a GPU cluster without one: fake tensors, a fake process group, up to 1,024 ranks."""

from __future__ import annotations

import msgspec
import pytest
import torch
import torch.distributed as dist
from microbench_stubs import StubAccelerator, context
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing._internal.distributed.fake_pg import FakeStore

from microbench.collectives import operations
from microbench.collectives.formulas import COLLECTIVES, ITEM, uneven
from microbench.collectives.groups import members
from microbench.gemm import SquareParams
from microbench.gemm import product as gemm
from microbench.memory import streams

WORLDS = (8, 1024)
HBM = 192 << 30  # B of one device
PLACES = [(name, False) for name in COLLECTIVES] + [("all_gather", True), ("reduce_scatter", True)]


@pytest.fixture(params=WORLDS)
def world(request):
    """A group of that many ranks in this process; this one is not the first, nor the last."""
    dist.init_process_group("fake", store=FakeStore(), rank=request.param - 3, world_size=request.param)
    yield request.param
    dist.destroy_process_group()


@pytest.fixture
def fake():
    with FakeTensorMode():
        yield


def seen(monkeypatch) -> list[operations.Buffers]:
    """The buffers that the real call is given: the fake group takes any, so they are looked at here."""
    calls, right = [], operations.call

    def watched(*place):
        operate = right(*place)

        def call(buffers):
            calls.append(buffers)
            operate(buffers)

        return call

    monkeypatch.setattr(operations, "call", watched)
    return calls


def build(ctx, name, dtype, size, in_place=False):
    """The task of an operation over all ranks."""
    team = ctx.team(members("packed", ctx.ranks.world, 1, ctx.ranks.world, ctx.per_node))
    return operations.build(ctx, operations.operation(ctx, name, dtype, size, team), team, size, in_place)


@pytest.mark.parametrize("dtype", ["float32", "float8"])
@pytest.mark.parametrize(("name", "in_place"), PLACES)
@pytest.mark.parametrize("size", [1 << 13, 1 << 30])
def test_buffers_have_the_shapes_that_the_library_asks_for(world, fake, monkeypatch, name, in_place, dtype, size):
    calls = seen(monkeypatch)
    rank = dist.get_rank()
    task = build(context(free=HBM, rank=rank, world=world), name, dtype, size, in_place)
    task.prepare(2)
    task.step(1)
    into, out_of = calls[0].into, calls[0].out_of
    whole, part = size // ITEM[dtype], size // ITEM[dtype] // world
    expected = {
        "all_gather": (whole, part), "reduce_scatter": (part, whole), "gather": (0, part), "scatter": (part, 0),
        "all_to_all_uneven": (world * uneven(world, whole)[rank], whole),
    }.get(name, (whole, whole))  # fmt: skip
    assert (into.numel(), out_of.numel()) == expected
    assert into.dtype == out_of.dtype == getattr(torch, operations.STORED.get(dtype, dtype))
    assert into.is_contiguous()
    assert out_of.is_contiguous()
    assert task.operation.bytes == size
    if all(expected):
        _assert_placed(into, out_of, name, in_place, rank * part)


@pytest.mark.parametrize("name", ["gather", "scatter"])
def test_the_root_hands_over_a_part_for_each_rank(fake, monkeypatch, name):
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=8)
    try:
        calls = seen(monkeypatch)
        task = build(context(free=HBM, rank=0, world=8), name, "float32", 1 << 20)
        task.prepare(1)
        task.step(0)
        assert [part.numel() for part in calls[0].parts] == [(1 << 20) // 4 // 8] * 8
    finally:
        dist.destroy_process_group()


def _assert_placed(into, out_of, name, in_place, own):
    """In place, NCCL asks that a rank's part lies at rank · part of the whole."""
    if COLLECTIVES[name].buffers == "one":
        assert into is out_of
        return
    whole, part = sorted((into, out_of), key=lambda tensor: -tensor.numel())
    assert into.untyped_storage()._cdata == out_of.untyped_storage()._cdata  # one arena
    if in_place:
        assert part.storage_offset() - whole.storage_offset() == own
    else:
        first, second = sorted((into, out_of), key=lambda tensor: tensor.storage_offset())
        assert first.storage_offset() + first.numel() <= second.storage_offset()


def test_a_gpu_backend_gets_no_skip_in_place_and_gloo_does(world, fake):
    ctx = context(free=HBM, rank=1, world=world, accelerator=StubAccelerator("nccl"))
    assert build(ctx, "all_gather", "bfloat16", 1 << 20, in_place=True)
    ctx = context(free=HBM, rank=1, world=world, accelerator=StubAccelerator("gloo"))
    with pytest.raises(operations.Skip, match="gloo"):
        build(ctx, "all_gather", "bfloat16", 1 << 20, in_place=True)


@pytest.mark.parametrize("name", COLLECTIVES)
def test_a_simulated_cluster_builds_every_operation_on_the_meta_device(name):
    task = build(context("meta", free=HBM, cache=0, world=1024), name, "bfloat16", 1 << 30)
    bus = {rate.name: rate.amount for rate in task.rates}["busbw"]
    assert bus == (1 << 30) * COLLECTIVES[name].factor(1024)
    assert task.rotation == 1


@pytest.mark.parametrize("dtype", gemm.ARITHMETIC)
def test_large_products_have_the_shapes_that_torch_asks_for(fake, dtype):
    edge = 256 if dtype == "float8" else 16384  # torch has no fake float8 product: it runs a real one on zeros
    params = msgspec.convert({"m": edge, "dtype": dtype}, SquareParams)
    task = gemm.build(context(free=HBM), params)
    task.prepare(2)
    task.step(1)
    assert task.rates[0].amount == 2 * edge**3


@pytest.mark.parametrize("op", streams.ARRAYS)
def test_large_sweeps_have_the_shapes_that_torch_asks_for(fake, op):
    params = msgspec.convert({"op": op, "size": 3 << 30}, streams.StreamParams)
    task = streams.build(context(free=HBM), params)
    task.prepare(1)
    task.step(0)
    assert task.operation.bytes == 3 << 30
