"""The machine at hand: what is found, the figures of a definition that fits, and nothing made up."""

from __future__ import annotations

import psutil
import pytest

from clusters import accelerators
from clusters.definition import load
from clusters.local import describe, detect
from clusters.matching import check
from harness.errors import CannotRun
from harness.hardware import Cluster
from harness.records import FoundDevice

GIB = 2**30


def gpus(name: str, count: int, memory: int | None = None, vendor: str = "nvidia") -> tuple[FoundDevice, ...]:
    return tuple(FoundDevice(name, vendor, index, memory) for index in range(count))


def h100s(count: int) -> Cluster:
    return describe("cuda", gpus("NVIDIA H100 80GB HBM3", count, 81559 * 2**20))


@pytest.mark.skipif(accelerators.detect() != "cpu", reason="tests a machine without accelerator, and this one has one")
def test_this_machine() -> None:
    local = load("local")
    assert local == detect()
    assert (local.name, local.accelerator, local.devices) == ("local", "cpu", 1)
    assert local.device.memory is not None
    assert local.device.memory.value == psutil.virtual_memory().total
    check(local, accelerators.create("cpu").found(), "cpu")


def test_a_cpu_has_two_ranks_and_no_peak() -> None:
    local = describe("cpu", (FoundDevice("A CPU", "cpu", 0, 16 * GIB, {"cores": "4 physical"}),))
    assert (local.node.devices, local.launch.ranks_per_node) == (1, 2)
    assert local.node.link is not None
    assert local.node.link.topology == "host memory"
    assert (local.device.peaks, local.device.bandwidth, local.device.price, local.reference) == ({}, None, None, ())
    assert local.title == "this machine: A CPU (cores: 4 physical)"
    assert local.device.memory is not None
    assert (local.device.memory.value, local.device.memory.source) == (16 * GIB, "detected")


def test_a_whole_node_takes_the_figures_of_its_definition() -> None:
    local, h100 = h100s(8), load("h100")
    assert local.title == "this machine: 8 x NVIDIA H100 80GB HBM3; figures from definition h100"
    assert local.device == h100.device
    assert local.node.link == h100.node.link
    assert local.node.network is None
    assert local.launch.environment == {}
    assert set(local.sources) == {*h100.sources, "detected"}
    assert 16 not in {entry.params.get("ranks") for entry in local.reference}
    assert 8 in {entry.params.get("ranks") for entry in local.reference}


def test_part_of_a_node_has_devices_and_no_links() -> None:
    local = h100s(4)
    assert local.device.peaks == load("h100").device.peaks
    assert (local.node.devices, local.node.link) == (4, None)
    assert "unknown" in local.description
    assert not [entry for entry in local.reference if entry.benchmark.startswith("collectives")]
    assert "unknown" not in h100s(1).description


def test_settings_for_another_clusters_network_are_not_taken() -> None:
    local = describe("rocm", gpus("AMD Instinct MI300X", 8, 196592 * 2**20, "amd"))
    assert local.launch.environment == {}
    assert (local.nodes, local.devices) == (1, 8)
    assert local.links_bandwidth(8) == 448e9


def test_a_partition_under_the_whole_name_gets_no_figures() -> None:
    local = describe("rocm", gpus("AMD Instinct MI300X", 64, 24 * GIB, "amd"))
    assert local.device.peaks == {}
    assert local.accelerator == "rocm"
    assert "no definition" in local.title


def test_a_device_without_known_memory_goes_by_its_name() -> None:
    assert describe("cuda", gpus("NVIDIA H200", 8)).device == load("h200").device


def test_an_unknown_gpu_has_memory_and_nothing_else() -> None:
    local = describe("cuda", gpus("NVIDIA GeForce RTX 5090", 2, 32 * GIB))
    assert (local.device.peaks, local.device.power, local.node.link, local.reference) == ({}, None, None, ())
    assert local.device.memory is not None
    assert local.device.memory.value == 32 * GIB
    assert local.device.matches == ("NVIDIA GeForce RTX 5090",)
    assert describe("cuda", gpus("X", 1)).device.memory is None


@pytest.mark.parametrize("count", [1, 4, 8])
def test_what_was_detected_matches_itself(count: int) -> None:
    check(h100s(count), gpus("NVIDIA H100 80GB HBM3", count), "cuda")


def test_different_devices_are_refused_with_a_way_to_choose() -> None:
    with pytest.raises(CannotRun, match=r"A, B.*CUDA_VISIBLE_DEVICES"):
        describe("cuda", gpus("A", 1) + gpus("B", 1))
    with pytest.raises(CannotRun, match="HIP_VISIBLE_DEVICES"):
        describe("rocm", gpus("A", 1, vendor="amd") + gpus("B", 1, vendor="amd"))


def test_no_device_is_an_error_that_points_to_the_doctor() -> None:
    with pytest.raises(CannotRun, match=r"'cuda' found no device.*bench doctor"):
        describe("cuda", ())


def test_detection_asks_the_accelerator_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    class Eight:
        def found(self) -> tuple[FoundDevice, ...]:
            return gpus("NVIDIA B200", 8)

    monkeypatch.setattr(accelerators, "detect", lambda: "cuda")
    monkeypatch.setattr(accelerators, "create", {"cuda": Eight()}.__getitem__)
    assert detect().device == load("b200").device
