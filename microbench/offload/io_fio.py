"""fio as one of the engines: the roof, for the same files, size, block and depth, by its own clock.

The first rank of each host runs it with a job for every rank of the host; the others wait. fio times itself, in whole
milliseconds, with its fsync inside (end_fsync).
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from harness.errors import Skip, WrongAnswer
from harness.ranks import Ranks
from harness.records import Cadence, Measurement
from harness.sampling import Block, Meter, Task, measure
from microbench.offload.io_asked import Asked, describe, rates
from microbench.offload.io_files import ALONE, COLD, SHARED, Place, still_held

if TYPE_CHECKING:
    from harness.context import Context

LIMIT = 600.0  # s for one run of fio
TUNABLES = "GLIBC_TUNABLES"
PAGES = "fio is asked for buffers on large pages, as all engines' regions here are but DeepSpeed's"
CLOCK = 1e-3  # s, what fio counts in
LIBRARIES = {"fio": "libaio", "fio_uring": "io_uring"}


class Side(msgspec.Struct, frozen=True):
    """One direction of a job in fio's output. io_bytes: B moved. runtime: ms."""

    io_bytes: int = 0
    runtime: int = 0


class Job(msgspec.Struct, frozen=True):
    error: int
    read: Side
    write: Side


class Output(msgspec.Struct, frozen=True):
    """What is read of fio's JSON; there is much more in it."""

    jobs: list[Job]


@dataclass(frozen=True)
class Result:
    """size: B. seconds: of the longest job."""

    size: int
    seconds: float


def command(program: str, asked: Asked, place: Place, output: Path) -> list[str]:
    """argv of one run over the files of this host."""
    params = asked.params
    folder = str(place.folder).replace("\\", "\\\\").replace(":", "\\:")
    files = (
        [f"--filename={SHARED}", f"--offset_increment={place.size}"] if place.shared
        else ["--filename_format=rank-$jobnum"]
    )  # fmt: skip
    return [
        program, "--name=io", f"--directory={folder}", *files, f"--rw={params.op}", f"--bs={params.block}",
        f"--iodepth={params.depth}", f"--size={place.size}", f"--numjobs={place.count}",
        f"--direct={int(asked.direct)}", f"--ioengine={LIBRARIES[params.engine]}", "--end_fsync=1",
        *(["--fixedbufs=1"] if params.engine == "fio_uring" else []),
        "--group_reporting", "--thread", f"--invalidate={int(not params.cached)}",
        "--output-format=json", f"--output={output}",
    ]  # fmt: skip


def parse(text: bytes, op: str) -> Result:
    """fio's JSON. ValueError where it is none, or where fio says that it failed."""
    try:
        jobs = msgspec.json.decode(text, type=Output).jobs
    except msgspec.DecodeError as error:
        raise ValueError(f"fio's output cannot be read: {error}") from error
    if len(jobs) != 1 or jobs[0].error:
        raise ValueError(f"fio ended with error {jobs[0].error}" if jobs else "fio reports no job")
    side = jobs[0].read if op == "read" else jobs[0].write
    if side.io_bytes <= 0 or side.runtime <= 0:
        raise ValueError(f"fio reports {side.io_bytes} B in {side.runtime} ms")
    return Result(side.io_bytes, side.runtime / 1000)


def run(argv: list[str], output: Path, op: str) -> Result:
    """RuntimeError with fio's own words where it does not end well."""
    output.unlink(missing_ok=True)
    ended = subprocess.run(
        argv, capture_output=True, text=True, timeout=LIMIT, stdin=subprocess.DEVNULL, check=False, env=_environment()
    )  # fmt: skip
    if ended.returncode or not output.exists():
        said = (ended.stderr or ended.stdout).strip()[-300:]
        raise RuntimeError(f"fio ended with code {ended.returncode}: {said or 'no word of why'}")
    return parse(output.read_bytes(), op)


def _environment() -> dict[str, str]:
    """fio's buffers come from malloc: with this setting of the C library (glibc 2.35 and newer) on large pages, as ours
    are. On small ones the kernel pins 256 pieces for each MiB, and fio reaches half as much (benchmarks/io_fio.py)."""
    given = os.environ.get(TUNABLES, "")
    return {**os.environ, TUNABLES: ":".join(filter(None, [given, "glibc.malloc.hugetlb=1"]))}


def program(engine: str) -> str:
    """fio's path. Skips where it is missing or does not have the library."""
    found = shutil.which("fio")
    if found is None:
        raise Skip("fio is not installed, so there is no roof: apt-get install fio")
    library = LIBRARIES[engine]
    known = subprocess.run([found, "--enghelp"], capture_output=True, text=True, timeout=60, check=False).stdout
    if library not in known.split():
        raise Skip(f"this fio has no {library} engine: install another build of it")
    return found


class FioMeter:
    """Takes fio's own time as the sample; the greatest over hosts."""

    def __init__(self, inner: Meter, ranks: Ranks, once: Callable[[], float]) -> None:
        self._inner, self._ranks, self._once = inner, ranks, once
        self.origin, self.resolution = inner.origin, CLOCK

    def block(self, task: Task, cadence: Cadence, samples: int, operations: int) -> Block:
        begin, own = self.now(), list[float]()
        for _ in range(samples):
            task.prepare(1)
            self._ranks.barrier()
            own.append(self._once())
        merged = self._ranks.maximum(own)
        return Block(merged, [], self.now() - begin)

    def by_rank(self, task: Task, cadence: Cadence, samples: int) -> list[list[float]]:
        raise NotImplementedError("fio's jobs are not told apart")

    def verify(self, task: Task) -> None:
        return self._inner.verify(task)

    def now(self) -> float:
        return self._inner.now()


def runner(asked: Asked, place: Place) -> Callable[[], float]:
    """One run of fio over the files of this host, which are filled first where they are to be read. Gives fio's own
    time, in s."""
    op, output, expected = asked.params.op, place.folder / "fio.json", place.size * place.count
    argv = command(program(asked.params.engine), asked, place, output)

    def once() -> float:
        result = run(argv, output, op)
        if result.size != expected:
            raise RuntimeError(f"fio moved {result.size} B, asked for {expected}")
        return result.seconds

    if op == "read":
        _prepare(_files(place), "write", False)
        run([*argv, "--rw=write"], output, "write")
    return once


def measured(ctx: Context, asked: Asked, place: Place) -> list[Measurement]:
    """fio's time for the cell."""
    op, fio = asked.params.op, program(asked.params.engine)
    leads = asked.team.rank is not None and place.index == 0
    files = _files(place) if leads else []
    ctx.ready()
    once = runner(asked, place) if leads else _waiting

    def prepare(_: int) -> None:
        _prepare(files, op, asked.params.cached)
        place.held = max([place.held, *(file.held for file in files)])

    flags = (
        f"{_version(fio)}, {LIBRARIES[asked.params.engine]}, timed by its own clock (whole ms)",
        PAGES,
        *asked.flags,
    )
    check = partial(_check, place, asked.params.cached or asked.filesystem.in_memory)
    task = Task(describe(asked), lambda _: None, rates(asked), prepare, check, flags=flags, lasting=1)
    return [measure(FioMeter(ctx.meter, ctx.ranks, once), task, Cadence.ISOLATED, ctx.policy)]


def _waiting() -> float:
    return -math.inf


def _files(place: Place) -> list[Place]:
    """The files of this host, which the one rank that runs fio readies for all jobs."""
    return [
        replace(place, index=index, team=ALONE) for index in range(1 if place.shared else place.count)
    ]  # fmt: skip


def _prepare(files: list[Place], op: str, cached: bool) -> None:
    for file in files:
        if op == "write":
            file.fresh()
        elif cached:
            file.warm()
        else:
            file.cold()


def _check(place: Place, cached: bool) -> None:
    if place.held > COLD and not cached:
        raise WrongAnswer(still_held(place))


def _version(program: str) -> str:
    """'fio-3.33'."""
    ended = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60, check=False)
    return ended.stdout.strip() or "fio"
