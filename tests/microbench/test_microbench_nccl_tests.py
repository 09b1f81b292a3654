"""`collectives.nccl_tests` with a stand-in for the vendor's program: what it measures, and every way to fail."""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import pytest
from microbench_stubs import StubAccelerator, context

from harness import registry
from harness.errors import CannotRun, Skip, WrongAnswer
from harness.hardware import NCCL_TESTS
from harness.records import Cadence, Origin
from microbench import BENCHMARKS
from microbench.collectives import nccl_tests
from microbench.collectives.nccl_tests import ProgramParams
from microbench.collectives.vendor import Cell, measured

USAGE = "USAGE: all_reduce_perf [-b,--minbytes <min size in bytes>] [-n,--iters <iteration count>]"
CYCLES, JSON = " [-N,--run_cycles <cycle count>]", " [-J,--output_file <file> write output to filepath]"

STAND_IN = '''
import json, os, sys, time
usage, slow, wrong, status, hang, ranks, said = {settings!r}
if "--help" in sys.argv:
    print(usage)
    sys.exit(0)
asked = dict(zip(sys.argv[1::2], sys.argv[2::2]))
print("# nccl-tests version 2.17.6 nccl-headers=22807 nccl-library=22807")
print("# Collective test starting: all_reduce_perf", said)
for rank in range(ranks or int(asked["-g"])):
    print(f"#  Rank {{rank}} Group 0 Pid {{os.getpid()}} on here device {{rank}} [0000:00:00] Made-up GPU")
print("# size count type redop root time algbw busbw #wrong time algbw busbw #wrong", flush=True)
if hang:
    time.sleep(600)
if status and not wrong:
    print("here: Test NCCL failure common.cu:958 'unhandled system error'")
    sys.exit(status)
size = int(asked["-b"]) // 16 * 16
rows = []
for cycle in range(int(asked.get("-N", 1))):
    rows.append([100.0 * slow + cycle, 90.0 * slow + cycle])
    ways = "  ".join(f"{{t:.1f}} {{size / t / 1e3:.2f}} {{size / t / 1e3:.2f}} {{wrong}}" for t in rows[-1])
    print(f"{{size}} {{size // 4}} {{asked['-d']}} {{asked['-o']}} -1 {{ways}}", flush=True)
print("# Out of bounds values : 0 OK")
print("# Avg bus bandwidth : 1.0")
if "-J" in asked:
    way = lambda t: {{"time": t + 0.0625, "alg_bw": size / t / 1e3, "bus_bw": size / t / 1e3, "nwrong": 0.0}}
    results = [
        {{"size": size, "count": 1, "type": asked["-d"], "redop": "sum", "root": "-1"}}
        | {{"out_of_place": way(a), "in_place": way(b)}} for a, b in rows
    ]
    devices = [{{"group": 0, "hostname": "h", "device_info": "d"}}]
    config = {{"nthreads": 1, "ngpus": int(asked["-g"]), "devices": devices}}
    document = {{"version": 1, "args": sys.argv, "nccl_version": 22807, "config": config, "results": results}}
    open(asked["-J"], "x").write(json.dumps(document))
sys.exit(status)
'''  # fmt: skip


def program(folder: Path, usage=USAGE, slow=1.0, wrong=0, status=0, hang=False, ranks=0, said="") -> Path:
    path = folder / "all_reduce_perf"
    path.write_text(f"#!{sys.executable}\n{STAND_IN.format(settings=(usage, slow, wrong, status, hang, ranks, said))}")
    path.chmod(0o755)
    return path


@dataclass
class Accelerator(StubAccelerator):
    name: str = "cuda"


def params(**change) -> ProgramParams:
    return msgspec.convert({"size": 1 << 20, "ranks": 2} | change, ProgramParams)


def run(asked: ProgramParams, **change):
    return nccl_tests.nccl_tests(context(world=2, accelerator=Accelerator(**change)), asked)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(NCCL_TESTS, str(tmp_path))
    return tmp_path


def test_it_is_a_benchmark_of_all_ranks() -> None:
    entry = registry.load(BENCHMARKS)["collectives.nccl_tests"]
    assert (entry.scope, entry.rate) == ("group", "busbw")


def test_the_programs_average_is_a_sample_of_the_streaming_cadence(folder: Path) -> None:
    path = program(folder)
    (found,) = run(params())
    assert (found.metric, found.cadence, found.origin) == ("time.streaming", Cadence.STREAMING, Origin.MEASURED)
    assert found.samples == pytest.approx([100e-6] * 3)  # three starts
    assert {rate.name: rate.amount for rate in found.rates} == {"algbw": 1 << 20, "busbw": 1 << 20}  # factor of 2 ranks
    assert (found.evidence.block, found.evidence.warmup) == (20, 5)
    assert f"{path} (nccl-tests 2.17.6, NCCL 2.28.7)" in found.evidence.flags[0]


def test_in_place_is_the_programs_other_column(folder: Path) -> None:
    program(folder)
    assert run(params(in_place=True))[0].samples == pytest.approx([90e-6] * 3)


def test_a_program_that_repeats_by_itself_is_started_once(folder: Path) -> None:
    program(folder, usage=USAGE + CYCLES)
    assert run(params())[0].samples == pytest.approx([(100 + cycle) * 1e-6 for cycle in range(10)])


def test_json_is_read_where_the_program_has_it(folder: Path) -> None:
    program(folder, usage=USAGE + CYCLES + JSON)
    found = run(params())[0]
    assert found.samples == pytest.approx([(100.0625 + cycle) * 1e-6 for cycle in range(10)])
    assert not list(folder.glob("*.json"))


def test_bytes_that_the_program_rounds_away_are_said(folder: Path) -> None:
    program(folder)
    (found,) = run(params(size=1000))
    assert [rate.amount for rate in found.rates] == [992, 992]
    assert "992 B were measured, not 1000: the program rounds" in found.evidence.flags
    with pytest.raises(Skip, match="rounds 8 B over 2 ranks down to nothing"):
        run(params(size=8))


@pytest.mark.parametrize(("change", "asked", "says"), [
    ({"kind": "gloo", "name": "cpu"}, {}, "measures GPUs through NCCL or RCCL; the backend here is gloo"),
    ({"name": "simulated"}, {}, "nothing is executed on a simulated cluster"),
    ({}, {"ranks": 16}, "16 ranks are on several nodes of 2: there the programs need MPI.*bench fit alphabeta"),
    ({}, {"operation": "gather"}, "gather_perf is neither in .* nor on PATH. To get it: clone NVIDIA/nccl-tests"),
    ({"name": "rocm"}, {"operation": "gather"}, "ROCm/rccl-tests"),
])  # fmt: skip
def test_what_cannot_be_measured_is_skipped_with_its_reason(folder: Path, change, asked, says: str) -> None:
    program(folder)
    with pytest.raises(Skip, match=says):
        run(params(**asked), **change)


def test_a_program_that_does_not_start_is_skipped(folder: Path) -> None:
    program(folder, usage="error while loading shared libraries: libnccl.so.2")
    with pytest.raises(Skip, match=r"is not that of a program of nccl-tests; it said: .*libnccl\.so\.2"):
        run(params())
    (folder / "all_reduce_perf").write_bytes(b"\x7fELF, but not really")
    with pytest.raises(Skip, match="cannot be started: Exec format error"):
        run(params())


def test_a_size_that_the_program_makes_smaller_is_skipped(folder: Path) -> None:
    program(folder, status=0, said="#\\n# Reducing maxBytes to 512 due to memory limitation")
    with pytest.raises(Skip, match="has too little device memory for 1 MiB"):
        run(params())


def test_a_wrong_result_is_a_wrong_answer(folder: Path) -> None:
    program(folder, wrong=3, status=1)
    with pytest.raises(WrongAnswer, match="all_reduce_perf counts 3 wrong values at 1 MiB out of place"):
        run(params())


def test_a_failure_repeats_the_programs_last_lines(folder: Path) -> None:
    program(folder, status=3)
    with pytest.raises(CannotRun, match=r"ended with status 3 and no result; it said: .*unhandled system error"):
        run(params())


def test_other_ranks_than_were_asked_for_are_no_result(folder: Path) -> None:
    program(folder, ranks=1)
    with pytest.raises(CannotRun, match="ran on 1 ranks, and 2 were asked for"):
        run(params())


def test_a_program_that_hangs_is_ended(folder: Path) -> None:
    path, begin = program(folder, hang=True), time.monotonic()
    with pytest.raises(CannotRun, match=r"all_reduce_perf did not end within \d s; it said: .*size count type"):
        measured(path, Cell(1 << 20, 2, "float32", in_place=False), limit=5.0)
    assert time.monotonic() - begin < 30


def test_what_the_programs_do_not_check_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="the programs do not check send_recv in place"):
        params(operation="send_recv", in_place=True)
    with pytest.raises(msgspec.ValidationError, match="whole number of float32 elements"):
        params(size=6)


@dataclass
class Meeting:
    """Ranks as threads, which exchange values at a barrier."""

    world: int
    box: list = field(default_factory=list)

    def __post_init__(self) -> None:
        self.box, self.wall = [None] * self.world, threading.Barrier(self.world, timeout=30)

    def exchange(self, rank: int, value):
        self.box[rank] = value
        self.wall.wait()
        held = list(self.box)
        self.wall.wait()
        return held


@dataclass
class ThreadRanks:
    meeting: Meeting
    rank: int
    local: int = 0

    @property
    def world(self) -> int:
        return self.meeting.world

    def agree(self, value: float) -> float:
        return self.meeting.exchange(self.rank, value)[0]

    def words(self, text: str) -> list[str]:
        return self.meeting.exchange(self.rank, text)

    def maximum(self, values) -> list[float]:
        return [max(column) for column in zip(*self.meeting.exchange(self.rank, list(values)), strict=True)]


def together(asked: ProgramParams, world: int = 3) -> list:
    """What each of several ranks gets or raises; rank 0 alone runs the program."""
    meeting = Meeting(world)

    def one(rank: int):
        ctx = replace(context(world=8, rank=rank, accelerator=Accelerator()), ranks=ThreadRanks(meeting, rank))
        try:
            return nccl_tests.nccl_tests(ctx, asked)
        except (Skip, WrongAnswer, CannotRun) as error:
            if isinstance(error, Skip):
                ctx.all_skip(error)  # as the worker does
            return type(error).__name__, str(error)

    with ThreadPoolExecutor(world) as pool:
        return [future.result(timeout=60) for future in [pool.submit(one, rank) for rank in range(world)]]


def test_all_ranks_get_the_times_of_rank_0(folder: Path) -> None:
    program(folder, slow=2.0)
    first, *others = together(params())
    assert first[0].samples == pytest.approx([200e-6] * 3)
    assert all(other[0].samples == first[0].samples and other[0].rates == first[0].rates for other in others)


def test_all_ranks_fail_or_skip_together(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(folder, status=3)
    assert {(kind, "status 3" in said) for kind, said in together(params())} == {("CannotRun", True)}
    program(folder, wrong=1)
    assert {kind for kind, _ in together(params())} == {"WrongAnswer"}
    (folder / "all_reduce_perf").unlink()
    monkeypatch.setenv("PATH", str(folder))
    told = together(params())
    assert {kind for kind, _ in told} == {"Skip", "_OthersSkip"}
    assert all("neither in" in said for _, said in told)
