"""A host's memory and disks in a definition: figures like all others, with a unit and a source, or absent."""

from __future__ import annotations

from pathlib import Path

import pytest
from clusters_lab import VALID

from clusters import definition
from harness.errors import UsageError

MEMORY = 'memory = { value = 2e12, unit = "B", basis = "as printed: 2 TB", source = "sheet" }'
STORAGE = (
    'storage = { capacity = { value = 30e12, unit = "B", basis = "8 disks", source = "sheet" }, '
    'read = { value = 5e10, unit = "B/s", basis = "8 disks", source = "sheet" } }'
)


def lab(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "lab.toml"
    path.write_text(VALID.replace("devices = 8", f"devices = 8\n{text}"))
    return path


def test_memory_and_disks_are_read(tmp_path: Path) -> None:
    node = definition.validate(lab(tmp_path, f"{MEMORY}\n{STORAGE}")).node
    assert node.memory is not None
    assert node.storage is not None
    assert node.storage.read is not None
    assert (node.memory.value, node.storage.capacity.value, node.storage.read.value) == (2e12, 30e12, 5e10)
    assert node.storage.write is None


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('value = 2e12, unit = "B"', 'value = 2e12, unit = "B/s"', "node.memory.unit"),
        ("value = 30e12", "value = 0", "node.storage.capacity.value"),
        ('value = 5e10, unit = "B/s"', 'value = 5e10, unit = "B"', "node.storage.read.unit"),
        ("capacity =", "size =", "node.storage.size"),
    ],
)
def test_a_fault_names_its_key(tmp_path: Path, old: str, new: str, key: str) -> None:
    text = f"{MEMORY}\n{STORAGE}"
    assert old in text
    with pytest.raises(UsageError, match=key):
        definition.validate(lab(tmp_path, text.replace(old, new)))


@pytest.mark.parametrize("name", ["h100", "h200", "b200"])
def test_hosts_of_dgx_systems_have_two_terabytes_and_eight_disks(name: str) -> None:
    node = definition.load(name).node
    assert node.memory is not None
    assert node.storage is not None
    assert (node.memory.value, node.storage.capacity.value) == (2e12, 8 * 3.84e12)
