"""Copies between memories, with this host's memory in the place of a device's: what is copied, counted, found
wrong, refused and skipped. No GPU is measured here."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import msgspec
import pytest
import torch
from microbench_stubs import StubAccelerator, context

from harness.accelerator import Peer
from harness.errors import Skip, WrongAnswer
from microbench.memory import transfers
from microbench.memory.transfers import TransferParams, build

SIZE = 1 << 20
WAYS = ("h2d", "d2h", "both", "d2d", "peer")


@dataclass
class Device(StubAccelerator):
    """A device whose second queue is a thread."""

    other: Peer | None = None
    beside_calls: int = 0

    def synchronise(self):
        return

    def beside(self, work):
        self.beside_calls += 1
        thread = threading.Thread(target=work)
        thread.start()
        return thread.join

    def peer(self):
        return self.other


@pytest.fixture
def pins(monkeypatch):
    """What memory was asked to be pinned; a torch without a device cannot."""
    asked, right = [], torch.empty

    def empty(*size, pin_memory=False, **more):
        asked.append(pin_memory)
        return right(*size, **more)

    monkeypatch.setattr(torch, "empty", empty)
    return asked


def device(other: bool = True, **more: object):
    return context(accelerator=Device(other=Peer(torch.device("cpu"), direct=True) if other else None), **more)


def params(direction: str, size: int = SIZE, **more: object) -> TransferParams:
    return msgspec.convert({"direction": direction, "size": size, **more}, TransferParams)


@pytest.mark.parametrize("direction", WAYS)
def test_a_right_copy_passes_and_counts_what_it_moves(pins, direction):
    task = build(device(), params(direction))
    task.check()
    task.prepare(2)
    task.step(0)
    task.step(1)
    moved = {"h2d": 1, "d2h": 1, "both": 2, "d2d": 2, "peer": 1}[direction] * SIZE
    assert [(rate.name, rate.amount) for rate in task.rates] == [("bandwidth", moved)]
    assert (task.operation.kind, task.operation.name, task.operation.bytes) == ("transfer", direction, moved)


@pytest.mark.parametrize(("direction", "pinned"), [("h2d", True), ("h2d", False), ("d2h", True), ("d2h", False)])
def test_host_memory_is_pinned_where_asked_for(pins, direction, pinned):
    task = build(device(), params(direction, pinned=pinned))
    assert any(pins) == pinned
    assert task.operation.name == (direction if pinned else f"{direction}_pageable")
    assert any(flag.startswith("pinned host memory" if pinned else "pageable host memory") for flag in task.flags)


def test_both_directions_run_beside_each_other(pins):
    ctx = device()
    task = build(ctx, params("both"))
    task.step(0)
    assert ctx.accelerator.beside_calls == 1


@pytest.mark.parametrize(("direct", "words"), [(True, "straight to the other"), (False, "no peer access")])
def test_the_way_between_devices_is_told(direct, words):
    accelerator = Device(other=Peer(torch.device("cpu"), direct))
    task = build(context(accelerator=accelerator), params("peer"))
    assert any(words in flag for flag in task.flags)
    assert any("every device copies to the next" in flag for flag in task.flags)


@pytest.mark.parametrize("direction", WAYS)
def test_a_part_that_did_not_arrive_and_a_wrong_value_are_found(pins, direction, monkeypatch):
    def planted(fault):
        def copier(ctx, pairs, block):
            def copy():
                for into, out_of in pairs:
                    into.copy_(out_of)
                fault(pairs[-1][0])

            return copy

        monkeypatch.setattr(transfers, "_copier", copier)
        return build(device(), params(direction))

    with pytest.raises(WrongAnswer, match=rf"{direction}: part of the {SIZE} B did not arrive"):
        planted(lambda into: into[12345:12346].fill_(float("nan"))).check()
    with pytest.raises(WrongAnswer, match=rf"{direction}: element \d+ of {SIZE // 4} is"):
        planted(lambda into: into.add_(1.0)).check()


@pytest.mark.parametrize(
    ("direction", "words"),
    [
        ("h2d", "no other memory"),
        ("both", "no other memory"),
        ("peer", "no other memory"),
        ("d2d", "memory.stream with op=copy"),
    ],
)
def test_a_hosts_processors_have_no_memory_apart(direction, words):
    with pytest.raises(Skip, match=words):
        build(context(accelerator=StubAccelerator("gloo")), params(direction))


def test_too_little_memory_and_a_lone_device_are_skips(pins, monkeypatch):
    with pytest.raises(Skip, match="sees one device"):
        build(device(other=False), params("peer"))
    with pytest.raises(Skip, match="needs 1 GiB on cpu"):
        build(device(), params("d2d", 1 << 29))
    monkeypatch.setattr("clusters.accelerators.host.Host.memory_free", lambda host: 1 << 20)
    with pytest.raises(Skip, match=r"needs 2 MiB of the host's memory, and 409.6 KiB may be used"):
        build(device(), params("both"))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"size": 1000}, "1000 B is no multiple of 256 B; nearest: 768 or 1024"),
        ({"direction": "up"}, "up"),
        ({"direction": "d2d", "pinned": False}, "d2d does not touch it"),
        ({"direction": "both", "pinned": False}, "both directions at once need pinned=true"),
    ],
)
def test_bad_parameters_are_refused_by_name(given, words):
    with pytest.raises(msgspec.ValidationError) as refused:
        params(**{"direction": "h2d", **given})
    assert words in str(refused.value)


@pytest.mark.parametrize("direction", WAYS)
def test_large_copies_build_on_a_simulated_device(direction):
    accelerator = Device(other=Peer(torch.device("meta"), direct=True))
    task = build(context("meta", free=1 << 38, accelerator=accelerator), params(direction, 1 << 34))
    task.prepare(3)
    assert task.operation.bytes in (1 << 34, 1 << 35)
