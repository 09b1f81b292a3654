"""`bench collect` as a user has it. The kind is a small one of the test's own; real ones are in tests/collectors."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import main
from collectors import kinds, reading
from collectors.parser import About, Found, Kind, Sink, parsed
from harness import store
from harness.records import Failed, Origin
from harness.units import Unit

LINE = re.compile(r"probe (\w+) (\d+\.\d) us( wrong)?( odd)?")


class Probe:
    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def feed(self, text: str, line: int) -> bool:
        if not text.startswith("probe"):
            return False
        found = LINE.fullmatch(text)
        if found is None:
            self._sink.warn(line, "not whole")
            return True
        self._sink.found(
            Found(
                "links.probe", {"link": found[1]}, (parsed("time", Unit.SECOND, float(found[2]) * 1e-6),), line, line,
                About(versions=(("probe", "1.2"),), ranks=2), ("the log claims 1, and 2 follows",) if found[4] else (),
                "the answer was wrong" if found[3] else "",
            )
        )  # fmt: skip
        return True

    def close(self) -> None:
        return


def document(value: object, sink: Sink, first: int, last: int) -> bool:
    if not (isinstance(value, dict) and isinstance(value.get("probe"), (int, float))):
        return False
    sink.found(Found("links.json", {}, (parsed("time", Unit.SECOND, value["probe"]),), first, last))
    return True


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    known = [Kind("probe", "a probe", ("probe",), Probe), Kind("documents", "JSON", document=document)]
    monkeypatch.setattr(kinds, "load", lambda: known)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = main.main(["collect", *arguments])
        return code, *capfd.readouterr()

    return call


def write(name: str, text: str) -> str:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text)
    return name


def told(run: Run, *arguments: str) -> dict[str, Any]:
    code, out, _ = run(*arguments, "--json")
    assert code == 0
    found: dict[str, Any] = json.loads(out)
    return found


def test_a_log_becomes_a_run_that_other_commands_read(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    found = told(run, write("a.log", "hello\nprobe a 12.5 us\nprobe b 7.5 us\nprobe a 13.5 us\n"))
    by_link = {one["params"]["link"]: one for one in found["records"]}
    assert by_link["a"]["quantities"]["time"]["samples"] == pytest.approx([12.5e-6, 13.5e-6])
    assert by_link["a"]["launches"] == 2
    assert by_link["b"]["quantities"]["time"]["value"] == pytest.approx(7.5e-6)
    assert by_link["b"]["quantities"]["time"]["origin"] == "parsed"
    assert by_link["b"]["notes"] == ["a.log: line 3"]
    assert (found["unread_lines"], found["unread"]) == (1, [{"file": "a.log", "line": 1, "text": "hello"}])
    held = store.read(Path(found["run"]))
    assert len(held.records) == 3
    (origin,) = held.provenance.values()
    assert (origin.ranks, origin.nodes, origin.versions) == (2, None, {"probe": "1.2"})
    assert all(one.origin is Origin.PARSED for record in held.records for one in record.measurements)
    for command in (["show", found["run"]], ["report", found["run"], "--format", "html,md"]):
        assert main.main(command) == 0
        assert "missing" not in capfd.readouterr().out.lower()
    page = Path(found["run"], "report.html").read_text()
    assert "Collected from logs" in page
    assert re.search(r"7\.50\s*µs", page)
    assert "every number is one that a log of another tool holds" in page


def test_kinds_lists_and_forcing_reads_one_kind_only(run: Run) -> None:
    assert "a probe" in run("--kinds")[1]
    name = write("a.log", 'probe a 1.5 us\n{"probe": 2.5}\n')
    assert told(run, name)["files"][0]["kinds"] == {"probe": 1, "documents": 1}
    assert told(run, name, "--kind", "documents")["files"][0]["kinds"] == {"documents": 1}
    code, _, errors = run(name, "--kind", "prob")
    assert code == 2
    assert "Near: probe" in errors


def test_files_that_cannot_be_read_are_named_and_the_others_are_read(run: Run) -> None:
    write("logs/a.log", "probe a 1.5 us\n")
    Path("logs/b.log.gz").write_bytes(gzip.compress(b"probe b 2.5 us\n"))
    Path("logs/binary").write_bytes(b"\x7fELF\0\0")
    write("logs/other.txt", "nothing to see\n")
    Path("logs/loop").symlink_to("../logs")
    found = told(run, "logs", "missing.log")
    assert len(found["records"]) == 2
    said = "\n".join(found["problems"])
    for words in (
        "missing.log: No such file",
        "binary: it is binary",
        "other.txt: 1 line(s)",
        "tried probe, documents",
    ):
        assert words in said


def test_where_nothing_is_read_the_exit_code_is_2_and_nothing_is_left(run: Run) -> None:
    code, out, errors = run(write("a.txt", "nothing\nto see\n"), "--json")
    assert (code, out) == (2, "")
    assert "tried probe, documents" in errors
    assert "line 1: nothing" in errors
    assert not Path("runs").exists()
    code, _, errors = run()
    assert code == 2
    assert "no file to read" in errors


def test_dry_run_stores_nothing(run: Run) -> None:
    found = told(run, write("a.log", "probe a 1.5 us\n"), "--dry-run")
    assert (found["run"], len(found["records"])) == (None, 1)
    assert not Path("runs").exists()


def test_rows_that_are_there_twice_count_once_and_a_lone_equal_one_counts(run: Run) -> None:
    table = "".join(f"probe {name} {at}.5 us\n" for at, name in enumerate("abcd"))
    found = told(run, write("a.log", table + "=== again\n" + table))
    assert [one["launches"] for one in found["records"]] == [1] * 4
    assert "4 rows are there twice" in "\n".join(found["warnings"])
    other = "".join(f"probe {name} {at}.{5 if name == 'b' else 7} us\n" for at, name in enumerate("abcd"))
    found = told(run, write("b.log", table + other))
    assert [one["launches"] for one in found["records"]] == [2] * 4


def test_contradictions_and_wrong_answers_are_told_and_kept(run: Run) -> None:
    found = told(run, write("a.log", "probe a 1.5 us odd\nprobe b 1.5 us wrong\nprobe c 1.\n"))
    assert "a.log: line 1: the log claims 1, and 2 follows" in found["warnings"]
    assert "a.log: line 3: probe: not whole" in found["warnings"]
    failed = [record for record in store.read(Path(found["run"])).records if isinstance(record.outcome, Failed)]
    assert [(one.params, one.measurements) for one in failed] == [({"link": "b"}, ())]


def test_what_a_log_says_is_not_obeyed(run: Run) -> None:
    """Escape sequences and HTML of a log are shown, not followed."""
    name = write(
        "a.log", "probe x 1.5 us\n<script>alert(1)</script> \x07\x1b]0;title\x07 \x9b31m\nprobe y\x1b[31m 2.5 us\n"
    )
    code, out, errors = run(name)
    assert code == 0
    assert "\x1b" not in out + errors
    assert "\x07" not in out + errors
    found = told(run, name)
    main.main(["report", found["run"], "--format", "html"])
    assert "<script>alert" not in Path(found["run"], "report.html").read_text()


def test_a_plug_ins_kind_that_does_not_load_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    entry = EntryPoint("bad", "no_such_module:KIND", kinds.ENTRY_POINTS)
    monkeypatch.setattr(kinds.importlib.metadata, "entry_points", lambda group: [entry])
    with pytest.raises(Exception, match="'bad' cannot be loaded from no_such_module:KIND"):
        kinds.load()


def test_memory_of_what_is_heard_is_bounded() -> None:
    """A million lines that nobody can read leave ten of them."""
    heard = reading.Heard("x")
    work = reading._Work(heard, [], lambda *_: True, False)
    for number in range(1, 5001):
        work.line(number, f"foreign {number} " + "x" * 500)
    assert heard.unread == 5000
    assert len(heard.first_unread) == reading.SHOWN
    assert all(len(text) <= reading.WIDEST for _, text in heard.first_unread)
