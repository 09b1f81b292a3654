"""The next device of a host, as torch.cuda's stand-ins, a processor and a declared cluster tell it."""

from __future__ import annotations

import pytest
import torch

from clusters.accelerators.cpu import Cpu
from clusters.accelerators.cuda import Cuda
from clusters.accelerators.rocm import Rocm
from clusters.accelerators.simulated import Simulated
from harness.accelerator import Peer
from harness.hardware import Cluster, Device, Node


@pytest.mark.parametrize("kind", [Cuda, Rocm])
@pytest.mark.parametrize(
    ("own", "count", "direct", "expected"),
    [
        (0, 8, True, Peer(torch.device("cuda", 1), True)),
        (7, 8, False, Peer(torch.device("cuda", 0), False)),
        (0, 1, True, None),
    ],
)
def test_the_next_device_and_whether_it_is_reached(monkeypatch, kind, own, count, direct, expected):
    asked = []
    monkeypatch.setattr(torch.cuda, "current_device", lambda: own)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "can_device_access_peer", lambda *pair: asked.append(pair) or direct)
    assert kind().peer() == expected
    assert asked == ([] if expected is None else [(own, expected.device.index)])


def test_a_processor_has_no_peer():
    assert Cpu().peer() is None


@pytest.mark.parametrize(("devices", "there"), [(8, True), (1, False)])
def test_a_declared_node_has_one_where_it_has_devices(devices, there):
    cluster = Cluster("toy", "Toy", "cuda", 2, Device("Toy X", "nvidia", "GPU", ("Toy X",)), Node(devices))
    assert (Simulated(cluster).peer() is not None) == there
