"""Reading a definition: names, paths, digests, and every fault named with what is accepted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from clusters_lab import VALID

from clusters import definition
from clusters.plausibility import DTYPES, RATES
from harness.errors import UsageError
from harness.provenance import digest


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    return tmp_path / "lab.toml"


def refusal(path: Path, text: str | bytes) -> str:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError) as caught:
        definition.validate(path)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_names_import_nothing_heavy() -> None:
    code = (
        "import sys; from clusters.definition import names; names(); "
        "print([m for m in ('torch', 'numpy', 'pandas', 'psutil') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_an_unknown_name_lists_near_ones() -> None:
    with pytest.raises(UsageError, match=r"unknown cluster 'mi300'.*mi300x.*bench list clusters"):
        definition.load("mi300")


def test_a_path_is_read_and_a_missing_one_named(lab: Path) -> None:
    lab.write_text(VALID)
    assert definition.load(str(lab)).devices == 16
    with pytest.raises(UsageError, match=r"gone\.toml: cannot be read: No such file"):
        definition.load("gone.toml")


def test_the_digest_changes_with_any_figure_and_not_with_the_order(lab: Path) -> None:
    lab.write_text(VALID)
    first = definition.validate(lab)
    sheet, other = 'sheet = "the vendor\'s data sheet"\n', 'other = "someone\'s table"\n'
    lab.write_text(VALID.replace(sheet + other, other + sheet))
    assert digest(definition.validate(lab)) == digest(first)
    lab.write_text(VALID.replace("1307.4e12", "1307.5e12"))
    assert digest(definition.validate(lab)) != digest(first)
    assert len(digest(first)) == 12


FAULTS = [
    # what stands there, what is written instead, key named, words of what is accepted
    ('vendor = "amd"', 'vendr = "amd"', "device.vendr", ["unknown key", "near: vendor", "granularity", "matches"]),
    ('vendor = "amd"', "", "device.vendor", ["missing", "nvidia", "amd", "cpu"]),
    ('vendor = "amd"', 'vendor = "AMD"', "device.vendor", ["'AMD'", "near: amd", "nvidia"]),
    ('vendor = "amd"', 'vendor = "nvidia"', "device.vendor", ["does not fit accelerator 'rocm'", "accepted: amd"]),
    ("nodes = 2", 'nodes = "2"', "nodes", ["found '2'", "a whole number"]),
    ("nodes = 2", "nodes = 2.0", "nodes", ["found 2.0", "a whole number"]),
    ("nodes = 2", "nodes = true", "nodes", ["found true or false", "a whole number"]),
    ("nodes = 2", "nodes = 0", "nodes", ["found 0", "1 to"]),
    ("nodes = 2", f"nodes = {10**30}", "nodes", ["beyond 64 bits", "a whole number"]),
    ('title = "two nodes of the lab"', "", "title", ["missing", "text"]),
    ('title = "two nodes of the lab"', 'title = " "', "title", ["empty"]),
    ('name = "lab"', 'name = "../lab"', "name", ["letters, digits"]),
    (
        'matches = ["AMD Instinct MI300X"]',
        'matches = "MI300X"',
        "device.matches",
        ["found 'MI300X'", "an array of text"],
    ),
    ('matches = ["AMD Instinct MI300X"]', "matches = [3]", "device.matches[0]", ["found 3", "text"]),
    ('matches = ["AMD Instinct MI300X"]', "matches = []", "device.matches", ["at least one name"]),
    ('unit = "FLOP/s"', 'unit = "TFLOP/s"', "device.peaks.bfloat16.unit", ["'TFLOP/s'", "near: FLOP/s", "token/s"]),
    ('unit = "FLOP/s"', 'unit = "B/s"', "device.peaks.bfloat16.unit", ["found 'B/s'", "accepted: FLOP/s"]),
    ('unit = "FLOP/s"', "", "device.peaks.bfloat16.unit", ["missing", "FLOP/s"]),
    ("value = 1307.4e12", "value = -1.0", "device.peaks.bfloat16.value", ["found -1", "above 0"]),
    ("value = 1307.4e12", "value = 0", "device.peaks.bfloat16.value", ["found 0", "leave out"]),
    ("value = 1307.4e12", "value = inf", "device.peaks.bfloat16.value", ["found inf", "finite"]),
    ("value = 1307.4e12", "value = nan", "device.peaks.bfloat16.value", ["found nan", "finite"]),
    ("value = 1300e12", "value = 0.0", "device.peaks.bfloat16.disagrees[0].value", ["above 0"]),
    (
        'source = "other" }]',
        'source = "othr" }]',
        "device.peaks.bfloat16.disagrees[0].source",
        ["near: other", "sheet"],
    ),
    ("[device.peaks.bfloat16]", "[device.peaks.bf16]", "device.peaks.bf16", ["unknown data type", *DTYPES]),
    ("[device.peaks.bfloat16]", '[device.peaks."b 16"]', 'device.peaks."b 16"', ["unknown data type"]),
    ('basis = "dense"', 'basis = ""', "device.peaks.bfloat16.basis", ["empty", "per GCD"]),
    ("high = 2.5", "high = 1.0", "device.price.high", ["at least device.price.low, 1.5"]),
    ('when = "2026"', "when = 2026-05-01", "device.price.when", ["a date or time", "text"]),
    ('topology = "fully connected"', 'topology = "star"', "node.link.topology", ["'star'", "switched", "ring"]),
    ("links = 7", "links = 6", "node.link.links", ["at least 7"]),
    ("value = 448e9", "value = 400e9", "node.link.per_device.value", ["4.48e+11", "7 links"]),
    ("per_link = {", "# {", "node.link.per_link", ["missing", "fully connected"]),
    ("devices = 8", "devices = -8", "node.devices", ["found -8", "1 to"]),
    ("nics = 8", "nics = 0", "node.network.nics", ["1 to"]),
    ('NCCL_CROSS_NIC = "0"', "NCCL_CROSS_NIC = 0", "launch.environment.NCCL_CROSS_NIC", ["found 0", "text"]),
    ('NCCL_CROSS_NIC = "0"', '"NCCL-X" = "0"', "launch.environment.NCCL-X", ["environment variable", "no digit first"]),
    ('NCCL_CROSS_NIC = "0"', 'A = "a\\u0000b"', "launch.environment.A", ["NUL"]),
    ('rate = "busbw"', 'rate = "busbandwidth"', "reference[0].rate", list(RATES)),
    ('rate = "busbw"', 'rate = "flops"', "reference[0].unit", ["found 'B/s'", "FLOP/s"]),
    ('benchmark = "collectives.all_reduce"', 'benchmark = "All Reduce"', "reference[0].benchmark", ["accepted"]),
    (
        "params = { ranks = 8 }",
        "params = { ranks = [8] }",
        "reference[0].params.ranks",
        ["an array", "text, a whole number, a number, true or false"],
    ),
    ("params = { ranks = 8 }", "params = { size = inf }", "reference[0].params.size", ["finite"]),
    ('sheet = "the vendor\'s data sheet"', 'sheet = ""', "sources.sheet", ["empty", "citation"]),
    ('sheet = "the vendor\'s data sheet"', "", "device.price.source", ["'sheet'", "[sources]", "other"]),
]


@pytest.mark.parametrize(("good", "bad", "key", "words"), FAULTS, ids=[f"{row[2]}: {row[1]}"[:60] for row in FAULTS])
def test_a_fault_names_file_key_and_what_is_accepted(
    lab: Path, good: str, bad: str, key: str, words: list[str]
) -> None:
    assert good in VALID
    message = refusal(lab, VALID.replace(good, bad, 1))
    lines = [line.strip() for line in message.splitlines()]
    assert str(lab) in lines[0]
    hits = [line for line in lines[1:] if line.startswith(f"{key}: ")]
    assert hits, message
    assert not [word for word in words if word not in " ".join(hits)], message


def test_all_faults_are_told_at_once(lab: Path) -> None:
    structural = VALID.replace("nodes = 2", 'nodes = "2"').replace("vendor =", "vendr =")
    message = refusal(lab, structural)
    assert "3 problems" in message
    assert [key in message for key in ("nodes: ", "device.vendr: ", "device.vendor: ")] == [True] * 3
    message = refusal(lab, VALID.replace("nodes = 2", "nodes = 0").replace("1307.4e12", "0").replace('"dense"', '""'))
    assert message.count("\n") == 3


BROKEN = {
    "name = 1\nnodes = = 3\n": "at line 2, column 9",
    'name = "x\ntitle = 2\n': "at line 1, column 10",
    "a = 1\na = 2\n": "at line 2",
    "x = [": "at end of document",
    "x = " + "9" * 5000: "too long",
    "x = " + "[" * 20_000: "nested too deep",
}


@pytest.mark.parametrize(("text", "where"), BROKEN.items(), ids=list(BROKEN.values()))
def test_malformed_toml_is_placed(lab: Path, text: str, where: str) -> None:
    message = refusal(lab, text)
    assert message.startswith(f"{lab}: no valid TOML")
    assert where in message


def test_bytes_that_are_no_text_are_placed(lab: Path) -> None:
    assert "line 2 is not UTF-8" in refusal(lab, b'name = "x"\ntitle = "\xff"\n')


def test_an_empty_file_lists_what_is_needed(lab: Path) -> None:
    message = refusal(lab, "")
    for key in ("name", "title", "accelerator", "nodes", "device", "node"):
        assert f"\n  {key}: missing" in message


def test_a_folder_and_an_unreadable_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Is a directory"):
        definition.validate(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads any file")
def test_a_file_without_permission_is_named(lab: Path) -> None:
    lab.write_text(VALID)
    lab.chmod(0)
    with pytest.raises(UsageError, match="Permission denied"):
        definition.validate(lab)
