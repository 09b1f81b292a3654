"""A run on disk: what was appended is read, whatever happened to the file or the disk in between."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from harness.errors import CannotRun, UsageError
from harness.files import write_atomically
from harness.hardware import Cluster, Device, Node
from harness.records import SCHEMA, Failed, Incomplete, Ok, Outcome, Provenance, Record
from harness.store import (
    RECORDS_FILE,
    RUN_FILE,
    Planned,
    RunInfo,
    Store,
    list_runs,
    new_id,
    read,
    read_info,
)

CLUSTER = Cluster("toy", "A toy", "cpu", 1, Device("Toy", "cpu", "all cores", ("Toy",)), Node(1))
INFO = RunInfo(
    SCHEMA, "run-1", "2026-01-01T00:00:00Z", ("bench", "run"), "quick", CLUSTER, simulated=False, seed=1,
    launches=1, budget=60.0, cells=(Planned("gemm.square", 1, {"m": 64}),),
)  # fmt: skip


def record(m: int, outcome: Outcome | None = None, launch: int = 1, note: str = "") -> Record:
    return Record(SCHEMA, "gemm.square", 1, {"m": m}, launch, outcome or Ok(), notes=(note,))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    held = Store.create(tmp_path, INFO)
    yield held
    held.close()


def lines(store: Store) -> list[bytes]:
    return (store.path / RECORDS_FILE).read_bytes().splitlines(keepends=True)


class TestAppendAndRead:
    def test_what_is_appended_is_read_in_order(self, store: Store) -> None:
        provenance = Provenance(
            "p1", "2026-01-01T00:00:00Z", "host", (), None, None, {}, {}, "toy", "0", (), 1, 1, 1, "gloo"
        )
        store.append(provenance)
        for m in (3, 1, 2):
            store.append(record(m))
        run = read(store.path)
        assert run.info == INFO
        assert run.records == (record(3), record(1), record(2))
        assert run.provenance == {"p1": provenance}
        assert run.problems == ()

    def test_every_line_is_one_json_document(self, store: Store) -> None:
        store.append(record(1, Failed("two\nlines")))
        store.append(record(2))
        assert [json.loads(line)["type"] for line in lines(store)] == ["record", "record"]

    def test_a_run_that_measured_nothing_reads(self, store: Store) -> None:
        assert read(store.path).records == ()
        (store.path / RECORDS_FILE).unlink()
        assert read(store.path).records == ()

    def test_finished_leaves_out_what_is_incomplete(self, store: Store) -> None:
        cell = "gemm.square m="
        for entry in (
            record(1), record(2, Failed("x")), record(3, Incomplete("x")), record(4, Incomplete("x")), record(4),
            record(5), record(5, Incomplete("x")), record(1, launch=2),
        ):  # fmt: skip
            store.append(entry)
        assert read(store.path).finished == {(f"{cell}{m}", 1) for m in (1, 2, 4)} | {(f"{cell}1", 2)}


class TestDamage:
    def test_a_cut_last_line_costs_that_line_only(self, store: Store) -> None:
        for m in range(3):
            store.append(record(m))
        path = store.path / RECORDS_FILE
        for cut in (1, 20, len(lines(store)[-1]) - 1):
            whole = path.read_bytes()
            path.write_bytes(whole[:-cut])
            run = read(store.path)
            if cut > 1:  # without its newline alone, a line is still whole
                assert run.records == (record(0), record(1))
                assert [problem.split(":")[0] for problem in run.problems] == ["records.jsonl line 3"]
            else:
                assert len(run.records) == 3
            path.write_bytes(whole)

    @pytest.mark.parametrize("cut", [1, 20])
    def test_appending_after_a_cut_line_starts_a_new_one(self, store: Store, cut: int) -> None:
        store.append(record(0))
        store.append(record(1))
        path = store.path / RECORDS_FILE
        path.write_bytes(path.read_bytes()[:-cut])
        store.append(record(2))
        store.append(record(3))
        run = read(store.path)
        assert run.records[-2:] == (record(2), record(3))
        assert run.records[0] == record(0)
        assert len(run.problems) == (0 if cut == 1 else 1)
        assert all(problem.startswith("records.jsonl line 2:") for problem in run.problems)

    def test_a_line_spoilt_in_the_middle_is_named_with_its_number_in_the_file(self, store: Store) -> None:
        for m in range(4):
            store.append(record(m))
        held = lines(store)
        held[1] = b"\n"
        held[2] = held[2][:30] + b"\x00\xff" + held[2][32:]
        (store.path / RECORDS_FILE).write_bytes(b"".join(held))
        run = read(store.path)
        assert run.records == (record(0), record(3))
        assert len(run.problems) == 1
        assert run.problems[0].startswith("records.jsonl line 3:")

    def test_a_record_of_a_newer_schema_is_refused(self, store: Store) -> None:
        store.append(record(1))
        newer = msgspec.structs.replace(record(2), schema=SCHEMA + 1)
        store.append(newer)
        run = read(store.path)
        assert run.records == (record(1),)
        assert run.problems == (f"records.jsonl line 2: schema {SCHEMA + 1}, this program reads {SCHEMA}",)

    def test_a_run_of_a_newer_schema_is_refused_whole(self, store: Store) -> None:
        text = (store.path / RUN_FILE).read_text().replace(f'"schema": {SCHEMA}', f'"schema": {SCHEMA + 1}, "x": 1')
        (store.path / RUN_FILE).write_text(text)
        with pytest.raises(UsageError, match=f"schema {SCHEMA + 1}, and this program reads {SCHEMA}"):
            read(store.path)

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 1}', "\xff"])
    def test_a_spoilt_run_file_is_named(self, store: Store, text: str) -> None:
        (store.path / RUN_FILE).write_bytes(text.encode("latin-1"))
        with pytest.raises(UsageError, match=r"run\.json"):
            read_info(store.path)

    def test_a_folder_that_is_no_run_says_where_to_look(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"is no run: run\.json: No such file.*bench list runs"):
            read_info(tmp_path)


class TestFolders:
    def test_ids_sort_by_time_and_do_not_collide(self) -> None:
        ids = {new_id("quick", "local") for _ in range(50)}
        assert len(ids) == 50
        assert all("-local-quick-" in name for name in ids)

    def test_runs_are_listed_oldest_first_and_others_passed_over(self, tmp_path: Path) -> None:
        for name in ("b", "a"):
            Store.create(tmp_path, msgspec.structs.replace(INFO, id=name)).close()
        (tmp_path / "notes").mkdir()
        (tmp_path / "file").write_text("x")
        (tmp_path / "newer").mkdir()
        (tmp_path / "newer" / "run.json").write_text('{"schema": 99}')
        infos, problems = list_runs(tmp_path)
        assert [info.id for info in infos] == ["a", "b"]
        assert len(problems) == 1
        assert "schema 99" in problems[0]
        assert list_runs(tmp_path / "nowhere") == ([], [])

    def test_a_folder_that_cannot_be_written_is_wrong_use(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        with pytest.raises(UsageError, match="Name a writable folder with --out"):
            Store.create(tmp_path / "file", INFO)

    def test_a_run_has_one_writer(self, store: Store) -> None:
        with pytest.raises(CannotRun, match="being written by another"):
            Store(store.path)
        store.close()
        Store(store.path).close()

    def test_a_file_is_written_whole_or_not_at_all(self, tmp_path: Path) -> None:
        target = tmp_path / "report.json"
        write_atomically(target, b"old")
        write_atomically(target, b"new")
        assert target.read_bytes() == b"new"
        with pytest.raises(CannotRun, match="cannot write"):
            write_atomically(tmp_path / "missing" / "report.json", b"x")
        assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def fill(store: Store) -> tuple[int, CannotRun]:
    """Append records of 2 KB until the disk is full: how many went in, and the error."""
    for count in range(10_000):
        try:
            store.append(record(count, note="x" * 2000))
        except CannotRun as error:
            return count, error
    raise AssertionError("the disk never filled up")


def judge(path: Path, count: int, error: CannotRun) -> None:
    """Every record that went in is read, nothing is left of the one that did not, and the error helps."""
    run = read(path)
    assert count > 5
    assert [held.params["m"] for held in run.records] == list(range(count))
    assert run.problems == ()
    assert (path / RECORDS_FILE).read_bytes().endswith(b"\n")
    assert "Every earlier record is intact" in str(error)
    assert f"bench run --resume {path}" in str(error)
    assert error.exit_code == 3


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 64 KiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root; the file size limit is tested instead")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"no tmpfs may be mounted here: {mounted.stderr.strip()}")
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


class TestFullDisk:
    def test_on_a_real_full_file_system(self, small_disk: Path) -> None:
        ballast = small_disk / "ballast"
        ballast.write_bytes(b"\0" * 16384)
        store = Store.create(small_disk, INFO)
        count, error = fill(store)
        judge(store.path, count, error)
        assert "No space left on device" in str(error)
        ballast.unlink()  # the user frees some space, and the run continues
        store.append(record(count))
        assert len(read(store.path).records) == count + 1
        store.close()

    def test_at_the_limit_of_a_file(self, tmp_path: Path) -> None:
        """The same where nothing may be mounted: a process whose files may not grow past 40 KB."""
        script = (
            "import resource, sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
            "import test_harness_store as t\n"
            "store = t.Store.create(Path(sys.argv[2]), t.INFO)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))\n"
            "t.judge(store.path, *t.fill(store))\n"
            "print('judged')\n"
        )
        ran = subprocess.run(
            [sys.executable, "-c", script, str(Path(__file__).parent), str(tmp_path)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (ran.returncode, ran.stdout) == (0, "judged\n"), ran.stderr
