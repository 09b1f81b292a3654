"""Every golden log, as it is and as logs really are: under prefixes, in colour, packed, interleaved, cut.

The golden files were written for the project in the layouts of the tools; what they hold is beside each of them.
"""

from __future__ import annotations

import gzip
import random
from collections import Counter
from pathlib import Path

import pytest
from collected import collected, expected, golden, plain
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collectors import kinds
from collectors.parser import Found

FILES = golden()
IDS = [f"{path.parent.name}/{path.name}" for path in FILES]
EACH = pytest.mark.parametrize("path", FILES, ids=IDS)
TEXT = [path for path in FILES if path.suffix != ".json"]
MARGIN = 1e-9


def numbers(records: list[Found]) -> Counter[tuple[str, str, float]]:
    """Every number by benchmark and metric; how often it is there."""
    return Counter(
        (one.benchmark, measurement.metric, value)
        for one in records
        for measurement in one.measurements
        for value in measurement.samples
    )


@EACH
def test_a_golden_log_gives_what_is_beside_it(path: Path) -> None:
    records, heard = collected(path.read_bytes())
    assert [plain(one) for one in records] == expected(path)
    assert not heard.problem
    assert set(heard.kinds) == {path.parent.name}


def test_each_kind_has_a_golden_log() -> None:
    assert {path.parent.name for path in FILES} == {kind.name for kind in kinds.load()}


def _prefixed(text: str, prefix: str) -> str:
    return "".join(f"{prefix}{line}\n" for line in text.splitlines())


@EACH
@pytest.mark.parametrize(
    "prefix", ["0: ", "[1,0]<stdout>:", "[rank0]:", "worker-3 | ", "2026-11-26T02:00:00.123456789Z "],
    ids=["srun", "mpirun", "torchrun", "compose", "kubectl"],
)  # fmt: skip
def test_a_launchers_prefix_changes_no_number(path: Path, prefix: str) -> None:
    text = path.read_text()
    assert numbers(collected(_prefixed(text, prefix).encode())[0]) == numbers(collected(path.read_bytes())[0])


@EACH
def test_what_terminals_and_windows_do_to_a_log_changes_no_number(path: Path) -> None:
    text, plain_numbers = path.read_text(), numbers(collected(path.read_bytes())[0])
    lines = text.splitlines()
    variants = {
        "windows": "\r\n".join(lines) + "\r\n",
        "mark": "\ufeff" + text,
        "colours": "".join(f"\x1b[32m{line}\x1b[0m\n" for line in lines),
        "around": "Loading modules ...\nsome other text, 12.5 of it\n" + text + "\ndone at last\n",
        "progress": "  0%|          | 0/10\r 50%|#####     | 5/10\r" + text,
    }
    for name, variant in variants.items():
        assert numbers(collected(variant.encode())[0]) == plain_numbers, name
    assert numbers(collected(gzip.compress(text.encode()))[0]) == plain_numbers
    assert numbers(collected(text.encode("utf-16"))[0]) == plain_numbers


@EACH
def test_two_ranks_interleaved_are_read_as_two_logs(path: Path) -> None:
    lines, drawn = path.read_text().splitlines(), random.Random(4)
    left, mixed = [list(lines), list(lines)], list[str]()
    while left[0] or left[1]:
        rank = drawn.randrange(2) if left[0] and left[1] else int(not left[0])
        mixed.append(f"{rank}: {left[rank].pop(0)}")
    once = numbers(collected(path.read_bytes())[0])
    assert numbers(collected("\n".join([*mixed, ""]).encode())[0]) == once + once


@EACH
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_cut_never_gives_a_different_number(path: Path, data: st.DataObject) -> None:
    text = path.read_bytes()
    begin = data.draw(st.one_of(st.just(0), st.integers(0, len(text))), label="begin")
    end = data.draw(st.integers(begin, len(text)), label="end")
    whole, part = numbers(collected(text)[0]), numbers(collected(text[begin:end])[0])
    assert not part - whole, text[begin:end]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.binary(max_size=2000))
def test_any_bytes_give_records_or_are_named(data: bytes) -> None:
    records, heard = collected(data)
    assert records or heard.problem or heard.unread or not data.strip() or not heard.kinds


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_damaged_log_raises_nothing(data: st.DataObject) -> None:
    """Bytes of a golden log changed, doubled, dropped and moved: whatever comes of it, it comes in words."""
    text = bytearray(data.draw(st.sampled_from(FILES)).read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, max(len(text) - 1, 0)))
        change = data.draw(st.binary(max_size=6))
        text[at : at + data.draw(st.integers(0, 40))] = change
    collected(bytes(text))
