"""Declared against found: only a node of the cluster itself passes."""

from __future__ import annotations

import pytest

from clusters.definition import load, names
from clusters.matching import check, fits
from harness.errors import CannotRun
from harness.records import FoundDevice

REPORTED = {
    "NVIDIA A100-SXM4-80GB": "a100",
    "A100-SXM4-80GB": "a100",
    "NVIDIA A100-SXM4-40GB": None,
    "NVIDIA A100 80GB PCIe": None,
    "NVIDIA H100 80GB HBM3": "h100",
    "nvidia h100  80gb hbm3": "h100",
    "NVIDIA H100 80GB HBM3 MIG 1g.10gb": None,
    "NVIDIA H100 PCIe": None,
    "NVIDIA H100 NVL": None,
    "NVIDIA GH200 480GB": None,
    "NVIDIA H200": "h200",
    "NVIDIA H200 NVL": None,
    "NVIDIA B200": "b200",
    "NVIDIA GB200": "gb200",
    "NVIDIA B300 SXM6 AC": None,
    "AMD Instinct MI250X": "mi250x",
    "AMD INSTINCT MI250X (MCM) OAM AC MBA MSFT": "mi250x",
    "AMD INSTINCT MI200 (MCM) OAM LC MBA HPE C2": "mi250x",
    "AMD Instinct MI250": None,
    "AMD Instinct MI300X": "mi300x",
    "AMD Instinct MI300X OAM": "mi300x",
    "MI300X-O": "mi300x",
    "AMD Instinct MI300A": None,
    "AMD Instinct MI308X": None,
    "AMD Instinct Mi325X VF": "mi325x",
    "AMD Instinct MI350X": None,
    "AMD Instinct MI355X": "mi355x",
}


def devices(name: str, count: int, vendor: str) -> tuple[FoundDevice, ...]:
    return tuple(FoundDevice(name, vendor, index) for index in range(count))


@pytest.mark.parametrize(("name", "expected"), REPORTED.items())
def test_a_reported_name_fits_its_own_definition_and_no_other(name: str, expected: str | None) -> None:
    hits = [cluster for cluster in names() if cluster != "local" and fits(load(cluster).device, name)]
    assert hits == ([expected] if expected else [])


def test_a_node_of_the_cluster_passes_alone_or_with_others() -> None:
    mi300x = load("mi300x")
    for nodes in (1, 2, 128):
        check(mi300x, devices("AMD Instinct MI300X", 8, "amd"), "rocm", nodes)


CPU = (FoundDevice("AMD EPYC", "cpu", 0, 2**34, {"cores": "2 physical"}),)
REFUSED = [
    (
        "mi300x",
        CPU,
        "cpu",
        1,
        ["declared rocm, found cpu", "declared 8, found 1", "1 AMD EPYC (cpu; cores: 2 physical)"],
    ),
    ("mi300x", devices("AMD Instinct MI325X", 8, "amd"), "rocm", 1, ["found 'AMD Instinct MI325X'", "'MI300X-O'"]),
    ("mi300x", devices("AMD Instinct MI300X", 7, "amd"), "rocm", 1, ["devices on this host: declared 8, found 7"]),
    ("mi300x", devices("AMD Instinct MI300X", 64, "amd"), "rocm", 1, ["devices on this host: declared 8, found 64"]),
    ("mi300x", devices("AMD Instinct MI300X", 8, "amd"), "rocm", 129, ["nodes: declared 128, asked for 129"]),
    ("mi300x", devices("AMD Instinct MI300X", 8, "simulated"), "rocm", 1, ["vendor: declared amd, found simulated"]),
    ("h100", devices("NVIDIA H200", 8, "nvidia"), "cuda", 1, ["found 'NVIDIA H200'", "8 NVIDIA H100 80GB HBM3 (cuda)"]),
    ("h100", (), "cuda", 1, ["found: 1 node x no device (cuda)", "declared 8, found 0"]),
    ("gb200", devices("NVIDIA GB200", 4, "nvidia"), "cuda", 1, ["1 node x 72 NVIDIA GB200", "declared 72, found 4"]),
]


@pytest.mark.parametrize(("name", "found", "kind", "nodes", "words"), REFUSED)
def test_anything_else_is_refused_with_both_sides_and_a_way_on(
    name: str, found: tuple[FoundDevice, ...], kind: str, nodes: int, words: list[str]
) -> None:
    with pytest.raises(CannotRun) as caught:
        check(load(name), found, kind, nodes)
    message = str(caught.value)
    assert caught.value.exit_code == 3
    assert f"not cluster '{name}'" in message
    for word in [*words, "declared: ", "found: ", "--cluster local", "--dry-run", "--simulate"]:
        assert word in message, message


def test_mixed_devices_are_counted_by_name() -> None:
    found = devices("NVIDIA H100 80GB HBM3", 7, "nvidia") + devices("NVIDIA H100 NVL", 1, "nvidia")
    with pytest.raises(CannotRun, match=r"7 NVIDIA H100 80GB HBM3 \+ 1 NVIDIA H100 NVL"):
        check(load("h100"), found, "cuda")
