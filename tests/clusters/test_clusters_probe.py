"""A probed machine reads back as the same cluster, and what is unknown is absent with a hint."""

from __future__ import annotations

from pathlib import Path

import pytest

from clusters.definition import load, names, validate
from clusters.local import describe
from clusters.probe import definition_toml
from harness.hardware import Cluster
from harness.records import FoundDevice

NODE = tuple(FoundDevice("AMD Instinct MI300X", "amd", index, 196592 * 2**20) for index in range(8))


def written(cluster: Cluster, tmp_path: Path) -> Cluster:
    file = tmp_path / "probed.toml"
    file.write_text(definition_toml(cluster))
    return validate(file)


@pytest.mark.parametrize("name", names())
def test_writing_and_reading_gives_the_same_cluster(name: str, tmp_path: Path) -> None:
    cluster = load(name)
    assert written(cluster, tmp_path) == cluster


def test_a_gpu_node_with_a_definitions_figures_reads_back(tmp_path: Path) -> None:
    cluster = describe("rocm", NODE)
    assert written(cluster, tmp_path) == cluster
    assert "device.bandwidth" not in definition_toml(cluster).partition("# Not known")[2]


@pytest.mark.parametrize("name", ['quotes " and \\ backslash', "ünïcode µ", "tab\there", "Xeon(R) [x]"])
def test_any_device_name_survives(name: str, tmp_path: Path) -> None:
    cluster = describe("cpu", (FoundDevice(name, "cpu", 0, 2**34),))
    assert written(cluster, tmp_path) == cluster


def test_unknown_figures_are_absent_and_told_how_to_add(tmp_path: Path) -> None:
    text = definition_toml(describe("cpu", (FoundDevice("A CPU", "cpu", 0, 2**34),)))
    body, hints = text.split("# Not known")
    assert "peaks" not in body
    assert "price" not in body
    for key in ("[device.peaks] bfloat16", "[device] bandwidth", "[device] power", "[device.price]"):
        assert key in hints
    assert "[device] memory" not in hints
    assert "per_device" not in hints, "one device has no link to another"


def test_a_hint_taken_up_is_valid(tmp_path: Path) -> None:
    """The lines of the comment, their dots filled in, are lines that validate accepts."""
    text = definition_toml(describe("cpu", (FoundDevice("A CPU", "cpu", 0, 2**34),)))
    lines = [line.removeprefix("#   ") for line in text.splitlines() if line.startswith("#   [device.peaks]")]
    table, _, rest = lines[0].partition(" ")
    file = tmp_path / "filled.toml"
    file.write_text(f"{text}\n{table}\n{rest.replace('value = ...', 'value = 1e12').replace('...', 'detected')}\n")
    assert validate(file).device.peaks["bfloat16"].value == 1e12


def test_every_definition_says_where_it_comes_from() -> None:
    text = definition_toml(load("h100"))
    assert text.startswith("# A definition")
    assert "bench clusters validate" in text
