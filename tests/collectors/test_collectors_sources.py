"""Files as people have them: packed, cut, binary, too large, behind links; and lines out of them."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from collectors import cleaning, sources
from collectors.documents import NOTHING, Document
from collectors.series import Series
from harness.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]


def texts(path: Path) -> list[str]:
    return [text for _, text, _ in sources.lines(str(path))]


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_lines_have_their_numbers_and_the_last_tells_whether_it_ended(tmp_path: Path) -> None:
    log = write(tmp_path / "log", b"one\r\n\n 10%\r 20%\rthree\nfo")
    assert list(sources.lines(str(log))) == [
        (1, "one", True), (3, " 10%", True), (3, " 20%", True), (3, "three", True), (4, "fo", False),
    ]  # fmt: skip


@pytest.mark.parametrize("coding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-16-le"])
def test_marks_of_an_encoding_are_followed(tmp_path: Path, coding: str) -> None:
    mark = b"\xfe\xff" if coding == "utf-16-be" else b"\xff\xfe" if coding == "utf-16-le" else b""
    log = write(tmp_path / "log", mark + "µs 12\nzwei\n".encode(coding))
    assert texts(log) == ["µs 12", "zwei"]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress])
def test_packed_logs_are_unpacked_member_after_member(tmp_path: Path, pack) -> None:
    log = write(tmp_path / "log.packed", pack(b"one\ntw") + pack(b"o\nthree\n"))
    assert texts(log) == ["one", "two", "three"]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress])
def test_of_a_packed_log_that_was_cut_off_what_is_whole_is_read(tmp_path: Path, pack) -> None:
    whole = b"".join(b"line %d\n" % number for number in range(200_000))
    held = pack(whole)
    log, seen = write(tmp_path / "log", held[: len(held) // 2]), list[str]()
    lines = ((text, ended) for _, text, ended in sources.lines(str(log)))
    with pytest.raises(sources.Broken, match="cut off"):
        seen.extend(text for text, ended in lines if ended)
    assert len(seen) > 10_000
    assert seen == [f"line {number}" for number in range(len(seen))]


def test_an_archive_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "LEAST", 1 << 20)
    bomb = write(tmp_path / "bomb.gz", gzip.compress(bytes(64 << 20).replace(b"\0", b"a")))
    with pytest.raises(sources.Broken, match="read no further"):
        texts(bomb)


def test_broken_archives_are_named(tmp_path: Path) -> None:
    good = gzip.compress(b"one\n" * 1000)
    bad = write(tmp_path / "bad.gz", good[:12] + b"\xff\xff\xff" + good[15:])
    with pytest.raises(sources.Broken, match="cannot be unpacked"):
        texts(bad)


def test_binary_folders_devices_and_what_is_not_there_are_refused_in_words(tmp_path: Path) -> None:
    for path, said in (
        (write(tmp_path / "binary", b"\x7fELF\0\0\0"), "binary"), (tmp_path, "a folder"),
        (tmp_path / "none", "No such file"), (Path("/dev/null"), "device"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=said):
            texts(path)


def test_a_folder_is_walked_and_a_loop_of_links_ends(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    write(inner / "b.log", b"b\n")
    write(tmp_path / "a.log", b"a\n")
    (inner / "loop").symlink_to(tmp_path)
    (inner / "nowhere").symlink_to("nothing")
    (tmp_path / "self").symlink_to("self")
    found, problems = sources.files([str(tmp_path), str(tmp_path / "a.log"), str(tmp_path / "missing")])
    assert found == [str(tmp_path / "a.log"), str(inner / "b.log")]
    assert {Path(problem.split(":")[0]).name for problem in problems} == {"nowhere", "self", "missing"}


def test_standard_input_is_read(tmp_path: Path) -> None:
    code = "from collectors import sources; print(list(sources.lines('-')))"
    done = subprocess.run(
        [sys.executable, "-c", code], input=b"one\ntwo", capture_output=True, cwd=tmp_path, check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout == b"[(1, 'one', True), (2, 'two', False)]\n"


def test_a_line_without_an_end_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "LONGEST", 1 << 16)
    log = write(tmp_path / "log", b"x" * (3 << 20) + b"\nend\n")
    held = list(sources.lines(str(log)))
    assert max(len(text) for _, text, _ in held) <= (1 << 16) + sources.BLOCK
    assert held[-1] == (2, "end", True)


@pytest.mark.parametrize(
    ("text", "stream", "line"),
    [
        ("0: # size", "srun 0", "# size"),
        ("[1,0]<stdout>:      8  2", "mpi 1,0", "     8  2"),
        ("[rank0]:[titan] 2025-06-16 22:30:50,322 - root", "role rank0", "[titan] 2025-06-16 22:30:50,322 - root"),
        ("[default3]:step", "role default3", "step"),
        ("worker-3 | 12", "pipe worker-3", "12"),
        ("node17: 12", "host node17", "12"),
        ("2024-05-01T12:00:00.123Z 3: 12", "srun 3", "12"),
        ("[2024-04-06 02:59:36] iteration", "", "iteration"),
        (" [2024-04-06 02:59:36] iteration", "", "iteration"),
        ("2024-04-06 02:59:36, 45, 12", "", "2024-04-06 02:59:36, 45, 12"),
        ("1024   256  float", "", "1024   256  float"),
        ("12:30:01 up", "", "12:30:01 up"),
        ("(Trainer pid=123, ip=10.0.0.1) step", "ray Trainer pid=123, ip=10.0.0.1", "step"),
    ],
)  # fmt: skip
def test_a_launchers_prefix_comes_off_and_tells_the_stream(text: str, stream: str, line: str) -> None:
    assert cleaning.peeled(text) == (stream, line)


def test_escape_sequences_go(tmp_path: Path) -> None:
    assert cleaning.plain("\x1b[1;32mstep\x1b[0m \x1b]0;title\x07x\x1b[K") == "step x"


def closed(*lines: str) -> Document:
    document = Document(1)
    for number, line in enumerate(lines, start=1):
        document.add(line, number)
    return document


def test_a_json_value_over_many_lines_is_read_and_one_that_broke_off_as_far_as_it_is_whole() -> None:
    whole = closed('{"a": [1, 2.5],', ' "b": {"c": "x]"}}')
    assert whole.value() == {"a": [1, 2.5], "b": {"c": "x]"}}
    assert closed('{"a": [1, 2.5],', ' "b": {"c": 12').whole() == {"a": [1, 2.5], "b": {}}
    assert closed('{"a": [1, 2.5, 34').whole() == {"a": [1, 2.5]}
    assert closed('{"a": 1, "b": "tex').whole() == {"a": 1}
    assert closed("{").whole() == {}
    assert closed('{"a": nonsense}').value() is NOTHING


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)), st.data())  # fmt: skip  # noqa: E501
def test_what_is_whole_of_a_cut_value_holds_nothing_that_the_value_does_not(value: object, data: st.DataObject) -> None:
    import json

    text = json.dumps([value])
    document = Document(1)
    document.add(text[: data.draw(st.integers(1, len(text)))], 1)
    assert _within(document.whole(), [value])


def _within(part: object, whole: object) -> bool:
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(key in whole and _within(held, whole[key]) for key, held in part.items())
    if isinstance(part, list) and isinstance(whole, list):
        return len(part) <= len(whole) and all(map(_within, part, whole))
    return part is NOTHING or part == whole


@given(st.lists(st.floats(-1e6, 1e6), max_size=200), st.sampled_from([2, 4, 8, 64]))
def test_a_series_keeps_its_total_in_bounded_memory(values: list[float], most: int) -> None:
    series = Series(most)
    for value in values:
        series.add(value)
    samples = series.samples
    assert len(samples) <= most
    if values:
        *blocks, last = samples
        rest = len(values) - len(blocks) * series.block
        assert sum(blocks) * series.block + last * rest == pytest.approx(sum(values), abs=1e-3)
