"""Output of nccl-tests and rccl-tests in every form seen, cut off and interleaved; finding and starting them."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusters.nccl_tests import programs, read
from clusters.nccl_tests.rows import PROGRAMS, Log, nccl_version, operation_named
from harness.errors import UsageError
from harness.hardware import NCCL_TESTS, Launch

ROOT = Path(__file__).resolve().parents[2]
TWO_RUNS = (ROOT / "tests/fixtures/nccl_tests/two_runs.txt").read_text()
SHARED = ROOT.parent / "shared" / "data" / "logs"

DEVICES = "".join(
    f"#  Rank {rank:2d} Group  0 Pid 7{rank} on node-{rank // 2} device  {rank % 2} [0000:0{rank}:00] Made-up GPU\n"
    for rank in range(4)
)
HEADER = (
    "#     size       count    type   redop    root     time   algbw   busbw #wrong     time   algbw   busbw #wrong\n"
    "#      (B)  (elements)                             (us)  (GB/s)  (GB/s)            (us)  (GB/s)  (GB/s)\n"
)
ROW = "   1048576      262144   float     sum      -1    100.0   10.49   15.73      0    80.00   13.11   19.66      0\n"
AFTER = "2026-01-02 03:04:05"
FOOT = "# Out of bounds values : 0 OK\n# Avg bus bandwidth    : 17.695\n#\n"
WHOLE = DEVICES + HEADER + ROW + FOOT


def rows(text: str) -> list[tuple[int, bool, float | None]]:
    return [(row.size, row.in_place, row.time) for table in read(text, "log").tables for row in table.rows]


BOTH = [(1 << 20, False, pytest.approx(100e-6)), (1 << 20, True, pytest.approx(80e-6))]


def test_a_log_of_two_runs_is_two_tables() -> None:
    log = read(TWO_RUNS, "two_runs.txt")
    first, second = log.tables
    assert (first.operation, first.ranks, first.nodes, first.factor) == ("all_reduce", 8, 1, 1.75)
    assert first.devices == ("Made-up GPU 80GB",)
    assert first.versions == {"nccl-tests": "2.17.6", "NCCL": "2.28.7"}
    assert len(first.rows) == 3 * 19 * 2  # three cycles, both ways
    assert {row.dtype for row in first.rows} == {"float32"}
    assert (second.operation, second.ranks, len(second.rows)) == ("send_recv", 2, 4)
    assert [row.wrong for row in second.rows] == [0, None, 0, None]
    assert log.warnings == (
        "line 94: 1 values where the header asks for 8: left out",
        "line 90: this table has no summary at its end: it was cut off",
    )


def test_a_row_is_in_base_units() -> None:
    (first, second) = read(WHOLE, "log").tables[0].rows
    assert (first.size, first.count, first.redop, first.root, first.wrong, first.line) == (
        1 << 20,
        1 << 18,
        "sum",
        -1,
        0,
        7,
    )
    assert (first.time, first.algbw, first.busbw) == pytest.approx((100e-6, 10.49e9, 15.73e9))
    assert (second.in_place, second.time) == (True, pytest.approx(80e-6))
    assert (read(WHOLE, "log").tables[0].ranks, read(WHOLE, "log").tables[0].nodes) == (4, 2)


@pytest.mark.parametrize(("what", "text"), [
    ("as printed", WHOLE),
    ("without the marks of comments", WHOLE.replace("#", " ").replace("  wrong", " #wrong")),
    ("srun --label", "".join(f"0: {line}\n" for line in WHOLE.splitlines())),
    ("mpirun --tag-output", "".join(f"[1,0]<stdout>:{line}\n" for line in WHOLE.splitlines())),
    ("a message between lines", WHOLE.replace(ROW, f"node-0:71:93 [1] NCCL INFO Launch mode Parallel\n{ROW}")),
    ("a message within a row", WHOLE.replace("-1    100.0", "-1node-0:71:93 [1] NCCL INFO Channel 00\n    100.0")),
    ("two of them", WHOLE.replace("-1    100", "-1node-1:7:9 [0] NCCL INFO A\nnode-0:7:9 [1] NCCL WARN B\n    100")),
    ("Windows line ends", WHOLE.replace("\n", "\r\n")),
    ("times of day behind", WHOLE.replace("#wrong\n", "#wrong timestamp\n").replace("  0\n", f"  0  {AFTER}\n")),
    ("an algorithm behind", WHOLE.replace("#wrong\n", "#wrong algo proto chan\n").replace("  0\n", "  0 RING LL 8\n")),
])  # fmt: skip
def test_the_same_rows_whatever_stands_around_them(what: str, text: str) -> None:
    assert rows(text) == BOTH


@pytest.mark.parametrize(("head", "row", "operation", "root", "redop"), [
    ("size count type redop time algbw busbw error time algbw busbw error",
     "1024 256 float 100.0 1.00 1.50 1e-07 80.00 1.00 1.50 N/A", "all_reduce", None, ""),
    ("size count type time algbw busbw error time algbw busbw error",
     "1024 256 float 100.0 10.00 7.50 N/A 80.00 10.00 7.50 N/A", None, None, ""),
    ("size count type root time algbw busbw error time algbw busbw error",
     "1024 256 half 0 100.0 10.00 10.00 0e+00 80.00 10.00 10.00 N/A", "broadcast", 0, ""),
    ("size count type redop root time algbw busbw error time algbw busbw error",
     "1024 256 float sum 2 100.0 10.00 10.00 0e+00 80.00 10.00 10.00 N/A", "reduce", 2, "sum"),
    ("size count type redop root time algbw busbw #wrong time algbw busbw #wrong",
     "1024 256 float sum -1 100.0 10.00 7.50 0 80.00 10.00 7.50 0", "reduce_scatter", -1, "sum"),
    ("size count type redop root time algbw busbw #wrong time algbw busbw #wrong",
     "1024 256 float none -1 100.0 10.00 7.50 0 80.00 10.00 7.50 0", None, -1, "none"),
])  # fmt: skip
def test_headers_of_all_ages(head: str, row: str, operation: str | None, root: int | None, redop: str) -> None:
    """The operation is told by the program's name; else by what only one operation can be."""
    table = read(f"{DEVICES}# {head}\n{row}\n{FOOT}", "log").tables[0]
    assert [one.time for one in table.rows] == pytest.approx([100e-6, 80e-6])
    assert (table.operation, table.rows[0].root, table.rows[0].redop) == (operation, root, redop)
    named = read(f"$ mpirun /opt/build/alltoall_perf -b 8\n{DEVICES}# {head}\n{row}\n{FOOT}", "log").tables[0]
    assert named.operation == "all_to_all"


def test_a_wrong_result_has_no_number() -> None:
    log = read(WHOLE.replace("15.73      0", "15.73     17"), "log")
    (first, second) = log.tables[0].rows
    assert (first.wrong, first.time, first.algbw, first.busbw) == (17, None, None, None)
    assert (second.wrong, second.time) == (0, pytest.approx(80e-6))
    assert log.warnings == ("line 7: 1 MiB out of place: the result was wrong, so it has no number",)


def test_a_deviation_with_an_asterisk_is_a_wrong_result() -> None:
    head = "# size count type redop time algbw busbw error time algbw busbw error\n"
    log = read(head + "1024 256 float sum 10.0 1.00 1.50 2e-01* 8.00 1.00 1.50 1e-07\n" + FOOT, "log")
    assert [row.time for row in log.tables[0].rows] == [None, pytest.approx(8e-6)]


def test_wrong_results_that_only_the_summary_tells_are_said() -> None:
    (warning,) = read(WHOLE.replace("values : 0 OK", "values : 2 FAILED"), "log").warnings
    assert "summary tells of 2 wrong results" in warning


def test_warnings_of_nccl_and_failures_are_repeated_once() -> None:
    noise = "node-0:1:2 [0] NCCL WARN Call to connect failed\n" * 3 + "node-0: Test NCCL failure common.cu:958\n"
    said = read(DEVICES + HEADER + ROW + noise, "log").warnings
    assert said[:2] == ("line 8: Call to connect failed", "line 11: node-0: Test NCCL failure common.cu:958")


@pytest.mark.parametrize(("text", "says"), [
    ("", r"no table in its 0 line\(s\)"),
    ("hello\nworld\n", r"log: no table in its 2 line\(s\); accepted is .*size count type.*JSON of nccl-tests -J"),
    (DEVICES + HEADER, r"log: line 5: the table that begins here has no whole line"),
    (DEVICES + HEADER + "  1048576  262144  float  sum", "line 7: 0 values where the header asks for 8"),
    (DEVICES + HEADER.replace("time", "cputime") + ROW + FOOT, "two columns `time`"),
    (DEVICES + HEADER + ROW.replace("100.0", "0.00").replace("80.00", "nan"), "no time, bandwidths and count"),
])  # fmt: skip
def test_what_holds_no_row_is_refused_by_name_and_line(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        read(text, "log")


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(TWO_RUNS)))
def test_a_log_cut_off_anywhere_gives_what_is_whole(end: int) -> None:
    whole = read(TWO_RUNS, "log")
    try:
        cut = read(TWO_RUNS[:end], "log")
    except UsageError:
        assert end < TWO_RUNS.index("float") + 200  # before the first row was whole
        return
    found = [row for table in cut.tables for row in table.rows]
    assert found == [row for table in whole.tables for row in table.rows][: len(found)]
    assert cut.warnings or end > TWO_RUNS.index("Avg bus")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_is_survived(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from([WHOLE, json.dumps(nccl()), json.dumps(rccl())]))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        text = text[:at] + data.draw(st.text(max_size=6)) + text[at + data.draw(st.integers(0, 9)) :]
    try:
        log = read(text, "log")
    except UsageError:
        return
    assert all(row.time is None or row.time > 0 for table in log.tables for row in table.rows)


def way(time_us: float, wrong: float | None = 0.0) -> dict[str, object]:
    return {
        "time": time_us,
        "alg_bw": 1048576 / time_us / 1e3,
        "bus_bw": 1.5 * 1048576 / time_us / 1e3,
        "nwrong": wrong,
    }


def nccl(**change: object) -> dict[str, object]:
    """A document of nccl-tests -J: two processes of two threads, one device each."""
    devices = [
        {
            "rank": 2 * at,
            "group": 0,
            "pid": 1,
            "hostname": f"node-{at}",
            "device": 0,
            "device_hex": "0",
            "device_info": "X",
        }
        for at in range(2)
    ]
    result = {
        "size": 1048576, "count": 262144, "type": "float", "redop": "sum", "root": "    -1", "out_of_place": way(100.0),
        "in_place": way(80.0), "actual_iterations": 20, "experiment_name": "",
    }  # fmt: skip
    return {
        "version": 1, "start_time": "2026-01-02 03:04:05", "args": ["/opt/build/all_reduce_perf", "-g", "1"],
        "env": ["SECRET_KEY=hunter2", '"results":['], "nccl_version": 22807,
        "config": {"nthreads": 2, "ngpus": 1, "devices": devices}, "results": [result, result | {"size": 2097152}],
        "out_of_bounds": {"count": 0, "okay": "true"}, "errors": [], "end_time": "",
    } | change  # fmt: skip


def rccl() -> list[dict[str, object]]:
    """Lines of rccl-tests -Z json with MPI: four processes of one device on two nodes."""
    common = {
        "numCycle": 0, "name": "AllReduce", "nodes": 2, "ranks": 4, "ranksPerNode": 2, "gpusPerRank": 1,
        "size": 1048576, "type": "float", "redop": "sum", "algBw": 10.48576, "busBw": 15.72864, "wrong": "0",
    }  # fmt: skip
    return [common | {"inPlace": 0, "time": 100.0}, common | {"inPlace": 1, "time": 80.0, "wrong": "N/A"}]


def test_json_of_nccl_tests() -> None:
    log = read(json.dumps(nccl()), "results.json")
    (table,) = log.tables
    assert (table.operation, table.ranks, table.nodes, table.devices) == ("all_reduce", 4, 2, ("X",))
    assert (table.versions, table.factor, log.warnings) == ({"NCCL": "2.28.7"}, 1.5, ())
    assert [(row.size, row.in_place, row.time, row.root) for row in table.rows[:2]] == [
        (1 << 20, False, pytest.approx(100e-6), -1), (1 << 20, True, pytest.approx(80e-6), -1)
    ]  # fmt: skip
    assert "hunter2" not in repr(log)


def test_json_of_rccl_tests() -> None:
    (table,) = read(json.dumps(rccl()), "results.json").tables
    assert (table.operation, table.ranks, table.nodes, table.factor) == ("all_reduce", 4, 2, 1.5)
    assert [(row.time, row.wrong, row.in_place) for row in table.rows] == [
        (pytest.approx(100e-6), 0, False), (pytest.approx(80e-6), None, True)
    ]  # fmt: skip
    alone = [
        {"gpus": 8} | {k: v for k, v in one.items() if k not in ("nodes", "ranks", "gpusPerRank")} for one in rccl()
    ]
    assert read(json.dumps(alone), "results.json").tables[0].ranks == 8


def test_wrong_results_in_json_have_no_number() -> None:
    results = [dict(nccl()["results"][0], out_of_place=way(100.0, 3.0))]  # type: ignore[index]
    log = read(json.dumps(nccl(results=results)), "results.json")
    assert [(row.wrong, row.time) for row in log.tables[0].rows] == [(3, None), (0, pytest.approx(80e-6))]
    assert log.warnings == ("1 MiB out of place: the result was wrong, so it has no number",)


@pytest.mark.parametrize(("document", "says"), [
    (nccl(version=2), "layout version 2, and read is 1"),
    (nccl(results=[]), "without a single result"),
    (nccl(config={}), r"results.json: no JSON of nccl-tests .* missing required field `nthreads` - at `\$.config`"),
    ({"some": "thing"}, "layout version None"),
    ([], "without a single result"),
    ([{"a": 1}], "results.json: no JSON of nccl-tests"),
    ([dict(rccl()[0], wrong="many")], "no JSON of nccl-tests"),
])  # fmt: skip
def test_json_of_another_kind_is_refused_by_name(document: object, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        read(json.dumps(document), "results.json")


@pytest.mark.parametrize("document", [nccl(), rccl()])
def test_json_cut_off_anywhere_gives_what_is_whole(document: object) -> None:
    text = json.dumps(document)
    whole = [row for table in read(text, "j").tables for row in table.rows]
    counts = set()
    for end in range(len(text)):
        try:
            log = read(text[:end], "j")
        except UsageError:
            continue
        found = [row for table in log.tables for row in table.rows]
        assert found == whole[: len(found)]
        assert "the JSON was cut off" in log.warnings[0]
        counts.add(len(found))
    assert max(counts) == len(whole)


GOLDEN = {
    "nccl-tests/aws_p5_2node_16gpu.txt": ("all_reduce", None, 64, 487.26e9, 1),
    "nccl-tests/gcp_a3mega_h100_16gpu.txt": ("all_reduce", 16, 62, 338.82e9, 0),
    "nccl-tests/issue_nccl-tests_287_alltoall_1gpu_NA.txt": (None, 1, 2, 0.0, 0),
    "nccl-tests/sb_nccl_allgather.log": (None, 8, 68, 230.07e9, 0),
    "nccl-tests/sb_nccl_allreduce.log": ("all_reduce", 8, 68, 235.26e9, 0),
    "nccl-tests/sb_nccl_alltoall.log": (None, 8, 68, 226.16e9, 0),
    "nccl-tests/sb_nccl_broadcast.log": ("broadcast", 8, 68, 234.70e9, 0),
    "nccl-tests/sb_nccl_reduce.log": ("reduce", 8, 68, 231.28e9, 0),
    "nccl-tests/sb_nccl_reducescatter.log": ("reduce_scatter", 8, 68, 231.52e9, 0),
    "rccl-tests/amd_mi300x_16gpu_all_reduce_old_header.txt": ("all_reduce", 16, 64, 357.46e9, 0),
    "rccl-tests/amd_mi300x_8gpu_all_reduce.txt": ("all_reduce", 8, 62, 315.91e9, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", GOLDEN)
def test_published_logs(name: str) -> None:
    """Logs that others published; they are no part of this repository."""
    if not (SHARED / name).exists():
        pytest.skip(f"{name} is not beside this checkout")
    log: Log = read((SHARED / name).read_text(), name)
    (table,) = log.tables
    best = max(row.busbw for row in table.rows if row.busbw is not None)
    assert (table.operation, table.ranks, len(table.rows), best, len(log.warnings)) == GOLDEN[name]


def test_names_and_versions() -> None:
    assert [operation_named(program) for program in PROGRAMS.values()] == list(PROGRAMS)
    assert [operation_named(name) for name in ("AlltoAll", "SendRecv", "ReduceScatter")] == [
        "all_to_all", "send_recv", "reduce_scatter",
    ]  # fmt: skip
    assert operation_named("hypercube_perf") is None
    assert [nccl_version(code) for code in (22807, 21805, 2708)] == ["2.28.7", "2.18.5", "2.7.8"]


# ------------------------------------------------------------------------------------------- programs


def program(folder: Path, text: str, name: str = "all_reduce_perf") -> Path:
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(0o755)
    return path


def test_the_folder_of_the_definition_comes_before_the_path(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for folder in (ours, theirs):
        folder.mkdir()
        program(folder, "")
    on_path = {"PATH": str(theirs)}
    assert programs.find("all_reduce_perf", on_path) == theirs / "all_reduce_perf"
    named = on_path | Launch(nccl_tests=str(ours)).variables
    assert programs.find("all_reduce_perf", named) == ours / "all_reduce_perf"
    assert programs.find("sendrecv_perf", named) is None
    assert programs.find("all_reduce_perf", {}) is None
    assert Launch(environment={"A": "b"}).variables == {"A": "b"}


def test_what_is_missing_says_where_it_was_looked_for_and_how_to_get_it() -> None:
    said = programs.missing("all_reduce_perf", False, {NCCL_TESTS: "/opt/tests"})
    assert "neither in /opt/tests (launch.nccl_tests of the definition) nor on PATH" in said
    assert "NVIDIA/nccl-tests" in said
    assert "ROCm/rccl-tests" in programs.missing("all_reduce_perf", True, {})


@pytest.mark.parametrize(("usage", "expected"), [
    ("[-b,--minbytes <size>] [-N,--run_cycles <n>] [-J,--output_file <file> ...]", (("-J",), True)),
    ("[-b,--minbytes <size>] [-x,--output_file <name>] [-Z,--output_format <csv|json>]", (("-Z", "json", "-x"), False)),
    ("[-b,--minbytes <size>] [-x,--cta_policy <0/1/2>]", ((), False)),
    ("usage: something else", None),
])  # fmt: skip
def test_what_a_program_can_is_read_from_its_help(usage: str, expected: tuple[tuple[str, ...], bool] | None) -> None:
    found = programs.offers(usage)
    assert (found and (found.json, found.cycles)) == expected


def test_the_command_is_an_argument_vector() -> None:
    able = programs.Offers(("-J",), cycles=True)
    argv = programs.command(Path("/opt/all_reduce_perf"), able, 1024, "bfloat16", 4, Path("/tmp/out.json"))
    assert argv == (
        "/opt/all_reduce_perf", "-b", "1024", "-e", "1024", "-f", "2", "-g", "4", "-d", "bfloat16", "-o", "sum",
        "-n", "20", "-w", "5", "-c", "1", "-N", "10", "-J", "/tmp/out.json",
    )  # fmt: skip
    plain = programs.command(Path("p"), programs.Offers((), cycles=False), 1024, "float16", 4, Path("out.json"))
    assert plain[plain.index("-d") + 1] == "half"
    assert not {"-N", "-J"} & set(plain)


def test_a_program_that_hangs_is_ended_with_all_it_started(tmp_path: Path) -> None:
    path = program(tmp_path, (
        "import signal, subprocess, sys, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True)\ntime.sleep(600)\n"
    ))  # fmt: skip
    with programs.started((str(path),), tmp_path / "out.txt") as running:
        while not running.text.strip():
            time.sleep(0.05)
        assert not running.ended(0.1)
        child = int(running.text)
        assert os.getpgid(child) != os.getpgrp()
    assert running.status == -signal.SIGKILL
    end = time.monotonic() + 30  # a process that was killed is there until the kernel has been told
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end, f"process {child} is still {psutil.Process(child).status()}"
        time.sleep(0.05)
